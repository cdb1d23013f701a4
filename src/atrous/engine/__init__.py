"""From a config or objects to a result: build, fit, evaluate, predict, export. Nothing here prints or reads a command line."""
