"""The mIoU that the true masks keep when they are averaged over cells of the output stride and resized back.

python experiments/output_stride/resized_truth.py

A measure of what a stride costs, no bound: a network's scores need not be shares, and a large score reaches farther into
its neighbour's cell.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from atrous.data.scenes.scenes import CLASS_INFO, Scenes
from atrous.metrics.confusion import confusion_matrix
from atrous.metrics.scores import summary

SETTINGS = {"context_distance": 8, "scale_range": (4, 64), "rare_probability": 0.5}  # conf/data/scenes.yaml


def main() -> None:
    scenes = Scenes(split="val", size=(128, 128), length=200, **SETTINGS)
    for stride in (4, 8, 16, 32):
        confusion = torch.zeros(CLASS_INFO.num_classes, CLASS_INFO.num_classes, dtype=torch.int64)
        for index in range(len(scenes)):
            mask = torch.from_numpy(np.asarray(scenes[index].mask, np.int64))
            shares = F.one_hot(mask, CLASS_INFO.num_classes).permute(2, 0, 1)[None].float()
            cells = F.avg_pool2d(shares, stride)
            back = F.interpolate(cells, size=mask.shape, mode="bilinear", align_corners=False)
            confusion += confusion_matrix(back[0].argmax(0), mask, CLASS_INFO.num_classes, CLASS_INFO.ignore_index)
        print(f"output stride {stride:2}: mIoU {summary(confusion.numpy())['miou']:.3f}")


if __name__ == "__main__":
    main()
