"""The layers of encoders: those of timm's networks, whole and cut to their features."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from atrous.encoders.encoder import Encoder
from atrous.encoders.vit import ViT
from atrous.errors import ConfigError
from atrous.optim.layers import encoder_layers, encoder_prefixes


def model_with(encoder: nn.Module) -> nn.ModuleDict:
    return nn.ModuleDict({"encoder": encoder, "head": nn.Linear(2, 2)})


# The first parameter of each stage, in timm's feature networks of every kind.
FIRST = {
    "resnet18": ["conv1", "layer1", "layer2", "layer3", "layer4"],
    "convnext_tiny": ["stem_0", "stages_1", "stages_2", "stages_3"],
    "efficientnet_b0": ["conv_stem", "blocks.1", "blocks.2", "blocks.3", "blocks.5"],
    "vgg16_bn": ["features_0", "features_7", "features_14", "features_24", "features_34"],
    "xception65": ["stem_0", "blocks_0", "blocks_1", "blocks_2", "blocks_19"],
    "swin_tiny_patch4_window7_224": ["patch_embed", "layers_1", "layers_2", "layers_3"],
}


@pytest.mark.parametrize("name", sorted(FIRST))
def test_the_layers_of_a_cnn_are_its_stages(name: str) -> None:
    with torch.device("meta"):
        model = model_with(Encoder(name=name))
    layers = encoder_layers(model)
    first = {}
    for key, layer in layers.items():
        first.setdefault(layer, key.removeprefix("encoder.net."))
    assert [first[layer].startswith(f"{start}.") for layer, start in enumerate(FIRST[name])] == [True] * len(
        FIRST[name]
    )
    assert list(layers.values()) == sorted(layers.values())
    assert layers.keys() == {key for key, _ in model.named_parameters() if key.startswith("encoder.")}


def test_a_stage_makes_its_map() -> None:
    """Layer i's parameters are those that map i depends on and map i - 1 does not."""
    encoder = Encoder(name="test_resnet")
    layers = encoder_layers(model_with(encoder))
    maps = encoder(torch.rand(2, 3, 64, 64))
    for index, feature in enumerate(maps):
        encoder.zero_grad()
        feature.sum().backward(retain_graph=True)
        for name, parameter in encoder.named_parameters():
            assert (parameter.grad is not None) == (layers[f"encoder.{name}"] <= index), name


def test_the_layers_of_a_vit_are_embeddings_and_blocks() -> None:
    layers = encoder_layers(model_with(ViT(name="test_vit")))
    assert layers["encoder.net.cls_token"] == layers["encoder.net.patch_embed.proj.weight"] == 0
    assert [layers[f"encoder.net.blocks.{block}.norm1.weight"] for block in range(6)] == [1, 2, 3, 4, 5, 6]
    assert layers["encoder.net.norm.weight"] == 6


def test_without_the_last_norm_the_layers_are_the_same() -> None:
    layers = encoder_layers(model_with(ViT(name="test_vit").without_norm()))
    assert max(layers.values()) == layers["encoder.net.blocks.5.mlp.fc2.weight"] == 6


def test_what_stands_after_timms_network_is_in_the_last_layer() -> None:
    encoder = nn.Sequential(timm.create_model("test_resnet", features_only=True), nn.Conv2d(2, 2, 1))
    layers = encoder_layers(nn.ModuleDict({"model": model_with(encoder)}))
    assert layers["model.encoder.1.weight"] == layers["model.encoder.0.layer4.0.conv1.weight"] == 4


@pytest.mark.parametrize("name", ["encoder", "backbone"])
def test_prefixes(name: str) -> None:
    model = nn.ModuleDict({"around": nn.ModuleDict({name: nn.Linear(2, 2), "head": nn.Linear(2, 2)})})
    assert encoder_prefixes(model) == (f"around.{name}.",)
    assert encoder_prefixes(nn.Sequential(nn.Linear(2, 2))) == ()


def test_layers_that_are_unknown() -> None:
    with pytest.raises(ConfigError, match=r"layers of a Sequential are unknown; .*optimizer\.layer_decay at 1"):
        encoder_layers(model_with(nn.Sequential(nn.Linear(2, 2))))
    with pytest.raises(ConfigError, match=r"Linear has no child called encoder or backbone"):
        encoder_layers(nn.Linear(2, 2))
