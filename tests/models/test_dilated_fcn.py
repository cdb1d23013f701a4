"""Parity with torchvision stands in test_pretrained.py."""

import pytest
import torch

from atrous.encoders.encoder import Encoder
from atrous.errors import ConfigError
from atrous.models.dilated_fcn import DilatedFCN


def build(output_stride=8, **options):
    torch.manual_seed(0)
    encoder = Encoder(name="resnet18", output_stride=output_stride)
    return DilatedFCN(num_classes=5, encoder=encoder, output_stride=output_stride, **options).eval()


@pytest.mark.parametrize("output_stride", [8, 16, 32])
def test_scores_stand_at_the_output_stride(output_stride):
    with torch.no_grad():
        output = build(output_stride)(torch.randn(1, 3, 64, 96))
    assert output.logits.shape == (1, 5, 64 // output_stride, 96 // output_stride)
    assert [x.shape for x in output.aux] == [(1, 5, 64 // min(16, output_stride), 96 // min(16, output_stride))]


def test_without_auxiliary_head():
    assert build(aux=False)(torch.randn(1, 3, 64, 64)).aux == ()


def test_encoder_at_another_stride():
    with pytest.raises(ConfigError, match="the model says output_stride=8"):
        DilatedFCN(num_classes=5, encoder=Encoder(name="resnet18", output_stride=16))
