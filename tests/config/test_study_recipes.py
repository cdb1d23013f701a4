"""Every study in conf/experiment: the jobs that it says it has, each with a network that can be built."""

import re

import pytest
import torch

from atrous.cli import train
from atrous.config.compose import CONF_DIR
from atrous.engine.build import build_model
from atrous.runs.record import RunRecord

STUDIES = {
    path.stem: path.read_text()
    for path in (CONF_DIR / "experiment").glob("*.yaml")
    if "shared/study" in path.read_text()
}
EXPERIMENTS = CONF_DIR.parent / "experiments"


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_has_the_jobs_that_it_says(name, tmp_path, monkeypatch, camvid_root):
    jobs = []

    def run(config, folder, *_):
        jobs.append(config)
        RunRecord(folder, config).update(status="finished", scores={"miou": 0.5}, steps=7)
        return 0.5

    monkeypatch.setattr("atrous.engine.fit.run", run)
    root = [f"data.root={camvid_root}"] * name.endswith("_camvid")
    train.main(["-m", f"experiment={name}", "seed=0", f"paths.runs={tmp_path}", *root])
    header = re.match(r"(#.*\n)+", STUDIES[name])[0]
    assert len(jobs) == int(re.search(r"(\d+) jobs", header)[1]) / 3  # one of three seeds
    assert f"#   python train.py -m experiment={name}" in header
    answered = re.search(r"experiments/(\w+)", header)
    assert (EXPERIMENTS / answered[1] / "README.md").exists() if answered else "Not run yet." in header
    for config in jobs:
        with torch.device("meta"):
            output = build_model(config).eval()(torch.zeros(1, 3, 96, 128))
        assert output.logits.shape[1] == config["data"]["num_classes"]
