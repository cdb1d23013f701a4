"""Random command lines of legal form: groups, keys and values of conf/, with tiny sizes, a function of the seed."""

from __future__ import annotations

import random
from typing import Any

from omegaconf import OmegaConf

from atrous.config.compose import CONF_DIR, compose
from atrous.system.text import setting

SIZES = [
    *("trainer=cpu", "trainer.max_epochs=1", "data.train.length=4", "data.val.length=2", "data.test.length=2"),
    *("data.size=[32,32]", "data.scale_range=[4,16]", "data.batch_size=2", "data.num_workers=0"),
]
GROUPS = ("model", "loss", "optimizer", "scheduler", "inference", "callbacks")
# What makes the large ones of conf/model tiny.
VIT = ["model.encoder.name=vit_tiny_patch16_224", "model.encoder.image_size=32"]
SMALL: dict[str, list[str]] = {
    "deeplabv3": ["model.encoder.name=resnet18"],  # whose last stage has as many blocks as multi-grid's 3 rates ask for
    **{name: ["model.encoder.name=vgg11"] for name in ("deeplabv1", "deeplabv2_vgg", "fcn", "segnet", "deconvnet")},
    "setr": VIT,
    "segmenter": VIT,
    "unet": ["model.encoder.channels=[4,8]"],
}
# Keys that lead out of the test: other devices, more processes, files, and what takes time.
LEFT_ALONE = (
    "trainer.accelerator",
    "trainer.devices",
    "trainer.num_nodes",
    "trainer.strategy",
    "trainer.max_epochs",
    "trainer.max_steps",
    "trainer.max_time",
    "data.train.length",
    "data.val.length",
    "data.test.length",
    "data.cache_folder",
    "data.num_workers",
    "task.compile",
    "data.size",
)
NUMBERS = [0, 1, 2, 3, -1, 0.5, 1.5]
WORDS = ["none", "all", "x"]


def command(seed: int) -> list[str]:
    """The words of a training."""
    draw = random.Random(seed)
    words = list(SIZES)
    for group in GROUPS:
        if draw.random() < (0.9 if group == "model" else 0.4):
            names = sorted(path.stem for path in (CONF_DIR / group).glob("*.yaml") if path.stem != "custom")
            name = draw.choice(names)
            words += [f"{group}={name}", *(SMALL.get(name, []) if group == "model" else [])]
    config: Any = OmegaConf.to_container(compose("train", words), resolve=False)
    if "name" in (config["model"].get("encoder") or {}) and not any(
        word.startswith("model.encoder.name") for word in words
    ):
        words.append("model.encoder.name=resnet10t")
    leaves = dict(_leaves({key: config[key] for key in (*GROUPS, "data", "trainer", "task")}))
    leaves |= {key: config[key] for key in ("seed", "eval_split", "extra_metrics", "reset_head")}
    leaves = {key: value for key, value in leaves.items() if not key.startswith(LEFT_ALONE) and "._" not in key}
    for key in draw.sample(sorted(leaves), draw.randint(1, 3)):
        words.append(f"{key}={setting(_value(draw, leaves[key]))}")
    return words


def _leaves(config: dict[str, Any], above: str = "") -> list[tuple[str, Any]]:
    found = []
    for key, value in config.items():
        path = f"{above}{key}"
        found += _leaves(value, f"{path}.") if isinstance(value, dict) and value else [(path, value)]
    return found


def _value(draw: random.Random, now: Any) -> Any:
    """Another value than the yaml's: mostly of its kind and size, sometimes of any."""
    if draw.random() < 0.15:
        return draw.choice([None, True, [], [2, 2], *NUMBERS, *WORDS])
    if isinstance(now, bool):
        return not now
    if isinstance(now, int | float):
        return draw.choice([0, 1, 2, now * 2, now // 2 if isinstance(now, int) else now / 2])
    if isinstance(now, list) and now:
        return draw.choice([now[::-1], now[:1] * len(now), now[:1], now * 2, [_value(draw, item) for item in now]])
    if isinstance(now, str) and "${" not in now:
        return draw.choice(WORDS)
    return draw.choice([None, 0, 1, 2, 0.5, [2, 2], [1, 2, 4]])
