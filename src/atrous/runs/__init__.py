"""The run folder: what is in it, who reads and writes it, and which run a command goes on with. Imports no torch."""
