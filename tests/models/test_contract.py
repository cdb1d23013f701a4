"""What every model of conf/model must do. A new yaml is covered without being told."""

from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from torch import nn

from atrous.models.adapter import Adapter, adapt
from atrous.types import SegOutput

CONF = Path(__file__).parents[2] / "conf"
NAMES = sorted(path.stem for path in (CONF / "model").glob("*.yaml"))
CLASSES = 5

# What makes a model small enough for a test, or complete.
OVERRIDES = {
    "custom": [
        "model._target_=torchvision.models.segmentation.lraspp_mobilenet_v3_large",
        "+model.weights_backbone=null",
    ],
    "deconvnet": ["model.encoder.name=vgg11_bn", "model.classifier.channels=64"],
    "deeplabv1": ["model.encoder.name=vgg11"],
    "deeplabv2": ["model.encoder.name=resnet18"],
    "deeplabv2_vgg": ["model.encoder.name=vgg11", "model.fc_channels=64"],
    "dilated_fcn": ["model.encoder.name=resnet18"],
    "espnet": ["model.alpha3=2"],
    "fcn": ["model.encoder.name=vgg11", "model.classifier.channels=64"],
    "patch_classifier": ["model.channels=8"],
    "segnet": ["model.encoder.name=vgg11_bn"],
    "deeplabv3": ["model.encoder.name=resnet34"],
    "gcn": ["model.encoder.name=resnet18"],
    "segmenter": ["model.encoder.name=test_vit"],
    "setr": ["model.encoder.name=test_vit"],
    "pspnet": ["model.encoder.name=resnet18"],
    "refinenet": ["model.encoder.name=resnet18", "model.decoder_channels=[32,16,16,16]"],
    "duc_hdc": ["model.encoder.name=resnet18"],
    "msd": ["model.depth=20"],
    "pan": ["model.encoder.name=resnet18"],
    "unet": ["model.encoder.channels=[8,12,16,20,24]"],
    "unet_encoder": ["model.encoder.name=resnet18"],
}


def build(name):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        overrides = [f"+model={name}", f"+data.num_classes={CLASSES}", *OVERRIDES.get(name, [])]
        config = compose(overrides=overrides)
    torch.manual_seed(0)
    return adapt(instantiate(config.model, _convert_="all"))


@pytest.fixture(scope="module", params=NAMES)
def model(request):
    return build(request.param)


def check(output, batch):
    assert type(output) is SegOutput
    assert isinstance(output.aux, tuple)
    for logits in (output.logits, *output.aux):
        assert logits.shape[:2] == (batch, CLASSES)
        assert torch.isfinite(logits).all()


@pytest.mark.parametrize("size", [(64, 64), (65, 97), (33, 50)])
def test_any_size_and_a_batch_of_one_in_eval(model, size):
    with torch.no_grad():
        output = model.eval()(torch.randn(1, 3, *size))
    check(output, 1)
    assert output.logits.shape[-2] <= size[0]
    assert output.logits.shape[-1] <= size[1]


def test_gradient_reaches_every_parameter(model):
    state = {key: value.clone() for key, value in model.state_dict().items()}
    model.train()
    with torch.no_grad():
        for parameter in model.parameters():  # off zero, where papers start some layers
            parameter.add_(0.01 * torch.randn_like(parameter))
    output = model(torch.randn(2, 3, 65, 97))
    check(output, 2)
    sum(logits.square().mean() for logits in (output.logits, *output.aux)).backward()
    learned = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    without = [name for name, p in learned.items() if p.grad is None or not p.grad.isfinite().all() or not p.grad.any()]
    model.zero_grad()
    model.load_state_dict(state)
    assert without == []


def test_bfloat16(model):
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        check(model.eval()(torch.randn(1, 3, 65, 97)), 1)


def test_channels_last(model):
    images = torch.randn(2, 3, 65, 97)
    with torch.no_grad():
        expected = model.eval()(images).logits
        logits = model.to(memory_format=torch.channels_last)(images.to(memory_format=torch.channels_last)).logits
    model.to(memory_format=torch.contiguous_format)
    torch.testing.assert_close(logits, expected, atol=1e-4 * max(1.0, expected.abs().max().item()), rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_state_dict_makes_another_net_the_same(name):
    first, second = build(name).eval(), build(name).eval()
    for parameter in first.parameters():
        nn.init.normal_(parameter, std=0.02)
    second.load_state_dict(first.state_dict())
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(second(images).logits, first(images).logits)


def test_exports(model):
    if isinstance(model, Adapter):
        pytest.skip("somebody else's model")
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        exported = torch.export.export(model.eval(), (images,)).module()
        torch.testing.assert_close(exported(images)[0], model(images).logits, atol=1e-4, rtol=1e-4)
