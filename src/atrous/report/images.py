"""The samples that runs leave, `image | truth | prediction` in one PNG, taken apart and made small enough for a page."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from atrous.pages.images import picture_uri
from atrous.report.study import Group

_GAP = 4  # pixels between the three parts
_SIDE = 480  # longest side on the page, pixels
_MOST_NAMES, _MOST_GROUPS = 6, 12
_MOST_BYTES = 8_000_000  # of all pictures together
_MOST_PIXELS = 64_000_000  # of a PNG that is opened


@dataclass(frozen=True)
class SampleComparison:
    """One image as several networks label it.

    Args:
        name: The file's name without its ending.
        size: Width and height on the page.
        image, truth: Data URIs.
        predictions: Data URIs by the group's id.
    """

    name: str
    size: tuple[int, int]
    image: str
    truth: str
    predictions: dict[str, str]


def samples(groups: list[Group]) -> tuple[list[SampleComparison], list[str]]:
    """The samples that most groups have, of each group's first run, and notes on what was left out.

    Args:
        groups: Those to show first come first.
    """
    shown = groups[:_MOST_GROUPS]
    files = {group.id: _files(group.runs[0].folder / "samples") for group in shown}
    counts = Counter(name for found in files.values() for name in found)
    most = max(counts.values(), default=0)
    names = sorted(name for name, count in counts.items() if count == most)
    chosen = [
        names[index * len(names) // min(_MOST_NAMES, len(names))] for index in range(min(_MOST_NAMES, len(names)))
    ]
    found: list[SampleComparison] = []
    broken, spent, full = 0, 0, False
    for name in chosen:
        image = truth = ""
        size = (0, 0)
        predictions: dict[str, str] = {}
        for group in shown:
            path = files[group.id].get(name)
            if path is None or full:
                continue
            parts = _parts(path)
            if parts is None:
                broken += 1
                continue
            if not image:
                size = parts[0].size
                image, truth = _uri(parts[0], lossless=False), _uri(parts[1], lossless=True)
            predictions[group.id] = _uri(parts[2], lossless=True)
            total = spent + len(image) + len(truth) + sum(map(len, predictions.values()))
            full = total > _MOST_BYTES
        spent += len(image) + len(truth) + sum(map(len, predictions.values()))
        if predictions:
            found.append(SampleComparison(Path(name).stem, size, image, truth, predictions))
    notes = []
    if len(groups) > len(shown) and found:
        notes.append(f"Shown are {len(shown)} of {len(groups)} settings: the baseline and those of the highest scores.")
    if broken:
        notes.append(f"{broken} sample files could not be read as image | truth | prediction.")
    if full:
        notes.append(f"The page would pass {_MOST_BYTES // 1_000_000} MB of pictures, so the last ones are left out.")
    return found, notes


def _files(folder: Path) -> dict[str, Path]:
    try:
        return {path.name: path for path in folder.iterdir() if path.suffix == ".png"}
    except OSError:
        return {}


def _parts(path: Path) -> list[Image.Image] | None:
    """Image, truth and prediction, shrunk; None where the file holds something else."""
    try:
        with Image.open(path) as file:
            width, height = (file.width - 2 * _GAP) // 3, file.height
            if file.width != 3 * width + 2 * _GAP or width < 1 or file.width * height > _MOST_PIXELS:
                return None
            picture = file.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    factor = min(1.0, _SIDE / max(width, height))
    size = max(1, round(width * factor)), max(1, round(height * factor))
    lefts = [number * (width + _GAP) for number in range(3)]
    parts = [picture.crop((left, 0, left + width, height)) for left in lefts]
    ways = (Image.Resampling.BOX, Image.Resampling.NEAREST, Image.Resampling.NEAREST)
    return [part if factor == 1 else part.resize(size, way) for part, way in zip(parts, ways, strict=True)]


def _uri(picture: Image.Image, *, lossless: bool) -> str:
    """WebP, of labels without loss, since their colours mean something."""
    return picture_uri(picture, "webp", lossless=lossless, quality=80, method=2)
