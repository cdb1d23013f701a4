"""What happens around training: the progress display, the guard against a loss that is not finite."""
