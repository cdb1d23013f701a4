import json

import pytest
from PIL import Image

from atrous.cli import analyse, train

SMALL = ["model.encoder.name=test_resnet", "model.aspp_channels=8", "model.decoder_channels=8"]


def test_what_is_shown_and_written(tmp_path, capsys):
    settings = ["size=[64,96]", "images=2", f"out={tmp_path / 'seen'}"]
    analyse.main(["model=deeplabv3plus_small", "model.upsample=transposed", *SMALL, *settings])
    shown = capsys.readouterr().out
    for part in (
        "DeepLabV3Plus: receptive fields",
        "aspp.atrous.2",
        "whole image",
        "checkerboard of upsample",
        "warning",
    ):
        assert part in shown
    assert "rates 6, 12, 18 on a map of 4 x 6" in " ".join(shown.split())
    report = json.loads((tmp_path / "seen" / "analysis.json").read_text())
    fields = {part["name"]: part["field"] for part in report["receptive_fields"]}
    assert fields["logits"] == [None, None]
    assert fields["aspp.atrous.1"][0] - fields["aspp.atrous.0"][0] == 2 * 6 * 16
    assert report["unknown_operations"] == []
    wide = [convs for convs in report["atrous_convolutions"] if convs["degenerate"]]
    assert [convs["dilation"] for convs in wide] == [[6, 6], [12, 12], [18, 18]]
    assert 0 < report["effective_field"]["size"] <= 96
    assert report["effective_field"]["weights"] == "random"
    assert Image.open(tmp_path / "seen" / "analysis.png").size[0] > 500


def test_a_checkpoint_on_its_own_images(finished_run, tmp_path):
    ckpt = finished_run / "checkpoints" / "best.ckpt"
    analyse.main([f"ckpt={ckpt}", "inputs=val", "images=2", f"out={tmp_path}", "model.output_stride=8"])
    report = json.loads((tmp_path / "analysis.json").read_text())
    assert report["size"] == [64, 64]
    assert report["effective_field"]["weights"] == str(ckpt)
    assert report["model"]["encoder"]["output_stride"] == 8


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["size=64"], ["size=64", "[512,1024]"]),
        (["images=-1"], ["images=-1", "from 0 on"]),
        (["inputs=dreams"], ["inputs=dreams", "noise, train, val, test"]),
        (["model=deeplabv9"], ["deeplabv9"]),
        (["model.output_stride=5"], ["output stride 5"]),
        (["ckpt=nowhere.ckpt"], ["no checkpoint at nowhere.ckpt"]),
    ],
)
def test_settings_that_will_not_do(capsys, arguments, parts):
    with pytest.raises(SystemExit) as stop:
        analyse.main(["out=null", *arguments])
    assert stop.value.code == 1
    message = capsys.readouterr().err
    for part in parts:
        assert part in message


def test_a_training_says_that_its_rates_are_as_large_as_its_maps(tmp_path, tiny):
    train.main([*tiny, f"paths.runs={tmp_path}", "trainer.max_epochs=1"])
    assert "rates 6, 12, 18 on a map of 4 x 4, of images of 64 x 64" in next(tmp_path.rglob("train.log")).read_text()
