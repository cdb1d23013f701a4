"""What audit, train and predict do with every kind of data set that tests/own_data.py writes.

    python experiments/own_data/run.py

Each kind is written into a folder and goes through what the commands call, with settings as a user would type them: an audit, a
training of two updates, and where that ends, a prediction of its images. The table is written to table.md beside this file.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import tempfile
from pathlib import Path

from rich.progress import track

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import own_data

import atrous
from atrous.config.compose import compose_groups
from atrous.data.audit.audit import audit
from atrous.data.io.files import read_image
from atrous.data.io.listing import find_images
from atrous.engine.build import build_datamodule
from atrous.errors import AtrousError
from atrous.system.text import setting

TINY = [
    "data=folder",
    "model=segnet_basic",
    "model.channels=8",
    "trainer=cpu",
    "trainer.max_epochs=1",
    "trainer.max_steps=2",
    "data.num_workers=0",
    "data.batch_size=1",
    "data.train_transform.crop_size=[32,32]",
]


def words(settings: own_data.Settings) -> list[str]:
    """Settings of `data` as they are typed."""
    return [f"data.{key}={_typed(value)}" for key, value in settings.items()]


def _typed(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{_typed(item)}" for key, item in value.items()) + "}"
    return setting(value)


def findings(typed: list[str]) -> str:
    """The kinds of what an audit of train and val finds, errors first."""
    try:
        data = build_datamodule(compose_groups(["data=folder", *typed], required=["data"]))
        report = audit({split: data.raw_dataset(split) for split in ("train", "val")})
    except AtrousError:
        return "refuses"
    found = {f"{finding.severity}: {finding.kind}" for finding in report.findings}
    return ", ".join(sorted(found)) or "nothing is wrong"


def trained(root: Path, typed: list[str]) -> tuple[str, Path | None]:
    """How a training ends, and its checkpoint."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            run = atrous.train(*TINY, *typed, f"paths.runs={root / 'runs'}", f"paths.cache={root / 'cache'}")
    except AtrousError as error:
        return f"refuses: {_short(str(error), root)}", None
    return "trains", run.folder / "checkpoints" / "best.ckpt"


def predicted(images: Path, checkpoint: Path) -> str:
    """How many of the images get labels of their size."""
    net = atrous.load(checkpoint)
    paths = find_images(str(images))
    labelled = [net.predict(path).shape == read_image(path).shape[:2] for path in paths]
    return f"{sum(labelled)} of {len(paths)} labelled"


def _short(message: str, root: Path) -> str:
    text = re.sub(r"\s+", " ", message.replace("error:", "").replace(f"{root}/", "")).strip()
    text = text if len(text) <= 110 else text[:107] + "..."
    return text.replace("|", "\\|").replace("*", "\\*")


def main() -> None:
    lines = [
        "| kind | right | read | aligned | `audit` | `train` | `predict` |",
        "|---|---|---|---|---|---|---|",
    ]
    wrong = []
    for name, kind in track(own_data.KINDS.items(), description="kinds"):
        with tempfile.TemporaryDirectory() as place:
            root = Path(place)
            outcome = own_data.read(kind, root / "read")
            settings = kind.write(root, own_data.truth_of())
            typed = words({"class_names": own_data.TWO, "val_fraction": 0.34} | settings)
            found = findings([*typed, f"paths.cache={root / 'audits'}"])
            ending, checkpoint = trained(root, typed)
            labelled = "" if checkpoint is None else predicted(root / "images", checkpoint)
        right = "refused" if kind.refused else "read"
        read = "refused" if outcome.message else f"{outcome.found:,} of {outcome.true:,} px"
        if (outcome.message is None) == bool(kind.refused) or (checkpoint is None) != bool(kind.refused):
            wrong.append(name)
        aligned = "" if outcome.message or not outcome.found else f"{outcome.aligned:.3f}"
        shown = name.replace("*", "\\*")
        lines.append(f"| {shown} | {right} | {read} | {aligned} | {found} | {ending} | {labelled} |")
    total = len(own_data.KINDS)
    read = sum(not kind.refused for kind in own_data.KINDS.values())
    lines += [
        "",
        f"{total} kinds: {read} are to be read, {total - read} to be refused; {len(wrong)} were otherwise{': ' * bool(wrong)}{', '.join(wrong)}.",
    ]
    (Path(__file__).parent / "table.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(lines[-1])


if __name__ == "__main__":
    main()
