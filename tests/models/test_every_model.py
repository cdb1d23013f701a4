"""What every model of ours must also do, and what takes minutes: learn, compile, and export for any size."""

import functools
import shutil

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from test_contract import CONF, NAMES
from timm.models import vgg
from torch.nn import functional as F

from atrous.data.scenes.scenes import Scenes
from atrous.layers.upsample import resize
from atrous.losses.cross_entropy import CrossEntropy
from atrous.metrics.confusion import confusion_matrix
from atrous.metrics.scores import summary
from atrous.types import IGNORE_INDEX, SegOutput

pytestmark = pytest.mark.slow

CLASSES = 11
VARIANTS = {"setr_mla": "setr"}  # a further decoder of a model that has its own way of drawing
OURS = sorted([*(name for name in NAMES if name not in ("custom", "smp", "torchvision")), *VARIANTS])

# What makes a model learn in seconds: small parts, and no dropout where it costs steps.
SMALL = {
    "deconvnet": ["model.encoder.name=vgg11_bn", "model.classifier.channels=64"],
    "deeplabv1": ["model.encoder.name=vgg11", "model.fc_channels=64", "model.dropout=0"],
    "deeplabv2": ["model.encoder.name=test_resnet", "model.scales=[1,0.75]"],
    "deeplabv2_vgg": ["model.encoder.name=vgg11", "model.fc_channels=32", "model.dropout=0"],
    "deeplabv3": [
        "model.encoder.name=test_resnet",
        "model.output_stride=8",
        "model.multi_grid=[1,2]",
        "model.aspp_channels=32",
    ],
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
    "segmenter": [
        "model.encoder.name=test_vit",
        "model.encoder.drop_path=0",
        "model.decoder_layers=1",
        "model.dropout=0",
    ],
    "segnet": ["model.encoder.name=vgg11_bn"],
    "segnet_basic": ["model.channels=24"],
    "setr": ["model.encoder.name=test_vit", "model.decoder_channels=32"],
    "setr_mla": ["model.encoder.name=test_vit", "model.decoder_channels=32", "model.decoder=mla"],
    "unet": ["model.encoder.channels=[8,12,16]", "model.encoder.dropout=0"],
    "unet_encoder": ["model.encoder.name=test_resnet"],
}
# Channels of VGG's first stage, in place of 64. DeconvNet ends in a map of so many, and fails to tell classes by 16.
VGG_CHANNELS = {"deconvnet": 64}
# Pixels from one score to the next, where the logits' own stride hides it: scores that are enlarged inside the model.
GRID = {"fcn": 8, "segmenter": 16, "setr": 2, "setr_mla": 4}
# Side in pixels of what a scene is drawn of, where it is not the grid's: SETR's scores are finer than its patches of 16.
CELL = {"setr": 4, "setr_mla": 8}
# Images of a batch. PAN normalises maps of 1 x 1, whose variance over two images is half of what evaluation takes: it
# has mIoU 0.97 in training mode where it has 0.86 in evaluation.
IMAGES = {"pan": 4}
# Largest side of an exported program. DeconvNet pads maps of less than 7 x 7, which is 224 pixels, and a program either
# does so or not: exported from a larger example it takes larger images only.
LARGEST = {"deconvnet": 224}

LEARNED = 0.9  # mIoU


def build(name):
    width = VGG_CHANNELS.get(name, 16)
    channels = [width, 2 * width, *[4 * width] * 6]
    layout = [channels.pop(0) if layer != "M" else layer for layer in vgg.cfgs["vgg11"]]
    with initialize_config_dir(str(CONF), version_base="1.3"), pytest.MonkeyPatch.context() as patch:
        patch.setitem(vgg.cfgs, "vgg11", layout)
        overrides = [f"+model={VARIANTS.get(name, name)}", f"+data.num_classes={CLASSES}", *SMALL.get(name, [])]
        torch.manual_seed(0)
        return instantiate(compose(overrides=overrides).model, _convert_="all")


def perturbed(name):
    """The model off its start, where the logits of several papers are zero or nearly so, and any two are equal."""
    model = build(name)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return model


@functools.cache
def batch(cell, count=2):
    """Easy scenes of 32 x 32, each pixel `cell` pixels wide: images (count, 3, H, W) and masks (count, H, W)."""
    scenes = Scenes(
        split="train",
        size=[32, 32],
        length=40,
        context_distance=0,
        scale_range=[10, 16],
        thin_width=[3, 3],
        rare_probability=0,
        color_variation=0,
        texture=0,
        light=0,
        noise=0,
    )
    samples = [scenes[index] for index in (7, 18, 17, 29)[:count]]  # nine classes, each of 100 pixels or more in two
    images = torch.stack([torch.from_numpy(sample.image).permute(2, 0, 1) / 64 - 2 for sample in samples])
    masks = torch.stack([torch.from_numpy(sample.mask).long() for sample in samples])
    return tuple(x.repeat_interleave(cell, dim=-2).repeat_interleave(cell, dim=-1) for x in (images, masks))


def miou(logits, masks):
    labels = resize(logits, tuple(masks.shape[-2:])).argmax(dim=1)
    return summary(confusion_matrix(labels, masks, CLASSES, IGNORE_INDEX))["miou"]


@functools.cache
def reachable(cell, stride):
    """The best mIoU found for scores `stride` pixels apart, with no model: the scores themselves are learned."""
    _, masks = batch(cell)
    share = F.one_hot(masks, CLASSES).permute(0, 3, 1, 2).float()  # (2, C, H, W)
    scores = 4 * F.avg_pool2d(share, stride)  # (2, C, H/stride, W/stride)
    best = miou(scores, masks)
    scores.requires_grad_()
    optimizer = torch.optim.Adam([scores], lr=0.5)
    for _ in range(6 if best < 1 else 0):
        for _ in range(10):
            optimizer.zero_grad()
            CrossEntropy()(SegOutput(scores), masks).backward()
            optimizer.step()
        with torch.no_grad():
            best = max(best, miou(scores, masks))
    return best


@pytest.mark.parametrize("stride", [8, 16])
def test_a_coarse_grid_can_draw_coarse_scenes_only(stride):
    """Why scenes are drawn as coarse as a model's scores stand: a finer one is out of reach for any model."""
    assert reachable(stride // 4, stride) < LEARNED - 0.05
    assert reachable(stride, stride) > LEARNED + 0.05


@pytest.mark.parametrize("name", OURS)
def test_learns_two_scenes(name):
    model = build(name)
    with torch.no_grad():
        stride = 64 // model.eval()(torch.zeros(1, 3, 64, 64)).logits.shape[-1]
    grid = GRID.get(name, stride)
    cell = CELL.get(name, max(2, grid))
    ceiling = reachable(cell, grid)
    assert ceiling > LEARNED + 0.05, (
        f"scores {grid} pixels apart can't draw scenes of {cell} pixels: mIoU {ceiling:.3f}"
    )
    images, masks = batch(cell, IMAGES.get(name, 2))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    scores = []
    for _ in range(40):
        model.train()
        for _ in range(10):
            optimizer.zero_grad()
            CrossEntropy()(SegOutput(model(images).logits), masks).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        with torch.no_grad():
            scores.append(miou(model.eval()(images).logits, masks))
        if scores[-1] > LEARNED:
            return
    pytest.fail(f"{name} stays at mIoU {[round(score, 3) for score in scores]}; its grid allows {ceiling:.3f}")


def check_equal(logits, expected):
    scale = expected.std(dim=(2, 3)).max().item()
    assert scale > 1e-4, f"the logits are as good as constant ({scale}), which proves nothing"
    torch.testing.assert_close(logits, expected, atol=1e-3 * scale, rtol=1e-4)


@pytest.mark.parametrize("name", OURS)
def test_compiles_as_one_graph(name):
    """A training step, too: forward and gradients are those of the model itself."""
    torch.compiler.reset()
    model, images = perturbed(name), torch.randn(2, 3, 64, 96)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    with torch.no_grad():
        check_equal(compiled.eval()(images).logits, model.eval()(images).logits)
    results = []
    for net in (model, compiled):
        model.zero_grad()
        torch.manual_seed(0)  # of dropout
        output = net.train()(images)
        sum(logits.square().mean() for logits in (output.logits, *output.aux)).backward()
        results.append((output.logits.detach(), [p.grad for p in model.parameters() if p.grad is not None]))
    (expected, gradients), (logits, compiled_gradients) = results
    check_equal(logits, expected)
    largest = max(gradient.abs().max().item() for gradient in gradients)
    torch.testing.assert_close(compiled_gradients, gradients, atol=1e-3 * largest, rtol=1e-3)


# A decoder of convolutions, a vision transformer, and unpooling.
@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler, g++")
@pytest.mark.parametrize("name", ["unet", "segmenter", "segnet_basic"])
def test_compiles_to_machine_code(name, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch.compiler.reset()
    model, images = perturbed(name).eval(), torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        check_equal(torch.compile(model, fullgraph=True)(images).logits, model(images).logits)


@pytest.mark.parametrize("name", OURS)
def test_exports_for_any_size(name):
    """Of more than 128 pixels a side: smaller ones PAN pools to a single value, for which `torch.export` makes a program
    apart."""
    model = perturbed(name).eval()
    largest = LARGEST.get(name, 1024)
    height, width = (torch.export.Dim.DYNAMIC(min=129, max=largest) for _ in range(2))
    with torch.no_grad():
        example = torch.randn(1, 3, 165, 203)
        program = torch.export.export(model, (example,), dynamic_shapes=[{2: height, 3: width}]).module()
        for size in ((160, 192), (171, 147), (129, min(largest, 260))):
            images = torch.randn(1, 3, *size)
            check_equal(program(images)[0], model(images).logits)
