"""The closing commands of a training are fit to be pasted."""

import shlex
from pathlib import Path

import pytest

from atrous.report.training import next_commands

OURS = {"_target_": "atrous.models.unet.UNet"}
SCENES = {"dataset": {"_target_": "atrous.data.scenes.scenes.Scenes"}}
CAMVID = {"dataset": {"_target_": "atrous.data.camvid.CamVid"}}


def commands(command, model=OURS, data=CAMVID, best="runs/a/best.ckpt"):
    return next_commands(command, {"model": model, "data": data, "inference": {}}, Path(best))


@pytest.mark.parametrize("program", ["python train.py", "python -m atrous train"])
def test_more_seeds_are_the_same_command_by_the_same_program(program):
    found = commands(f"{program} model=unet 'model.encoder.channels=[4,8]' seed=3 resume=auto")
    assert found["more seeds"] == f"{program} -m model=unet 'model.encoder.channels=[4,8]' seed=0,1,2"


def test_real_data_follow_scenes_alone():
    assert "real data" not in commands("python train.py")
    assert commands("python -m atrous train", data=SCENES)["real data"].startswith("python -m atrous train ")


def test_quotes_and_trust():
    found = commands("python train.py", model={"_target_": "nets.mine.Net"}, best="my runs/a=b/best.ckpt")
    words = shlex.split(found["predict"])
    assert words[:6] == ["python", "-m", "atrous", "predict", "ckpt=my runs/a=b/best.ckpt", "trusted=[nets.]"]
