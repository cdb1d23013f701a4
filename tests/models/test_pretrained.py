"""Weights from files into models built from conf/. References are random: only their structure counts."""

import argparse
import re
from pathlib import Path

import pytest
import segmentation_models_pytorch as smp
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F
from torchvision.models import segmentation as torchvisions

from atrous.errors import CheckpointError, ConfigError
from atrous.models.adapter import adapt
from atrous.models.pretrained import load_pretrained

CONF = Path(__file__).parents[2] / "conf"
SMALL_FCN = ("model.encoder.name=vgg11", "model.classifier.channels=16")
SMALL_PLUS = ("model.encoder.name=resnet18", "model.aspp_channels=16", "model.decoder_channels=16")


def build(name, *overrides, classes=5):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose(overrides=[f"+model={name}", f"+data.num_classes={classes}", *overrides])
    return adapt(instantiate(config.model, _convert_="all")).eval()


def shake(model):
    """Moves a model off the values that hide mistakes, in a way that keeps a deep net's scores within float32's reach."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.2, 0.6)
            nn.init.uniform_(module.bias, -0.1, 0.1)
        elif isinstance(module, nn.Conv2d) and module.bias is not None:
            nn.init.uniform_(module.bias, -0.5, 0.5)
    return model.eval()


def save(model, folder, *, checkpoint=False):
    path = folder / "weights.pth"
    state = model.state_dict()
    if checkpoint:  # as `atrous train` writes it, the loss's class weights among the model's
        state = {f"model.{key}": value for key, value in state.items()} | {"loss.weight": torch.ones(5)}
        torch.save({"state_dict": state, "config": {"seed": 0}, "class_info": {"names": ["a"]}}, path)
    else:
        torch.save(state, path)
    return str(path)


@pytest.mark.parametrize("depth", [50, 101])
@pytest.mark.parametrize(
    ("name", "reference", "overrides"),
    [
        ("dilated_fcn", "fcn_resnet", ()),
        (
            "deeplabv3",
            "deeplabv3_resnet",
            ("model.output_stride=8", "model.multi_grid=null", "model.refine=true", "model.aux=true"),
        ),
    ],
)
def test_torchvision(tmp_path, name, reference, overrides, depth):
    theirs = getattr(torchvisions, f"{reference}{depth}")
    theirs = shake(theirs(weights=None, weights_backbone=None, num_classes=5, aux_loss=True))
    ours = build(name, f"model.encoder.name=resnet{depth}", *overrides)
    assert load_pretrained(ours, f"torchvision:{save(theirs, tmp_path)}") == []
    for size in ((64, 48), (33, 47)):
        images = torch.randn(1, 3, *size)
        with torch.no_grad():
            output, expected = ours(images), theirs(images)
        for logits, whole in ((output.logits, expected["out"]), (output.aux[0], expected["aux"])):
            enlarged = F.interpolate(logits, size=size, mode="bilinear", align_corners=False)
            assert 0.01 < whole.std() < 10
            torch.testing.assert_close(enlarged, whole, atol=1e-4, rtol=0)


STRIDED = "+model.encoder.dilate_strided=true"


@pytest.mark.parametrize(
    ("name", "reference", "overrides", "sizes"),
    [
        ("unet_encoder", smp.Unet, (), [(64, 96), (65, 97)]),
        (
            "pspnet",
            smp.PSPNet,
            ("model.kernel_sizes=[1,3]", "model.aux=false", "+model.encoder.depth=3"),
            [(64, 96), (65, 97)],
        ),
        ("pan", smp.PAN, ("model.pooling=max", "model.gate=sigmoid", STRIDED), [(128, 256), (256, 128)]),
        (
            "deeplabv3",
            smp.DeepLabV3,
            ("model.output_stride=8", "model.multi_grid=null", "model.refine=true", STRIDED),
            [(64, 48), (65, 47)],
        ),
        (
            "deeplabv3plus",
            smp.DeepLabV3Plus,
            ("model.dilations=[12,24,36]", "model.refine=[1,1]", "model.norm_between=false", STRIDED),
            [(64, 96), (48, 80)],
        ),
    ],
)
@pytest.mark.parametrize("encoder", ["resnet18", "resnet34"])
def test_segmentation_models_pytorch(tmp_path, name, reference, overrides, sizes, encoder):
    """Before its last upsampling, which the task does, and past its check of the size, which not every net needs. Its maps
    are resized by areas, as ours: `align_corners` is the one thing that is changed, where its decoder aligns corners."""
    theirs = shake(reference(encoder, encoder_weights=None, classes=5))
    ours = build(name, f"model.encoder.name={encoder}", *overrides)
    assert load_pretrained(ours, f"smp:{save(theirs, tmp_path)}") == []
    if name != "pspnet":  # whose pyramid aligns corners in both
        for module in theirs.modules():
            if hasattr(module, "align_corners"):
                module.align_corners = False
    for size in sizes:
        images = torch.randn(2, 3, *size)
        with torch.no_grad():
            expected = theirs.segmentation_head[0](theirs.decoder(theirs.encoder(images)))
            assert 0.01 < expected.std() < 10
            torch.testing.assert_close(ours(images).logits, expected, atol=1e-4, rtol=0)


def test_encoders_that_segmentation_models_pytorch_has_from_timm(tmp_path):
    theirs = shake(smp.Unet("tu-mobilenetv3_small_050", encoder_weights=None, classes=5))
    ours = build("unet_encoder", "model.encoder.name=mobilenetv3_small_050")
    load_pretrained(ours, f"smp:{save(theirs, tmp_path)}")
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        torch.testing.assert_close(ours(images).logits, theirs(images), atol=1e-4, rtol=0)


def transformer(side, channels=64, hidden=192, depth=6, classifier=True):
    """A random state dict under the keys of transformers' ViTForImageClassification."""
    torch.manual_seed(0)
    state = {
        "vit.embeddings.cls_token": torch.randn(1, 1, channels),
        "vit.embeddings.position_embeddings": torch.randn(1, (side // 16) ** 2 + 1, channels),
        "vit.embeddings.patch_embeddings.projection.weight": 0.05 * torch.randn(channels, 3, 16, 16),
        "vit.embeddings.patch_embeddings.projection.bias": torch.randn(channels),
    }
    shapes = {f"attention.attention.{part}": (channels, channels) for part in ("query", "key", "value")} | {
        "attention.output.dense": (channels, channels),
        "intermediate.dense": (hidden, channels),
        "output.dense": (channels, hidden),
        "layernorm_before": (channels,),
        "layernorm_after": (channels,),
    }
    layers = {f"vit.encoder.layer.{i}.{name}": shape for i in range(depth) for name, shape in shapes.items()}
    for name, shape in (layers | {"vit.layernorm": (channels,)}).items():
        state[f"{name}.weight"], state[f"{name}.bias"] = 0.1 * torch.randn(shape), 0.1 * torch.randn(shape[0])
    if classifier:
        state |= {"classifier.weight": torch.randn(7, channels), "classifier.bias": torch.randn(7)}
    return state


def run_transformer(state, images, heads, depth=6):
    """transformers' modeling_vit.py written out: the map after the last block, and after the final norm."""

    def linear(x, name):
        return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])

    def norm(x, name):
        return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], eps=1e-12)

    def split(x):
        return x.unflatten(2, (heads, -1)).transpose(1, 2)

    projection = "vit.embeddings.patch_embeddings.projection"
    x = F.conv2d(images, state[f"{projection}.weight"], state[f"{projection}.bias"], stride=16)
    height, width = x.shape[-2:]
    x = torch.cat([state["vit.embeddings.cls_token"].expand(len(x), -1, -1), x.flatten(2).mT], 1)
    x = x + state["vit.embeddings.position_embeddings"]
    for i in range(depth):
        layer = f"vit.encoder.layer.{i}"
        y = norm(x, f"{layer}.layernorm_before")
        q, k, v = (split(linear(y, f"{layer}.attention.attention.{part}")) for part in ("query", "key", "value"))
        y = ((q @ k.mT / q.shape[-1] ** 0.5).softmax(-1) @ v).transpose(1, 2).flatten(2)
        x = x + linear(y, f"{layer}.attention.output.dense")
        y = F.gelu(linear(norm(x, f"{layer}.layernorm_after"), f"{layer}.intermediate.dense"))
        x = x + linear(y, f"{layer}.output.dense")
    maps = [tokens[:, 1:].mT.unflatten(2, (height, width)) for tokens in (x, norm(x, "vit.layernorm"))]
    return maps[0], maps[1]


@pytest.mark.parametrize("side", [64, 160])
def test_transformers(tmp_path, side):
    state = transformer(side)
    save_file(state, tmp_path / "model.safetensors")
    spec = f"transformers:{tmp_path / 'model.safetensors'}"
    overrides = ("model.encoder.name=test_vit", f"model.encoder.image_size={side}")
    images = torch.randn(1, 3, side, side)
    segmenter, setr = build("segmenter", *overrides), build("setr", "model.decoder=naive", *overrides)
    kept = load_pretrained(segmenter, spec)
    assert kept == [key for key in segmenter.state_dict() if key.startswith("decoder.")]
    load_pretrained(setr, spec)
    with torch.no_grad():
        last, normed = run_transformer(state, images, heads=2)
        expected = F.interpolate(segmenter.decoder(normed), size=(side, side), mode="bilinear")
        torch.testing.assert_close(segmenter(images).logits, expected, atol=1e-4, rtol=0)
        torch.testing.assert_close(setr(images).logits, setr.head(last, (side, side)), atol=1e-4, rtol=0)


def test_transformer_without_its_classifier(tmp_path):
    state = {key.removeprefix("vit."): value for key, value in transformer(64, classifier=False).items()}  # ViTModel's
    save_file(state, tmp_path / "model.safetensors")
    model = build("segmenter", "model.encoder.name=test_vit", "model.encoder.image_size=64")
    load_pretrained(model, f"transformers:{tmp_path / 'model.safetensors'}")
    torch.testing.assert_close(model.encoder.net.cls_token.data, state["embeddings.cls_token"])


@pytest.mark.parametrize(("library", "name"), [("smp", "smp"), ("torchvision", "torchvision")])
def test_the_librarys_own_model(tmp_path, library, name):
    first, second = build(name), build(name)
    assert load_pretrained(second, f"{library}:{save(shake(first.model), tmp_path)}") == []
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(second(images).logits, first(images).logits)


@pytest.mark.parametrize("checkpoint", [True, False])
def test_ours(tmp_path, checkpoint):
    first, second = (build("deeplabv3plus", *SMALL_PLUS) for _ in range(2))
    assert load_pretrained(second, save(shake(first), tmp_path, checkpoint=checkpoint)) == []
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(second(images).logits, first(images).logits)


@pytest.mark.parametrize(("coarse", "fine"), [(32, 16), (16, 8), (32, 8), (8, 8)])
def test_fcn_in_stages(tmp_path, coarse, fine):
    before, after = (build("fcn", *SMALL_FCN, f"model.skip={skip}") for skip in (coarse, fine))
    for parameter in before.parameters():
        if parameter.requires_grad:
            nn.init.normal_(parameter)
    kept = load_pretrained(after, save(before, tmp_path, checkpoint=True))
    learned = {name: parameter for name, parameter in before.named_parameters() if parameter.requires_grad}
    for name, parameter in learned.items():
        torch.testing.assert_close(after.get_parameter(name), parameter)
    assert set(kept) == set(after.state_dict()) - set(before.state_dict())


def test_fcn_of_a_finer_stage(tmp_path):
    path = save(build("fcn", *SMALL_FCN, "model.skip=16"), tmp_path)
    with pytest.raises(CheckpointError, match=r"2 of its keys find no place, such as 'score.16.weight'"):
        load_pretrained(build("fcn", *SMALL_FCN, "model.skip=32"), path)


@pytest.mark.parametrize(
    ("name", "overrides", "head"),
    [
        ("fcn", SMALL_FCN, ("score.", "upscore.")),
        ("segmenter", ("model.encoder.name=test_vit",), ("decoder.classes", "decoder.mask_norm.")),
        ("setr", ("model.encoder.name=test_vit",), ("head.scores.", "aux_heads.")),
        ("duc_hdc", ("model.encoder.name=resnet18", "model.dilation_schedule=duc"), ()),
    ],
)
def test_another_number_of_classes(tmp_path, name, overrides, head):
    path = save(build(name, *overrides, classes=7), tmp_path)
    model = build(name, *overrides)
    modes = [module.training for module in model.train().modules()]
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(
        CheckpointError, match=r"has 7 classes and the model 5: .* in the file and .*Use reset_head=true to start"
    ):
        load_pretrained(model, path)
    for key, value in model.state_dict().items():  # nothing was loaded
        torch.testing.assert_close(value, before[key])
    kept = load_pretrained(model, path, reset_head=True)
    assert kept
    assert all(key.startswith(head) for key in kept if head)
    for key in kept:
        torch.testing.assert_close(model.state_dict()[key], before[key])
    assert [module.training for module in model.modules()] == modes


def test_other_shapes_are_no_class_head(tmp_path):
    path = save(build("deeplabv3plus", *SMALL_PLUS), tmp_path)
    other = build("deeplabv3plus", *SMALL_PLUS, "model.low_level_channels=24")
    with pytest.raises(
        CheckpointError, match=r"shapes differ, such as reduce.0.weight is \(48, 64, 1, 1\) in the file and \(24,"
    ):
        load_pretrained(other, path, reset_head=True)


def test_key_that_finds_no_place_is_named_as_in_the_file(tmp_path):
    theirs = torchvisions.fcn_resnet50(weights=None, weights_backbone=None, num_classes=5, aux_loss=True)
    path = save(theirs, tmp_path)
    with pytest.raises(
        CheckpointError,
        match=r"weights.pth does not fit DilatedFCN: 8 of its keys find no place, such as 'aux_classifier.0.weight'.*config.yaml",
    ):
        load_pretrained(build("dilated_fcn", "model.aux=false"), f"torchvision:{path}")


def test_key_that_is_missing(tmp_path):
    model = build("deeplabv3plus", *SMALL_PLUS)
    state = model.state_dict()
    del state["classifier.bias"]
    torch.save(state, tmp_path / "part.pth")
    with pytest.raises(CheckpointError, match=r"1 of the model's keys are missing in it, such as 'classifier\.bias'"):
        load_pretrained(model, str(tmp_path / "part.pth"))


def test_no_conversion():
    with pytest.raises(
        ConfigError,
        match="torchvision's nets have no conversion into UNet, but into Adapter, DilatedFCN, DeepLabV3; choose",
    ):
        load_pretrained(build("unet_encoder", "model.encoder.name=resnet18"), "torchvision:somewhere.pth")


def test_no_file():
    with pytest.raises(
        CheckpointError, match=r"no weights at nowhere.pth; give the PATH of .*, or torchvision:PATH, smp"
    ):
        load_pretrained(nn.Identity(), "nowhere.pth")


class Code:
    def __reduce__(self):
        return print, ("a stranger's code",)


@pytest.mark.parametrize("content", [b"no checkpoint", b"", Code()])
def test_file_that_is_damaged_or_holds_code(tmp_path, content, capsys):
    path = tmp_path / "broken.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save({"weight": torch.ones(1), "code": content}, path)
    with pytest.raises(CheckpointError, match=r"broken.pth can't be read as weights: .*which is never run.*save"):
        load_pretrained(nn.Identity(), str(path))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("content", "found"), [([1, 2], "list"), ({"epoch": 3}, "dict")])
def test_file_without_weights(tmp_path, content, found):
    torch.save(content, tmp_path / "none.pth")
    with pytest.raises(CheckpointError, match=rf"none.pth holds a {found} without weights; save"):
        load_pretrained(nn.Identity(), str(tmp_path / "none.pth"))


@pytest.mark.parametrize("wrapper", ["module.", "_orig_mod.", "module._orig_mod."])
def test_weights_saved_from_a_wrapped_net(wrapper, tmp_path):
    model, other = shake(build("fcn", *SMALL_FCN)), build("fcn", *SMALL_FCN)
    path = tmp_path / "wrapped.pth"
    torch.save({"model": {f"{wrapper}{key}": value for key, value in model.state_dict().items()}}, path)
    load_pretrained(other, str(path))
    for key, value in model.state_dict().items():
        torch.testing.assert_close(other.state_dict()[key], value)


def test_objects_beside_the_weights_are_named_and_a_safe_way_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"model": build("fcn", *SMALL_FCN).state_dict(), "args": argparse.Namespace(lr=0.1)}, "theirs.pth")
    with pytest.raises(CheckpointError, match=r"theirs\.pth.*argparse\.Namespace.*never run") as told:
        load_pretrained(build("fcn", *SMALL_FCN), "theirs.pth")
    (script,) = re.findall('python -c "(.*)"', str(told.value))
    with torch.serialization.safe_globals([]):
        exec(script)  # as it is pasted
    torch.serialization.clear_safe_globals()
    load_pretrained(build("fcn", *SMALL_FCN), "weights.pth")
