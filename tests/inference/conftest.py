import pytest
import torch
from torch import nn

from atrous.types import SegOutput


class Net(nn.Module):
    """Two convolutions at a stride: logits that depend on a neighbourhood and are smaller than the image."""

    def __init__(self, classes=5, stride=2):
        super().__init__()
        torch.manual_seed(0)
        self.convs = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=stride, padding=1), nn.Tanh(), nn.Conv2d(8, classes, 3, padding=1)
        )
        self.batches = []

    def forward(self, images):
        self.batches.append(tuple(images.shape))
        return SegOutput(4 * self.convs(images))


@pytest.fixture
def net():
    return Net().eval()


@pytest.fixture
def images():
    return torch.randn(2, 3, 37, 52, generator=torch.Generator().manual_seed(1))
