"""What a score depends on beside the network: stored and shown with it, and compared before scores are. Imports no torch."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import Any

from atrous.runs.record import git_state
from atrous.types import ClassInfo

# Where two protocols differ in one of these, their scores measure different things.
DECISIVE = ("split", "images", "data", "classes", "ignore_index", "absent_classes", "averaging", "resize", "crop")


def protocol(
    *,
    split: str,
    images: int,
    data: str,
    class_info: ClassInfo,
    resolution: str,
    inference: str,
    precision: str,
    weights: str,
    void_output: bool = False,
) -> dict[str, Any]:
    """The protocol of one evaluation.

    Args:
        split: train, val or test.
        images: How many were scored.
        data: The split's fingerprint; see `atrous.data.quick_check.fingerprint`.
        class_info: The classes that are counted.
        resolution: The network's output stride and rates; see `atrous.engine.resolution.resolution_of`.
        inference: How images went through the network, settings included, such as scales and flips.
        precision: Lightning's name of it.
        weights: Which of the training's weights were scored; see `weights_of`.
        void_output: Whether the network may label a pixel void.
    """
    return {
        "split": split,
        "images": images,
        "data": data,
        "classes": class_info.num_classes,
        "ignore_index": class_info.ignore_index,
        "absent_classes": "left out of means; a class only predicted counts 0",
        **({"void_output": "compared with the classes'; what it labels void is wrong"} if void_output else {}),
        "averaging": "one confusion matrix over all images",
        "resize": "none: logits are resized to the mask (bilinear, align_corners=False), then argmax",
        "crop": "none",
        "resolution": resolution,
        "inference": inference,
        "postprocess": "none",
        "precision": precision,
        "weights": weights,
        "code": code_version(),
    }


def method_protocol(
    *, split: str, images: int, data: str, class_info: ClassInfo, method: str, matching: str
) -> dict[str, Any]:
    """The protocol of segments that no network made.

    Args:
        split, images, data, class_info: As for `protocol`.
        method: With all its settings.
        matching: How segments got their classes.
    """
    of_networks = protocol(
        split=split,
        images=images,
        data=data,
        class_info=class_info,
        resolution="none",
        inference=method,
        precision="none",
        weights="none",
    )
    return {**of_networks, "resize": "none: segments are at the size of the mask", "matching": matching}


def weights_of(config: dict[str, Any]) -> str:
    """Which weights the checkpoints of a run hold: with a weight averaging callback, its averages.

    Args:
        config: The run's resolved config.
    """
    for options in config.get("callbacks", {}).values():
        if str(options.get("_target_")).endswith("WeightAveraging"):
            knobs = ", ".join(f"{key} {value}" for key, value in options.items() if key != "_target_")
            return f"averaged ({knobs})" if knobs else "averaged"
    return "as trained"


def code_version() -> str:
    """The version of atrous, and in a clone the commit and whether files were changed since."""
    state = git_state(Path(__file__).parent)
    version = f"atrous {importlib.metadata.version('atrous')}"
    if state["commit"] is None:
        return version
    return f"{version}, commit {state['commit'][:7]}{' with changes' if state['dirty'] else ''}"


def protocol_lines(protocol: dict[str, Any]) -> list[str]:
    """The protocol in two lines for people; of a run from before it was stored in full as it is, in one."""
    try:
        return [
            f"scored on {protocol['split']}, {protocol['images']} images, data {protocol['data']}; {protocol['classes']} "
            f"classes, {protocol['ignore_index']} ignored, absent classes left out"
            f"{', void predicted is wrong' if 'void_output' in protocol else ''}; {protocol['averaging']}",
            _how(protocol),
        ]
    except KeyError:
        return [", ".join(f"{key}: {value}" for key, value in protocol.items())]


def _how(protocol: dict[str, Any]) -> str:
    if "matching" in protocol:
        return f"{protocol['inference']}; matching of segments and classes: {protocol['matching']}; {protocol['code']}"
    return (
        f"network at {protocol.get('resolution', 'a resolution not stored')}; inference {protocol['inference']}, logits "
        f"resized to the mask, postprocess {protocol['postprocess']}; precision {protocol['precision']}, weights "
        f"{protocol['weights']}; {protocol['code']}"
    )


def differences(a: dict[str, Any], b: dict[str, Any]) -> tuple[list[str], list[str]]:
    """What differs between two protocols: what forbids a comparison, and what a reader should know.

    A key that only one of them has counts as a difference: scores of before that key was stored are not known to be
    alike.
    """
    told: tuple[list[str], list[str]] = ([], [])
    for key in dict.fromkeys((*DECISIVE, *a, *b)):
        if _compared(key, a) != _compared(key, b):
            told[key not in DECISIVE].append(f"{key}: {a.get(key, 'not stored')} / {b.get(key, 'not stored')}")
    return told


def _compared(key: str, protocol: dict[str, Any]) -> Any:
    """What is compared of a value: of `resize` what was resized, which a network and a method tell in other words."""
    value = protocol.get(key)
    return value.partition(":")[0] if key == "resize" and isinstance(value, str) else value
