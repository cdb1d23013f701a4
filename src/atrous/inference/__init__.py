"""From a model's logits to labels and probabilities at the size of the image."""
