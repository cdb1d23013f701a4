"""Datasets, one per file, the transforms and samplers they share, and the DataModule around them."""
