"""`analyse`: what a network sees, as tables, a picture and analysis.json."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from atrous.cli.app import run_command
from atrous.config.values import NonNegativeInt, Size


@dataclass(frozen=True)
class Settings:
    """See conf/analyse.yaml."""

    ckpt: Path | None
    size: Size | None
    images: NonNegativeInt
    inputs: Literal["noise", "train", "val", "test"]
    seed: NonNegativeInt
    accelerator: Literal["cpu", "gpu", "cuda"] | None
    out: Path | None
    trusted: list[str]
    overrides: list[str]
    command: str


def main(argv: Sequence[str] | None = None) -> None:
    """`atrous analyse model=... [key=value ...]`; see conf/analyse.yaml."""
    run_command("analyse", Settings, run, argv)


def run(settings: Settings) -> None:
    """Shows the tables, and writes what they hold to `out`."""
    from atrous.config.compose import compose_groups

    config = compose_groups(settings.overrides) if settings.ckpt is None else {}

    import torch
    from rich.console import Console
    from rich.progress import track

    from atrous.analysis.analyse import analyse
    from atrous.analysis.effective_field import noise_images, split_images
    from atrous.engine.build import build_datamodule, build_model
    from atrous.engine.checkpoint import restore
    from atrous.errors import ConfigError
    from atrous.report.analysis import draw_analysis, show_analysis
    from atrous.runs.record import now
    from atrous.system.files import to_json, write_text

    if settings.ckpt is None:
        torch.manual_seed(settings.seed)
        model = build_model(config)
    else:
        restored = restore(settings.ckpt, settings.overrides, trusted=settings.trusted, accelerator="cpu")
        model, config = restored.scorer.model, restored.config
    if settings.accelerator in ("gpu", "cuda"):
        if not torch.cuda.is_available():
            raise ConfigError(
                f"accelerator={settings.accelerator}, but PyTorch finds no GPU here. Use accelerator=cpu."
            )
        model = model.cuda()
    count, inputs = settings.images, settings.inputs
    size = settings.size or tuple(config["data"].get("train_transform", {}).get("crop_size") or (512, 512))
    images = None
    if count:
        if inputs == "noise":
            found = noise_images(count, size, seed=settings.seed)
        else:
            found = split_images(build_datamodule(config), inputs, count, size)
        images = track(found, "effective field", total=count, transient=True)
    seen = analyse(model, size, images, name=config["model"]["_target_"].rpartition(".")[2], seed=settings.seed)
    show_analysis(Console(), seen)
    if (out := settings.out) is not None:
        content = {"command": settings.command, "created": now(), "model": config["model"], **seen.as_json()}
        if content["effective_field"]:
            weights = "random" if settings.ckpt is None else str(settings.ckpt)
            content["effective_field"] |= {"images": count, "inputs": inputs, "weights": weights}
        write_text(out / "analysis.json", to_json(content))
        drawn = draw_analysis(out / "analysis.png", seen)
        print(f"written to {out}: analysis.json{', analysis.png' * drawn}")
