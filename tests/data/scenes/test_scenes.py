"""The procedural scenes: reproducible, labelled as drawn, and each difficulty there exactly as its knob says."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from functools import cache

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from atrous.data.scenes.scenes import Scenes
from atrous.errors import ConfigError

FLAT = {"texture": 0.0, "light": 0.0, "noise": 0.0}
NAMES = Scenes.class_info.names
CLASS = {name: index for index, name in enumerate(NAMES)}
ORANGE, VIOLET = (236, 84, 36), (112, 54, 196)


def digest(scenes: Scenes, indices: list[int]) -> str:
    data = hashlib.sha256()
    for index in indices:
        sample = scenes[index]
        data.update(sample.image.tobytes() + sample.mask.tobytes() + sample.name.encode())
    return data.hexdigest()


def runs(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Lengths of the horizontal runs of a boolean (H, W) map."""
    padded = np.pad(mask.astype(np.int8), ((0, 0), (1, 1)))
    steps = np.diff(padded, axis=1).ravel()
    return np.flatnonzero(steps == -1) - np.flatnonzero(steps == 1)


def miou(truth: NDArray[np.int64], prediction: NDArray[np.int64]) -> float:
    present = np.union1d(truth, prediction)
    return float(
        np.mean([((truth == c) & (prediction == c)).sum() / ((truth == c) | (prediction == c)).sum() for c in present])
    )


@pytest.mark.parametrize("size", [(256, 256), (33, 47), (64, 200), (200, 64)])
def test_sample_has_the_contracts_shape_and_types(size: tuple[int, int]) -> None:
    scenes = Scenes(split="train", size=size, length=3, context_distance=4)
    assert len(scenes) == 3
    samples = list(scenes)
    assert len({sample.name for sample in samples}) == 3
    for image, mask, _ in samples:
        assert image.shape == (*size, 3)
        assert mask.shape == size
        assert image.dtype == mask.dtype == np.uint8
        assert image.flags.c_contiguous
        assert mask.max() < scenes.class_info.num_classes


def test_another_process_draws_the_same_scenes_in_any_order() -> None:
    code = (
        "import hashlib; from atrous.data.scenes.scenes import Scenes; s = Scenes(split='val', length=9, seed=3)\n"
        "d = hashlib.sha256()\n"
        "for i in (7, 0, 4): d.update(s[i].image.tobytes() + s[i].mask.tobytes() + s[i].name.encode())\n"
        "print(d.hexdigest())"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    scenes = Scenes(split="val", length=9, seed=3)
    digest(scenes, list(range(9)))  # what was drawn before does not matter
    assert digest(scenes, [7, 0, 4]) == other


def test_scene_depends_on_seed_split_and_index_but_not_on_length() -> None:
    scenes = Scenes(split="train", length=20)
    assert digest(scenes, [5]) == digest(Scenes(split="train", length=6), [5])
    different = [Scenes(split=split, length=20, seed=seed) for split in ("train", "val", "test") for seed in (0, 1)]
    images = {dataset[index].image.tobytes() for dataset in different for index in range(20)}
    assert len(images) == 6 * 20


@pytest.mark.parametrize(
    ("knob", "changed"),
    [
        ({"context_distance": 8}, {"marker"}),
        ({"context_distance": 140}, {"field_a", "field_b", "marker"}),  # some fields move down to make room
        ({"scale_range": (20, 20)}, {"vehicle"}),
        ({"thin_width": (5, 5)}, {"pole", "wire", "sign"}),
        ({"rare_probability": 1.0}, {"sign"}),
        ({"rare_size": (20, 24)}, {"sign"}),
        ({"color_variation": 0.0}, set()),
        ({"texture": 0.0}, set()),
        ({"light": 0.0}, set()),
        ({"noise": 0.0}, set()),
    ],
)
def test_knob_changes_only_what_it_names(knob: dict[str, object], changed: set[str]) -> None:
    base, turned = Scenes(split="train", length=30), Scenes(split="train", length=30, **knob)  # type: ignore[arg-type]
    labels, images_differ = set[str](), False
    for before, after in zip(base, turned, strict=True):
        moved = before.mask != after.mask
        pairs = np.unique(np.stack([before.mask[moved], after.mask[moved]], axis=1), axis=0)
        assert all({NAMES[a], NAMES[b]} & changed for a, b in pairs)
        labels |= {NAMES[c] for pair in pairs for c in pair}
        images_differ |= bool((before.image != after.image).any())
    assert images_differ
    assert changed <= labels


def test_pixels_drawn_are_the_pixels_labelled() -> None:
    for image, mask, _ in Scenes(split="train", length=20, rare_probability=1.0, **FLAT):  # type: ignore[arg-type]
        color = image.astype(np.int64) @ (1, 256, 65536)
        pairs = np.unique(np.stack([color.ravel(), mask.ravel()], axis=1), axis=0)
        fields = np.isin(pairs[:, 1], (CLASS["field_a"], CLASS["field_b"]))  # these two share one colour
        assert len(np.unique(pairs[~fields, 0])) == (~fields).sum()
        assert not np.intersect1d(pairs[fields, 0], pairs[~fields, 0]).size
        assert len(pairs) < 70  # surfaces; one antialiased edge would add dozens of blends


@pytest.mark.parametrize("width", [1, 2, 3])
def test_poles_and_wires_are_exactly_as_wide_as_asked(width: int) -> None:
    across = {"pole": [], "wire": []}  # type: dict[str, list[NDArray[np.int64]]]
    for _, mask, _ in Scenes(split="train", length=30, thin_width=(width, width)):
        for name, lengths in across.items():
            thin = (mask == CLASS[name]).astype(np.uint8)
            block = np.ones((width + 1, width + 1), np.uint8)
            assert not cv2.erode(thin, block, borderType=cv2.BORDER_CONSTANT, borderValue=0).any()
            lengths.append(runs(thin.astype(bool).T if name == "wire" else thin.astype(bool)))
    assert np.mean(np.concatenate(across["pole"]) == width) > 0.8  # the others are crossarms
    assert np.mean(np.concatenate(across["wire"]) == width) > 0.95  # the others pass behind a sign or marker


def test_vehicle_lengths_are_log_uniform_over_the_range_and_drawn_as_described() -> None:
    scenes = Scenes(split="train", length=200)
    lengths, exact = [], []
    for index in range(len(scenes)):
        description = scenes.describe(index)
        for k, thing in enumerate(description.objects):
            if thing.label != CLASS["vehicle"]:
                continue
            lengths.append(thing.scale)
            left, top, right, bottom = thing.box
            rows, columns = np.nonzero(description.owner == k)
            if columns.size:
                assert left <= columns.min() <= columns.max() < right
                assert top <= rows.min() <= rows.max() < bottom
                exact.append(columns.max() + 1 - columns.min() == thing.scale)
    position = np.log(np.array(lengths) / 8) / np.log(16)  # 0 to 1
    assert min(lengths) == 8
    assert max(lengths) > 120
    np.testing.assert_allclose(np.quantile(position, [0.25, 0.5, 0.75]), [0.25, 0.5, 0.75], atol=0.05)
    assert np.mean(exact) > 0.6  # the others are hidden in part or pass the border


@pytest.mark.parametrize(("knob", "distance"), [(0, 1), (1, 1), (24, 24), (96, 96), (210, 210)])
def test_marker_stands_exactly_at_the_context_distance(knob: int, distance: int) -> None:
    scenes = Scenes(split="train", length=40, context_distance=knob)
    exact = []
    for index in range(len(scenes)):
        objects, owner = (description := scenes.describe(index)).objects, description.owner
        fields = [k for k, thing in enumerate(objects) if NAMES[thing.label].startswith("field")]
        markers = [k for k, thing in enumerate(objects) if thing.label == CLASS["marker"]]
        assert len(fields) == len(markers) == 2
        for field, marker in zip(fields, markers, strict=True):
            left, top, right, bottom = objects[marker].box
            assert 0 <= left < right <= owner.shape[1]
            assert 0 <= top < bottom <= owner.shape[0]
            away = cv2.distanceTransform((owner != marker).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
            if (owner == field).any():
                exact.append(away[owner == field].min())
    assert min(exact) == pytest.approx(distance, abs=1e-3)
    assert (
        np.mean(np.abs(np.array(exact) - distance) < 1e-3) > 0.75
    )  # a vehicle or pole hides the others' nearest pixel


def test_markers_colour_tells_the_field() -> None:
    scenes = Scenes(split="train", length=30, **FLAT)  # type: ignore[arg-type]
    for index in range(len(scenes)):
        image, description = scenes[index].image, scenes.describe(index)
        fields = [thing.label for thing in description.objects if NAMES[thing.label].startswith("field")]
        markers = [k for k, thing in enumerate(description.objects) if thing.label == CLASS["marker"]]
        for field, marker in zip(fields, markers, strict=True):
            colors, counts = np.unique(image[description.owner == marker], axis=0, return_counts=True)
            assert tuple(colors[counts.argmax()]) == (ORANGE if field == CLASS["field_a"] else VIOLET)


@cache
def _field_features(context_distance: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Per visible field its colours' mean and spread, texture, shape, place and surroundings, markers painted out."""
    scenes = Scenes(split="train", size=(128, 128), length=500, context_distance=context_distance)
    features, labels = [], []
    for index in range(len(scenes)):
        image, description = scenes[index].image.astype(np.float64), scenes.describe(index)
        kinds = [NAMES[thing.label] for thing in description.objects]
        marker = np.isin(description.owner, [k for k, kind in enumerate(kinds) if kind == "marker"])
        surroundings = image[~marker].mean(0)
        steps = np.abs(np.diff(image, axis=0, append=image[-1:])).mean(2)
        for k, kind in enumerate(kinds):
            seen = description.owner == k
            if kind.startswith("field") and seen.sum() > 50:
                pixels, (rows, columns) = image[seen], np.nonzero(seen)
                place = [rows.mean(), columns.mean(), columns.std(), float(seen.sum())]
                features.append([*pixels.mean(0), *pixels.std(0), *surroundings, steps[seen].mean(), *place])
                labels.append(int(kind == "field_b"))
    table = np.array(features)
    return (table - table.mean(0)) / table.std(0), np.array(labels)


def _held_out_accuracy(features: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Accuracy of a least-squares classifier on features and their products, trained on the first half."""
    upper = np.triu_indices(features.shape[1])
    table = np.concatenate([np.ones((len(labels), 1)), features, features[:, upper[0]] * features[:, upper[1]]], axis=1)
    half = len(labels) // 2
    ridge = table[:half].T @ table[:half] + 10 * np.eye(table.shape[1])
    weights = np.linalg.solve(ridge, table[:half].T @ (2.0 * labels[:half] - 1))
    return float(np.mean((table[half:] @ weights > 0) == labels[half:]))


def test_fields_are_alike_without_their_markers() -> None:
    features, labels = _field_features(24)
    first, second = features[labels == 0], features[labels == 1]
    standard_error = np.sqrt(first.var(0) / len(first) + second.var(0) / len(second))
    assert np.abs((first.mean(0) - second.mean(0)) / standard_error).max() < 3.5
    assert abs(_held_out_accuracy(features, labels) - 0.5) < 4 * 0.5 / np.sqrt(len(labels) / 2)
    assert _held_out_accuracy(*_field_features(0)) > 0.85  # the same classifier sees the tint when context is off


def test_no_class_dominates_and_all_but_the_sign_are_common() -> None:
    masks = np.stack([sample.mask for sample in Scenes(split="train", size=(128, 128), length=150)]).astype(np.int64)
    share = np.bincount(masks.ravel(), minlength=len(NAMES)) / masks.size
    assert miou(masks, np.full_like(masks, share.argmax())) < 0.05
    present = {name: np.mean((masks == c).any((1, 2))) for name, c in CLASS.items()}
    assert 0.1 < present.pop("sign") < 0.3
    assert min(present.values()) > 0.65


@pytest.mark.parametrize(("probability", "share"), [(0.0, 0.0), (1.0, 1.0)])
def test_rare_probability_sets_how_often_a_sign_is_seen(probability: float, share: float) -> None:
    scenes = Scenes(split="train", length=30, rare_probability=probability)
    seen = [(sample.mask == CLASS["sign"]).any() for sample in scenes]
    assert np.mean(seen) == pytest.approx(share, abs=0.1)


def test_sign_is_as_large_as_asked() -> None:
    scenes = Scenes(split="train", length=60, rare_probability=1.0, rare_size=(8, 14), scale_range=(8, 8))
    for index in range(len(scenes)):
        description = scenes.describe(index)
        (k,) = (k for k, thing in enumerate(description.objects) if thing.label == CLASS["sign"])
        rows, columns = np.nonzero(description.owner == k)
        assert 8 <= description.objects[k].scale <= 14
        if rows.size:
            assert max(np.ptp(rows), np.ptp(columns)) + 1 <= description.objects[k].scale


def _nearest_mean_colour_miou(**knobs: object) -> float:
    train = Scenes(split="train", size=(128, 128), length=60, **knobs)  # type: ignore[arg-type]
    test = Scenes(split="test", size=(128, 128), length=30, **knobs)  # type: ignore[arg-type]

    def pixels(scenes: Scenes) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        samples = list(scenes)
        colors = np.stack([sample.image for sample in samples]).reshape(-1, 3).astype(np.float64)
        return colors, np.stack([sample.mask for sample in samples]).ravel().astype(np.int64)

    colors, labels = pixels(train)
    means = np.stack([colors[labels == c].mean(0) for c in range(len(NAMES))])
    colors, labels = pixels(test)
    return miou(labels, ((colors[:, None] - means) ** 2).sum(2).argmin(1))


def test_colour_alone_does_not_give_the_class_away() -> None:
    assert _nearest_mean_colour_miou() < 0.2
    assert (
        _nearest_mean_colour_miou(color_variation=0.0, context_distance=0, **FLAT) > 0.4
    )  # with the knobs off it helps


def test_noise_has_the_standard_deviation_asked_for() -> None:
    knobs = {"color_variation": 0.0, "texture": 0.0, "light": 0.0}
    clean = Scenes(split="train", length=1, noise=0.0, **knobs)[0].image.astype(float)  # type: ignore[arg-type]
    noisy = Scenes(split="train", length=1, noise=8.0, **knobs)[0].image.astype(float)  # type: ignore[arg-type]
    unclipped = (clean > 40) & (clean < 215)
    assert (noisy - clean)[unclipped].std() == pytest.approx(8.0, rel=0.03)


def test_description_agrees_with_the_mask() -> None:
    scenes = Scenes(split="train", length=20, rare_probability=1.0)
    for index in range(len(scenes)):
        mask, (objects, owner) = scenes[index].mask, (lambda d: (d.objects, d.owner))(scenes.describe(index))
        labels = np.array([thing.label for thing in objects] + [255] * (256 - len(objects)))[owner]
        owned = ["field_a", "field_b", "vehicle", "pole", "wire", "sign", "marker"]
        np.testing.assert_array_equal(labels != 255, np.isin(mask, [CLASS[name] for name in owned]))
        np.testing.assert_array_equal(labels[labels != 255], mask[labels != 255])


@pytest.mark.parametrize("index", [-1, 3])
def test_index_outside_the_split_names_the_range(index: int) -> None:
    scenes = Scenes(split="val", length=3)
    message = f"scenes: no scene {index}; split 'val' has 0 to 2"
    with pytest.raises(IndexError, match=message):
        scenes[index]
    with pytest.raises(IndexError, match=message):
        scenes.describe(index)


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"split": "valid"}, "scenes: no split 'valid'; choose one of train, val, test"),
        ({"size": (16, 256)}, "scenes: size is 16; give a whole number from 32 to 8192"),
        ({"size": 256}, r"scenes: size is 256; give two whole numbers, such as \[32, 64\]"),
        ({"length": 0}, "scenes: length is 0; give a whole number from 1 to"),
        ({"seed": -1}, "scenes: seed is -1; give a whole number from 0 to"),
        ({"context_distance": 300}, "scenes: context_distance is 300; give a whole number from 0 to 210"),
        ({"context_distance": 1.5}, "scenes: context_distance is 1.5; give a whole number from 0 to 210"),
        ({"scale_range": (128, 8)}, r"scenes: scale_range is \[128, 8\]; give the smaller number first: \[8, 128\]"),
        ({"thin_width": (0, 3)}, "scenes: thin_width is 0; give a whole number from 1 to 64"),
        ({"rare_probability": 2.0}, "scenes: rare_probability is 2.0; give a number from 0 to 1"),
        ({"rare_size": (1, 8)}, "scenes: rare_size is 1; give a whole number from 3 to 256"),
        ({"color_variation": -0.5}, "scenes: color_variation is -0.5; give a number from 0 to 1"),
        ({"texture": True}, "scenes: texture is True; give a number from 0 to 1"),
        ({"light": "dark"}, "scenes: light is 'dark'; give a number from 0 to 1"),
        ({"noise": float("nan")}, "scenes: noise is nan; give a number from 0 to 64"),
    ],
)
def test_impossible_knob_is_named_with_its_value_and_range(knobs: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Scenes(**({"split": "train"} | knobs))  # type: ignore[arg-type]
