"""Maps and sums in strips: equal to those over the whole upsampled logits, in value and gradient."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from atrous.losses import strips
from atrous.losses.strips import map_strips, sum_strips

SIZES = [(12, 10), (3, 4), (6, 5), (5, 7), (1, 1), (23, 31), (12, 5), (4, 10), (1, 10)]


@pytest.fixture(params=[1, 60, 500, 10**6], ids=lambda values: f"strips of {values}")
def limit(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strips, "CPU_STRIP", request.param)  # a row, some rows, an image, all of them


def whole(logits: Tensor, mask: Tensor) -> Tensor:
    return F.interpolate(logits, size=mask.shape[-2:], mode="bilinear", align_corners=False)


def surprise(logits: Tensor, mask: Tensor) -> Tensor:
    return F.cross_entropy(logits, mask, ignore_index=255, reduction="none", label_smoothing=0.1)


def class_sums(logits: Tensor, mask: Tensor) -> Tensor:
    return (logits.softmax(1) * (mask != 255)[:, None]).square().sum((2, 3))


def data(size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 4, *size, dtype=torch.float64, generator=generator)
    mask = torch.randint(0, 4, (3, 12, 10), generator=generator)
    mask[torch.rand(mask.shape, generator=generator) < 0.2] = 255
    return logits, mask, torch.randn(3, 12, 10, dtype=torch.float64, generator=generator)


@pytest.mark.usefixtures("limit")
@pytest.mark.parametrize("size", SIZES)
def test_maps(size: tuple[int, int]) -> None:
    logits, mask, weights = data(size)
    ours, naive = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    found, expected = map_strips(ours, mask, surprise), surprise(whole(naive, mask), mask)
    assert torch.allclose(found, expected, rtol=0, atol=1e-12)
    (found * weights).sum().backward()
    (expected * weights).sum().backward()
    assert ours.grad is not None
    assert naive.grad is not None
    assert torch.allclose(ours.grad, naive.grad, rtol=0, atol=1e-12)


@pytest.mark.usefixtures("limit")
@pytest.mark.parametrize("size", SIZES)
def test_sums(size: tuple[int, int]) -> None:
    logits, mask, weights = data(size)
    ours, naive = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    found, expected = sum_strips(ours, mask, class_sums, 4), class_sums(whole(naive, mask), mask)
    assert torch.allclose(found, expected, rtol=0, atol=1e-12)
    (found * weights[0, :3, :4]).sum().backward()
    (expected * weights[0, :3, :4]).sum().backward()
    assert ours.grad is not None
    assert naive.grad is not None
    assert torch.allclose(ours.grad, naive.grad, rtol=0, atol=1e-12)


def test_float32_is_as_exact_as_interpolate() -> None:
    generator = torch.Generator().manual_seed(1)
    logits, mask = 5 * torch.randn(1, 5, 129, 65, generator=generator), torch.zeros(1, 1025, 513, dtype=torch.int64)
    exact = whole(logits.double(), mask)[:, 3]
    theirs = (whole(logits, mask)[:, 3] - exact).abs().max()
    ours = (map_strips(logits, mask, lambda strip, _: strip[:, 3]) - exact).abs().max()
    assert ours <= 2 * theirs


@pytest.mark.parametrize("size", [(2, 3), (7, 5), (12, 10), (31, 40)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_bits_of_losses_stay(size: tuple[int, int], dtype: torch.dtype) -> None:
    """Scores of a training are compared bit for bit: columns by torch, then rows by `lerp` at positions in float64."""
    logits, mask, _ = data(size)
    logits = logits.to(dtype)
    wide = F.interpolate(logits.float(), size=(size[0], 10), mode="bilinear", align_corners=False)
    position = ((torch.arange(12, dtype=torch.float64) + 0.5) * (size[0] / 12) - 0.5).clamp(min=0)
    above = position.long()
    share = (position - above).float()[:, None]
    expected = torch.lerp(wide[:, :, above], wide[:, :, (above + 1).clamp(max=size[0] - 1)], share)
    expected = logits.float() if size == (12, 10) else expected
    assert torch.equal(map_strips(logits, mask, lambda strip, _: strip[:, 1]), expected[:, 1])


def test_without_gradients() -> None:
    logits, mask, _ = data((3, 4))
    with torch.no_grad():
        assert not map_strips(logits.requires_grad_(), mask, surprise).requires_grad


def test_the_upsampled_logits_are_never_whole() -> None:
    """No tensor that a strip is computed from has more values than a strip, but for one row's rounding."""
    largest = []

    def piece(logits: Tensor, mask: Tensor) -> Tensor:
        largest.append(logits.numel())
        return surprise(logits, mask)

    logits = torch.zeros(1, 19, 64, 128, requires_grad=True)
    map_strips(logits, torch.zeros(1, 512, 1024, dtype=torch.int64), piece).sum().backward()
    assert max(largest) <= strips.CPU_STRIP < 19 * 512 * 1024 / 15
