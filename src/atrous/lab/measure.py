"""What `lab` measures of trained networks: what they score, how far they see, and what they cost."""

from __future__ import annotations

import dataclasses
import functools
import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from atrous.analysis.cost import macs
from atrous.analysis.effective_field import SHARE, effective_field, split_images
from atrous.analysis.profile import measure_apart
from atrous.analysis.receptive_field import receptive_fields
from atrous.analysis.valid_weights import valid_shares
from atrous.data.scenes.scenes import CLASS_INFO
from atrous.engine.build import build_datamodule, build_model
from atrous.engine.checkpoint import Restored
from atrous.engine.evaluate import evaluate_checkpoint
from atrous.engine.trainer import quiet_lightning
from atrous.errors import ConfigError
from atrous.layers.aspp import ASPP, ImagePool
from atrous.layers.meta_copy import to_meta_copy
from atrous.metrics.scores import mean
from atrous.models.deeplabv2 import DeepLabV2
from atrous.runs.scores import Evaluation
from atrous.system.devices import load_average, processor_name

CONTEXT = ("field_a", "field_b")  # of `scenes`: alike but for their marker
Size = tuple[int, int]
_quiet = functools.cache(quiet_lightning)  # a second filter would let every warning be shown once more


def image_size(restored: Restored, split: str) -> list[int]:
    """Height and width of the split's first image."""
    return list(build_datamodule(restored.config).dataset(split)[0].mask.shape)


def scores(restored: Restored, split: str) -> dict[str, Any]:
    """The parts `scores`, `objects` and `protocol` of the result.json of an evaluation with `extra_metrics`."""
    result = _evaluate(restored, restored.config, split, extra=True).as_json()
    return {key: result[key] for key in ("scores", "objects", "protocol")}


def context(restored: Restored, split: str, distance: int) -> dict[str, Any]:
    """How well the fields of `scenes` are told apart with their markers at a distance.

    Args:
        restored: Of a run on `scenes`; all its other knobs stay as they are.
        split: Of scenes.
        distance: Pixels from the marker to its field.

    Returns:
        `iou`, the mean over the two classes of field, 1 / 3 for a network that finds every field and tosses a coin for its
        class; `right`, the share of the fields' pixels labelled as either class that have the right one, 1 / 2 for the
        coin; `miou` of all classes; and the protocol.
    """
    config = {**restored.config, "data": {**restored.config["data"], "context_distance": distance}}
    scored = _evaluate(restored, config, split, extra=False)
    first, second = (CLASS_INFO.names.index(name) for name in CONTEXT)
    confusion = scored.confusion
    either = confusion[np.ix_([first, second], [first, second])]
    return {
        "distance": distance,
        "iou": float(mean(scored.class_scores["iou"][[first, second]])),
        "right": float(either.trace() / either.sum()) if either.sum() else float("nan"),
        "miou": scored.scores["miou"],
        "protocol": scored.protocol,
    }


def effective(restored: Restored, split: str, *, images: int, size: Size) -> dict[str, Any]:
    """The effective receptive field of the middle logits in pixels, with the trained weights."""
    datamodule = build_datamodule(restored.config)
    found = effective_field(restored.scorer.model, split_images(datamodule, split, images, size))
    return {"size": found.size, "deviation": found.deviation, "images": images, "above_share_of_maximum": SHARE}


def _evaluate(restored: Restored, config: dict[str, Any], split: str, *, extra: bool) -> Evaluation:
    _quiet()
    return evaluate_checkpoint(dataclasses.replace(restored, config=config), split, extra=extra)


def sees(model: nn.Module, sizes: Sequence[Size]) -> dict[str, Any]:
    """What follows from a network's layers alone: fields, rates, valid weights, parameters and MACs.

    Args:
        model: The network.
        sizes: Of the images: heights and widths. MACs are of the first.

    Returns:
        `field`: height and width in pixels that the logits see through convolutions, null for the whole image, the image
        pooling left aside; `image_pool`: whether there is one; `maps`: for each size the map that the parallel atrous
        convolutions read, and for each of them its rate, its branch's field and the shares of `AtrousConvs`.
    """
    pools = [module for module in model.modules() if isinstance(module, ImagePool)]
    with ExitStack() as hooks:
        for pool in pools:
            hooks.callback(pool.register_forward_hook(lambda module, args, output: torch.zeros_like(output)).remove)
        fields = receptive_fields(model)
    branches = parallel_branches(model)
    maps = []
    for size in dict.fromkeys(sizes) if branches else ():
        map_size = _map_size(model, next(iter(branches)), size)
        rates = []
        for name, conv in branches.items():
            rate, kernel = _pair(conv.dilation), _pair(conv.kernel_size)
            shares = valid_shares(map_size, kernel=kernel, dilation=rate)
            shares_by_name = dict(zip(("valid", "all_valid", "one_valid"), shares, strict=True))
            rates.append({"rate": rate[0], "field": fields[name].field, **shares_by_name})
        curve = [valid_shares(map_size, kernel=(3, 3), dilation=(r, r))[0] for r in range(1, max(map_size) + 1)]
        maps.append({"size": size, "map": map_size, "rates": rates, "curve": curve})
    return {
        "field": fields["logits"].field,
        "image_pool": bool(pools),
        "unknown_operations": fields.unknown,
        "maps": maps,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "macs": macs(model, *sizes[0]),
    }


def parallel_branches(model: nn.Module) -> dict[str, nn.Conv2d]:
    """The atrous convolutions that read one map side by side, an ASPP's or DeepLabv2's, by their branches' names."""
    lists = {f"{name}.atrous": module.atrous for name, module in model.named_modules() if isinstance(module, ASPP)}
    if isinstance(model, DeepLabV2):
        lists["branches"] = model.branches
    return {
        f"{name}.{index}": next(part for part in branch.modules() if _is_spatial(part))  # type: ignore[misc]
        for name, branches in lists.items()
        for index, branch in enumerate(branches)
    }


def _is_spatial(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d) and module.kernel_size != (1, 1)


def _map_size(model: nn.Module, name: str, size: Size) -> Size:
    """The map that a branch reads, at its first call: DeepLabv2 sees the image at several scales, its own first."""
    copy = to_meta_copy(model)
    found: list[Size] = []
    copy.get_submodule(name).register_forward_pre_hook(lambda module, args: found.append(tuple(args[0].shape[-2:])))
    with torch.no_grad():
        copy(torch.empty(1, 3, *size, device="meta"))
    return found[0]


def _pair(pair: tuple[int, ...]) -> Size:
    return pair[0], pair[1]


def latency(
    configs: Sequence[dict[str, Any]], size: Size, *, rounds: int, warm_up: int, threads: int | None, on_gpu: bool
) -> dict[str, Any]:
    """Seconds that each network takes for one image of noise.

    A round calls each network once, so that what else the machine does falls on all alike.

    Args:
        configs: Of runs; random weights are as fast as trained ones.
        size: Height and width of the image.
        rounds: Measured calls of each.
        warm_up: Rounds before them.
        threads: Of the CPU; None: torch's choice.
        on_gpu: Whether they run there.

    Returns:
        `networks`: for each the median, the 5th and the 95th percentile of the wall clock, and the median of the process's
        CPU time; `machine`; `load`: the system's load average of the last minute before and after.
    """
    device = torch.device("cuda" if on_gpu else "cpu")
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        nets = [build_model(config).to(device).eval() for config in configs]
        image = torch.randn(1, 3, *size, device=device)
        load = [load_average()]
        seconds = torch.tensor(
            [[_seconds(net, image) for net in nets] for _ in range(warm_up + rounds)], dtype=torch.double
        )
        seconds = seconds[warm_up:]
        load.append(load_average())
        name = torch.cuda.get_device_name() if on_gpu else f"{processor_name()}, {torch.get_num_threads()} threads"
    finally:
        torch.set_num_threads(before)
    wall, cpu = seconds.unbind(-1)  # (rounds, networks)
    columns = [*wall.quantile(torch.tensor([0.05, 0.5, 0.95]).double(), dim=0), cpu.median(0).values]
    networks = [dict(zip(("p05", "p50", "p95", "cpu"), row, strict=True)) for row in torch.stack(columns, 1).tolist()]
    return {"networks": networks, "machine": name, "cores": os.cpu_count(), "load": load, "rounds": rounds}


def _seconds(net: nn.Module, image: Tensor) -> tuple[float, float]:
    """Wall clock and CPU time of one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    with torch.inference_mode():
        net(image)
        if image.is_cuda:
            torch.cuda.synchronize()
    return time.perf_counter() - wall, time.process_time() - cpu


def memory(config: dict[str, Any], size: Size, *, threads: int | None, on_gpu: bool) -> dict[str, Any]:
    """Peak bytes of one image's inference and of a training step as the run's, in a process of its own.

    Args:
        config: Of the run: its crop and batch size are the training's.
        size: Height and width of the image in inference.
        threads: Of the CPU; None: torch's choice.
        on_gpu: Whether it runs there.
    """
    data = config["data"]
    crop = data.get("train_transform", {}).get("crop_size") or size
    modes = {
        "inference": {"size": list(size), "batch_size": 1},
        "training": {"size": list(crop), "batch_size": data["batch_size"]},
    }
    points = [{"mode": mode, "precision": "32-true", **point} for mode, point in modes.items()]
    options = {"warm_up": 1, "repeats": 1, "threads": threads, "accelerator": "gpu" if on_gpu else "cpu"}
    rows = measure_apart(config["model"], points, options)
    return {row["mode"]: {**modes[row["mode"]], "bytes": row.get("peak_memory"), "error": row["error"]} for row in rows}


def uses_gpu(restored: Restored) -> bool:
    """Whether a restored checkpoint's trainer would run on a GPU.

    Raises:
        ConfigError: If a GPU is asked for and there is none.
    """
    asked = restored.config["trainer"]["accelerator"]
    if asked in ("gpu", "cuda") and not torch.cuda.is_available():
        raise ConfigError(f"accelerator={asked}, but PyTorch finds no GPU here. Use accelerator=cpu.")
    return asked != "cpu" and torch.cuda.is_available()
