"""Which settings become columns."""

from __future__ import annotations

from pathlib import Path

from atrous.report.settings import ABSENT, order, settings_of
from atrous.runs.run import Run

IGNORED = (("name",), ("paths",), ("callbacks", "best", "dirpath"))


def runs_of(*configs, commands=None):
    """Runs of these settings, by dotted keys."""
    commands = commands or [""] * len(configs)
    runs = [
        Run(Path(f"/runs/{index}"), {"status": "finished", "command": command})
        for index, command in enumerate(commands)
    ]
    for run, config in zip(runs, configs, strict=True):
        vars(run)["settings"] = config
    return runs


def names(settings):
    return [column.name for column in settings.columns]


def test_what_varies_is_a_column_and_seeds_and_places_are_not():
    found = settings_of(
        runs_of(
            *(
                {
                    "name": f"n{seed}{lr}",
                    "seed": seed,
                    "data.seed": seed,
                    "optimizer.lr": lr,
                    "paths.runs": f"/{seed}",
                    "callbacks.best.dirpath": f"/{seed}{lr}",
                    "callbacks.own.folder": f"/elsewhere/{2 * index + seed}/notes",
                    "same": 1,
                }
                for index, lr in enumerate((0.1, 0.01))
                for seed in (0, 1)
            )
        ),
        IGNORED,
    )
    assert names(found) == ["lr"]
    assert found.values == [("0.1",), ("0.1",), ("0.01",), ("0.01",)]
    assert found.same == [0, 0, 1, 1]


def test_another_seed_is_a_setting():
    found = settings_of(runs_of({"seed": 0, "data.dataset.seed": 5}, {"seed": 0, "data.dataset.seed": 6}), IGNORED)
    assert names(found) == ["seed"]
    assert found.same == [0, 1]


def test_what_follows_another_column_is_implied():
    configs = [
        {"model.output_stride": s, "model.encoder.output_stride": s, "model.rates": r} for s in (8, 16) for r in (1, 2)
    ]
    found = settings_of(runs_of(*configs), IGNORED)
    assert names(found) == ["output_stride", "rates"]
    assert found.implied == ["model.encoder.output_stride"]


def test_what_was_typed_comes_first_and_is_shown_though_implied():
    configs = [{"a.x": s, "b.y": s, "c.z": t} for s, t in ((1, 5), (2, 6))]
    commands = [f"python train.py c.z={t} b.y={s}" for s, t in ((1, 5), (2, 6))]
    found = settings_of(runs_of(*configs, commands=commands), IGNORED)
    assert names(found) == ["z", "y"]
    assert found.implied == ["a.x"]


def test_a_group_has_the_name_that_was_typed():
    configs = [
        {"model._target_": "atrous.models.fcn.FCN", "model.skips": 3},
        {"model._target_": "atrous.models.pspnet.PSPNet", "model.bins": [1, 2]},
        {"model._target_": "atrous.models.unet.UNet"},
    ]
    found = settings_of(runs_of(*configs, commands=["t model=fcn8s", "t model=pspnet", "t"]), IGNORED)
    assert names(found) == ["model"]
    assert [values[0] for values in found.values] == ["fcn8s", "pspnet", "UNet"]
    assert sorted(found.implied) == ["model._target_", "model.bins", "model.skips"]
    assert [values[0] for values in settings_of(runs_of(*configs), IGNORED).values] == ["FCN", "PSPNet", "UNet"]


def test_a_group_left_at_its_default_has_the_name_of_the_class_that_varies():
    module = {"data._target_": "atrous.data.datamodule.SegmentationDataModule"}
    configs = [
        {**module, "data.dataset._target_": f"atrous.data.{name}"} for name in ("camvid.CamVid", "scenes.Scenes")
    ]
    found = settings_of(runs_of(*configs, commands=["t data=camvid trainer=cpu", "t"]), IGNORED)
    assert found.values == [("camvid",), ("Scenes",)]
    configs = [{"trainer._target_": "Trainer", "trainer.accelerator": name} for name in ("cpu", "auto")]
    found = settings_of(runs_of(*configs, commands=["t trainer=cpu", "t"]), IGNORED)
    assert found.values == [("cpu",), ("default",)]


def test_a_choice_typed_once_and_left_at_its_default_once_is_the_same_setting():
    configs = [{"seed": seed, "model._target_": "m.UNet", "lr": lr} for lr in (1, 2) for seed in (0, 1)]
    commands = ["t model=unet lr=1", "t lr=1 seed=1", "t lr=2", "t lr=2 seed=1 model=unet"]
    found = settings_of(runs_of(*configs, commands=commands), IGNORED)
    assert names(found) == ["lr"]
    assert found.same == [0, 0, 1, 1]


def test_columns_of_one_class_are_told_apart_by_further_ones():
    configs = [{"model._target_": "m.DeepLab", "model.channels": c} for c in (64, 256)]
    found = settings_of(runs_of(*configs), IGNORED)
    assert names(found) == ["channels"]


def test_names_are_as_short_as_they_can_be():
    configs = [{"model.lr": a, "optimizer.lr": b, "encoder.lr.x": c} for a in (1, 2) for b in (1, 2) for c in (1, 2)]
    assert sorted(names(settings_of(runs_of(*configs), IGNORED))) == ["model.lr", "optimizer.lr", "x"]


def test_values_are_as_typed_and_equal_numbers_are_equal():
    configs = [{"a": 1, "b": None, "c": [6, 12], "d": True, "e": 1e-4}, {"a": 1.0, "c": [6.0, 18], "d": "x", "e": 2}]
    found = settings_of(runs_of(*configs), IGNORED)
    # b is enough to tell the two apart, so only what is typed is shown beside it
    found = settings_of(runs_of(*configs, commands=["t b= c= d= e= a=", "t"]), IGNORED)
    assert names(found) == ["b", "c", "d", "e"]
    assert found.values == [("null", "[6,12]", "true", "0.0001"), (ABSENT, "[6,18]", "x", "2")]


def test_numbers_are_sorted_by_size():
    texts = ["x", "16", "[12,24]", "8", "[6,12]", "null", "1e-05"]
    assert sorted(texts, key=lambda text: order((text,))) == ["1e-05", "[6,12]", "8", "[12,24]", "16", "null", "x"]
