"""Exports checkpoints, checks them on CamVid, and times onnxruntime beside torch; prints a table row for each."""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from atrous.config.compose import prepare
from atrous.engine.build import build_datamodule
from atrous.engine.checkpoint import Restored, restore
from atrous.engine.export import check_images, export, size_range
from atrous.export.runtime import Network

ROUNDS = 9


def main(checkpoints: list[str], root: str) -> None:
    prepare()
    torch.set_num_threads(1)
    print(
        "| model | equal labels | logits' largest difference | of their deviation | sizes | MB | onnxruntime / torch |"
    )
    print("|---|---:|---:|---:|---|---:|---:|")
    for checkpoint in checkpoints:
        with tempfile.TemporaryDirectory() as folder:
            restored = restore(Path(checkpoint), [f"data.root={root}"], accelerator="cpu")
            images = check_images(restored, split="val", paths=None, count=4)
            (path,) = export(restored, images, Path(folder), formats=["onnx"])
            megabytes = path.stat().st_size / 1e6
            network = Network(str(path), threads=1)
        check, sizes = network.description["check"], network.description["sizes"]
        taken = ", ".join(size_range(name, *found) for name, found in sizes.items() if name != "batch")
        image = np.ascontiguousarray(build_datamodule(restored.config).dataset("val")[0].image)
        ratio = latency(restored, network, image)
        print(
            f"| {network.description['model'].rpartition('.')[2]} | {check['equal']:.4%} | {check['max_difference']:.1e} | "
            f"{check['max_difference'] / check['spread']:.1e} | {taken} | {megabytes:.1f} | {ratio:.2f} |",
            flush=True,
        )
    print(json.dumps({"torch": torch.__version__, "onnxruntime": onnxruntime.__version__}))


def latency(restored: Restored, network: Network, image: np.ndarray) -> float:
    """CPU time of onnxruntime's labels of one image over that of torch's, the two taking turns: medians."""
    from atrous.export.graph import PixelsToLabels

    transform = restored.transform
    eager = PixelsToLabels(model=restored.scorer.model, mean=transform.mean, std=transform.std).eval()
    tensor = torch.from_numpy(image[None])
    times: dict[str, list[float]] = {"torch": [], "onnxruntime": []}
    with torch.no_grad():
        for _ in range(ROUNDS + 1):
            start = time.process_time()
            eager(tensor)
            middle = time.process_time()
            network.run(image[None], ["labels"])
            times["torch"].append(middle - start)
            times["onnxruntime"].append(time.process_time() - middle)
    return statistics.median(times["onnxruntime"][1:]) / statistics.median(times["torch"][1:])


if __name__ == "__main__":
    main(sys.argv[2:], sys.argv[1])
