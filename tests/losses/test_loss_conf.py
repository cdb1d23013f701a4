"""What every conf/loss/*.yaml promises, with its own settings."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from reference import IGNORED, SIZES, C, H, N, W, batch
from torch import Tensor, nn

from atrous.config.compose import prepare
from atrous.types import SegOutput

CONF = Path(__file__).parents[2] / "conf"
NAMES = sorted(path.stem for path in (CONF / "loss").glob("*.yaml"))


@pytest.fixture(scope="module")
def losses() -> dict[str, nn.Module]:
    prepare()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        configs = {name: compose("train", overrides=[f"loss={name}"]) for name in NAMES}
    return {name: instantiate(config.loss, _convert_="all") for name, config in configs.items()}


@pytest.fixture(params=NAMES)
def loss(request: pytest.FixtureRequest, losses: dict[str, nn.Module]) -> nn.Module:
    return losses[request.param]


def cost(loss: nn.Module, logits: Tensor, mask: Tensor, *aux: Tensor) -> Tensor:
    found: Tensor = loss(SegOutput(logits, aux), mask)
    return found


def test_a_step_lowers_it(loss: nn.Module) -> None:
    torch.manual_seed(0)
    head = nn.Conv2d(3, C, 1)
    optimizer = torch.optim.SGD(head.parameters(), lr=0.01)
    images, (_, mask) = torch.randn(N, 3, H, W), batch()
    before = cost(loss, head(images), mask)
    before.backward()
    optimizer.step()
    assert cost(loss, head(images), mask) < before


@pytest.mark.parametrize("size", SIZES)
def test_sizes(loss: nn.Module, size: tuple[int, int]) -> None:
    logits, mask = batch(1, size)
    found = cost(loss, logits, mask)
    resized = nn.functional.interpolate(logits.double(), (H, W), mode="bilinear", align_corners=False)
    assert found.shape == ()
    assert found.item() == pytest.approx(cost(loss, resized, mask).item(), rel=1e-5, abs=1e-7)


def cost_of_heads(loss: nn.Module, mask: Tensor, logits: Tensor, *aux: Tensor) -> Tensor:
    return cost(loss, logits, mask, *aux)


@pytest.mark.parametrize("size", [(H, W), (3, 4)])
@pytest.mark.parametrize("absent", [None, 1])
def test_gradients(loss: nn.Module, size: tuple[int, int], absent: int | None) -> None:
    logits, mask = batch(2, size, absent)
    logits, aux = logits.double().requires_grad_(), batch(3, (2, 2))[0].double().requires_grad_()
    score = partial(cost_of_heads, loss, mask)
    assert torch.autograd.gradcheck(score, (logits, aux), fast_mode=True)


def test_auxiliary_heads(loss: nn.Module) -> None:
    (logits, mask), (first, _), (second, _) = batch(4), batch(5, (3, 3)), batch(6)
    expected = cost(loss, logits, mask) + 0.4 * (cost(loss, first, mask) + cost(loss, second, mask))
    assert cost(loss, logits, mask, first, second).item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize("size", [(H, W), (3, 3)])
@pytest.mark.parametrize("scale", [1, 1e4])
def test_nothing_to_learn_from(loss: nn.Module, size: tuple[int, int], scale: float) -> None:
    logits = (scale * batch(7, size)[0]).requires_grad_()
    found = cost(loss, logits, torch.full((N, H, W), IGNORED), logits)
    found.backward()
    assert found.item() == 0
    assert logits.grad is not None
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_ignored_pixels_have_no_gradient_and_no_influence(loss: nn.Module) -> None:
    logits, mask = batch(8)
    logits.requires_grad_()
    found = cost(loss, logits, mask)
    found.backward()
    assert logits.grad is not None
    ignored = (mask == IGNORED)[:, None].expand_as(logits)
    assert (logits.grad[ignored] == 0).all()
    assert (logits.grad[~ignored] != 0).any()
    changed = torch.where(ignored, 1000.0, logits.detach())
    assert cost(loss, changed, mask).item() == pytest.approx(found.item(), rel=1e-6)


def test_an_ignored_image_does_not_dilute_the_others(loss: nn.Module) -> None:
    logits, mask = batch(9)
    mask[1] = IGNORED
    assert cost(loss, logits, mask).item() == pytest.approx(cost(loss, logits[:1], mask[:1]).item(), rel=1e-5)


@pytest.mark.parametrize("right", [True, False])
@pytest.mark.parametrize("size", [(H, W), (3, 4)])
def test_extreme_logits(loss: nn.Module, right: bool, size: tuple[int, int]) -> None:
    _, mask = batch(10)
    truth = torch.where(mask == IGNORED, 0, mask)[:, : size[0], : size[1]]
    logits = torch.full((N, C, *size), -1e4).scatter_(1, truth[:, None], 1e4)
    logits = (logits if right else -logits).requires_grad_()
    found = cost(loss, logits, mask)
    found.backward()
    assert logits.grad is not None
    assert torch.isfinite(found)
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("absent", range(C))
def test_a_class_that_never_occurs(loss: nn.Module, absent: int) -> None:
    logits, mask = batch(11, absent=absent)
    logits.requires_grad_()
    found = cost(loss, logits, mask)
    found.backward()
    assert torch.isfinite(found)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_one_pixel_of_one_class(loss: nn.Module) -> None:
    logits = torch.tensor([[[[2.0]], [[0.0]], [[-1.0]], [[1.0]]]], requires_grad=True)
    found = cost(loss, logits, torch.tensor([[[1]]]))
    found.backward()
    assert torch.isfinite(found)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_float32_whatever_the_precision(loss: nn.Module, dtype: torch.dtype) -> None:
    logits, mask = batch(12, (3, 4))
    half = logits.to(dtype).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = cost(loss, half, mask)
        found.backward()
    same = half.detach().double().requires_grad_()
    expected = cost(loss, same, mask)
    expected.backward()
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(expected.item(), rel=1e-5, abs=1e-7)
    assert half.grad is not None
    assert half.grad.dtype == dtype
    assert torch.allclose(half.grad.double(), same.grad, rtol=0.01, atol=1e-4)


def test_memory_order_changes_nothing(loss: nn.Module) -> None:
    (logits, mask), found = batch(13, (3, 4)), []
    for order in (torch.contiguous_format, torch.channels_last):
        leaf = logits.clone(memory_format=order).requires_grad_()
        value = cost(loss, leaf, mask)
        value.backward()
        found.append((value.item(), leaf.grad))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-6)
    assert torch.allclose(found[0][1], found[1][1], atol=1e-7)


def test_nothing_of_it_is_in_checkpoints(loss: nn.Module) -> None:
    assert loss.state_dict() == {}


def test_every_yaml_says_what_it_is() -> None:
    for name in NAMES:
        text = (CONF / "loss" / f"{name}.yaml").read_text()
        assert re.match(r"# [A-Z][^\n]+\.\n", text), f"{name}.yaml opens with no sentence"


def test_a_compiled_step() -> None:
    from atrous.losses.cross_entropy import CrossEntropy

    torch.manual_seed(0)
    head, (_, mask), images = nn.Conv2d(3, C, 1), batch(14), torch.randn(N, 3, 3, 4)
    loss = CrossEntropy()

    def step(images: Tensor, mask: Tensor) -> Tensor:
        return loss(SegOutput(head(images)), mask)

    step(images, mask).backward()
    expected = head.weight.grad.clone()
    head.zero_grad()
    torch.compile(step, backend="aot_eager")(images, mask).backward()
    assert torch.allclose(head.weight.grad, expected, atol=1e-6)
