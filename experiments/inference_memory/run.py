"""What `predict` holds in memory and how long it takes, against the image's side; writes README.md and memory.png beside this file.

    python experiments/inference_memory/run.py [--scratch FOLDER]

Linux only: peak memory is what the system tells of a finished process.
"""

from __future__ import annotations

import argparse
import os
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

HERE = Path(__file__).parent
SIDES = (1000, 5000, 20_000)
CLASSES = 11
NETWORK = [
    "model=custom",
    "model._target_=torch.nn.Conv2d",
    "~model.num_classes",
    "+model.in_channels=3",
    f"+model.out_channels={CLASSES}",
    "+model.kernel_size=16",
    "+model.stride=8",
    "+model.padding=4",
]
MODE = ["inference=slide", "inference.window=[512,512]", "inference.stride=[448,448]"]
LIMIT = 3.0  # GiB, at the largest side


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--scratch", type=Path, help="a folder with 3 GB of room")
    parser.add_argument("--sides", type=int, nargs="+", default=SIDES)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as folder:
        scratch = Path(folder)
        child(write_checkpoint, scratch / "net.ckpt")
        idle, _, _ = measured([sys.executable, "-c", "import torch, lightning.pytorch, atrous.engine.predict"])
        rows = []
        for side in arguments.sides:
            child(write_image, scratch / "image.png", side)
            out = scratch / f"out{side}"
            command = [
                sys.executable,
                "-m",
                "atrous",
                "predict",
                f"ckpt={scratch}/net.ckpt",
                f"images={scratch}/image.png",
            ]
            command += [f"out={out}", "accelerator=cpu", f"max_pixels={side * side}", *MODE]
            peak, cpu, wall = measured(command)
            size = (scratch / "image.png").stat().st_size
            rows.append((side, size, peak, cpu, wall, check(out / "labels" / "image.png", side)))
            print(rows[-1], flush=True)
            (scratch / "image.png").unlink()
    write_readme(rows, idle)
    write_plot(rows, idle)


def child(task: object, *arguments: object) -> None:
    """Runs in a process of its own, so that what it holds is gone afterwards."""
    pid = os.fork()
    if pid == 0:
        try:
            task(*arguments)  # type: ignore[operator]
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    if status:
        raise SystemExit(f"{task} failed")


def measured(command: list[str]) -> tuple[float, float, float]:
    """Peak resident memory in GiB, processor and wall-clock seconds of a command."""
    started = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed")
    return usage.ru_maxrss / 2**20, usage.ru_utime + usage.ru_stime, time.monotonic() - started


def write_checkpoint(path: Path) -> None:
    """A network with random weights, as a training leaves one."""
    from dataclasses import asdict

    import torch
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf, open_dict

    from atrous.config.compose import CONF_DIR, prepare
    from atrous.engine.build import build_datamodule, build_model

    prepare()
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        composed = compose("train", overrides=["trainer=cpu", "paths.cache=null", *NETWORK])
    with open_dict(composed):
        kept = {
            key: composed[key]
            for key in ("seed", "paths", "data", "model", "optimizer", "task", "trainer", "inference")
        }
    config = OmegaConf.to_container(OmegaConf.create(kept), resolve=True)
    torch.manual_seed(0)
    model = build_model(config)
    info = build_datamodule(config).class_info
    weights = {f"model.{key}": value for key, value in model.state_dict().items()}
    torch.save({"state_dict": weights, "config": config, "class_info": asdict(info)}, path)


def write_image(path: Path, side: int) -> None:
    """A picture of the `scenes` data set, side by side, under noise; written row by row with PNG's filter 2 (up)."""
    import numpy as np

    from atrous.data.scenes.scenes import Scenes

    scene = Scenes(split="val", length=1, size=[512, 512], context_distance=32, scale_range=[16, 256], seed=0)[0].image
    rng = np.random.default_rng(0)
    line = np.tile(scene, (1, -(-side // 512), 1))[:, :side]  # (512, side, 3)
    stream = zlib.compressobj(1)
    above = np.zeros(side * 3, np.uint8)
    with path.open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        chunk(file, b"IHDR", struct.pack(">II5B", side, side, 8, 2, 0, 0, 0))
        for top in range(0, side, 512):
            count = min(512, side - top)
            noise = rng.integers(0, 4, (count, side, 3), np.uint8)
            rows = (line[:count] // 2 + noise).reshape(count, -1)
            filtered = np.full((count, side * 3 + 1), 2, np.uint8)
            filtered[:, 1:] = rows - np.concatenate([above[None], rows[:-1]])
            above = rows[-1]
            chunk(file, b"IDAT", stream.compress(filtered.tobytes()))
        chunk(file, b"IDAT", stream.flush())
        chunk(file, b"IEND", b"")


def chunk(file: object, name: bytes, data: bytes) -> None:
    parts = struct.pack(">I", len(data)), name, data, struct.pack(">I", zlib.crc32(name + data))
    file.write(b"".join(parts))  # type: ignore[attr-defined]


def check(path: Path, side: int) -> int:
    """The labels are all there; returns how many classes they name, in their first rows."""
    import numpy as np
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None
    labels = Image.open(path)
    assert labels.size == (side, side)
    return len(np.unique(np.asarray(labels.crop((0, side - 64, side, side)))))


def write_readme(rows: list[tuple[int, int, float, float, float, int]], idle: float) -> None:
    table = "\n".join(
        f"| {side:,} | {side * side / 1e6:,.0f} | {size / 2**20:,.0f} | {peak:.2f} | {cpu:,.0f} | {wall:,.0f} | {slope(rows[0], side, cpu)} |"
        for side, size, peak, cpu, wall, _ in rows
    )
    largest = max(rows)
    text = f"""# Does the memory of `predict` grow with the image?

**Question.** Does labelling a PNG of 20,000 x 20,000 pixels with `inference=slide` take at most {LIMIT:.0f} GiB of resident memory, torch
included, and as long per megapixel as a small one?

    python experiments/inference_memory/run.py

This page and the plot are written by that command.

**Protocol.** `python -m atrous predict {" ".join(MODE)}` on a CPU, overlay
included, each image in a process of its own; its peak memory and processor time as the system tells them at its end. The image is a picture of `scenes`, side by side, under
noise, as a PNG of 8-bit colours. The network is one convolution with random weights, {CLASSES} classes at stride 8: what is measured is all
that is not the network, whose own share is that of a batch of windows whatever the image. The machine was shared, so that wall clocks
say little.

![peak memory and time against the side](memory.png)

| side | megapixels | file, MiB | peak, GiB | processor, s | wall clock, s | processor s per megapixel beyond the smallest |
|---:|---:|---:|---:|---:|---:|---:|
{table}

Python with torch, Lightning and this package imported and nothing done takes {idle:.2f} GiB.

**Finding.** {largest[2]:.2f} GiB at {largest[0]:,} x {largest[0]:,} pixels, {"within" if largest[2] <= LIMIT else "MORE THAN"} the {LIMIT:.0f} GiB asked for.
What grows is one row of windows: classes x window's height x image's width scores of four bytes, which are kept in a file beyond
512 MiB, and as many rows of the image. Decoded pixels lie in a temporary file in `out`, three bytes each.

**What it does not show.** JPEG, interlaced PNG, PNG of 1 to 4 bits and TIFF of separate planes are decoded whole.
`inference=multiscale` over windows holds a row of windows for each scale and flip; `inference=whole` holds everything.
"""
    (HERE / "README.md").write_text(text)


def slope(first: tuple[int, int, float, float, float, int], side: int, cpu: float) -> str:
    more = (side**2 - first[0] ** 2) / 1e6  # megapixels
    return f"{(cpu - first[3]) / more:.2f}" if more else "–"


def write_plot(rows: list[tuple[int, int, float, float, float, int]], idle: float) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (memory, time_) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    sides = [row[0] for row in rows]
    memory.plot(sides, [row[2] for row in rows], "o-", label="peak")
    memory.axhline(idle, color="grey", ls=":", label="imports alone")
    memory.axhline(LIMIT, color="tab:red", ls="--", label="limit")
    memory.plot(sides, [3 * side * side / 2**30 for side in sides], color="tab:grey", lw=1, label="the decoded image")
    memory.set(xlabel="side, pixels", ylabel="GiB", ylim=0)
    memory.legend(frameon=False, fontsize=8)
    time_.plot([side * side / 1e6 for side in sides], [row[3] for row in rows], "o-")
    time_.set(xlabel="megapixels", ylabel="processor seconds", xlim=0, ylim=0)
    figure.savefig(HERE / "memory.png", dpi=110)


if __name__ == "__main__":
    main()
