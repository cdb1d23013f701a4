"""Stored configs of earlier versions, as today's code reads them."""

import re
from pathlib import Path

import pytest
import yaml

from atrous.config.compose import CONF_DIR
from atrous.config.fingerprint import NOT_COUNTED
from atrous.config.upgrade import MEANT, MEANT_OF, MOVED, upgraded

ROOT = Path(__file__).parents[2]
OLD = sorted((ROOT / "tests" / "old_runs").rglob("config.yaml"))


def targets(text):
    return set(re.findall(r"_target_:\s*([\w.]+)", text))


def test_every_class_of_old_configs_is_named_by_conf_today():
    known = {name for path in CONF_DIR.rglob("*.yaml") for name in targets(path.read_text())}
    for path in OLD:
        new = targets(yaml.safe_dump(upgraded(yaml.safe_load(path.read_text()))))
        assert new <= known | {"atrous.callbacks.prune.Prune"}, path
    assert set(MOVED.values()) <= known


def test_a_method_without_a_network_gets_no_inference():
    assert "inference" not in upgraded({"method": {}, "trainer": {}})
    assert "inference" in upgraded({"model": {}})


def test_a_config_of_today_stays_as_it_is_and_the_given_one_is_not_changed():
    config = {"a": [{"_target_": "atrous.data.scenes.Scenes"}], "task": {}}
    new = upgraded(config)
    assert new["a"] == [{"_target_": "atrous.data.scenes.scenes.Scenes"}]
    assert new["task"] == {"compile": False}
    assert config == {"a": [{"_target_": "atrous.data.scenes.Scenes"}], "task": {}}
    assert upgraded(new) == new


@pytest.mark.parametrize("key", MEANT)
def test_what_a_missing_key_meant_is_what_conf_says_today_so_that_equal_runs_are_equal(key):
    if key == "inference":
        assert yaml.safe_load((CONF_DIR / "inference" / "whole.yaml").read_text()) == MEANT[key]
        return
    group, _, name = key.rpartition(".")
    file = {"": "train", "task": "task/semantic", "trainer": "trainer/default"}[group]
    assert yaml.safe_load((CONF_DIR / f"{file}.yaml").read_text())[name] == MEANT[key]


KNOWN = {
    name: keys.split()
    for name, keys in (
        line.split(":") for line in Path(__file__).with_name("keys_of_e8df798.txt").read_text().splitlines()
    )
}


def keys_of(part, before=""):
    for key, value in part.items():
        if key not in ("defaults", "hydra", "_target_"):
            yield from keys_of(value, f"{before}{key}.") if isinstance(value, dict) and value else [f"{before}{key}"]


@pytest.mark.parametrize("name", KNOWN)
def test_a_key_that_was_added_says_what_runs_without_it_meant(name):
    """Else a default that an upgrade adds starts finished work again. The keys are those of commit e8df798's conf/."""
    conf = yaml.safe_load((CONF_DIR / f"{name}.yaml").read_text())
    group = name.partition("/")[0] if "/" in name else ""
    target = conf.get("dataset", conf).get("_target_")
    meant = {key.removeprefix(f"{group}." if group else "") for key in (*MEANT, *map(".".join, NOT_COUNTED))}
    added = set(keys_of(conf)) - {*KNOWN[name], *meant, *MEANT_OF.get(target, {})}
    assert not added, f"conf/{name}.yaml has new keys; add a row for each to config/upgrade.py"


def test_what_keys_of_one_class_meant_is_added_to_its_part_alone(monkeypatch):
    monkeypatch.setitem(MEANT_OF, "a.Net", {"width": 1})
    config = {
        "model": {"_target_": "a.Net"},
        "loss": {"_target_": "a.Loss"},
        "data": {"dataset": {"_target_": "a.Data"}},
    }
    assert upgraded(config) == config | {
        "model": {"_target_": "a.Net", "width": 1},
        "resume": False,
        "extra_metrics": False,
        "inference": MEANT["inference"],
    }
