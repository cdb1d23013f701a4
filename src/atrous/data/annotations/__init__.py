"""Annotations that are outlines in a JSON, XML or text file, as masks."""
