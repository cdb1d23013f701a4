"""Two processes that share the imports of a third: spawned, each would take seconds for its own; forked off the test's, autograd refuses."""

import multiprocessing
from collections.abc import Callable
from typing import Any

import torch.multiprocessing


def run_in_two(function: Callable[..., None], *args: Any) -> None:
    """Calls `function(rank, *args)` in two processes and waits for both; an error in one is raised."""
    multiprocessing.set_forkserver_preload(["torch", "timm.layers", "atrous.losses.weighted_sum"])
    torch.multiprocessing.start_processes(function, args=args, nprocs=2, start_method="forkserver")
