"""Reads every file of a data set and reports what is wrong with it."""
