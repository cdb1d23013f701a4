"""Labels images with a network that `atrous export` wrote, without atrous and torch: numpy, pillow and onnxruntime do.

python predict.py model.onnx photo.jpg -o out
python predict.py model.onnx photos -o out --probabilities
python predict.py model.onnx --info

Writes out/labels/NAME.png, whose values are the data set's own, and out/overlays/NAME.png. Everything else that is needed is
inside the model: classes, colours, normalisation, and which image sizes it takes.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

METADATA_KEY = "atrous"  # under which the file holds its description
SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".tif", ".tiff", ".webp", ".gif", ".ppm", ".pgm", ".pbm", ".pnm")  # fmt: skip
MAX_MEGAPIXELS = 100
Pixels = NDArray[np.uint8]


class Network:
    """An exported network.

    Args:
        model: The path of a `.onnx` file, or its bytes.
        threads: Of the CPU; 0 is one for each core.

    Attributes:
        description: What the file says of itself: classes, sizes, how it was checked.

    Raises:
        ValueError: If the file does not come from `atrous export`.
    """

    def __init__(self, model: str | bytes, *, threads: int = 0) -> None:
        import onnxruntime  # type: ignore[import-untyped]  # here, since atrous uses this file's checks without it

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3  # errors; the rest is about how the graph is run
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        stored = self.session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
        if stored is None:
            raise ValueError(f"the file holds no {METADATA_KEY!r} description; expected one that `atrous export` wrote")
        self.description: dict[str, Any] = json.loads(stored)
        classes = self.description["classes"]
        self.ids = np.array(classes["ids"], np.uint8 if max(classes["ids"]) < 256 else np.uint16)
        self.palette = np.array(classes["palette"], np.uint8)

    def run(self, images: Pixels, outputs: list[str]) -> list[NDArray[Any]]:
        """Runs the network.

        Args:
            images: uint8 RGB (N, H, W, 3).
            outputs: Of labels (N, H, W), logits (N, C, h, w) and, where exported, probabilities (N, C, H, W).

        Raises:
            ValueError: If the network does not take that many images, or images of that size.
        """
        check_size(self.description["sizes"], images.shape)
        results: list[NDArray[Any]] = self.session.run(outputs, {"image": images})
        return results


def check_size(sizes: dict[str, list[int | None]], shape: tuple[int, ...]) -> None:
    """Raises ValueError where images (N, H, W, 3) are not of the sizes that a network takes."""
    for side, (name, (smallest, largest)) in zip(shape, sizes.items(), strict=False):
        if side < (smallest or 0) or (largest is not None and side > largest):
            taken = f"{smallest}" if smallest == largest else f"{smallest} to {largest or 'any'}"
            raise ValueError(
                f"the {name} is {side} and the network takes {taken}. Resize the image, or export the network anew from "
                "another example, size=[height,width]"
            )


def read_image(path: Path, *, max_megapixels: float = MAX_MEGAPIXELS) -> Pixels:
    """Reads an image as uint8 RGB (H, W, 3), upright by its EXIF orientation; 16 bits are cut to the upper 8.

    Raises:
        ValueError: If it has more pixels than allowed, which is found before they are decoded.
        OSError: If it is no image.
    """
    Image.MAX_IMAGE_PIXELS = None  # the limit is ours, and told before
    with Image.open(path) as image:
        if image.width * image.height > max_megapixels * 1e6:
            raise ValueError(
                f"{image.width} x {image.height} are more than {max_megapixels:g} megapixels; allow more by --max-megapixels"
            )
        upright = ImageOps.exif_transpose(image)
        if upright.mode.startswith("I"):
            grey = (np.asarray(upright).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
            return np.repeat(grey[..., None], 3, axis=2)
        return np.array(upright.convert("RGB"))


def find_images(names: list[str]) -> dict[str, Path]:
    """Name of the results -> image, for files and folders; where two differ in the suffix alone, the name has it.

    Raises:
        ValueError: If there are none, or two share a name.
    """
    found: list[tuple[Path, Path]] = []  # the image, and its path below what was named
    for name in names:
        path = Path(name)
        if path.is_dir():
            inside = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
            found += [(file, file.relative_to(path)) for file in inside]
        else:
            found.append((path, Path(path.name)))
    if not found:
        raise ValueError(f"no images in {', '.join(names)}; read are {', '.join(SUFFIXES)}")
    stems = [str(below.with_suffix("")) for _, below in found]
    images = {
        str(below) if stems.count(stem) > 1 else stem: path for (path, below), stem in zip(found, stems, strict=True)
    }
    if len(images) < len(found):
        raise ValueError(
            "several images have one name, and their results would overwrite each other; do one folder at a time"
        )
    return images


def overlay(image: Pixels, colours: Pixels) -> Pixels:
    """The colours of the labels, half transparent, over the image; all (H, W, 3)."""
    blended: Pixels = (0.5 * image + 0.5 * colours).round().astype(np.uint8)
    return blended


def describe(description: dict[str, Any]) -> str:
    """The description as JSON in ASCII, so that nothing in a stranger's file can steer the terminal."""
    return json.dumps(description, indent=1, ensure_ascii=True)


def main(argv: list[str] | None = None) -> int:
    """Returns the exit status: 1 if an image or the model could not be used."""
    parser = argparse.ArgumentParser(description="Labels images with a network that `atrous export` wrote.")
    parser.add_argument("model", help="the .onnx file")
    parser.add_argument("images", nargs="*", help="files, or folders, which are searched through their subfolders")
    parser.add_argument("-o", "--out", default="predictions", help="folder of the results (default: predictions)")
    parser.add_argument("--no-overlay", action="store_true", help="write the labels alone")
    parser.add_argument(
        "--probabilities", action="store_true", help="write out/probabilities/NAME.npz, float16 (C, H, W)"
    )
    parser.add_argument(
        "--max-megapixels", type=float, default=MAX_MEGAPIXELS, help="refuse larger images (%(default)s)"
    )
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0 is one for each core")
    parser.add_argument("--info", action="store_true", help="print what the model says of itself")
    arguments = parser.parse_args(argv)
    if not Path(arguments.model).is_file():
        return failed(f"no file {arguments.model}; give the .onnx file that `atrous export` wrote")
    try:
        network = Network(arguments.model, threads=arguments.threads)
        if arguments.info:
            print(describe(network.description))
            return 0
        images = find_images(arguments.images)
    except Exception as error:  # onnxruntime's own, of a file that is none
        return failed(f"{arguments.model}: {error}" if not isinstance(error, ValueError) else str(error))
    outputs = ["labels"] + ["probabilities"] * arguments.probabilities
    if arguments.probabilities and not network.description["probabilities"]:
        return failed("the model was exported without probabilities; export it with probabilities=true")
    failures = 0
    for name, path in images.items():
        try:
            image = read_image(path, max_megapixels=arguments.max_megapixels)
            labels, *scores = (result[0] for result in network.run(image[None], outputs))
        except (OSError, ValueError) as error:
            failures += failed(f"{path}: {error}")
            continue
        save(arguments.out, "labels", name, network.ids[labels])
        if not arguments.no_overlay:
            save(arguments.out, "overlays", name, overlay(image, network.palette[labels]))
        for probabilities in scores:
            target = Path(arguments.out, "probabilities", f"{name}.npz")
            target.parent.mkdir(parents=True, exist_ok=True)
            np.savez_compressed(target, probabilities=probabilities.astype(np.float16))
    done = len(images) - failures
    print(f"{done} of {len(images)} image{'s' * (len(images) != 1)} labelled, written to {arguments.out}")
    return min(failures, 1)


def save(out: str, kind: str, name: str, picture: NDArray[Any]) -> None:
    """Writes `out/kind/name.png`."""
    target = Path(out, kind, f"{name}.png")
    target.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(target)


def failed(message: str) -> int:
    """Tells an error, its control characters made visible; returns 1."""
    print(f"error: {''.join(c if c.isprintable() else repr(c)[1:-1] for c in message)}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
