"""Image files: sizes, pixels, masks, rows of what is too large to hold."""
