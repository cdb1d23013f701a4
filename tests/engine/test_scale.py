"""Precision, compilation, gradient checkpointing and the number of devices, as they are set on the command line."""

import csv

import lightning.pytorch as pl
import numpy as np
import pytest
import torch

from atrous.cli import evaluate, train
from atrous.data.datamodule import SegmentationDataModule
from atrous.data.scenes.scenes import Scenes
from atrous.data.transforms import EvalTransform, TrainTransform
from atrous.engine.trainer import build_trainer, warn_of_slow_precision
from atrous.errors import ConfigError


@pytest.mark.parametrize(
    ("overrides", "part"),
    [
        ("trainer.precision=fp16", "trainer.precision=fp16 is impossible; give one of 32-true, bf16-mixed, 16-mixed."),
        ("trainer.precision=16", "trainer.precision=16 is impossible"),
        (
            "trainer.precision=16-mixed",
            "trainer.precision=16-mixed needs a GPU; on a CPU use trainer.precision=bf16-mixed",
        ),
        ("task.compile=max-autotune", "such as 'task.compile={mode:max-autotune}'"),
        ("task.compile={speed:fast}", "give true, false, or some of torch.compile's settings mode, backend"),
        ("task.compile={mode:fast}", "task.compile.mode=fast is unknown; choose one of default, reduce-overhead"),
        ("trainer.strategy=fsdp callbacks=ema", "callbacks.ema needs the whole weights in every process"),
        ("trainer.strategy=fsdp trainer.accelerator=gpu trainer.precision=16-mixed", "use bf16-mixed or 32-true"),
        ("trainer.num_nodes=2", "trainer.num_nodes=2, but nothing has started this command on 2 machines"),
        ("trainer.num_nodes=2", "`torchrun --nnodes=2 --nproc-per-node=1"),
    ],
)
def test_what_can_not_be(capsys, monkeypatch, tiny, tmp_path, overrides, part):
    for name in ("LOCAL_RANK", "SLURM_NTASKS"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SystemExit):
        train.main([*tiny, f"paths.runs={tmp_path}", *overrides.split()])
    assert part in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="the error is for machines without a GPU")
def test_half_precision_where_auto_finds_no_gpu(tmp_path):
    options = {"_target_": "lightning.pytorch.Trainer", "accelerator": "auto", "devices": 1, "num_nodes": 1}
    options |= {"strategy": "auto", "precision": "16-mixed", "sync_batchnorm": True, "accumulate_grad_batches": 1}
    with pytest.raises(ConfigError, match=r"trainer.precision=16-mixed needs a GPU"):
        build_trainer(options, callbacks=[], loggers=[], folder=tmp_path)


@pytest.mark.parametrize(
    ("precision", "can", "warns"),
    [
        ("bf16-mixed", {"architecture": "x86_64", "avx512_bf16": False, "amx_bf16": False}, True),
        ("32-true", {"architecture": "x86_64", "avx512_bf16": False, "amx_bf16": False}, False),
        ("bf16-mixed", {"architecture": "x86_64", "avx512_bf16": True, "amx_bf16": False}, False),
        ("bf16-mixed", {"architecture": "aarch64"}, False),
        ("bf16-mixed", {}, False),
    ],
)
def test_a_precision_that_the_cpu_emulates_is_told(caplog, monkeypatch, tmp_path, precision, can, warns):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: can, raising=False)
    trainer = pl.Trainer(accelerator="cpu", precision=precision, logger=False, default_root_dir=tmp_path)
    warn_of_slow_precision(trainer)
    assert ("more than twice the time of trainer.precision=32-true" in caplog.text) == warns


def losses(folder):
    with (folder / "metrics.csv").open() as file:
        return [float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]]


def weights(folder, name="last"):
    return torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)["state_dict"]


def assert_same_weights(one, other):
    assert one.keys() == other.keys()
    for key, value in one.items():
        assert torch.equal(other[key], value), key


def test_bfloat16_computes_coarser_and_keeps_weights_in_float32(train_run, finished_run, tmp_path):
    folder = train_run(tmp_path, "trainer.precision=bf16-mixed")
    exact, coarse = losses(finished_run), losses(folder)
    assert coarse != exact
    assert coarse[0] == pytest.approx(exact[0], rel=0.02)
    assert {value.dtype for value in weights(folder).values()} == {torch.float32, torch.int64}


def test_gradient_checkpointing_trains_the_same_weights(train_run, finished_run, tmp_path):
    folder = train_run(tmp_path, "model.encoder.gradient_checkpointing=true")
    for key, value in weights(finished_run).items():
        torch.testing.assert_close(weights(folder)[key], value, msg=key)


GRAPHS = []  # what the backend below was given


def noting(graph, inputs):
    GRAPHS.append(graph)
    return graph.forward


def test_a_compiled_run_is_one_of_the_same_names_and_scores(train_run, result_of, tmp_path):
    """With an average of the weights, and images of another size in validation; torch's compiler captures, nothing is
    generated."""
    torch._dynamo.register_backend(noting, name="noting")
    settings = ["callbacks=ema", "trainer.max_epochs=1", "data.train_transform.crop_size=[32,48]"]
    plain = train_run(tmp_path / "plain", *settings)
    assert not GRAPHS
    compiled = train_run(tmp_path / "compiled", *settings, "task.compile={backend:noting}")
    assert GRAPHS
    assert_same_weights(weights(plain), weights(compiled))
    assert not [key for key in weights(compiled, "best") if "_orig_mod" in key]
    count = len(GRAPHS)
    evaluate.main([f"ckpt={compiled}/checkpoints/best.ckpt", f"out={tmp_path / 'scores'}"])
    assert len(GRAPHS) == count  # which compiles nothing
    assert result_of(tmp_path / "scores")["scores"] == result_of(compiled)["scores"]
    stored = [np.load(folder / "confusion.npz")["matrices"] for folder in (compiled, tmp_path / "scores")]
    np.testing.assert_array_equal(*stored)


@pytest.mark.slow
def test_generated_code_trains_to_the_same_losses(train_run, finished_run, tmp_path):
    folder = train_run(tmp_path, "task.compile=true")
    assert losses(folder) == pytest.approx(losses(finished_run), rel=1e-3)


class Place:
    """What of a Trainer the batch size depends on."""

    def __init__(self, devices, nodes, accumulated):
        self.num_devices, self.world_size, self.accumulate_grad_batches = devices, devices * nodes, accumulated
        self.global_rank = devices * nodes - 1
        self.strategy = type("Strategy", (), {"root_device": torch.device("cpu")})


def datamodule(batch_size):
    return SegmentationDataModule(
        dataset=lambda **settings: Scenes(
            size=(64, 64), context_distance=8, scale_range=(4, 16), length=32, **settings
        ),
        num_classes=11,
        train_transform=TrainTransform(crop_size=(64, 64)),
        eval_transform=EvalTransform(),
        batch_size=batch_size,
        num_workers=0,
    )


@pytest.mark.parametrize(
    ("devices", "nodes", "accumulated", "each"),
    [(1, 1, 1, 16), (2, 1, 1, 8), (8, 1, 1, 2), (4, 2, 1, 2), (2, 1, 4, 2), (4, 2, 2, 1)],
)
def test_the_batch_size_is_that_of_an_update(devices, nodes, accumulated, each):
    data = datamodule(16)
    data.trainer = Place(devices, nodes, accumulated)
    loader = data.train_dataloader()
    assert next(iter(loader))["image"].shape[0] == each
    assert len(loader) == 32 // 16 * accumulated


@pytest.mark.parametrize(
    ("devices", "nodes", "accumulated", "works"),
    [(8, 1, 1, "8 or 16"), (4, 2, 1, "8 or 16"), (8, 2, 1, "16"), (2, 1, 4, "8 or 16")],
)
def test_a_batch_that_can_not_be_divided(devices, nodes, accumulated, works):
    data = datamodule(12)
    data.trainer = Place(devices, nodes, accumulated)
    with pytest.raises(
        ConfigError, match=rf"batch_size=12 can't be divided .*={accumulated}; set data.batch_size to {works}"
    ):
        data.train_dataloader()
