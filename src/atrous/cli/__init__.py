"""The commands of atrous: `train`, `evaluate`, `predict`. Nobody else imports this package."""
