"""Values that no part can have are refused by key, value and remedy: before torch is imported, or by the part's signature."""

import pytest

from atrous.config.checks import check_config
from atrous.config.compose import CONF_DIR, build, compose
from atrous.config.jobs import JobConfig
from atrous.config.signatures import check_signatures
from atrous.errors import ConfigError


def config_of(*words: str):
    return JobConfig(compose("train", words, return_hydra_config=True)).resolved()


@pytest.mark.parametrize(
    ("word", "parts"),
    [
        ("seed=abc", ["seed=abc", "a whole number from 0"]),
        ("seed=true", ["seed=true", "a whole number from 0"]),
        ("trainer.max_epochs=-5", ["trainer.max_epochs=-5", "trainer.max_epochs=10"]),
        ("trainer.max_epochs=true", ["trainer.max_epochs=true", "trainer.max_epochs=10"]),
        ("trainer.max_epochs=0", ["trainer.max_epochs=0", "from 1 on"]),
        ("data.num_workers=-1", ["data.num_workers=-1", "from 0 on", "null"]),
        ("data.num_workers=true", ["data.num_workers=true", "from 0 on", "null"]),
        ("data.batch_size=true", ["data.batch_size=true", "from 1 on"]),
        ("optimizer.lr=inf", ["optimizer.lr=inf", "a number from 0 on"]),
        ("model.encoder.channels=[]", ["model.encoder.channels=[]", "not empty"]),
        ("model.encoder.dropout=2", ["model.encoder.dropout=2", "0 to below 1"]),
        ("inference.crf.iterations=true", ["inference.crf.iterations=true", "from 1 on"]),
    ],
)
def test_impossible_values_are_refused_before_torch_is_needed(word, parts):
    with pytest.raises(ConfigError) as error:
        check_config(config_of("model=unet", "inference=crf", word))
    assert all(part in str(error.value) for part in parts)


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["inference=slide", "inference.stride=true"], ["inference.stride=true", "a list, each a whole number"]),
        (["model.encoder=resnet50"], ["model.encoder=resnet50", "model.encoder.name=resnet50"]),
        (["model.separable=1"], ["model.separable=1", "true or false"]),
        (["+model.outputstride=8"], ["setting of model", "outputstride", "output_stride"]),
        (["loss.aux_weight=true"], ["loss.aux_weight=true", "a number"]),
        (["loss=ce_dice", "loss.losses.dice.smooth=x"], ["loss.losses.dice.smooth=x", "a number"]),  # inherited
        (["data.train_transform.mean=3"], ["data.train_transform.mean=3", "a list, each a number"]),
        (["callbacks.best.mode=true"], ["callbacks.best.mode=true", "a text"]),  # Lightning's
        (["trainer.deterministic=1"], ["trainer.deterministic=1", "true or false"]),
    ],
)
def test_impossible_values_are_refused_by_signature(words, parts):
    with pytest.raises(ConfigError) as error:
        check_signatures(config_of(*words))
    assert all(part in str(error.value) for part in parts)


@pytest.mark.parametrize(
    "group", ["model", "data", "loss", "optimizer", "scheduler", "inference", "callbacks", "trainer"]
)
def test_every_yaml_passes(group):
    for file in (CONF_DIR / group).glob("*.yaml"):
        if file.stem != "custom":
            words = ["data.class_names=[a,b]"] * (file.stem == "folder")
            check_signatures(config_of(f"{group}={file.stem}", *words))


def fails_inside(count: int) -> None:
    raise ValueError(f"{count} is odd")


def test_an_error_inside_a_part_is_told_by_its_key():
    part = {"_target_": f"{__name__}.fails_inside", "count": 3}
    with pytest.raises(
        ConfigError, match=r"model\.encoder can't be built by .*fails_inside: 3 is odd.*model\.encoder\.NAME="
    ):
        build({"_target_": "builtins.dict", "encoder": part}, "model")


def test_a_target_that_is_not_there_says_where_it_is_looked_for():
    with pytest.raises(ConfigError, match=r"model\._target_=nowhere\.Net can't be imported.*PYTHONPATH"):
        build({"_target_": "nowhere.Net"}, "model")
