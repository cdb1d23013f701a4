import json
import os
import tempfile
from pathlib import Path

import pytest

from atrous.system.devices import cores  # imports no torch

os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="atrous-cache-")  # what tests leave there is theirs alone
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # albumentations asks a registry at import otherwise
if workers := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):  # which would each take all cores, and wait for each other
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores() // int(workers))))


@pytest.fixture(scope="session")
def camvid_root() -> Path:
    """The real CamVid: the folder in ATROUS_CAMVID, or shared/datasets/camvid beside the repository."""
    root = Path(os.environ.get("ATROUS_CAMVID", Path(__file__).parents[2] / "shared" / "datasets" / "camvid"))
    if not (root / "train").is_dir():
        pytest.skip(f"no CamVid at {root}; set ATROUS_CAMVID to its folder")
    return root


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

    from atrous.cli import train

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
