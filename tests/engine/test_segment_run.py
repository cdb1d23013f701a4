"""`method=` in place of a network: the same commands, the same files."""

import json

import numpy as np
import pytest
import yaml
from fixtures import write_camvid
from PIL import Image

import atrous
from atrous.cli import evaluate, predict, profile, report, train
from atrous.metrics.scores import summary

DATA = [
    "data.val.length=3",
    "data.size=[64,64]",
    "data.context_distance=8",
    "data.scale_range=[4,16]",
    "data.num_workers=0",
]


def segment(runs, *words):
    train.main([*DATA, f"paths.runs={runs}", *words])
    (result,) = runs.rglob("result.json")
    return result.parent


@pytest.fixture(scope="module")
def kmeans_run(tmp_path_factory):
    return segment(tmp_path_factory.mktemp("kmeans"), "method=kmeans", "method.clusters=4")


def message_of(capsys, command, words):
    with pytest.raises(SystemExit):
        command(words)
    return capsys.readouterr().err


def test_a_method_leaves_a_runs_files(kmeans_run, result_of):
    result, stored = result_of(kmeans_run), np.load(kmeans_run / "confusion.npz")
    assert result["status"] == "finished"
    assert stored["matrices"].shape == (3, 11, 11)
    expected = summary(stored["matrices"].sum(0))
    assert result["scores"] == {key: pytest.approx(value, nan_ok=True) for key, value in expected.items()}
    assert "majority" in result["protocol"]["matching"]
    assert "clusters 4" in result["protocol"]["inference"]
    assert result["segments"]["number"] == 4
    assert 0 < result["segments"]["covering"] < 1
    assert len((kmeans_run / "per_image.csv").read_text().splitlines()) == 4
    assert len(list((kmeans_run / "samples").glob("*.png"))) == 3
    assert not {"model", "loss", "optimizer"} & set(yaml.safe_load((kmeans_run / "config.yaml").read_text()))
    assert "val/miou" in (kmeans_run / "metrics.csv").read_text()


def test_it_is_found_again_and_compared_with_a_network(kmeans_run, train_run, tmp_path, capsys):
    words = [*DATA, f"paths.runs={kmeans_run.parents[1]}", "method=kmeans", "method.clusters=4", "resume=auto"]
    train.main(words)
    assert "finished" in capsys.readouterr().out
    network = train_run(tmp_path, "data.val.length=3", "trainer.max_epochs=1")
    found = atrous.compare(kmeans_run, network)
    assert found.difference.low <= found.difference.score <= found.difference.high
    assert any("matching" in note for note in found.notes)
    report.main([str(kmeans_run), str(network), f"out={tmp_path / 'report'}"])
    table = (tmp_path / "report" / "table.md").read_text()
    assert "kmeans" in table
    assert "not comparable" not in table


def test_a_study_and_the_matching_over_the_data(tmp_path, result_of):
    words = ["method=kmeans", "method.train_images=2", "data.train.length=2", "method.clusters=2,5"]
    train.main(["-m", *DATA, f"paths.runs={tmp_path}", *words, "matching.by=hungarian", "matching.over=data"])
    two, five = (result_of(next(tmp_path.glob(f"sweep/clusters-{count}-*"))) for count in (2, 5))
    assert two["status"] == five["status"] == "finished"
    assert "whole split" in two["protocol"]["matching"]
    predicted = [
        np.load(next(tmp_path.glob(f"sweep/clusters-{n}-*")) / "confusion.npz")["matrices"].sum((0, 1)) for n in (2, 5)
    ]
    assert [np.count_nonzero(columns) for columns in predicted] == [2, 5]


def test_camvid_and_its_void(tmp_path, result_of):
    root = write_camvid(tmp_path / "camvid", splits={"train": 1, "val": 2})
    train.main(
        [f"paths.runs={tmp_path / 'runs'}", "data=camvid", f"data.root={root}", "method=slic", "method.segments=12"]
    )
    (path,) = (tmp_path / "runs").rglob("result.json")
    result = json.loads(path.read_text())
    assert result["protocol"]["images"] == 2
    assert result["scores"]["pixel_accuracy"] == pytest.approx(
        np.load(path.parent / "confusion.npz")["matrices"].sum(0).trace()
        / np.load(path.parent / "confusion.npz")["matrices"].sum()
    )


def test_predict_needs_no_checkpoint(tmp_path, capsys):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 61, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    words = [f"images={tmp_path / 'photo.png'}", f"out={tmp_path / 'out'}", "method.clusters=3", "iterates=true"]
    predict.main(["method=kmeans", *words])
    labels = np.array(Image.open(tmp_path / "out" / "labels" / "photo.png"))
    assert labels.shape == (40, 61)
    assert set(np.unique(labels)) == {0, 1, 2}
    assert Image.open(tmp_path / "out" / "overlays" / "photo.png").size == (61, 40)
    assert (tmp_path / "out" / "iterates" / "photo.png").exists()
    predict.main(["method=slic", "split=val", *DATA, f"out={tmp_path / 'split'}", "overlay=false"])
    assert len(list((tmp_path / "split").rglob("*.png"))) == 3
    predict.main(
        ["method=graph_cut", "split=val", *DATA, f"out={tmp_path / 'seeded'}", "overlay=false"]
    )  # from the truth
    assert len(list((tmp_path / "seeded").rglob("*.png"))) == 3
    assert "3 images" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["method=kmeans", "model=unet"], ["model", "method=KMeans"]),
        (["method=kmeans", "weights=x.ckpt"], ["weights=x.ckpt", "Leave out weights"]),
        (["method=kmeans", "method.clusters=0"], ["method.clusters=0", "from 1"]),
        (["method=slic", "matching.over=data"], ["matching.over=data", "matching.over=image"]),
        (["method=slic", "matching.by=hungarian"], ["matching.by=hungarian", "majority"]),
        (["method=slic", "matching.by=seeds"], ["matching.by=seeds", "majority"]),
        (["method=graph_cut", "matching.by=majority"], ["matching.by=majority", "seeds"]),
        (["method=slic", "extra_metrics=true"], ["extra_metrics=true", "false"]),
        (["method=slic", "trainer.devices=2"], ["trainer.devices=2", "1"]),
    ],
)
def test_what_a_method_cannot_do(capsys, tmp_path, words, parts):
    message = message_of(capsys, train.main, [*DATA, f"paths.runs={tmp_path}", *words])
    assert all(part in message for part in parts), message


def test_commands_that_need_a_network_say_so(capsys, kmeans_run, tmp_path):
    photo = tmp_path / "photo.png"
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(photo)
    for command, words, part in (
        (evaluate.main, [f"ckpt={kmeans_run}"], "no weights"),
        (predict.main, [f"ckpt={kmeans_run}", f"images={photo}"], "no weights"),
        (profile.main, [f"runs=[{kmeans_run}]"], "no network"),
        (predict.main, [f"images={photo}"], "method=slic"),
        (predict.main, ["method=slik", f"images={photo}"], "slic"),
        (predict.main, ["method=slic", f"images={photo}", "probabilities=true"], "probabilities=true"),
        (predict.main, ["method=slic", f"images={photo}", "inference=slide"], "inference"),
        (predict.main, ["method=kmeans", f"images={photo}", "method.clusters=65"], "method.clusters=64"),
    ):
        assert part in message_of(
            capsys, command, [*words, f"out={tmp_path / 'out'}"] if command is not profile.main else words
        )
