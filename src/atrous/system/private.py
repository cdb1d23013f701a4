"""What the code uses of Lightning's and torch's private parts; `tests/system/test_private.py` fails when they change."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

__all__ = ["TorchDispatchMode", "tree_flatten", "tree_map"]


def validate_at_end(trainer: Trainer, last: int | float, otherwise: Callable[[], None]) -> None:
    """Lets a training validate after update `last`, or where it is told to stop; Lightning does at multiples of an interval only.

    Where there are no validations it calls `otherwise` then, between two batches.
    """
    loop = trainer.fit_loop.epoch_loop
    due = loop._should_check_val_fx

    def due_or_last(data_fetcher: Any) -> bool:
        over = trainer.global_step >= last or trainer.should_stop
        if over and not trainer.enable_validation:
            otherwise()
        return due(data_fetcher) or (over and trainer.enable_validation)

    loop._should_check_val_fx = due_or_last  # type: ignore[method-assign]


def number_rows_by_updates(trainer: Trainer) -> None:
    """Sets the step of the next logged row; how often Lightning counts the last update depends on where it resumes."""
    trainer.fit_loop.epoch_loop._batches_that_stepped = trainer.global_step


def add_steps(trainer: Trainer, steps: int) -> None:
    """Changes after how many updates a training ends, where it has such a number."""
    if trainer.max_steps > 0:
        trainer.fit_loop.epoch_loop.max_steps += steps


def batches_done(trainer: Trainer) -> int:
    """The batches of this epoch that all work is done on."""
    return trainer.fit_loop.epoch_loop.batch_progress.current.completed


def count_between_batches(checkpoint: dict[str, Any], *, batches: int | float, validation_due: bool) -> None:
    """Changes Lightning's counters in a checkpoint to those between two batches.

    As it writes them, a batch that is just being fetched counts as begun, and a validation about to begin as done.

    Args:
        checkpoint: Changed in place.
        batches: Of an epoch.
        validation_due: Whether a validation is to begin first.
    """
    loops = checkpoint["loops"]["fit_loop"]
    progress = loops["epoch_loop.batch_progress"]
    for counts in (progress["total"], progress["current"]):
        counts.update(dict.fromkeys(counts, counts["processed"]))
    progress["is_last_batch"] = progress["current"]["processed"] == batches
    validated = loops["epoch_loop.val_loop.batch_progress"]
    for counts in (validated["total"], validated["current"]):
        counts.update(dict.fromkeys(counts, 0))
    if validation_due:  # one that was broken off in its first batch is begun again
        validated["total"].update(ready=1, started=1)


def mix_in(module: nn.Module, mixin: type, name: str) -> None:
    """Puts a class before a module's own, in place: a copy then computes with its own weights, as with no hook."""
    module.__class__ = type(f"{name}{type(module).__name__}", (mixin, type(module)), {})


def mix_out(module: nn.Module) -> None:
    """Takes back `mix_in`."""
    module.__class__ = type(module).__bases__[1]


def schema(operator: Any) -> Any:
    """Of a torch operator: its `arguments`, each with `name` and `default_value`, and whether it `is_mutable`."""
    return operator._schema


def viewed(tensor: Tensor) -> Tensor | None:
    """The tensor whose memory this one looks into; None of one with memory of its own."""
    return tensor._base
