"""The jobs of a multirun or a search, and the three ways to start them. Imports no torch."""
