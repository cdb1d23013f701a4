"""LightningModules: they train and score the parts they are given, and contain no architecture."""
