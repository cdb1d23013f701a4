"""What is said where the machine does not suffice."""

import errno
import os

import pytest
import torch

from atrous.config.messages import error_message


@pytest.mark.parametrize(
    ("error", "parts"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), ["the disk is full", "paths.runs=", "resume=auto"]),
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB."),
            ["data.batch_size", "accumulate_grad_batches"],
        ),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 9 bytes."),
            ["gradient_checkpointing", "eval_batch_size"],
        ),
    ],
)
def test_used_up_disks_and_memory_are_told_by_what_needs_less(error, parts):
    wrapped = RuntimeError("the writer failed")  # as torch's and Lightning's own
    wrapped.__cause__ = error
    for each in (error, wrapped):
        assert all(part in error_message(each) for part in parts)
    assert error_message(RuntimeError("something else")) is None


def test_a_run_whose_checkpoint_finds_no_room_says_so(train_run, result_of, monkeypatch, tmp_path, capsys):
    def save(checkpoint, file):
        file.write(b"some of it")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(SystemExit):
        train_run(tmp_path)
    assert "the disk is full" in capsys.readouterr().err
    (result,) = tmp_path.rglob("result.json")
    assert result_of(result.parent)["status"] == "failed"
    assert not list(tmp_path.rglob("*.part"))
