"""What a search may draw, by its overrides, and what it refuses."""

import re

import numpy as np
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from atrous.config.search_space import check_settings, first_points, read_space, written
from atrous.errors import ConfigError
from atrous.studies.search import distribution

optuna = pytest.importorskip("optuna", reason="a search needs the extra: search")


def parsed(*overrides):
    return OverridesParser.create().parse_overrides(list(overrides))


DEFAULTS = {"trials": 1, "jobs": 1, "seed": 0, "pruning": None}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"trials": 0}, "hydra.sweeper.trials=0 is impossible; give a whole number from 1 on"),
        ({"jobs": True}, "hydra.sweeper.jobs=true is impossible"),
        ({"seed": -1}, "hydra.sweeper.seed=-1 is impossible; give a whole number from 0 on"),
        ({"pruning": {"after_trials": 5}}, "give after_trials and after_validations, such as"),
        ({"pruning": True}, "hydra.sweeper.pruning=True"),
        ({"pruning": {"after_trials": -1, "after_validations": 1}}, "hydra.sweeper.pruning.after_trials=-1"),
    ],
)
def test_impossible_settings(changed, message):
    check_settings(**DEFAULTS)
    with pytest.raises(ConfigError, match=re.escape(message)):
        check_settings(**{**DEFAULTS, **changed})


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("x=1", "there is nothing to search"),
        ("x=interval(2,1)", "x=interval(2,1) is empty"),
        ("x=range(3,3)", "holds no number"),
        ("x=tag(log,interval(0,1))", "begins at 0.0, which has no logarithm"),
        ("x=tag(log,range(0,5))", "begins at 0, which has no logarithm"),
        ("x=tag(log,range(1,9,2))", "in steps of 1 alone"),
        ("x=tag(log,choice(1,2))", "choices have no logarithm"),
        ("x=tag(log,wide,interval(1,2))", "has the tags ['log', 'wide']"),
    ],
)
def test_an_impossible_space(override, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        read_space(parsed(override))


@pytest.mark.parametrize(
    ("override", "values"),
    [
        ("model=unet,fcn", {"unet", "fcn"}),
        ("x=[6,12],[8,16],null", {"[6,12]", "[8,16]", "null"}),
        ("x=shuffle(choice(true,false))", {"True", "False"}),
        ("x=range(1,4)", {"1", "2", "3"}),
        ("x=range(9,3,-3)", {"9", "6"}),
        ("x=range(0.1,0.5,0.1)", {"0.1", "0.2", "0.3", "0.4"}),
        ("x=int(interval(1,3))", {"1", "2", "3"}),
        ("x=tag(log,int(interval(1,3)))", {"1", "2", "3"}),
    ],
)
def test_what_hydra_sweeps_over_is_drawn(override, values):
    _, space = read_space(parsed(override))
    (key,) = space
    distributions = {key: distribution(optuna, space[key])}
    asked = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    assert {written(space, asked.ask(distributions).params)[key] for _ in range(100)} == values
    assert {point[key] for point in first_points(space)} <= values


def test_numbers_of_an_interval_are_short_and_within_it():
    _, space = read_space(parsed("x=interval(1.00007,1.00013)", "y=tag(log,interval(1e-6,1e-2))"))
    asked = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    distributions = {key: distribution(optuna, space[key]) for key in space}
    params = [asked.ask(distributions).params for _ in range(100)]
    drawn = [(each, written(space, each)) for each in params]
    assert all(1.00007 <= float(text["x"]) <= 1.00013 for _, text in drawn)
    assert all(float(text["y"]) == pytest.approx(params["y"], rel=6e-4) for params, text in drawn)
    assert np.mean([float(text["y"]) < 1e-4 for _, text in drawn]) == pytest.approx(0.5, abs=0.15)


def test_the_command_lines_value_replaces_the_experiments():
    fixed, space = read_space(parsed("x=1,2", "y=1", "x=3", "y=interval(0,1)", "~z"))
    assert (fixed, list(space)) == (["x=3", "~z"], ["y"])
