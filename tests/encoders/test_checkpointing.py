"""Gradient checkpointing changes memory and time, and nothing else."""

import copy

import pytest
import torch
from torch import nn

from atrous.encoders.encoder import Encoder
from atrous.encoders.vit import ViT
from atrous.errors import ConfigError

IMAGES = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))


def build(name, *, checkpointed, **options):
    torch.manual_seed(0)
    kind = ViT if "vit" in name else Encoder
    return kind(name=name, gradient_checkpointing=checkpointed, **options).train()


def step(encoder, images=IMAGES):
    """Outputs, gradients, buffers and random state after a training step, and the bytes that autograd kept for it."""
    torch.manual_seed(1)
    kept = {}

    def keep(tensor):
        if not isinstance(tensor, nn.Parameter):
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()  # a block's inputs, too, and no tensor twice
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        maps = encoder(images, [3, 6]) if isinstance(encoder, ViT) else encoder(images)
    torch.stack([x.square().mean() for x in maps]).sum().backward()
    gradients = {name: parameter.grad for name, parameter in encoder.named_parameters()}
    return maps, gradients, dict(encoder.named_buffers()), torch.get_rng_state(), sum(kept.values())


@pytest.mark.parametrize(
    ("name", "options", "least"),
    [
        ("resnet26", {"output_stride": 8}, 2.5),  # blocks in rows of rows
        ("xception41", {}, 1.5),  # activations in place, maps taken by hooks
        ("mobilenetv3_small_050", {}, 1.5),  # timm's own class of feature pyramid
        ("regnety_002", {}, 2.5),  # blocks that are children of their stage by name
        ("densenet121", {}, 1.5),  # blocks that take lists
        ("test_vit", {"drop_path": 0.5}, 4),  # random numbers
    ],
)
def test_the_same_step_in_less_memory(name, options, least):
    maps, gradients, buffers, random, kept = step(build(name, checkpointed=False, **options))
    again = build(name, checkpointed=True, **options)
    maps2, gradients2, buffers2, random2, kept2 = step(again)
    for x, y in zip(maps, maps2, strict=True):
        assert torch.equal(x, y)
    assert buffers.keys() == buffers2.keys()
    for key, value in buffers.items():  # running statistics are updated once
        assert torch.equal(value, buffers2[key]), key
    assert gradients.keys() == gradients2.keys()
    for key, value in gradients.items():
        torch.testing.assert_close(gradients2[key], value, msg=key)
    assert torch.equal(random, random2)
    assert kept / kept2 > least


def test_statistics_by_cumulative_average():
    """Without a momentum, batch norm divides by how many batches it has seen."""
    encoders = [build("resnet10t", checkpointed=checkpointed) for checkpointed in (False, True)]
    for encoder in encoders:
        for module in encoder.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = None
        step(encoder)
        step(encoder, IMAGES.flip(0) * 2)
    for (key, value), other in zip(encoders[0].named_buffers(), encoders[1].buffers(), strict=True):
        assert torch.equal(value, other), key


def test_a_copy_computes_with_its_own_weights():
    """What an average of the weights and the cost of a run are made from."""
    encoder = build("resnet10t", checkpointed=True)
    twin = copy.deepcopy(encoder)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.zero_()
    assert twin(IMAGES)[-1].abs().max() > 0
    step(twin)
    assert all(parameter.grad is None for parameter in encoder.parameters())


def test_weights_go_in_under_the_same_keys():
    plain, checkpointed = (build("resnet10t", checkpointed=value) for value in (False, True))
    assert list(plain.state_dict()) == list(checkpointed.state_dict())


def test_an_encoder_without_blocks():
    with (
        torch.device("meta"),
        pytest.raises(ConfigError, match=r"'vgg11' is a row of single layers .*gradient_checkpointing=false"),
    ):
        Encoder(name="vgg11", gradient_checkpointing=True)
