"""A run that is stopped anywhere and gone on with ends bitwise as one that was left alone."""

import copy
import json
import logging
import os
import random
import shutil
import signal
import sys
import warnings
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from hydra import compose, initialize_config_dir
from kill_and_resume import KINDS, TINY, differences, kill_once, run_folder, start, wait
from lightning.pytorch.callbacks import Timer

from atrous.cli import train
from atrous.config.compose import CONF_DIR
from atrous.config.fingerprint import VERSION, fingerprint
from atrous.data.sampling import TrainSampler
from atrous.errors import TrainingError
from atrous.runs.resume import choose_folder, whole_checkpoint
from atrous.system.locks import FolderLock
from atrous.system.signals import Interrupted

EMA, BY_UPDATES = KINDS.values()
IN_PROCESS = [*TINY, "data.num_workers=0", "callbacks.last.every_minutes=1e-9"]  # saves after each update


class Dead(BaseException):
    """As of a process that is killed: nothing of ours may act on it."""


class Stop(pl.Callback):
    """Raises or sends a signal at a hook when so many updates are done."""

    at: tuple[str, int] | None = None  # the command builds the callback: the class is what a test can reach
    by: type[BaseException] | int = Dead

    def _look(self, hook, trainer):
        if Stop.at == (hook, trainer.global_step):
            Stop.at = None
            if isinstance(self.by, int):
                os.kill(os.getpid(), self.by)
            else:
                raise self.by

    def on_train_batch_start(self, trainer, *args):
        self._look("batch", trainer)

    def on_validation_batch_end(self, trainer, *args):
        self._look("validation", trainer)

    def on_test_start(self, trainer, *args):
        self._look("scoring", trainer)


STOP = f"+callbacks.stop._target_={__name__}.Stop"


def stopped(runs, *overrides, at, by=Dead):
    """Trains until the given moment; returns the run folder."""
    Stop.at, Stop.by = at, by
    with pytest.raises((Dead, Interrupted)) as caught:
        train.main([*IN_PROCESS, f"paths.runs={runs}", STOP, *overrides])
    assert Stop.at is None, "the moment never came"
    assert by is Dead or caught.value.code == 128 + by  # as a shell reports it
    return run_folder(runs)


def resume(runs, *overrides):
    train.main([*IN_PROCESS, f"paths.runs={runs}", STOP, *overrides, "resume=auto"])
    return run_folder(runs)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """As the runs that are forked off, so that sums are added in one order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """Run folders of undisturbed runs, by their overrides."""
    made = {}

    def run(overrides):
        key = tuple(overrides)
        if key not in made:
            runs = tmp_path_factory.mktemp("straight")
            train.main([*IN_PROCESS, f"paths.runs={runs}", STOP, *overrides])
            made[key] = run_folder(runs)
        return made[key]

    return run


@pytest.mark.parametrize(
    ("overrides", "at", "updates"),
    [
        (EMA, ("batch", 8), 7),  # in the second of an update's two batches or before its first; both belong to update 9
        pytest.param(EMA, ("validation", 5), 5, marks=pytest.mark.slow),  # at the end of an epoch
        # the last one, which no interval asks for
        ([*BY_UPDATES, "trainer.val_check_interval=5"], ("validation", 12), 12),
        pytest.param(BY_UPDATES, ("validation", 12), 12, marks=pytest.mark.slow),
        pytest.param(BY_UPDATES, ("scoring", 12), 12, marks=pytest.mark.slow),
    ],
)
def test_a_killed_run_goes_on_bitwise(straight, result_of, tmp_path, overrides, at, updates):
    folder = stopped(tmp_path, *overrides, at=at)
    assert resume(tmp_path, *overrides) == folder
    (session,) = result_of(folder)["resumed"]
    assert session["steps"] >= updates
    assert differences(straight(overrides), folder) == []


def test_a_signal_lets_the_update_end_and_says_how_to_go_on(straight, result_of, tmp_path, capfd):
    every = "callbacks.last.every_minutes=null"
    folder = stopped(tmp_path, *EMA, every, at=("batch", 7), by=signal.SIGTERM)
    result = result_of(folder)
    assert (result["status"], result["signal"]) == ("interrupted", "SIGTERM")
    assert "the same command with resume=auto" in capfd.readouterr().out
    last = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["global_step"] == 7
    resume(tmp_path, *EMA, every)
    assert result_of(folder)["resumed"][0]["steps"] == 7
    assert differences(straight(EMA), folder) == []


def test_a_signal_does_not_wait_for_the_end_of_a_validation(straight, result_of, tmp_path):
    folder = stopped(tmp_path, *BY_UPDATES, at=("validation", 4), by=signal.SIGINT)
    assert result_of(folder)["signal"] == "SIGINT"
    assert not (folder / "checkpoints" / "best.ckpt").exists()
    resume(tmp_path, *BY_UPDATES)
    assert differences(straight(BY_UPDATES), folder) == []


def test_a_damaged_checkpoint_is_left_aside(straight, result_of, tmp_path, capfd):
    folder = stopped(tmp_path, *BY_UPDATES, at=("batch", 10))
    last = folder / "checkpoints" / "last.ckpt"
    content = bytearray(last.read_bytes())
    content[len(content) // 2] ^= 1  # torch.load would not notice
    last.write_bytes(content)
    resume(tmp_path, *BY_UPDATES)
    assert "last.ckpt is damaged and left aside" in capfd.readouterr().out
    assert result_of(folder)["resumed"][0]["steps"] in (4, 8)  # of best.ckpt
    assert differences(straight(BY_UPDATES), folder) == []


def test_half_a_checkpoint_is_never_taken(tmp_path):
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    torch.save({"state_dict": {"weight": torch.arange(1000.0)}}, folder / "whole.ckpt")
    content = (folder / "whole.ckpt").read_bytes()
    (folder / ".last.ckpt.part").write_bytes(content)
    assert whole_checkpoint(tmp_path) == (None, [])
    (folder / "last.ckpt").write_bytes(content[:-1])
    path, messages = whole_checkpoint(tmp_path)
    assert path is None
    assert "last.ckpt is damaged" in messages[0]
    (folder / "best.ckpt").write_bytes(content)
    assert whole_checkpoint(tmp_path)[0] == folder / "best.ckpt"


@pytest.mark.slow
def test_a_run_that_died_before_its_first_checkpoint_begins_anew_in_its_folder(straight, tmp_path):
    every = "callbacks.last.every_minutes=null"
    folder = stopped(tmp_path, *BY_UPDATES, every, at=("batch", 2))
    assert resume(tmp_path, *BY_UPDATES, every) == folder
    assert differences(straight(BY_UPDATES), folder) == []


def test_a_finished_run_is_not_trained_again(straight, capfd):
    folder = straight(BY_UPDATES)
    runs = folder.parents[1]
    before = {path: path.stat().st_mtime_ns for path in runs.rglob("*") if path.is_file()}
    resume(runs, *BY_UPDATES)
    assert "is finished" in capfd.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in runs.rglob("*") if path.is_file()} == before
    assert len(list(folder.parent.iterdir())) == 1  # Hydra's folder is gone


def test_killed_at_once_with_workers_and_augmentation(straight, tmp_path):
    after = random.uniform(0.5, 2.0)  # somewhere; the table in experiments/exact_resume has twenty
    *_, unequal = kill_once(tmp_path, straight(EMA), [STOP, *EMA], after=after)
    assert unequal == []


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 4])
def test_the_number_of_workers_changes_nothing(straight, tmp_path, workers):
    assert wait(start(tmp_path, STOP, *EMA, f"data.num_workers={workers}")) == 0
    assert differences(straight(EMA), run_folder(tmp_path)) == []


def test_a_loader_begins_behind_what_was_seen():
    whole = TrainSampler(length=23, step_size=4, seed=5, rank=1, world_size=2)
    rest = TrainSampler(length=23, step_size=4, seed=5, rank=1, world_size=2, start=(3, 6))
    for sampler in (whole, rest):
        sampler.set_epoch(3)
    assert list(rest) == list(whole)[6:]
    assert len(rest) == len(whole)
    for sampler in (whole, rest):
        sampler.set_epoch(4)
    assert list(rest) == list(whole)


@pytest.mark.slow
def test_wandb_goes_on_with_its_run(tmp_path, monkeypatch, result_of):
    pytest.importorskip("wandb")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setenv("WANDB_SILENT", "true")
    folder = stopped(tmp_path, *BY_UPDATES, "logger=wandb", at=("batch", 5), by=signal.SIGTERM)
    resume(tmp_path, *BY_UPDATES, "logger=wandb")
    files = sorted(path.name for path in folder.rglob("run-*.wandb"))
    assert files == [f"run-{result_of(folder)['wandb_id']}.wandb"] * 2


@pytest.mark.slow
def test_two_processes_go_on_bitwise(tmp_path, result_of):
    """The launcher is sent the signal, and passes it on."""
    import subprocess
    import time

    command = [sys.executable, "-m", "atrous", "train", *TINY, "trainer=ddp", "trainer.accelerator=cpu"]
    command += ["trainer.devices=2", "trainer.precision=32-true", "data.num_workers=1", *EMA]
    subprocess.run([*command, f"paths.runs={tmp_path}/straight"], check=True)
    process = subprocess.Popen([*command, f"paths.runs={tmp_path}/stopped"])
    while not list((tmp_path / "stopped").rglob("last.ckpt")):
        time.sleep(0.1)
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=300) == 143
    folder = run_folder(tmp_path / "stopped")
    assert result_of(folder)["status"] == "interrupted"
    subprocess.run([*command, f"paths.runs={tmp_path}/stopped", "resume=auto"], check=True)
    assert differences(run_folder(tmp_path / "straight"), folder) == []


@pytest.fixture
def config(tmp_path):
    """As of a command, without the parts that Hydra fills in."""
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        cfg = compose(
            "train", overrides=["~logger", "~callbacks", "name=name", "study=study", f"paths.runs={tmp_path / 'runs'}"]
        )
    from atrous.config.compose import prepare, resolved

    prepare()
    return resolved(cfg) | {
        "logger": {},
        "callbacks": {
            "last": {"every_minutes": 10},
            "best": {"dirpath": str(tmp_path / "runs" / "new" / "checkpoints"), "monitor": "val/miou"},
        },
    }


def earlier_run(config, name="old", started="2026-01-01T00:00:00+00:00", **result):
    folder = Path(config["paths"]["runs"]) / "somewhere" / name
    folder.mkdir(parents=True)
    content = {
        "fingerprint": fingerprint(config),
        "fingerprint_version": VERSION,
        "started": started,
        "status": "running",
        **result,
    }
    (folder / "result.json").write_text(json.dumps(content))
    return folder


def new_folder(config):
    folder = Path(config["paths"]["runs"]) / "new"
    folder.mkdir()
    return folder


def changed(config, key, value):
    config = copy.deepcopy(config)
    *path, last = key.split(".")
    part = config
    for name in path:
        part = part[name]
    part[last] = value
    return config


@pytest.mark.parametrize(
    "key",
    [
        "name",
        "resume",
        "paths.runs",
        "logger",
        "data.num_workers",
        "data.cache",
        "data.cache_folder",
        "callbacks.last.every_minutes",
        "callbacks.best.dirpath",
    ],
)
def test_what_changes_no_weight_is_not_in_the_fingerprint(config, key):
    assert fingerprint(changed(config, key, "another")) == fingerprint(config)


@pytest.mark.parametrize(
    "key", ["seed", "optimizer.lr", "data.batch_size", "trainer.max_epochs", "callbacks.best.monitor", "eval_split"]
)
def test_what_changes_weights_or_scores_is_in_the_fingerprint(config, key):
    assert fingerprint(changed(config, key, "another")) != fingerprint(config)


def test_a_new_run_tells_of_an_unfinished_one(config, capsys):
    old = earlier_run(config)
    folder = new_folder(config)
    assert choose_folder(config, folder) == (config, folder, None)
    out = capsys.readouterr().out
    assert str(old) in out
    assert "was killed" in out
    assert "To go on with it: resume=auto" in out


@pytest.mark.parametrize("status", ["finished", "another seed"])
def test_a_new_run_says_nothing_of_others(config, capsys, status):
    earlier_run(config if status == "finished" else changed(config, "seed", 7), status=status)
    choose_folder(config, new_folder(config))
    assert capsys.readouterr().out == ""


def test_auto_takes_the_newest_wherever_it_lies(config):
    earlier_run(config, "a", started="2026-01-02T00:00:00+00:00")
    newest = earlier_run(config, "b", started="2026-01-03T00:00:00+00:00", status="failed")
    earlier_run(changed(config, "seed", 9), "c", started="2026-01-04T00:00:00+00:00")
    folder = new_folder(config)
    handler = logging.FileHandler(folder / "train.log")
    logging.getLogger().addHandler(handler)
    try:
        found, place, run = choose_folder(changed(config, "resume", "auto"), folder)
        logging.getLogger().warning("on the old run's log")
    finally:
        logging.getLogger().handlers = [
            each for each in logging.getLogger().handlers if not isinstance(each, logging.FileHandler)
        ]
    assert place == run.folder == newest
    assert found["callbacks"]["best"]["dirpath"] == str(newest / "checkpoints")
    assert not folder.exists()
    assert "on the old run's log" in (newest / "train.log").read_text()


def test_a_run_that_is_going_on_is_left_alone(config, capsys):
    old = earlier_run(config)
    release, holding = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        FolderLock(old)
        os.write(holding[1], b".")
        os.read(release[0], 1)
        os._exit(0)
    os.read(holding[0], 1)
    folder = new_folder(config)
    try:
        with pytest.raises(
            TrainingError, match=r"old, is still going on in another process.*resume=auto to start another"
        ):
            choose_folder(changed(config, "resume", "auto"), folder)
        choose_folder(config, folder)
        assert capsys.readouterr().out == ""
        with pytest.raises(TrainingError, match="old is being written by another process"):
            FolderLock(old)
    finally:
        os.write(release[1], b".")
        os.waitpid(child, 0)
    assert choose_folder(changed(config, "resume", "auto"), folder)[1] == old


def test_resume_is_auto_or_false(capsys, tmp_path):
    with pytest.raises(SystemExit):
        train.main([*IN_PROCESS, f"paths.runs={tmp_path}", "resume=true"])
    assert "resume=true is impossible; give auto" in capsys.readouterr().err


MINE = ["+callbacks.mine._target_=lightning.pytorch.callbacks.ModelCheckpoint", "+callbacks.mine.monitor=val/dice"]
MINE += [
    "+callbacks.mine.save_top_k=2",
    "+callbacks.mine.mode=max",
    "'+callbacks.mine.dirpath=${hydra:runtime.output_dir}/mine'",
]


def best_of(folder):
    """What last.ckpt says of the best scores so far, by the folder they lie in, and whether the files are there."""
    states = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["callbacks"].values()
    kept = [state for state in states if "best_model_path" in state]
    return {
        Path(state["dirpath"]).relative_to(folder.resolve()): (
            float(state["best_model_score"]),
            *sorted(Path(path).relative_to(folder.resolve()) for path in [*state["best_k_models"]]),
        )
        for state in kept
    }


@pytest.mark.parametrize("how", ["copied", "moved", "below a link"])
def test_a_run_that_lies_elsewhere_now_keeps_its_best(straight, tmp_path, how):
    """As `cp -r A B`, `mv A B`, or another machine, where A is no path at all."""
    words = [*BY_UPDATES, *[word.strip("'") for word in MINE]]
    first, second = tmp_path / "a", tmp_path / "b"
    stopped(first, *words, at=("batch", 10))
    if how == "copied":
        shutil.copytree(first, second)
    else:
        first.rename(second)
    if how == "below a link":
        (tmp_path / "c").symlink_to(second)
        second = tmp_path / "c"
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*dirpath has changed.*")
        folder = resume(second, *words)
        assert differences(straight(words), folder) == []
        assert best_of(folder) == best_of(straight(words))
        if how == "copied":
            assert differences(straight(words), resume(first, *words)) == []


def test_a_study_that_was_copied_goes_on_in_the_copy(tmp_path):
    words = ["-m", *IN_PROCESS, STOP, *BY_UPDATES, "seed=0,1", "study=two"]
    Stop.at, Stop.by = ("batch", 10), Dead
    with pytest.raises(Dead):
        train.main([*words, f"paths.runs={tmp_path / 'a'}"])
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    found = {}
    for name in ("a", "b"):
        train.main([*words, f"paths.runs={tmp_path / name}"])
        found[name] = sorted((tmp_path / name / "two").glob("seed-*"))
    for pair in zip(*found.values(), strict=True):
        assert differences(*pair) == []
        assert best_of(pair[0]) == best_of(pair[1])


class Clock(pl.Callback):
    """A second for each update."""

    now = 0

    def on_train_batch_end(self, trainer, *args):
        Clock.now = trainer.global_step


def test_a_run_that_max_time_ended_goes_on_where_it_gets_more(straight, result_of, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(Timer, "time_elapsed", lambda self, stage="train": Clock.now)
    clock = f"+callbacks.clock._target_={__name__}.Clock"
    words = [*BY_UPDATES, clock]
    train.main([*IN_PROCESS, f"paths.runs={tmp_path}", STOP, *words, "trainer.max_time=00:00:00:06"])
    folder = run_folder(tmp_path)
    assert (result_of(folder)["steps"], result_of(folder)["out_of_time"]) == (6, "00:00:00:06")
    assert "resume=auto and a longer trainer.max_time" in capfd.readouterr().out
    resume(tmp_path, *words, "trainer.max_time=00:00:00:06")
    assert "is finished" in capfd.readouterr().out
    resume(tmp_path, *words, "trainer.max_time={hours:1}")
    assert f"Going on with {folder}" in capfd.readouterr().out
    result = result_of(folder)
    assert (result["steps"], result["out_of_time"], len(result["resumed"])) == (12, None, 1)
    unequal = differences(straight(words), folder)
    assert [where for where in unequal if where.startswith(("last.ckpt: state_dict", "last.ckpt: optimizer"))] == []
    resume(tmp_path, *words, "trainer.max_time={hours:1}")
    assert "is finished" in capfd.readouterr().out
