import csv

import pytest
import torch

from atrous.cli import tune_crf
from atrous.crf.dense_crf import DenseCRF
from atrous.engine.build import build_datamodule
from atrous.engine.checkpoint import restore
from atrous.inference.labels import probabilities
from atrous.metrics.confusion import confusion_matrix
from atrous.metrics.scores import summary
from atrous.report.crf import KNOBS

GRID = ["bilateral_weight=[2,5]", "bilateral_sxy=[20]", "bilateral_srgb=[10]", "iterations=[3,1]"]


@pytest.fixture(scope="module")
def ckpt(finished_run):
    return f"ckpt={finished_run}/checkpoints/best.ckpt"


def test_scores_are_those_of_each_combination_by_itself(ckpt, finished_run, tmp_path, capsys):
    tune_crf.main([ckpt, *GRID, "images=3", f"out={tmp_path}"])
    with (tmp_path / "tune_crf.csv").open() as file:
        plain, *rows = list(csv.DictReader(file))
    assert len(rows) == 4
    assert [float(row["miou"]) for row in rows] == sorted((float(row["miou"]) for row in rows), reverse=True)

    columns = KNOBS
    restored = restore(finished_run / "checkpoints" / "best.ckpt", accelerator="cpu")
    scenes = build_datamodule(restored.config).dataset("val")
    samples = [scenes[index] for index in (0, 2, 3)]  # evenly spaced among 4: 0, 1.5 and 3
    with torch.no_grad():
        net = restored.scorer.eval()
        scores = [probabilities(net(restored.normalise(s.image)[None]).logits, s.mask.shape)[0] for s in samples]

    def expected(crf):
        total = sum(
            confusion_matrix(crf(score, s.image).argmax(0), torch.from_numpy(s.mask).long(), 11, 255)
            for score, s in zip(scores, samples, strict=True)
        )
        return summary(total.numpy())["miou"]

    assert float(plain["miou"]) == pytest.approx(expected(lambda score, image: score))
    for row in rows:
        knobs = {key: float(row[key]) for key in KNOBS if key != "iterations"}
        assert float(row["miou"]) == pytest.approx(expected(DenseCRF(**knobs, iterations=int(row["iterations"]))))

    told = capsys.readouterr().out
    assert "3 images" in told
    advice = [word for word in told.split() if word.startswith("inference")]
    if float(rows[0]["miou"]) > float(plain["miou"]):
        crf = restore(finished_run / "checkpoints" / "best.ckpt", advice, accelerator="cpu").scorer.inference.crf
        assert {key: getattr(crf, key) for key in columns} == {key: float(rows[0][key]) for key in columns}
    else:
        assert not advice


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("bilateral_sxy=40", "bilateral_sxy=40 is impossible; give a list, each a number"),
        ("gaussian_sxy=[]", "gaussian_sxy=[] is impossible"),
        ("iterations=[0,5]", "each a whole number from 1 on, not empty, such as 'iterations=[1,2,5,10]'"),
        ("images=0", "images=0 is impossible"),
        ("bilateral_srgb=[10,0]", "bilateral_srgb=0 is impossible"),
    ],
)
def test_an_impossible_grid_is_told_before_the_network_is_built(given, told, tmp_path, capsys):
    with pytest.raises(SystemExit):
        tune_crf.main(["ckpt=absent.ckpt", given, f"out={tmp_path / 'out'}"])
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
