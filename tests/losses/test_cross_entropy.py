"""Cross-entropy: against its formula written out in NumPy float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from atrous.errors import ConfigError
from atrous.losses.cross_entropy import CrossEntropy
from atrous.types import SegOutput

N, C, H, W = 2, 4, 5, 7
WEIGHTS = [0.5, 2.0, 1.0, 0.0]


def batch(seed: int = 0, size: tuple[int, int] = (H, W)) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(N, C, *size, generator=generator)
    mask = torch.randint(0, C, (N, H, W), generator=generator)
    mask[torch.rand(N, H, W, generator=generator) < 0.3] = 255
    return logits, mask


def formula(logits: Tensor, mask: Tensor, weights: list[float] | None = None, smoothing: float = 0.0) -> float:
    """The weighted mean over counted pixels, pixel by pixel in float64."""
    scores = logits.double().movedim(1, -1).reshape(-1, C).numpy()
    w = np.ones(C) if weights is None else np.array(weights)
    total = whole = 0.0
    for score, label in zip(scores, mask.flatten().tolist(), strict=True):
        if label == 255:
            continue
        surprise = np.log(np.exp(score - score.max()).sum()) + score.max() - score
        share = np.full(C, smoothing / C)
        share[label] += 1 - smoothing
        total += (share * w * surprise).sum()
        whole += w[label]
    return total / whole


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_equals_the_formula(weights: list[float] | None, smoothing: float, memory_format: torch.memory_format) -> None:
    logits, mask = batch()
    loss = CrossEntropy(class_weights=weights, label_smoothing=smoothing)
    found = loss(SegOutput(logits.contiguous(memory_format=memory_format)), mask)
    assert found.shape == ()
    assert found.item() == pytest.approx(formula(logits, mask, weights, smoothing), rel=1e-5)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_is_divided_by_the_pixels_as_in_caffe(weights: list[float] | None) -> None:
    logits, mask = batch()
    logits.requires_grad_()
    loss = CrossEntropy(class_weights=weights, normalise="pixels")(SegOutput(logits), mask)
    resized = F.interpolate(logits.detach(), (H, W), mode="bilinear", align_corners=False)
    chosen = resized.log_softmax(1).gather(1, mask.clamp(max=C - 1)[:, None])[:, 0]
    w = torch.ones(C) if weights is None else torch.tensor(weights)
    counted = mask != 255
    assert loss.item() == pytest.approx(
        -(w[mask[counted]] * chosen[counted]).sum().item() / counted.sum().item(), rel=1e-5
    )
    mask[:] = 255
    assert CrossEntropy(class_weights=weights, normalise="pixels")(SegOutput(logits), mask).item() == 0


@pytest.mark.parametrize("size", [(2, 3), (3, 4), (1, 1), (9, 13)])
def test_resizes_logits_to_the_mask(size: tuple[int, int]) -> None:
    logits, mask = batch(1, size)
    resized = F.interpolate(logits.double(), (H, W), mode="bilinear", align_corners=False)
    assert CrossEntropy()(SegOutput(logits), mask).item() == pytest.approx(formula(resized, mask), rel=1e-5)


def test_adds_auxiliary_heads() -> None:
    logits, mask = batch(2)
    first, second = batch(3)[0], batch(4)[0]
    found = CrossEntropy(aux_weight=0.25)(SegOutput(logits, (first, second)), mask).item()
    assert found == pytest.approx(
        formula(logits, mask) + 0.25 * (formula(first, mask) + formula(second, mask)), rel=1e-5
    )


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_gradients(weights: list[float] | None, smoothing: float) -> None:
    logits, mask = batch(5, (3, 4))
    aux = batch(6, (2, 2))[0].double().requires_grad_()
    loss = CrossEntropy(class_weights=weights, label_smoothing=smoothing)

    def score(main: Tensor, extra: Tensor) -> Tensor:
        return loss(SegOutput(main, (extra,)), mask)

    assert torch.autograd.gradcheck(score, (logits.double().requires_grad_(), aux))


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("size", [(H, W), (3, 3)])
def test_without_a_pixel_that_counts_loss_and_gradients_are_zero(
    weights: list[float] | None, smoothing: float, size: tuple[int, int]
) -> None:
    logits = batch(7, size)[0].requires_grad_()
    loss = CrossEntropy(class_weights=weights, label_smoothing=smoothing)
    found = loss(SegOutput(logits, (logits,)), torch.full((N, H, W), 255))
    found.backward()
    assert found.item() == 0
    assert logits.grad is not None
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_ignored_pixels_have_no_gradient_and_no_influence() -> None:
    logits, mask = batch(8)
    logits.requires_grad_()
    CrossEntropy()(SegOutput(logits), mask).backward()
    assert logits.grad is not None
    ignored = (mask == 255)[:, None].expand_as(logits)
    assert (logits.grad[ignored] == 0).all()
    changed = torch.where(ignored, 1000.0, logits.detach())
    assert CrossEntropy()(SegOutput(changed), mask).item() == pytest.approx(formula(logits.detach(), mask), rel=1e-5)


def test_an_ignored_image_does_not_dilute_the_others() -> None:
    logits, mask = batch(9)
    mask[1] = 255
    assert CrossEntropy()(SegOutput(logits), mask).item() == pytest.approx(formula(logits[:1], mask[:1]), rel=1e-5)


@pytest.mark.parametrize("ignore_index", [-100, C])
def test_other_ignore_indices(ignore_index: int) -> None:
    logits, mask = batch(10)
    expected = formula(logits, mask, WEIGHTS)
    mask[mask == 255] = ignore_index
    loss = CrossEntropy(ignore_index=ignore_index, class_weights=WEIGHTS)
    assert loss(SegOutput(logits), mask).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_computes_in_float32_under_autocast(weights: list[float] | None) -> None:
    logits, mask = batch(11, (3, 4))
    half = logits.bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = CrossEntropy(class_weights=weights)(SegOutput(half), mask)
    resized = F.interpolate(half.double(), (H, W), mode="bilinear", align_corners=False)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(formula(resized, mask, weights), rel=1e-5)


def test_batch_of_one_pixel() -> None:
    logits, mask = torch.tensor([[[[2.0]], [[0.0]]]]), torch.tensor([[[1]]])
    assert CrossEntropy()(SegOutput(logits), mask).item() == pytest.approx(2 + np.log1p(np.exp(-2)))


def test_class_weights_are_not_in_checkpoints() -> None:
    assert CrossEntropy(class_weights=WEIGHTS).state_dict() == {}


def test_wrong_number_of_class_weights() -> None:
    logits, mask = batch(12)
    with pytest.raises(ConfigError, match=r"class_weights has 3 weights but the model 4 classes; give one weight per"):
        CrossEntropy(class_weights=[1.0, 2.0, 3.0])(SegOutput(logits), mask)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"label_smoothing": 1.5}, r"label_smoothing 1\.5 is out of range; give a share from 0 to 1"),
        ({"normalise": "images"}, r"normalise 'images' is not possible; give one of weights, pixels"),
        ({"aux_weight": -0.1}, r"aux_weight -0\.1 is negative; give 0 or more"),
        ({"class_weights": [1.0, -1.0]}, r"class_weights \[1\.0, -1\.0\]: give one weight per class, each 0 or more"),
        ({"class_weights": []}, r"class_weights \[\]: give one weight per class"),
    ],
)
def test_impossible_settings(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CrossEntropy(**settings)
