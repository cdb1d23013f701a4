"""One confusion matrix as state, and pure scores of it."""
