"""From words on a command line to a checked config, and from a config to objects: the door to Hydra."""
