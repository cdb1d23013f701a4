import os
import tempfile
from pathlib import Path

import pytest

os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="atrous-cache-")  # what tests leave there is theirs alone
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # albumentations asks a registry at import otherwise
if workers := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):  # which would each take all cores, and wait for each other
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) // int(workers))))


@pytest.fixture(scope="session")
def camvid_root() -> Path:
    """The real CamVid: the folder in ATROUS_CAMVID, or shared/datasets/camvid beside the repository."""
    root = Path(os.environ.get("ATROUS_CAMVID", Path(__file__).parents[2] / "shared" / "datasets" / "camvid"))
    if not (root / "train").is_dir():
        pytest.skip(f"no CamVid at {root}; set ATROUS_CAMVID to its folder")
    return root
