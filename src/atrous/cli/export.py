"""`export`: a checkpoint as ONNX or as torch's program, checked on real images before it is written."""

from __future__ import annotations

import hashlib
import importlib.metadata
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from atrous.cli.app import errors_as_messages
from atrous.cli.settings import own_settings
from atrous.config.compose import prepare
from atrous.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from atrous.engine.checkpoint import Restored
    from atrous.export.check import Agreement

FORMATS = {"onnx": ("onnx",), "torch": ("torch",), "both": ("torch", "onnx")}
WHOLE = "atrous.inference.whole.Whole"
FILES = {"onnx": "model.onnx", "torch": "model.pt2"}


def main(argv: Sequence[str] | None = None) -> None:
    """`atrous export ckpt=... [key=value ...]`; see conf/export.yaml."""
    prepare()
    with errors_as_messages():
        settings, overrides = own_settings("export", sys.argv[1:] if argv is None else argv)
        run(settings, overrides)


def run(settings: dict[str, Any], overrides: list[str]) -> dict[str, dict[str, Any]]:
    """Returns the description that each format's file holds, its check included."""
    check_settings(settings)

    import torch

    from atrous.engine.checkpoint import restore
    from atrous.engine.trainer import quiet_lightning
    from atrous.export import files
    from atrous.export.check import compare
    from atrous.export.graph import PixelsToLabels, trace

    quiet_lightning()
    restored = restore(Path(settings["ckpt"]), {**settings, "accelerator": "cpu"}, overrides)
    images = check_images(restored, settings)
    mean, std = statistics(restored)
    model = restored.scorer.model.float().to(memory_format=torch.contiguous_format)
    net = PixelsToLabels(model=model, mean=mean, std=std, probabilities=settings["probabilities"]).eval()
    height, width = settings["size"] or images[0].shape[:2]
    print(f"following {type(model).__name__} on an image of {height} x {width}")
    program, taken = trace(net, (height, width), fixed=settings["fixed"])
    mode = (restored.config.get("inference") or {"_target_": WHOLE})["_target_"]
    if mode != WHOLE:
        print(f"note: the run predicts by {mode}; what is exported takes the whole image in one pass")
    print("takes " + ", ".join(told(name, *found) for name, found in taken.items()))
    out = Path(settings["out"])
    out.mkdir(parents=True, exist_ok=True)
    written: dict[str, dict[str, Any]] = {}
    for kind in FORMATS[settings["format"]]:
        description = describe(restored, settings, taken, (mean, std))
        if kind == "onnx":
            onnx = files.to_onnx(program, net, settings["opset"])
            description["opset"] = settings["opset"]
            runner = files.onnx_runner(files.with_description(onnx, description))
        else:
            runner = files.program_runner(program)
        agreement = agree(kind, lambda: compare(net, runner, images, taken), settings)  # noqa: B023 (called at once)
        show(kind, agreement)
        refuse_bad(kind, agreement, settings)
        written[kind] = {**description, "check": agreement.as_json()}
        if kind == "onnx":
            files.write_onnx(onnx, out / FILES[kind], written[kind])
            files.write_script(out)
        else:
            files.write_program(program, out / FILES[kind], written[kind])
        print(f"written to {out / FILES[kind]}, {(out / FILES[kind]).stat().st_size / 1e6:.1f} MB")
    if "onnx" in written:
        print(f"try: python {out / 'predict.py'} {out / FILES['onnx']} IMAGE -o labelled")
    return written


def check_settings(settings: dict[str, Any]) -> None:
    """Raises ConfigError for an impossible setting, before anything slow is imported."""
    if settings["format"] not in FORMATS:
        raise ConfigError(f"format={settings['format']} is none; choose one of {', '.join(FORMATS)}.")
    size = settings["size"]
    if size is not None and not (
        isinstance(size, list) and len(size) == 2 and all(isinstance(side, int) and side > 0 for side in size)
    ):
        raise ConfigError(f"size={size} is impossible; give [height,width] in pixels, such as size=[360,480].")
    if not isinstance(settings["count"], int) or settings["count"] < 1:
        raise ConfigError(f"count={settings['count']} is impossible; give how many images to check on, from 1 on.")


def check_images(restored: Restored, settings: dict[str, Any]) -> list[NDArray[np.uint8]]:
    """The first images, uint8 RGB (H, W, 3), that the export is checked on.

    Raises:
        DataError: If they can't be read.
        ConfigError: If the checkpoint's data set is not here.
    """
    from atrous.cli.predict import find_images
    from atrous.data.io.files import read_image
    from atrous.engine.build import build_datamodule
    from atrous.errors import DataError

    count = settings["count"]
    if settings["images"] is not None:
        return [read_image(path) for path in list(find_images(str(settings["images"])))[:count]]
    try:
        dataset = build_datamodule(restored.config).dataset(settings["split"])
        return [np.ascontiguousarray(dataset[index].image) for index in range(min(count, len(dataset)))]
    except Exception as error:  # Hydra wraps the data set's own
        if isinstance(error, DataError) or isinstance(error.__cause__, DataError):
            raise ConfigError(
                f"the images to check the export on can't be had: {error.__cause__ or error} Give others by images=FOLDER, "
                "or the data set's place by data.root=FOLDER."
            ) from error
        raise


def statistics(restored: Restored) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of the images of its evaluation.

    Raises:
        CheckpointError: If it was evaluated on something else than normalised images.
    """
    transform = restored.config["data"]["eval_transform"]
    target = transform["_target_"]
    if target != "atrous.data.transforms.EvalTransform":
        raise CheckpointError(
            f"{restored.source} was evaluated through {target}, and what is exported holds EvalTransform's normalisation. "
            "Use data.eval_transform._target_=atrous.data.transforms.EvalTransform if that is right for it."
        )
    return list(transform["mean"]), list(transform["std"])


def describe(
    restored: Restored,
    settings: dict[str, Any],
    taken: dict[str, tuple[int, int | None]],
    normalisation: tuple[list[float], list[float]],
) -> dict[str, Any]:
    """What a file says of itself, so that it is enough alone. Holds no path."""
    info = restored.class_info
    return {
        "format": 1,
        "atrous": importlib.metadata.version("atrous"),
        "torch": importlib.metadata.version("torch"),
        "model": restored.config["model"]["_target_"],
        "checkpoint_sha256": hashlib.sha256(restored.source.read_bytes()).hexdigest(),
        "classes": {
            "names": list(info.names),
            "palette": [list(colour) for colour in info.palette],
            "ids": list(info.ids),
            "ignore_index": info.ignore_index,
        },
        "input": "uint8 RGB (batch, height, width, 3)",
        "labels": "class indices, whose names, colours and ids are those of classes",
        "normalisation_inside": {"mean": normalisation[0], "std": normalisation[1]},
        "sizes": {name: list(found) for name, found in taken.items()},
        "probabilities": settings["probabilities"],
    }


def told(name: str, smallest: int, largest: int | None) -> str:
    """A size's range in words."""
    if smallest == largest:
        return f"{name} {smallest} only"
    return f"any {name} from {smallest} on" if largest is None else f"{name} {smallest} to {largest}"


def agree(kind: str, compared: Callable[[], Agreement], settings: dict[str, Any]) -> Agreement:
    """Raises CheckpointError where what was exported stops on an image of a size that it should take."""
    try:
        return compared()
    except Exception as error:  # onnxruntime's own, and torch's
        reason = (str(error) or repr(error)).splitlines()[0].rstrip(".")
        raise CheckpointError(
            f"the {kind} export of {settings['ckpt']} stops on an image that it should take: {reason}. It was "
            "not written. Use fixed=true, which takes images of one size alone, size=[height,width]."
        ) from error


def show(kind: str, agreement: Agreement) -> None:
    sizes = ", ".join(f"{height} x {width}" for height, width in agreement.sizes)
    print(
        f"{kind}: {agreement.equal:.4%} of the labels are equal on {agreement.images} images of {sizes}; logits differ by at "
        f"most {agreement.max_difference:.1e}, their standard deviation is {agreement.spread:.1f}"
    )


def refuse_bad(kind: str, agreement: Agreement, settings: dict[str, Any]) -> None:
    """Raises CheckpointError where too few labels are equal."""
    from atrous.export.check import MIN_EQUAL

    if not agreement.good:
        other = {"onnx": "format=torch, another opset", "torch": "format=onnx"}[kind]
        raise CheckpointError(
            f"the {kind} export of {settings['ckpt']} labels {agreement.equal:.4%} of the pixels as the network does, and "
            f"{MIN_EQUAL:.2%} are wanted; it was not written. Try {other}, or fixed=true with size=[height,width] of the images that it is for."
        )
