"""timm backbones as feature pyramids, the rewriting of strides as dilations, and classifiers made convolutional."""
