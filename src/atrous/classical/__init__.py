"""Segmentation without a trained network: (image) -> segments."""
