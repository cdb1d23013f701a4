"""What every model of ours must also do, but takes minutes: learn, compile, and export for any size."""

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from test_contract import CONF, NAMES
from torch.nn import functional as F

from atrous.data.scenes import Scenes

pytestmark = pytest.mark.slow

CLASSES = 11
# Small enough to learn in seconds, and fine enough: one score for 8 pixels or fewer.
SMALL = {
    "deconvnet": ["model.encoder.name=vgg11_bn", "model.classifier.channels=64"],
    "deeplabv1": ["model.encoder.name=vgg11", "model.fc_channels=64", "model.dropout=0"],
    "deeplabv2": ["model.encoder.name=test_resnet", "model.scales=[1,0.75]"],
    "deeplabv2_vgg": ["model.encoder.name=vgg11", "model.fc_channels=32", "model.dropout=0"],
    "deeplabv3": ["model.encoder.name=test_resnet", "model.output_stride=8", "model.aspp_channels=32"],
    "deeplabv3plus": ["model.encoder.name=test_resnet", "model.aspp_channels=32", "model.decoder_channels=32"],
    "deeplabv3plus_small": ["model.encoder.name=test_resnet", "model.aspp_channels=32", "model.decoder_channels=32"],
    "dilated_fcn": ["model.encoder.name=test_resnet"],
    "duc_hdc": ["model.encoder.name=test_resnet", "model.dilations=[1,2]"],
    "fcn": ["model.encoder.name=vgg11", "model.classifier.channels=64", "model.classifier.dropout=0"],
    "gcn": ["model.encoder.name=test_resnet", "model.kernel_size=7"],
    "msd": ["model.depth=20", "model.width=2"],
    "pan": ["model.encoder.name=test_resnet"],
    "patch_classifier": ["model.channels=16", "model.kernel_sizes=[3,3]", "model.patch_size=14"],
    "pspnet": ["model.encoder.name=test_resnet", "model.decoder_channels=32"],
    "refinenet": ["model.encoder.name=test_resnet", "model.decoder_channels=[32,32,32,32]", "model.dropout=0"],
    "segmenter": ["model.encoder.name=test_vit"],
    "segnet": ["model.encoder.name=vgg11_bn"],
    "segnet_basic": ["model.channels=24"],
    "setr": ["model.encoder.name=test_vit", "model.decoder_channels=32"],
    "unet": ["model.encoder.channels=[8,12,16]", "model.decoder_channels=[12,8]", "model.encoder.dropout=0"],
    "unet_encoder": ["model.encoder.name=test_resnet"],
}
CELL = {
    "deconvnet": 4,
    "fcn": 8,
    "segmenter": 16,
    "setr": 16,
}  # side of a scene's pixel, where it isn't the logits' stride
OURS = [name for name in NAMES if name not in ("custom", "smp", "torchvision")]


def build(name):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose(overrides=[f"+model={name}", f"+data.num_classes={CLASSES}", *SMALL.get(name, [])])
    torch.manual_seed(0)
    return instantiate(config.model, _convert_="all")


def two_scenes(cell):
    """Easy scenes of 32 x 32, each of their pixels `cell` pixels wide: images (2, 3, H, W) and masks (2, H, W)."""
    scenes = Scenes(
        split="train",
        size=[32, 32],
        length=6,
        context_distance=0,
        scale_range=[16, 32],
        thin_width=[3, 3],
        rare_probability=0,
        color_variation=0,
        texture=0,
        light=0,
        noise=0,
    )
    samples = [scenes[index] for index in (1, 5)]
    images = torch.stack([torch.from_numpy(sample.image).permute(2, 0, 1) / 64 - 2 for sample in samples])
    masks = torch.stack([torch.from_numpy(sample.mask).long() for sample in samples])
    return tuple(x.repeat_interleave(cell, dim=-2).repeat_interleave(cell, dim=-1) for x in (images, masks))


def miou(prediction, mask):
    present = [c for c in range(CLASSES) if ((prediction == c) | (mask == c)).any()]
    pairs = [(prediction == c, mask == c) for c in present]
    return sum(((a & b).sum() / (a | b).sum()).item() for a, b in pairs) / len(pairs)


def logits_of(model, images):
    return F.interpolate(model(images).logits, size=images.shape[-2:], mode="bilinear", align_corners=False)


@pytest.mark.parametrize("name", OURS)
def test_learns_two_scenes(name):
    model = build(name)
    with torch.no_grad():
        stride = 64 // model.eval()(torch.zeros(1, 3, 64, 64)).logits.shape[-1]
    images, masks = two_scenes(CELL.get(name, max(2, stride)))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    scores = []
    for _ in range(16):
        model.train()
        for _ in range(20):
            optimizer.zero_grad()
            F.cross_entropy(logits_of(model, images), masks).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        with torch.no_grad():
            scores.append(miou(logits_of(model.eval(), images).argmax(1), masks))
        if scores[-1] > 0.9:
            return
    pytest.fail(f"{name} stays at mIoU {scores}")


@pytest.mark.parametrize("name", OURS)
def test_compiles(name):
    model, images = build(name).eval(), torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        expected = model(images).logits
        compiled = torch.compile(model, backend="aot_eager", fullgraph=True)(images).logits
    torch.testing.assert_close(compiled, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", OURS)
def test_exports_for_any_size(name):
    model = build(name).eval()
    height, width = (torch.export.Dim.DYNAMIC(min=64, max=512) for _ in range(2))
    with torch.no_grad():
        program = torch.export.export(model, (torch.randn(1, 3, 64, 96),), dynamic_shapes=[{2: height, 3: width}])
        for size in ((64, 96), (128, 160)):
            images = torch.randn(1, 3, *size)
            torch.testing.assert_close(program.module()(images)[0], model(images).logits, atol=1e-4, rtol=1e-4)
