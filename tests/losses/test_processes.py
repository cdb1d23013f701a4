"""Two processes with a part of the batch each, whose ignored pixels are unequal, against one with the whole batch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from two_processes import run_in_two

from atrous.losses.border_weight import BorderWeight
from atrous.losses.boundary import Boundary
from atrous.losses.cross_entropy import CrossEntropy
from atrous.losses.dice import Dice
from atrous.losses.focal import Focal
from atrous.losses.generalised_dice import GeneralisedDice
from atrous.losses.lovasz import LovaszSoftmax
from atrous.losses.ohem import OHEM
from atrous.losses.tversky import Tversky
from atrous.losses.weighted_sum import WeightedSum
from atrous.types import SegOutput

C = 4
WEIGHTS = [0.5, 2.0, 1.0, 3.0]
LOSSES: dict[str, Callable[[], nn.Module]] = {
    "cross_entropy": lambda: CrossEntropy(class_weights=WEIGHTS),
    "focal": Focal,
    "border_weight": lambda: BorderWeight(class_weights=WEIGHTS),
    "hard_pixels": lambda: OHEM(threshold=0.4, min_kept=1),
    "dice": Dice,
    "dice_per_image": lambda: Dice(per_image=True, classes="all", smooth=1.0),
    "tversky": Tversky,
    "generalised_dice": GeneralisedDice,
    "lovasz_per_image": lambda: LovaszSoftmax(per_image=True),
    "boundary": Boundary,
    "sum": lambda: WeightedSum(
        losses={"cross_entropy": CrossEntropy(class_weights=WEIGHTS), "dice": Dice()},
        weights={"cross_entropy": 1.0, "dice": 0.5},
    ),
}
BATCHES = ("uneven", "all of one process ignored")


def batch(kind: str) -> tuple[Tensor, Tensor, Tensor]:
    """Logits (4, C, 5, 7), those of an auxiliary head, and a mask (4, 9, 13) of which the second half counts little."""
    generator = torch.Generator().manual_seed(0)
    logits, aux = (3 * torch.randn(4, C, *size, generator=generator) for size in ((5, 7), (3, 4)))
    mask = torch.randint(0, C, (4, 9, 13), generator=generator)
    mask[2:, 2:] = 255
    if kind != BATCHES[0]:
        mask[2:] = 255
    return logits, aux, mask


def step(loss: nn.Module, kind: str, images: slice) -> tuple[Tensor, Tensor]:
    """The loss of some images and the gradient of a factor on each class's logits."""
    logits, aux, mask = (part[images] for part in batch(kind))
    factor = torch.ones(C, 1, 1, requires_grad=True)
    value = loss(SegOutput(factor * logits, (factor * aux,)), mask)
    value.backward()
    assert factor.grad is not None
    return value.detach(), factor.grad


def half(rank: int, store: Path, folder: Path) -> None:
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    found = {}
    for name, make in LOSSES.items():
        for kind in BATCHES:
            parts = step(make(), kind, slice(2 * rank, 2 * rank + 2))
            for part in parts:  # what DDP does with gradients, and logging with losses
                dist.all_reduce(part)
            found[name, kind] = tuple(part / 2 for part in parts)
    alone = CrossEntropy().eval()
    if rank == 0:  # in evaluation processes have unequal numbers of batches
        found["evaluation"] = step(alone, BATCHES[0], slice(0, 2))
    torch.save(found, folder / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def halves(tmp_path_factory: pytest.TempPathFactory) -> list[dict[object, tuple[Tensor, Tensor]]]:
    folder = tmp_path_factory.mktemp("processes")
    run_in_two(half, folder / "store", folder)
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize("kind", BATCHES)
@pytest.mark.parametrize("name", LOSSES)
def test_loss_and_gradient_are_those_of_the_whole_batch(
    halves: list[dict[object, tuple[Tensor, Tensor]]], name: str, kind: str
) -> None:
    expected = step(LOSSES[name](), kind, slice(None))
    for found in halves:
        for ours, whole in zip(found[name, kind], expected, strict=True):
            torch.testing.assert_close(ours, whole, atol=1e-6, rtol=1e-5)


def test_in_evaluation_a_process_asks_no_other(halves: list[dict[object, tuple[Tensor, Tensor]]]) -> None:
    value, _ = step(CrossEntropy(), BATCHES[0], slice(0, 2))
    torch.testing.assert_close(halves[0]["evaluation"][0], value)
