"""`analyse`: what a network sees, as tables, a picture and analysis.json."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from atrous.cli.app import run_command
from atrous.config.compose import compose_groups
from atrous.config.values import NonNegativeInt, Size
from atrous.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console
    from torch import Tensor, nn

    from atrous.analysis.effective_field import EffectiveField
    from atrous.analysis.receptive_field import Fields
    from atrous.analysis.valid_taps import AtrousConvs
    from atrous.data.datamodule import SegmentationDataModule


@dataclasses.dataclass(frozen=True)
class Settings:
    """See conf/analyse.yaml."""

    ckpt: str | None
    size: Size | None
    images: NonNegativeInt
    inputs: Literal["noise", "train", "val", "test"]
    seed: NonNegativeInt
    accelerator: str | None
    out: Path | None
    trusted: list[str]
    overrides: list[str]
    command: str


def main(argv: Sequence[str] | None = None) -> None:
    """`atrous analyse model=... [key=value ...]`; see conf/analyse.yaml."""
    run_command("analyse", Settings, lambda settings: run(vars(settings), settings.overrides), argv)


def run(settings: dict[str, Any], overrides: list[str]) -> dict[str, Any]:
    """Shows the tables and returns what it writes to `out/analysis.json`."""
    from rich.console import Console

    from atrous.analysis.checkerboard import checkerboards
    from atrous.analysis.effective_field import SHARE, effective_field
    from atrous.analysis.receptive_field import receptive_fields
    from atrous.analysis.valid_taps import atrous_convs, wide_rates
    from atrous.runs.record import now
    from atrous.system.files import to_json, write_text

    model, config = _network(settings, overrides)
    size = settings["size"] or config["data"].get("train_transform", {}).get("crop_size") or [512, 512]
    fields = receptive_fields(model)
    convs = atrous_convs(model, size)
    grids = checkerboards(model)
    effective = None
    if settings["images"]:
        effective = effective_field(model, _images(settings, config, size), seed=settings["seed"])
    console = Console()
    title = f"{config['model']['_target_'].rpartition('.')[2]}: receptive fields"
    _show(console, title, fields, convs, grids, effective)
    warning = wide_rates(model, size)
    if warning:
        console.print(f"[yellow]warning[/] {warning}", soft_wrap=True)
    content: dict[str, Any] = {
        "command": settings["command"],
        "created": now(),
        "model": config["model"],
        "size": size,
        "receptive_fields": [dataclasses.asdict(part) for part in fields.parts],
        "unknown_operations": fields.unknown,
        "atrous_convolutions": [dataclasses.asdict(c) | {"degenerate": c.degenerate} for c in convs],
        "checkerboards": grids,
        "effective_field": None,
    }
    if effective:
        content["effective_field"] = {
            "size": effective.size,
            "deviation": effective.deviation,
            "above_share_of_maximum": SHARE,
            "images": settings["images"],
            "inputs": settings["inputs"],
            "weights": "random" if settings["ckpt"] is None else settings["ckpt"],
        }
    if settings["out"] is not None:
        out = Path(settings["out"])
        out.mkdir(parents=True, exist_ok=True)
        write_text(out / "analysis.json", to_json(content))
        drawn = _draw(out / "analysis.png", size, fields, convs, effective)
        print(f"written to {out}: analysis.json{', analysis.png' * drawn}")
    return content


def _network(settings: dict[str, Any], overrides: list[str]) -> tuple[nn.Module, dict[str, Any]]:
    import torch

    from atrous.engine.build import build_model
    from atrous.engine.checkpoint import restore

    if settings["ckpt"] is None:
        config = compose_groups(overrides)
        torch.manual_seed(settings["seed"])
        model = build_model(config)
    else:
        restored = restore(Path(settings["ckpt"]), {**settings, "accelerator": "cpu"}, overrides)
        model, config = restored.scorer.model, restored.config
    if settings["accelerator"] in ("gpu", "cuda"):
        if not torch.cuda.is_available():
            raise ConfigError(
                f"accelerator={settings['accelerator']}, but PyTorch finds no GPU here. Use accelerator=cpu."
            )
        model = model.cuda()
    return model, config


def _images(settings: dict[str, Any], config: dict[str, Any], size: Sequence[int]) -> Iterator[Tensor]:
    import torch
    from rich.progress import track

    from atrous.engine.build import build_datamodule

    count = settings["images"]
    if settings["inputs"] == "noise":
        generator = torch.Generator().manual_seed(settings["seed"])
        for _ in track(range(count), "effective field", transient=True):
            yield torch.randn(3, *size, generator=generator)
        return
    found = split_images(build_datamodule(config), settings["inputs"], count, size)
    yield from track(found, "effective field", total=count, transient=True)


def split_images(datamodule: SegmentationDataModule, split: str, count: int, size: Sequence[int]) -> Iterator[Tensor]:
    """Evenly spaced images of a split, normalised and resized, float32 (3, *size) each."""
    import numpy as np

    from atrous.layers.upsample import resize

    dataset = datamodule.dataset(split)
    for index in np.linspace(0, len(dataset) - 1, count).astype(int):
        image = datamodule.normalise(dataset[int(index)].image)
        yield resize(image[None], (size[0], size[1]))[0]


def _show(
    console: Console,
    title: str,
    fields: Fields,
    convs: list[AtrousConvs],
    grids: dict[str, float],
    effective: EffectiveField | None,
) -> None:
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for column in ("part", "channels", "stride", "receptive field"):
        table.add_column(column, justify="left" if column == "part" else "right")
    for part in fields.parts:
        table.add_row(part.name, str(part.channels), _both(part.stride), _field(part.field))
    console.print(table)
    if fields.unknown:
        console.print(f"taken to see all that goes in, since they are not known: {', '.join(fields.unknown)}")
    if convs:
        table = Table(title="atrous convolutions", title_justify="left")
        for column in ("first", "number", "map", "rate", "valid weights", "all valid", "only one"):
            table.add_column(column, justify="left" if column == "first" else "right")
        for c in convs:
            shares = [f"{share:.1%}" for share in (c.valid, c.all_valid, c.one_valid)]
            table.add_row(c.names[0], str(len(c.names)), f"{c.size[0]} x {c.size[1]}", _both(c.dilation), *shares)
        console.print(table)
    for name, energy in grids.items():
        console.print(f"checkerboard of {name}: {energy:.2%} of the output's energy on an even map")
    if effective:
        deviation = " x ".join(f"{value:.1f}" for value in effective.deviation)
        console.print(
            f"effective receptive field of the logits: {effective.size:.1f} pixels, standard deviation {deviation}"
        )


def _both(pair: tuple[float, float]) -> str:
    first, second = (f"{value:g}" for value in pair)
    return first if first == second else f"{first} x {second}"


def _field(field: tuple[int | None, int | None]) -> str:
    if field == (None, None):
        return "whole image"
    return " x ".join("whole" if side is None else str(side) for side in field)


def _draw(
    path: Path, size: Sequence[int], fields: Fields, convs: list[AtrousConvs], effective: EffectiveField | None
) -> bool:
    """The effective field beside DeepLabv3's figure 4 for the network's widest maps; whether there was anything to draw."""
    from matplotlib.figure import Figure

    from atrous.system.files import save_figure

    if effective is None and not convs:
        return False
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    parts = iter(figure.subplots(1, (effective is not None) + bool(convs), squeeze=False)[0])
    if effective is not None:
        _draw_field(next(parts), size, fields, effective)
    if convs:
        _draw_taps(next(parts), convs)
    save_figure(path, figure)
    return True


def _draw_field(axes: Any, size: Sequence[int], fields: Fields, effective: EffectiveField) -> None:
    from matplotlib.patches import Rectangle

    shown = axes.imshow(effective.gradient.sqrt().numpy(), cmap="magma", vmin=0, vmax=1)
    axes.figure.colorbar(shown, ax=axes, label="square root of the gradient, maximum 1")
    theoretical = fields["logits"].field
    sides = {"effective": (effective.size, effective.size), "theoretical": theoretical}
    for (name, (height, width)), color in zip(sides.items(), ("cyan", "white"), strict=True):
        if height is None or width is None:
            continue
        corner = (size[1] / 2 - width / 2, size[0] / 2 - height / 2)
        axes.add_patch(
            Rectangle(corner, width, height, fill=False, color=color, label=f"{name}, {height:.0f} x {width:.0f}")
        )
    axes.set(
        xlim=(-0.5, size[1] - 0.5), ylim=(size[0] - 0.5, -0.5), title="effective receptive field of the middle logits"
    )
    axes.legend(loc="upper left", fontsize="small")


def _draw_taps(axes: Any, convs: list[AtrousConvs]) -> None:
    from atrous.analysis.valid_taps import valid_counts

    widest = max(convs, key=lambda c: max(c.dilation))
    (height, width), (rows, columns) = widest.size, widest.kernel
    rates = range(1, max(height, width, *widest.dilation) + 1)
    for valid, label in ((rows * columns, f"all {rows * columns} weights valid"), (1, "only one valid")):
        shares = []
        for rate in rates:
            counts = [valid_counts(n, kernel=k, dilation=rate) for n, k in ((height, rows), (width, columns))]
            shares.append(float((counts[0][:, None] * counts[1] == valid).double().mean()))
        axes.plot(rates, shares, label=label)
    for c in convs:
        if (c.size, c.kernel) == (widest.size, widest.kernel):
            axes.axvline(max(c.dilation), color="grey", linestyle=":", linewidth=1)
    axes.set(xlabel="rate; dotted: the network's", ylabel="share of places", ylim=(-0.02, 1.02))
    axes.set_title(f"{rows} x {columns} convolutions on a map of {height} x {width}")
    axes.legend(fontsize="small")
