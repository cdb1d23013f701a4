import urllib.error

import pytest
import timm
import torch
from safetensors.torch import save_file

from atrous.encoders import encoder as encoder_module
from atrous.encoders.encoder import Encoder
from atrous.errors import CheckpointError, ConfigError

NAME = "mobilenetv3_small_050"


@pytest.mark.parametrize("name", [NAME, "vgg11", "convnext_atto", "resnet18", "xception41"])
@pytest.mark.parametrize("output_stride", [8, 32])
def test_maps_have_the_channels_and_strides_it_says(name, output_stride):
    encoder = Encoder(name=name, output_stride=output_stride).eval()
    with torch.no_grad():
        maps = encoder(torch.zeros(1, 3, 64, 96))
    assert [x.shape[1] for x in maps] == encoder.channels
    assert [(64 // x.shape[2], 96 // x.shape[3]) for x in maps] == [(s, s) for s in encoder.strides]
    assert encoder.strides[-1] == output_stride
    assert encoder.ends_in_pool == (name == "vgg11")


def test_other_input_channels():
    encoder = Encoder(name=NAME, in_channels=5, output_stride=8).eval()
    assert len(encoder(torch.zeros(1, 5, 32, 32))) == len(encoder.strides)


@pytest.mark.parametrize("suffix", ["pth", "safetensors", "nested.pth"])
def test_weights_from_a_file(tmp_path, suffix):
    classifier = timm.create_model(NAME).eval()
    path = tmp_path / f"weights.{suffix}"
    state = classifier.state_dict()
    if suffix == "safetensors":
        save_file(state, path)
    else:
        torch.save({"state_dict": state} if suffix == "nested.pth" else state, path)
    encoder = Encoder(name=NAME, weights=str(path)).eval()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = classifier.forward_intermediates(images, intermediates_only=True)
        for ours, theirs in zip(encoder(images), expected, strict=True):
            torch.testing.assert_close(ours, theirs)


def test_weights_of_another_encoder(tmp_path):
    path = tmp_path / "other.pth"
    torch.save(timm.create_model("resnet18").state_dict(), path)
    with pytest.raises(ConfigError, match=rf"the weights in .*other.pth don't fit encoder '{NAME}'"):
        Encoder(name=NAME, weights=str(path))


def test_weights_that_are_no_state_dict(tmp_path):
    path = tmp_path / "list.pth"
    torch.save([1, 2], path)
    with pytest.raises(ConfigError, match=r"holds a list, not the state dict of encoder .*save `classifier.state_dict"):
        Encoder(name=NAME, weights=str(path))


def test_weights_file_that_is_missing_or_unreadable(tmp_path):
    with pytest.raises(
        ConfigError, match=r"no weights for encoder .* at nowhere.pth; give null, imagenet, or the path"
    ):
        Encoder(name=NAME, weights="nowhere.pth")
    path = tmp_path / "broken.pth"
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(CheckpointError, match=r"broken.pth can't be read as weights"):
        Encoder(name=NAME, weights=str(path))


def test_imagenet_weights_without_a_network(monkeypatch):
    def unreachable(*_, **__):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(encoder_module.timm, "create_model", unreachable)
    with pytest.raises(ConfigError, match=r"no route to host.*model.encoder.weights=null.*weights=<path"):
        Encoder(name=NAME, weights="imagenet")


def test_misspelt_name_gets_suggestions():
    with pytest.raises(ConfigError, match=r"no encoder 'reznet18'; did you mean .*resnet18"):
        Encoder(name="reznet18")
    with pytest.raises(ConfigError, match=r"no encoder 'qqqqqqqq'; `timm.list_models\(\)`"):
        Encoder(name="qqqqqqqq")


def test_at_stride():
    assert Encoder(name="resnet18").at_stride(4) == 1
    assert Encoder(name="resnet18", output_stride=8).at_stride(8) == 4
    with pytest.raises(ConfigError, match=r"encoder 'convnext_atto' has maps at strides \[4, 8, 16, 32\], none at 2"):
        Encoder(name="convnext_atto").at_stride(2)


@pytest.mark.parametrize(("output_stride", "multi_grid"), [(8, None), (16, [1, 2])])
def test_encoder_that_was_built_otherwise_than_its_model_says(output_stride, multi_grid):
    encoder = Encoder(name="resnet18", output_stride=16)
    encoder.expect(16, None)
    with pytest.raises(
        ConfigError, match=r"'resnet18' was built with output_stride=16, multi_grid=None; let the encoder follow"
    ):
        encoder.expect(output_stride, multi_grid)


def test_first_maps_only():
    whole, part = Encoder(name="resnet18").eval(), Encoder(name="resnet18", depth=3, output_stride=8).eval()
    part.load_state_dict(whole.state_dict(), strict=False)
    assert (part.strides, part.channels) == (whole.strides[:3], whole.channels[:3])
    assert not [key for key in part.state_dict() if "layer3" in key]
    images = torch.randn(1, 3, 65, 97)
    with torch.no_grad():
        for ours, theirs in zip(part(images), whole(images), strict=False):
            torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("output_stride", [8, 16, 32])
def test_vision_transformer_in_place_of_a_cnn(output_stride):
    with pytest.raises(ConfigError, match=r"has all its maps at stride 16, .*choose a CNN .*or model=segmenter or"):
        Encoder(name="vit_tiny_patch16_224", output_stride=output_stride)
