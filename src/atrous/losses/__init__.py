"""Losses on a model's SegOutput, one per file."""
