import os

import pytest
import torch

from atrous.callbacks.checkpoint import AtomicCheckpointIO, LastCheckpoint
from atrous.errors import ConfigError


def test_a_checkpoint_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "checkpoints" / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"state_dict": {"weight": torch.arange(3.0)}, "epoch": 2}, path)
    read = AtomicCheckpointIO().load_checkpoint(path, weights_only=True)
    assert read["epoch"] == 2
    assert torch.equal(read["state_dict"]["weight"], torch.arange(3.0))
    assert [found.name for found in path.parent.iterdir()] == ["last.ckpt"]


@pytest.mark.parametrize("fails", ["while it is written", "before it is on the disk"])
def test_the_earlier_checkpoint_stays_until_the_next_is_whole(tmp_path, monkeypatch, fails):
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"step": 1}, path)
    content = {"step": 2}
    if fails == "while it is written":
        content["unwritable"] = (number for number in range(3))
    else:
        monkeypatch.setattr(os, "fsync", lambda file: (_ for _ in ()).throw(OSError("no space left")))
    with pytest.raises((TypeError, OSError)):
        AtomicCheckpointIO().save_checkpoint(content, path)
    assert torch.load(path, weights_only=True) == {"step": 1}


@pytest.mark.parametrize("minutes", [0, -1, "often", True])
def test_minutes_that_are_none(minutes):
    with pytest.raises(ConfigError, match=rf"every_minutes={minutes} is impossible; give a number above 0.*or null"):
        LastCheckpoint(dirpath="checkpoints", every_minutes=minutes)
