"""Stage "right": what the device computes beside what the CPU does. Each item gives errors beside their bounds.

A number in float32 is wrong by as much as its net amplifies rounding, so the bound of a net is its own: the same pass on the
CPU in float64 is the truth, and the device may be FACTOR times as far from it as the CPU in float32 is, plus FLOOR. Errors
are of whole tensors: the length of the difference over the length of the truth.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch.nn import functional as F

import atrous
from atrous.config.compose import CONF_DIR, build, compose
from atrous.crf.dense_crf import DenseCRF
from atrous.inference.image import ImageBatch
from atrous.metrics.confusion import confusion_matrix
from atrous.types import IGNORE_INDEX, SegOutput

CLASSES, SIZE = 11, (96, 128)
FACTOR, FLOOR = 10, 1e-5
MIXED, SCORES, CRF = 0.1, 1e-3, 1e-3  # a mixed-precision loss, relative; probabilities of an inference mode; of the CRF
FIRST = ("deeplabv3plus", "pspnet", "unet_encoder", "segmenter")  # the nets of stage "fast" go first
WAYS = ("bf16-mixed", "16-mixed", "channels_last", "compile")
MODES = ("whole", "slide", "multiscale", "tile", "crf")  # those of the other yamls work on the CPU by themselves
Row = dict[str, Any]


def items(device: torch.device) -> Iterator[tuple[int, str, Callable[[], Row]]]:
    """(rank, name, what computes the row); lower ranks are worth more."""
    names = sorted(path.stem for path in (CONF_DIR / "model").glob("*.yaml") if path.stem != "custom")
    for name in names:
        yield (0 if name in FIRST else 2), f"model {name}", partial(model, name, device)
    yield 0, "metrics", partial(metrics, device)
    yield 0, "dense CRF", partial(crf, device)
    for path in sorted((CONF_DIR / "loss").glob("*.yaml")):
        yield 0, f"loss {path.stem}", partial(loss, path.stem, device)
    for mode in MODES:
        yield 0, f"inference {mode}", partial(inference, mode, device)
    for way in WAYS:
        yield 2, f"training {way}", partial(training, way, device)


def exact(device: torch.device) -> None:
    """Turns TF32 off."""
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False


def batch(size: tuple[int, int] = SIZE) -> tuple[Tensor, Tensor]:
    """Images (2, 3, H, W) of smooth noise and masks (2, H, W) with some ignored pixels."""
    draw = torch.Generator().manual_seed(0)
    images = F.interpolate(torch.randn(2, 3, 16, 20, generator=draw), size=size, mode="bilinear")
    masks = torch.randint(0, CLASSES, (2, 8, 16), generator=draw).repeat_interleave(size[0] // 8, 1)
    masks = masks.repeat_interleave(size[1] // 16, 2)
    masks[:, :4] = IGNORE_INDEX
    return images, masks


def build_net(name: str) -> nn.Module:
    """A net of conf/model that draws nothing while it trains."""
    torch.manual_seed(0)
    net = atrous.create_model(name, num_classes=CLASSES).train()
    for part in net.modules():
        if isinstance(part, nn.modules.dropout._DropoutNd):
            part.p = 0.0
        elif hasattr(part, "drop_prob"):  # timm's stochastic depth
            part.drop_prob = 0.0
    return net


def scalar(output: SegOutput, masks: Tensor) -> Tensor:
    """Mean cross-entropy of all heads at the mask's size, in the logits' precision."""
    sizes = [F.interpolate(logits, masks.shape[-2:], mode="bilinear") for logits in (output.logits, *output.aux)]
    return sum(
        (F.cross_entropy(logits, masks, ignore_index=IGNORE_INDEX) for logits in sizes), torch.zeros(()).to(sizes[0])
    )


def passed(net: nn.Module, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Logits and all gradients in one vector, float64 on the CPU, of a copy of the net."""
    images, masks = batch()
    net = copy.deepcopy(net).to(device, dtype)
    output = net(images.to(device, dtype))
    scalar(output, masks.to(device)).backward()
    gradients = [weight.grad.flatten() for weight in net.parameters() if weight.grad is not None]
    return output.logits.detach().double().cpu(), torch.cat(gradients).double().cpu()


def apart(value: Tensor, truth: Tensor) -> float:
    return float((value - truth).norm() / truth.norm().clamp_min(1e-30))


def row(**errors: tuple[float, float]) -> Row:
    """name=(error, bound) -> the row; one that is not a number is out of bounds."""
    told = {name: {"error": error, "bound": bound} for name, (error, bound) in errors.items()}
    return {"right": all(error <= bound for error, bound in errors.values()), **told}


def model(name: str, device: torch.device) -> Row:
    """Forward and backward in float32 on the device and on the CPU, beside float64."""
    exact(device)
    net = build_net(name)
    truth = passed(net, torch.device("cpu"), torch.float64)
    own = passed(net, torch.device("cpu"), torch.float32)
    there = passed(net, device, torch.float32)
    pairs = [
        (apart(it, true), FACTOR * apart(cpu, true) + FLOOR) for it, cpu, true in zip(there, own, truth, strict=True)
    ]
    return row(logits=pairs[0], gradients=pairs[1])


def loss(name: str, device: torch.device) -> Row:
    """A loss and its gradient in float32, beside the CPU's."""
    config = OmegaConf.to_container(
        compose("train", [f"loss={name}", f"data.num_classes={CLASSES}"]).loss, resolve=True
    )
    logits = torch.randn(2, CLASSES, 32, 40, generator=torch.Generator().manual_seed(1))

    def both(place: torch.device) -> tuple[Tensor, Tensor]:
        scores = logits.to(place).requires_grad_()
        total = build(config, "loss").to(place)(SegOutput(scores), batch()[1].to(place))
        (gradient,) = torch.autograd.grad(total, scores)
        return total.detach().cpu(), gradient.cpu()

    here, there = both(torch.device("cpu")), both(device)
    return row(value=(apart(there[0], here[0]), 1e-5), gradient=(apart(there[1], here[1]), 1e-4))


def metrics(device: torch.device) -> Row:
    """The confusion matrix, which counts: no pixel may differ."""
    truth = batch()[1]
    guess = torch.randint(0, CLASSES, truth.shape, generator=torch.Generator().manual_seed(2))
    here = confusion_matrix(guess, truth, CLASSES, IGNORE_INDEX)
    there = confusion_matrix(guess.to(device), truth.to(device), CLASSES, IGNORE_INDEX).cpu()
    return row(pixels=(float((here - there).abs().sum()), 0.0))


def crf(device: torch.device) -> Row:
    """The dense CRF's loops in torch on both; probabilities' largest difference."""
    exact(device)
    draw = torch.Generator().manual_seed(3)
    scores = torch.randn(CLASSES, 48, 64, generator=draw).softmax(0)
    image = torch.randint(0, 256, (48, 64, 3), dtype=torch.uint8, generator=draw)
    refine = DenseCRF(compiled=False)
    difference = (refine(scores.to(device), image.to(device)).cpu() - refine(scores, image)).abs().max()
    return row(probabilities=(float(difference), CRF))


def inference(mode: str, device: torch.device) -> Row:
    """An inference mode over a small net in evaluation; probabilities' largest difference, and the share of other labels."""
    exact(device)
    words = [f"inference={mode}", *(["inference.window=[64,64]"] if mode == "slide" else [])]
    config = OmegaConf.to_container(compose("train", words).inference, resolve=True)
    net = build_net("unet" if mode == "tile" else "deeplabv3plus_small").eval()

    def probabilities(place: torch.device) -> Tensor:
        with torch.inference_mode():
            strips = build(config, "inference")(copy.deepcopy(net).to(place), ImageBatch(batch()[0][:1].to(place)))
            return torch.cat([strip.cpu() for strip in strips], 2).softmax(1)

    here, there = probabilities(torch.device("cpu")), probabilities(device)
    other = (here.argmax(1) != there.argmax(1)).double().mean()
    return row(probabilities=(float((here - there).abs().max()), SCORES), labels=(float(other), SCORES))


def training(way: str, device: torch.device) -> Row:
    """Three updates of a small net: the loss after them beside those in float32 on the same device."""
    exact(device)
    plain, other = (updates(chosen, device) for chosen in ("32-true", way))
    return row(loss=(abs(other - plain) / abs(plain), MIXED if "mixed" in way else 1e-3))


def updates(way: str, device: torch.device) -> float:
    images, masks = (part.to(device) for part in batch())
    net = build_net("deeplabv3plus_small").to(device)
    call: Callable[[Tensor], SegOutput] = net
    if way == "channels_last":
        net, images = net.to(memory_format=torch.channels_last), images.to(memory_format=torch.channels_last)
        call = net
    elif way == "compile":
        call = torch.compile(net)
    dtype = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(way)
    scaler = torch.amp.GradScaler(device.type, enabled=way == "16-mixed")
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)

    def costs() -> Tensor:
        with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
            output = call(images)
        return scalar(SegOutput(output.logits.float()), masks)

    for _ in range(3):
        optimizer.zero_grad()
        scaler.scale(costs()).backward()
        scaler.step(optimizer)
        scaler.update()
    return float(costs().detach())
