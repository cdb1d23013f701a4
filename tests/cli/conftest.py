import json
from pathlib import Path

import pytest

from atrous.cli import train

TINY = [
    "trainer=cpu",
    "trainer.max_epochs=2",
    "trainer.log_every_n_steps=1",
    "data.train.length=8",
    "data.val.length=4",
    "data.size=[64,64]",
    "data.train_transform.crop_size=[64,64]",
    "data.context_distance=8",
    "data.scale_range=[4,16]",
    "data.batch_size=4",
    "data.num_workers=0",
    "model.decoder_channels=8",
    "model.aspp_channels=8",
]


@pytest.fixture(scope="session")
def tiny():
    """Overrides that train in a second or two."""
    return TINY


@pytest.fixture(scope="session")
def train_run():
    """Trains with the given overrides below a folder and returns the run folder."""

    def run(runs: Path, *overrides: str) -> Path:
        train.main([*TINY, f"paths.runs={runs}", *overrides])
        (result,) = runs.rglob("result.json")
        return result.parent

    return run


@pytest.fixture(scope="session")
def finished_run(train_run, tmp_path_factory):
    """A run folder that several tests read and none changes."""
    return train_run(tmp_path_factory.mktemp("finished"))


@pytest.fixture(scope="session")
def result_of():
    return lambda folder: json.loads((folder / "result.json").read_text())
