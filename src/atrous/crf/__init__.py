"""Dense conditional random fields: probabilities and an image -> probabilities that follow the image's edges."""
