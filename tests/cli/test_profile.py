import csv
import json

import pytest
import torch
import yaml
from hydra.utils import instantiate

from atrous.analysis import profile as measuring
from atrous.analysis.measure import resident
from atrous.cli import profile

SMALL = ["model.encoder.name=test_resnet", "model.aspp_channels=8", "data.num_classes=5"]
POINT = {"size": [32, 48], "batch_size": 2, "precision": "32-true", "mode": "inference"}
OPTIONS = {"warm_up": 0, "repeats": 2, "threads": None, "accelerator": "cpu"}


@pytest.fixture
def config():
    from atrous.config.compose import compose_groups

    return compose_groups(["model=deeplabv3", "model.multi_grid=[1,1]", *SMALL])["model"]


@pytest.fixture
def in_process(monkeypatch):
    """Measures in this process, which spares ten seconds of imports a network."""

    def measure_here(model, points, options):
        return measuring.measure_points(model, points, **options)

    monkeypatch.setattr(measuring, "measure_apart", measure_here)


def test_rows_of_one_network(config):
    alone = {**POINT, "batch_size": 1, "mode": "training"}
    good, bad = measuring.measure_points(config, [POINT, alone], **OPTIONS)
    net = instantiate(config)
    assert good["parameters"] == sum(p.numel() for p in net.parameters())
    with torch.utils.flop_counter.FlopCounterMode(display=False) as counter, torch.no_grad():
        net.eval()(torch.zeros(1, 3, 32, 48))
    assert good["macs"] == counter.get_total_flops() // 2
    assert good["error"] is None
    assert bad["error"].startswith("a batch of one image can't train a BatchNorm")
    assert "p50" not in bad
    assert (good["peak_memory"] is None) == (resident() is None)


def test_in_a_process_of_its_own_whose_end_is_told(config):
    """Its second point ends it; the rows of that and of the third one say so."""
    ends = {**POINT, "mode": "training", "precision": "of nowhere"}
    first, *others = measuring.measure_apart(config, [POINT, ends, POINT], OPTIONS)
    assert first["p50"] > 0
    assert [row["error"] for row in others] == ["KeyError: 'of nowhere'"] * 2


def test_globs_settings_and_runs_in_one_table(in_process, tmp_path, capsys, config):
    for name, score in (("a", 0.5), ("b", 0.7)):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "config.yaml").write_text(yaml.safe_dump({"model": config}))
        (tmp_path / "runs" / name / "result.json").write_text(json.dumps({"scores": {"miou": score}}))
    models = "models=['deeplabv3plus_s*','deeplabv3plus_small model.output_stride=8']"
    sizes = ["sizes=[[32,32]]", "repeats=1", "warm_up=0", f"out={tmp_path / 'out'}"]
    profile.main([models, f"runs={tmp_path}/runs/*", *sizes, *SMALL])
    names = ["deeplabv3plus_small", "deeplabv3plus_small output_stride=8", *(f"{tmp_path}/runs/{x}" for x in "ab")]
    report = json.loads((tmp_path / "out" / "profile.json").read_text())
    assert [row["model"] for row in report["rows"]] == names
    assert [row["score"] for row in report["rows"]] == [None, None, 0.5, 0.7]
    assert report["rows"][0]["macs"] < report["rows"][1]["macs"]
    table = list(csv.DictReader((tmp_path / "out" / "profile.csv").open()))
    assert [row["macs"] for row in table] == [str(row["macs"]) for row in report["rows"]]
    assert (tmp_path / "out" / "profile.png").stat().st_size > 10_000
    assert "mIoU" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["sizes=[512]"], ["sizes=[512]", "[[512,512]]"]),
        (["batch_sizes=[0]"], ["batch_sizes=[0]", "from 1 on"]),
        (["precisions=[8-true]"], ["8-true", "bf16-mixed"]),
        (["modes=[dreaming]"], ["dreaming", "inference, training"]),
        (["repeats=0"], ["repeats=0", "from 1 on"]),
        (["accelerator=abacus"], ["accelerator=abacus", "cpu, gpu"]),
        (["models=unheard*"], ["models=unheard*", "deeplabv3plus"]),
        (["runs=nowhere/*"], ["runs=nowhere/*", "config.yaml"]),
    ],
)
def test_settings_that_will_not_do(capsys, arguments, parts):
    with pytest.raises(SystemExit) as stop:
        profile.main(["out=null", *arguments])
    assert stop.value.code == 1
    message = capsys.readouterr().err
    for part in parts:
        assert part in message


def test_a_strangers_run_may_not_call_what_it_likes(tmp_path, capsys):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"model": {"_target_": "os.system", "command": "true"}}))
    (tmp_path / "result.json").write_text("{}")
    with pytest.raises(SystemExit):
        profile.main([f"runs={tmp_path}", "out=null"])
    assert "os.system" in capsys.readouterr().err
