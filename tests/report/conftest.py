from __future__ import annotations

import pytest
from report.study_folders import write_run


@pytest.fixture
def grid(tmp_path):
    """output_stride 8 and 16 with three seeds each; 8 is better."""
    number = 0
    for stride, accuracy in ((8, 0.85), (16, 0.75)):
        for seed in range(3):
            number += 1
            write_run(
                tmp_path / "runs" / f"{number}",
                accuracy=accuracy,
                seed=seed,
                settings={"model.output_stride": stride, "model.encoder.output_stride": stride},
                command=f"python train.py model.output_stride={stride} seed={seed}",
                samples=("val_000", "val_001"),
            )
    return tmp_path / "runs"
