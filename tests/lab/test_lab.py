"""`lab`: what it measures against direct computations, what it keeps, and what it leaves out."""

from __future__ import annotations

import csv
import json
import shutil
import statistics

import numpy as np
import pytest
import torch
import yaml
from fixtures import write_camvid
from torch.nn import functional as F

from atrous.analysis.profile import measure_points
from atrous.cli import lab, train
from atrous.config.compose import compose_groups
from atrous.data.scenes.scenes import Scenes
from atrous.engine.build import build_model
from atrous.lab import measure as lab_measure
from atrous.lab.store import Store, digest

QUICK = ["context_distances=[4,20]", "effective_images=1", "latency_rounds=2", "warm_up=0"]
KNOBS = ("size", "seed", "scale_range", "thin_width", "rare_probability", "rare_size", "color_variation", "texture",
         "light", "noise")  # fmt: skip


@pytest.fixture(scope="module")
def study(train_run, tmp_path_factory):
    """Rates [1,2] at output stride 16 with two seeds, whose last layer is random to label all classes, and [6] at 8."""
    root = tmp_path_factory.mktemp("study")
    for name, overrides in {
        "a": ["model.dilations=[1,2]"],
        "c": ["model.dilations=[6]", "model.output_stride=8"],
    }.items():
        made = train_run(root / "made" / name, "trainer.max_epochs=1", "extra_metrics=true", *overrides)
        shutil.move(made, root / name)
    shutil.rmtree(root / "made")
    shutil.copytree(root / "a", root / "b")
    config = (root / "b" / "config.yaml").read_text()
    assert "\nseed: 0\n" in config
    (root / "b" / "config.yaml").write_text(config.replace("\nseed: 0\n", "\nseed: 1\n"))
    result = json.loads((root / "b" / "result.json").read_text())
    result["scores"]["miou"] += 0.1
    result["objects"]["recall"][0] += 0.2
    (root / "b" / "result.json").write_text(json.dumps(result))
    for seed, name in enumerate("ab"):
        path = root / name / "checkpoints" / "best.ckpt"
        checkpoint = torch.load(path, weights_only=True)
        weights = checkpoint["state_dict"]["model.classifier.weight"]
        weights.copy_(torch.randn(weights.shape, generator=torch.Generator().manual_seed(seed)))
        torch.save(checkpoint, path)
    return root


@pytest.fixture(scope="module")
def in_process():
    """Measures memory in this process, which spares ten seconds of imports a setting."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            lab_measure,
            "measure_apart",
            lambda model, points, options: measure_points(model, points, **options),
        )
        yield


@pytest.fixture(scope="module")
def out(study, in_process, tmp_path_factory):
    folder = tmp_path_factory.mktemp("out")
    lab.main([str(study), f"out={folder}", *QUICK])
    return folder


@pytest.fixture(scope="module")
def measured(out):
    return json.loads((out / "lab.json").read_text())


def labels_of(folder, knobs, distance):
    """Truth and prediction of the val scenes at a distance, by a plain loop over images."""
    checkpoint = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)
    net = build_model(checkpoint["config"]).eval()
    weights = checkpoint["state_dict"]
    net.load_state_dict({key.removeprefix("model."): weights[key] for key in weights if key.startswith("model.")})
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    scenes = Scenes(split="val", length=4, context_distance=distance, **knobs)
    for index in range(4):
        image = ((scenes[index].image / 255 - mean) / std).transpose(2, 0, 1)
        with torch.no_grad():
            logits = net(torch.tensor(image[None], dtype=torch.float32)).logits
        yield scenes[index].mask, F.interpolate(logits, size=(64, 64), mode="bilinear")[0].argmax(0).numpy()


def test_the_numbers_are_those_of_direct_computations(measured, study):
    folded, alone = measured["variants"]
    assert [variant["label"] for variant in (folded, alone)] == [
        "dilations=[1,2], output_stride=16",
        "dilations=[6], output_stride=8",
    ]
    # IoU of the two classes of field, and how often a field's pixel called a field is called the right one
    config = yaml.safe_load((study / "a" / "config.yaml").read_text())["data"]
    run = next(run for run in folded["runs"] if run["folder"] == str(study / "a"))
    pairs = list(labels_of(study / "a", {key: config[key] for key in KNOBS if key != "seed"}, 20))
    truth, predicted = (np.stack(part) for part in zip(*pairs, strict=True))
    fields = (4, 5)
    assert [Scenes.class_info.names[label] for label in fields] == ["field_a", "field_b"]
    ious = [((truth == f) & (predicted == f)).sum() / ((truth == f) | (predicted == f)).sum() for f in fields]
    entry = next(entry for entry in run["context"] if entry["distance"] == 20)
    assert entry["iou"] == pytest.approx(np.mean(ious), abs=2e-3)
    either = np.isin(truth, fields) & np.isin(predicted, fields)
    assert min(ious) > 0
    assert entry["right"] == pytest.approx((truth == predicted)[either].mean(), abs=1e-2)
    # receptive fields by hand: 199 pixels of ResNet-10-T's last stage, the branch, one more place of the bilinear upsampling,
    # and two 3 x 3 convolutions at stride 4
    assert folded["sees"]["field"] == [199 + 2 * 2 * 16 + 16 + 2 * 8] * 2
    assert alone["sees"]["field"] == [199 + 2 * 6 * 8 + 8 + 2 * 8] * 2
    assert folded["sees"]["image_pool"] is True
    # valid weights, counted
    for variant, side in ((folded, 4), (alone, 8)):
        (found,) = variant["sees"]["maps"]
        assert found["map"] == [side, side]
        for rate in found["rates"]:
            steps = [-rate["rate"], 0, rate["rate"]]
            places = range(side)
            counts = [
                sum(0 <= y + dy < side and 0 <= x + dx < side for dy in steps for dx in steps)
                for y in places
                for x in places
            ]
            assert rate["valid"] == pytest.approx(sum(counts) / 9 / side**2)
            assert rate["all_valid"] == pytest.approx(counts.count(9) / side**2)
            assert rate["one_valid"] == pytest.approx(counts.count(1) / side**2)
    assert [rate["rate"] for rate in folded["sees"]["maps"][0]["rates"]] == [1, 2]
    assert [rate["field"] for rate in folded["sees"]["maps"][0]["rates"]] == [[231, 231], [263, 263]]
    assert 0 < run["effective"]["size"] <= 64
    for variant in (folded, alone):
        assert 0 < variant["latency"]["p05"] <= variant["latency"]["p50"] <= variant["latency"]["p95"]
        assert variant["memory"]["training"]["batch_size"] == 4
        assert variant["memory"]["training"]["error"] is variant["memory"]["inference"]["error"] is None
    assert alone["sees"]["macs"] > folded["sees"]["macs"]
    assert measured["left_out"] == ["No spread where a setting has one seed."]


def test_tables_fold_the_seeds(out, study, result_of):
    row, alone = csv.DictReader((out / "lab.csv").open())
    scores = [result_of(study / name)["scores"]["miou"] for name in "ab"]
    assert (row["model.dilations"], row["n"], alone["n"]) == ("[1,2]", "2", "1")
    assert float(row["miou"]) == pytest.approx(statistics.mean(scores))
    assert float(row["miou_std"]) == pytest.approx(statistics.stdev(scores))
    assert alone["miou_std"] == ""
    recalls = [result_of(study / name)["objects"]["recall"][0] for name in "ab"]
    assert float(row["recall_small"]) == pytest.approx(statistics.mean(recalls))
    assert row["places"] == "17"
    assert (row["theoretical_field_px"], alone["theoretical_field_px"]) == ("295", "319")
    runs = list(csv.DictReader((out / "runs.csv").open()))
    means = statistics.mean(float(run["context_iou_4px"]) for run in runs[:2])
    assert float(row["context_iou_4px"]) == pytest.approx(means)
    files = {"lab.html", "lab.json", "lab.csv", "runs.csv", "table.md", "measured"}
    files |= {f"{name}.svg" for name in ("context", "fields", "sizes", "cost", "valid", "taps")}
    assert {path.name for path in out.iterdir()} == files


def test_a_stopped_one_goes_on_and_a_second_call_measures_nothing(study, in_process, tmp_path, monkeypatch):
    command = [str(study / "c"), f"out={tmp_path}", *QUICK]
    with monkeypatch.context() as stopped:
        stopped.setattr(lab_measure, "latency", lambda *args, **kwargs: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            lab.main(command)
    assert not (tmp_path / "lab.json").exists()
    for name in ("context", "effective", "sees", "memory"):
        monkeypatch.setattr(lab_measure, name, None)
    lab.main(command)
    first = json.loads((tmp_path / "lab.json").read_text())
    monkeypatch.setattr(lab_measure, "latency", None)
    lab.main(command)
    second = json.loads((tmp_path / "lab.json").read_text())
    assert second["variants"] == first["variants"]
    assert second["latency"] == first["latency"]


def test_object_sizes_are_scored_where_the_run_has_not(study, tmp_path, result_of):
    shutil.copytree(study / "c", tmp_path / "c")
    stored = result_of(tmp_path / "c")
    expected = stored.pop("objects")
    (tmp_path / "c" / "result.json").write_text(json.dumps(stored))
    few = ["context_distances=[]", "effective_images=0", "latency_rounds=0", "memory=false"]
    lab.main([str(tmp_path / "c"), f"out={tmp_path / 'out'}", *few])
    content = json.loads((tmp_path / "out" / "lab.json").read_text())
    (run,) = content["variants"][0]["runs"]
    assert run["objects"] == expected
    assert run["miou"] == pytest.approx(stored["scores"]["miou"])
    assert (run["context"], run["effective"], content["latency"]) == ([], None, None)
    page = (tmp_path / "out" / "lab.html").read_text()
    assert "<section id=context>" not in page
    assert '<section id="context">' not in page
    assert '<section id="taps">' in page


@pytest.mark.slow  # 12 s
def test_what_does_not_apply_is_left_out_and_said(tiny, study, tmp_path):
    """A U-Net on CamVid: no rates, no context; and a run whose checkpoint is gone."""
    root = write_camvid(tmp_path / "camvid", splits={"train": 4, "val": 2}, size=(48, 64))
    made = tmp_path / "runs"
    own = [entry for entry in tiny if entry.startswith("trainer")]
    net = ["model=unet", "model.encoder.channels=[4,8]", "model.padded=true", "trainer.max_epochs=1"]
    data = ["data=camvid", f"data.root={root}", "data.train_transform.crop_size=[32,32]", "data.batch_size=2"]
    train.main([*own, *net, *data, "data.num_workers=0", f"paths.runs={made}"])
    shutil.copytree(study / "c", made / "gone")
    (made / "gone" / "checkpoints" / "best.ckpt").unlink()
    lab.main([str(made), f"out={tmp_path / 'out'}", "latency_rounds=0", "effective_images=1", "memory=false"])
    content = json.loads((tmp_path / "out" / "lab.json").read_text())
    told = " ".join(content["left_out"])
    assert "`scenes` alone draws it" in told
    assert "gone: no best.ckpt, so that nothing was measured with its weights" in told
    assert content["size"] == [48, 64]
    unet = next(variant for variant in content["variants"] if variant["network"] == "UNet")
    assert unet["sees"]["maps"] == []
    assert unet["sees"]["image_pool"] is False
    assert unet["runs"][0]["effective"]["size"] > 0
    assert unet["runs"][0]["context"] == []
    page = (tmp_path / "out" / "lab.html").read_text()
    assert "without atrous convolutions side by side has no valid weights" in page


def test_the_branches_of_deeplabv2():
    for scales in ("[1]", "[1,0.5]"):
        small = ["model.encoder.name=test_resnet", f"model.scales={scales}", "model.dilations=[2,3]"]
        seen = lab_measure.sees(build_model(compose_groups(["model=deeplabv2", *small])), [(64, 96), (32, 32)])
        assert [found["map"] for found in seen["maps"]] == [(8, 12), (4, 4)]
        first, second = seen["maps"][0]["rates"]
        assert (first["rate"], second["rate"]) == (2, 3)
        assert second["field"][0] - first["field"][0] == 2 * 8
        assert seen["image_pool"] is False


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ([], ["lab got no folder", "atrous lab runs/sweep"]),
        (["nowhere"], ["no folder nowhere", "runs/sweep"]),
        (["RUNS", "model.output_stride=8"], ["model.output_stride=8 is impossible", "as its run trained it"]),
        (["RUNS", "context_distances=4"], ["context_distances=4", "[4,8,16,32]"]),
        (["RUNS", "context_distances=[-1]"], ["context_distances=[-1]", "[4,8,16,32]"]),
        (["RUNS", "size=64"], ["size=64", "[512,1024]"]),
        (["RUNS", "split=all"], ["split=all", "train, val, test"]),
        (["RUNS", "effective_images=-1"], ["effective_images=-1", "from 0 on"]),
        (["RUNS", "threads=0"], ["threads=0", "from 1 on"]),
        (["RUNS", "memory=7"], ["memory=7", "true or false"]),
        (["EMPTY"], ["no run folder in", "Give the folder of a study"]),
    ],
)
def test_settings_that_will_not_do(study, tmp_path, capsys, arguments, parts):
    (tmp_path / "empty").mkdir()
    names = {"RUNS": str(study), "EMPTY": str(tmp_path / "empty")}
    with pytest.raises(SystemExit) as stop:
        lab.main([*(names.get(argument, argument) for argument in arguments), f"out={tmp_path / 'out'}"])
    assert stop.value.code == 1
    message = capsys.readouterr().err
    for part in parts:
        assert part in message


def test_a_distance_that_the_scenes_have_no_room_for(study, tmp_path, capsys):
    few = ["effective_images=0", "latency_rounds=0", "memory=false", "context_distances=[500]"]
    with pytest.raises(SystemExit):
        lab.main([str(study / "a"), f"out={tmp_path}", *few])
    assert "context_distance is 500; give a whole number from 0 to" in capsys.readouterr().err


def test_what_is_kept_belongs_to_its_key(tmp_path):
    store = Store(tmp_path / "measured")
    key = {"kind": "context", "checkpoint": "0", "distance": 4}
    assert store.get(key) is None
    store.put(key, {"iou": float("nan"), "right": 0.5})
    assert store.get(key) == {"iou": None, "right": 0.5}
    assert store.get({**key, "distance": 8}) is None
    (kept,) = (tmp_path / "measured").iterdir()
    kept.write_text("{half")
    assert store.get(key) is None
    for name, content in (("a", b"one"), ("b", b"one"), ("c", b"two")):
        (tmp_path / name).write_bytes(content)
    assert digest(tmp_path / "a") == digest(tmp_path / "b") != digest(tmp_path / "c")
