"""What happens at which update: rates under accumulation, runs measured in updates, clipping, every optimizer and schedule."""

import csv

import lightning.pytorch as pl
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from lightning.pytorch.callbacks import Timer

import atrous
from atrous.cli import train
from atrous.config.compose import CONF_DIR
from atrous.engine.build import build_datamodule, build_task
from atrous.engine.checkpoint import restore
from atrous.optim.schedules import one_cycle, poly, step_decay
from atrous.runs.run import load_run

PLAIN = ["optimizer.momentum=0", "optimizer.weight_decay=0", "optimizer.head_multiplier=1", "scheduler=constant"]
PLAIN += ["scheduler.warmup_fraction=0"]


class NoteUpdates(pl.Callback):
    """Keeps each update's rate and gradients as the loss left them, and the weights around it."""

    noted: dict[str, object] = {}  # noqa: RUF012 - the command builds the callback: the class is what a test can reach

    def on_fit_start(self, trainer, task):
        NoteUpdates.noted = {"rates": [], "gradients": [], "before": [], "after": [], "validated": [], "batches": 0}

    def on_before_optimizer_step(self, trainer, task, optimizer):
        self.noted["rates"].append(optimizer.param_groups[0]["lr"])
        self.noted["gradients"].append(
            torch.cat([p.grad.flatten().clone() for p in task.model.parameters() if p.requires_grad])
        )
        self.noted["before"].append(weights(task))

    def on_train_batch_end(self, trainer, task, *args):
        self.noted["batches"] += 1
        if trainer.global_step == len(self.noted["rates"]) > len(self.noted["after"]):
            self.noted["after"].append(weights(task))

    def on_validation_start(self, trainer, task):
        self.noted["validated"].append(trainer.global_step)

    def on_train_end(self, trainer, task):
        self.noted["schedule_steps"] = task.lr_schedulers().last_epoch


def weights(task):
    return torch.cat([parameter.detach().flatten().clone() for parameter in task.model.parameters()])


@pytest.fixture
def noted(train_run, tmp_path):
    """Trains with the given overrides; returns the run folder and what was noted."""

    def run(*overrides):
        folder = train_run(tmp_path, f"+callbacks.note._target_={NoteUpdates.__module__}.NoteUpdates", *overrides)
        return folder, NoteUpdates.noted

    return run


def test_the_schedule_steps_per_update_under_accumulation(noted, result_of):
    """Batches of 4 in two halves: 22 images make five updates an epoch and leave two images out."""
    folder, found = noted("data.train.length=22", "trainer.accumulate_grad_batches=2", "scheduler.warmup_steps=2")
    assert result_of(folder)["steps"] == found["schedule_steps"] == len(found["rates"]) == 10
    assert found["batches"] == 20
    assert found["rates"] == pytest.approx([0.01 * poly(step, 10, warmup_steps=2) for step in range(10)])
    checkpoint = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["lr_schedulers"][0]["last_epoch"] == 10
    assert checkpoint["optimizer_states"][0]["param_groups"][0]["lr"] == 0.0


BY_STEPS = ["trainer.max_epochs=-1", "trainer.check_val_every_n_epoch=null"]


@pytest.mark.parametrize(
    ("overrides", "validated"),
    [
        (["trainer.max_steps=6", "trainer.val_check_interval=3"], [3, 6]),  # an epoch has 2 batches
        (["trainer.max_steps=6", "trainer.val_check_interval=2", "data.train.length=16"], [2, 4, 6]),  # it has 4
        (["trainer.max_steps=3", "trainer.val_check_interval=1", "data.train.length=20"], [1, 2, 3]),  # it has 5
    ],
)
def test_a_run_of_updates_validates_checkpoints_and_ends(noted, result_of, overrides, validated):
    folder, found = noted(*BY_STEPS, *overrides)
    steps = validated[-1]
    assert found["validated"] == validated
    assert result_of(folder)["steps"] == found["schedule_steps"] == steps
    # 2% of so few updates is no warm-up
    assert found["rates"] == pytest.approx([0.01 * poly(step, steps) for step in range(steps)])
    with (folder / "metrics.csv").open() as file:
        scores = [float(row["val/miou"]) for row in csv.DictReader(file) if row["val/miou"]]
    assert len(scores) == len(validated)
    last, best = (torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True) for name in ("last", "best"))
    assert last["global_step"] == steps
    assert best["global_step"] == validated[max(range(len(scores)), key=lambda index: (scores[index], -index))]


def test_a_run_of_updates_ends_as_one_of_epochs(noted, finished_run):
    """The same number of updates makes bitwise the same weights."""
    folder, _ = noted(*BY_STEPS, "trainer.max_steps=4", "trainer.val_check_interval=4")
    by_steps, by_epochs = (
        torch.load(run / "checkpoints" / "last.ckpt", weights_only=True) for run in (folder, finished_run)
    )
    assert by_steps["global_step"] == by_epochs["global_step"] == 4
    for key, value in by_epochs["state_dict"].items():
        assert torch.equal(by_steps["state_dict"][key], value), key


def test_gradients_are_clipped_by_their_norm(noted):
    _, found = noted(*PLAIN, "trainer.gradient_clip_val=0.01")
    for gradient, before, after in zip(found["gradients"], found["before"], found["after"], strict=True):
        norm = gradient.double().norm()
        assert norm > 0.1
        expected = before.double() - 0.01 * 0.01 * gradient.double() / norm
        torch.testing.assert_close(after.double(), expected, atol=2e-7, rtol=0)
        assert (after - before).double().norm() == pytest.approx(1e-4, rel=1e-2)


def test_gradients_are_clipped_one_by_one(noted):
    settings = ["trainer.gradient_clip_val=0.001", "trainer.gradient_clip_algorithm=value"]
    _, found = noted(*PLAIN, *settings)
    for gradient, before, after in zip(found["gradients"], found["before"], found["after"], strict=True):
        assert 100 < (gradient.abs() > 0.001).sum() < len(gradient)
        torch.testing.assert_close(after, before - 0.01 * gradient.clamp(-0.001, 0.001), atol=2e-7, rtol=0)


def test_any_optimizer_of_torch(noted):
    folder, found = noted(
        "optimizer=custom", "optimizer.algorithm=torch.optim.NAdam", "optimizer.lr=1e-3", "+optimizer.eps=1e-5"
    )
    checkpoint = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert found["rates"][0] == 1e-3
    assert checkpoint["optimizer_states"][0]["param_groups"][0]["eps"] == 1e-5
    assert "mu_product" in checkpoint["optimizer_states"][0]["state"][0]  # NAdam's alone


def test_an_optimizer_that_does_not_know_a_setting(capsys, tiny, tmp_path):
    with pytest.raises(SystemExit):
        train.main([*tiny, f"paths.runs={tmp_path}", "optimizer.algorithm=torch.optim.NAdam"])
    error = capsys.readouterr().err
    assert "has no setting momentum, nesterov" in error
    assert "~optimizer.momentum ~optimizer.nesterov" in error
    assert "Traceback" not in error


def test_each_layer_of_the_encoder_learns_at_its_rate(noted):
    """The first group is the encoder's last layer."""
    _, found = noted("optimizer.layer_decay=0.5", "scheduler=constant", "trainer.max_epochs=1")
    assert found["rates"] == [0.005, 0.005]


SCHEDULERS = sorted(path.stem for path in (CONF_DIR / "scheduler").glob("*.yaml"))


def composed(*overrides):
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        return compose("train", overrides=list(overrides))


@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_schedule_takes_a_warmup_by_steps(name):
    settings = ["scheduler.warmup_steps=400", "scheduler.warmup_ratio=0.5"]
    factor = instantiate(composed(f"scheduler={name}", *settings).scheduler, _convert_="all")
    assert factor(0, 1000) == 0.5
    rise = [factor(step, 1000) / (0.5 + step / 800) for step in range(400)]
    assert all(0 < each <= 1 + 1e-9 for each in rise)
    assert 0 <= factor(1000, 1000) <= 1


def test_the_yaml_of_step_and_one_cycle_are_the_papers():
    step, cycle = (
        instantiate(composed(f"scheduler={name}").scheduler, _convert_="all") for name in ("step", "one_cycle")
    )
    for update in range(0, 6000, 7):
        assert step(update, 6000) == pytest.approx(step_decay(update, 6000, milestones=[1998, 4002], warmup_steps=120))
        assert cycle(update, 6000) == pytest.approx(one_cycle(update, 6000))


def test_max_steps_alone_is_the_length_of_the_run(noted, result_of):
    """Also with `max_epochs` at its default, which would end it before, and validations counted in updates."""
    overrides = ["trainer.max_epochs=2", "trainer.max_steps=6", "trainer.val_check_interval=3"]
    folder, found = noted(*overrides, "trainer.accumulate_grad_batches=2")
    assert found["validated"] == [3, 6]
    assert result_of(folder)["steps"] == found["schedule_steps"] == 6
    assert found["batches"] == 12


@pytest.mark.parametrize(
    ("overrides", "validated"),
    [
        (["trainer.max_steps=5", "trainer.val_check_interval=3"], [3, 5]),
        (["trainer.max_steps=1"], [1]),  # an epoch has 2 batches
        (["trainer.val_check_interval=5"], [4]),
        (["trainer.max_epochs=3", "trainer.check_val_every_n_epoch=2"], [4, 6]),
        (["trainer.max_steps=3", "trainer.accumulate_grad_batches=2", "trainer.val_check_interval=2"], [2, 3]),
    ],
)
def test_the_last_update_is_followed_by_a_validation(noted, result_of, overrides, validated):
    folder, found = noted(*overrides)
    assert found["validated"] == validated
    assert result_of(folder)["steps"] == validated[-1]


def test_a_run_without_validations_ends_with_its_last_weights(train_run, result_of, capsys, tmp_path):
    folder = train_run(tmp_path, "trainer.limit_val_batches=0", "~callbacks.best")
    result = result_of(folder)
    assert (result["status"], result["best_checkpoint"]) == ("finished", "checkpoints/last.ckpt")
    assert "no validation has chosen a checkpoint" in capsys.readouterr().out
    last = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert (last["global_step"], last["history_rows"]) == (4, 4)
    assert atrous.evaluate(folder, "split=val").scores == pytest.approx(result["scores"])


def test_a_run_out_of_time_is_validated_first(train_run, result_of, monkeypatch, tmp_path):
    monkeypatch.setattr(Timer, "time_remaining", lambda self, stage=None: -1.0)
    monkeypatch.setattr(Timer, "on_train_batch_end", lambda self, trainer, *args: setattr(trainer, "should_stop", True))
    length = ["data.batch_size=8", "trainer.accumulate_grad_batches=2", "trainer.max_epochs=9"]
    folder = train_run(tmp_path, "trainer.max_time={hours:1}", "trainer.check_val_every_n_epoch=8", *length)
    result = result_of(folder)
    assert (result["status"], result["steps"], result["out_of_time"]) == ("finished", 1, {"hours": 1})
    assert result["best_checkpoint"] == "checkpoints/best.ckpt"


def test_the_loss_of_validation_is_that_of_all_its_pixels(train_run, tmp_path):
    folder = train_run(tmp_path, "trainer.max_epochs=1", "data.eval_batch_size=3")  # 3 and 1 images
    logged = load_run(folder).history()["val/loss"][1]
    net = restore(folder, ["data.eval_batch_size=4"])
    datamodule = build_datamodule(net.config)
    (batch,) = datamodule.eval_dataloader("val")
    loss = build_task(net.config, datamodule).loss.eval()
    with torch.no_grad():
        expected = loss(net.scorer.eval()(batch["image"]), batch["mask"])
    assert logged[-1] == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize(
    ("override", "part"),
    [
        ("trainer.max_steps=0", "trainer.max_steps=0 is impossible; give a number of updates"),
        ("trainer.max_steps=1e4", "trainer.max_steps=10000.0 is impossible"),
        ("trainer.val_check_interval=2.5", "trainer.val_check_interval=2.5 is impossible; give a whole number"),
        ("trainer.val_check_interval=null", "trainer.val_check_interval=null is impossible"),
        ("trainer.gradient_clip_algorithm=max", "gradient_clip_algorithm=max is impossible; give one of norm, value"),
        ("optimizer.layer_decay=abc", "optimizer.layer_decay=abc is impossible"),
        ("+callbacks.best.save_top_k=3", "callbacks.best.filename="),
        ("callbacks.best.mode=min", "callbacks.best.mode=max"),
        ("callbacks.best.monitor=val/loss", "callbacks.best.mode=min"),
        ("callbacks.best.monitor=val/miuo", "did you mean 'val/miou'"),
        ("+callbacks.best.save_last=true", "callbacks.last writes last.ckpt"),
        (
            "+callbacks.stop={_target_:lightning.pytorch.callbacks.EarlyStopping,monitor:val/miou}",
            "callbacks.stop.mode=max",
        ),
        (
            "+callbacks.mine={_target_:lightning.pytorch.callbacks.ModelCheckpoint,monitor:val/miou,mode:max}",
            "callbacks.mine.monitor=val/miou",
        ),
        ("~callbacks.last", "callbacks.last is missing"),
        ("+trainer.fast_dev_run=true", "trainer.max_steps=1"),
        ("+trainer.limit_test_batches=2", "trainer.limit_test_batches=2"),
        ("logger=null", "logger=csv"),
        ("~loss", "loss=cross_entropy"),
        ("optimizer._target_=torch.optim.NAdam", "optimizer=custom optimizer.algorithm=torch.optim.NAdam"),
    ],
)
def test_settings_that_are_told_in_a_second(capsys, tiny, tmp_path, override, part):
    with pytest.raises(SystemExit):
        train.main([*tiny, f"paths.runs={tmp_path}", override])
    assert part in capsys.readouterr().err


def test_freezing_is_typed_beside_ema(noted):
    folder, found = noted("callbacks=ema", "callbacks.freeze.encoder=all", "callbacks.freeze.batch_norm=encoder")
    assert torch.equal(found["before"][0], found["after"][0]) is False
    checkpoint = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert {group["name"] for group in checkpoint["optimizer_states"][0]["param_groups"]} == {"head", "head_no_decay"}
