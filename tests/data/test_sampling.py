import itertools
from collections import Counter

import numpy as np
import pytest

from atrous.data.sampling import STAND_IN, RareClasses, TrainSampler, Transformed, eval_keys
from atrous.data.transforms import TrainTransform
from atrous.errors import ConfigError, DataError
from atrous.types import ClassInfo, RawSample


def batches(sampler, size):
    keys = list(sampler)
    return [keys[start : start + size] for start in range(0, len(keys), size)]


def test_an_order_is_a_function_of_seed_and_epoch():
    sampler, other = (TrainSampler(length=50, step_size=5, seed=3) for _ in range(2))
    sampler.set_epoch(7)
    first = list(sampler)
    assert list(sampler) == first
    assert first != list(other)
    other.set_epoch(7)
    assert first == list(other)
    assert first != list(TrainSampler(length=50, step_size=5, seed=4))
    assert {epoch for epoch, _ in first} == {7}
    assert sorted(index for _, index in first) == list(range(50))
    assert [index for _, index in first] != list(range(50))


def test_an_epoch_is_cut_to_whole_steps_and_leaves_out_others_each_time():
    sampler = TrainSampler(length=23, step_size=5, seed=0)
    assert len(sampler) == len(list(sampler)) == 20
    left_out = set()
    for epoch in range(40):
        sampler.set_epoch(epoch)
        left_out |= set(range(23)) - {index for _, index in sampler}
    assert left_out == set(range(23))


@pytest.mark.parametrize(("world_size", "accumulated"), [(2, 1), (3, 1), (1, 4), (2, 3)])
def test_the_ranks_batches_together_are_those_of_one_process(world_size, accumulated):
    total, length = 12, 31
    per_device = total // (world_size * accumulated)
    whole = batches(TrainSampler(length=length, step_size=total, seed=1), total)
    samplers = [
        TrainSampler(length=length, step_size=total, seed=1, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    parts = [batches(sampler, per_device) for sampler in samplers]
    assert all(len(sampler) == len(list(sampler)) for sampler in samplers)
    assert {len(part) for part in parts} == {len(whole) * accumulated}
    for step, expected in enumerate(whole):
        micro = [part[step * accumulated + number] for part in parts for number in range(accumulated)]
        assert sorted(key for batch in micro for key in batch) == sorted(expected)
    micro_whole = batches(TrainSampler(length=length, step_size=total, seed=1), per_device * world_size)
    for number, expected in enumerate(micro_whole):
        assert sorted(key for part in parts for key in part[number]) == sorted(expected)


@pytest.mark.parametrize(("length", "world_size"), [(10, 1), (10, 3), (2, 4), (0, 2)])
def test_evaluation_sees_every_sample_once(length, world_size):
    samplers = [eval_keys(length, rank=rank, world_size=world_size) for rank in range(world_size)]
    assert all(len(sampler) == len(list(sampler)) for sampler in samplers)
    keys = sorted(key for sampler in samplers for key in sampler)
    assert [key for key in keys if key != (0, STAND_IN)] == [(0, index) for index in range(length)]
    assert all(samplers) == (length > 0)  # a process without a share has a sample that does not count
    assert list(samplers[0]) == sorted(samplers[0])


class Copies:
    """One image, many times."""

    class_info = ClassInfo(("a", "b"), ((0, 0, 0), (1, 1, 1)))
    image = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return RawSample(self.image, self.image[..., 0] % 2, f"copy/{index}")


def test_augmentation_is_a_function_of_seed_epoch_and_index():
    def make(seed):
        return Transformed(dataset=Copies(), transform=TrainTransform(crop_size=[16, 16]), seed=seed)

    seen = {}
    for seed in (0, 1):
        first, second = make(seed), make(seed)
        assert len(first) == 8
        for epoch in (0, 1):
            for index in range(8):
                sample = first[epoch, index]
                assert (sample["name"], sample["index"]) == (f"copy/{index}", index)
                seen[seed, epoch, index] = sample["image"].numpy().tobytes()
        backwards = [second[epoch, index]["image"].numpy().tobytes() for epoch in (1, 0) for index in range(7, -1, -1)]
        assert backwards == [seen[seed, epoch, index] for epoch in (1, 0) for index in range(7, -1, -1)]
    assert len(set(seen.values())) == len(seen) == 32


# Pixels of road, building, sign, ghost and wire in six images; the ghost is in none, image 5 has no labels.
COUNTS = np.array(
    [[900, 100, 0, 0, 0], [800, 150, 50, 0, 0], [700, 300, 0, 0, 1], [600, 380, 9, 0, 20], [990, 10, 0, 0, 30], [0] * 5]
)
NAMES = ("road", "building", "sign", "ghost", "wire")


def rare(temperature=0.5, min_pixels=10, counts=COUNTS):
    return RareClasses(counts, names=NAMES, temperature=temperature, min_pixels=min_pixels)


def expected_shares(temperature, min_pixels):
    """Share of the draws that each image gets, from the formula of the paper, summed class by class."""
    total = sum(int(n) for n in COUNTS.ravel())
    present = [c for c in range(5) if sum(row[c] for row in COUNTS)]
    weight = {c: float(np.exp((1 - sum(int(row[c]) for row in COUNTS) / total) / temperature)) for c in present}
    shares = np.zeros(len(COUNTS))
    for c in present:
        images = [i for i, row in enumerate(COUNTS) if row[c] >= min_pixels]
        for i in images:
            shares[i] += weight[c] / sum(weight.values()) / len(images)
    return shares


def keys_of(epochs, **settings):
    """The keys of each epoch over the images of COUNTS, a thousand times over."""
    defaults = {"length": 6000, "step_size": 10, "seed": 3, "rare_classes": rare(counts=np.tile(COUNTS, (1000, 1)))}
    sampler = TrainSampler(**{**defaults, **settings})
    for epoch in epochs:
        sampler.set_epoch(epoch)
        keys = list(sampler)
        assert len(keys) == len(sampler)
        yield keys


@pytest.mark.parametrize(("temperature", "min_pixels"), [(0.5, 10), (0.05, 1), (0.05, 30), (100.0, 1)])
def test_rare_classes_draw_images_as_often_as_the_formula_says(temperature, min_pixels):
    classes = rare(temperature, min_pixels, np.tile(COUNTS, (1000, 1)))
    drawn = [index % 6 for keys in keys_of(range(10), rare_classes=classes) for _, index, _ in keys]
    found = np.bincount(drawn, minlength=6) / 60_000
    expected = expected_shares(temperature, min_pixels)
    np.testing.assert_allclose(found, expected, atol=5 * np.sqrt(0.25 / 60_000))
    assert (found[expected == 0] == 0).all()
    assert found[5] == 0


def test_probabilities_of_classes_follow_the_paper_at_its_own_temperature():
    """19 classes with Cityscapes-like shares; the softmax of (1 - f) / 0.01 over them, here by torch."""
    torch = pytest.importorskip("torch")
    pixels = np.geomspace(1e10, 1e4, 19).astype(np.int64)
    found = RareClasses(pixels[None], names=[str(c) for c in range(19)], temperature=0.01).probabilities
    share = torch.tensor(pixels, dtype=torch.float64) / pixels.sum()
    np.testing.assert_allclose(found, torch.softmax((1 - share) / 0.01, 0).numpy(), rtol=1e-9)


def test_a_class_without_pixels_is_never_drawn_and_a_tiny_temperature_is_finite():
    for temperature in (1e-6, 1e6):
        probabilities = rare(temperature, 1).probabilities
        assert probabilities[3] == 0
        assert probabilities.sum() == pytest.approx(1)
    assert rare(1e-6, 1).probabilities[4] == pytest.approx(1)
    np.testing.assert_allclose(rare(1e6, 1).probabilities, [0.25, 0.25, 0.25, 0, 0.25], rtol=1e-5)


def test_an_order_of_rare_classes_is_a_function_of_seed_and_epoch():
    first, second, third = keys_of([0, 1, 2])
    assert first != second
    assert [second, third] == list(keys_of([1, 2]))  # as a training resumed after epoch 0
    assert [first] != list(keys_of([0], seed=4))
    assert {key[0] for key in second} == {1}


def test_an_image_that_comes_again_in_an_epoch_has_another_key():
    (keys,) = keys_of([7], length=6, step_size=6, rare_classes=rare(min_pixels=1))
    (many,) = keys_of([7], length=600, step_size=6, rare_classes=rare(min_pixels=1))
    assert len(keys) == 6
    assert len(many) == len(set(many)) == 600
    times = Counter()
    for epoch, index, earlier in many:
        assert (epoch, earlier) == (7, times[index])
        times[index] += 1
    assert max(times.values()) > 100


@pytest.mark.parametrize("world_size", [2, 3, 4])
def test_the_ranks_draw_the_rare_classes_of_one_process(world_size):
    whole = list(keys_of([0, 5], length=5999, step_size=24))
    ranks = [
        list(keys_of([0, 5], length=5999, step_size=24, rank=rank, world_size=world_size)) for rank in range(world_size)
    ]
    for epoch in (0, 1):
        assert len(whole[epoch]) == 5999 // 24 * 24
        dealt = list(itertools.chain(*zip(*(parts[epoch] for parts in ranks), strict=True)))
        assert dealt == whole[epoch]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 0}, "rare_class_temperature=0 is impossible; give a number above 0, such as 0.01, or null"),
        ({"temperature": float("nan")}, "rare_class_temperature=nan"),
        ({"temperature": float("inf")}, "rare_class_temperature=inf"),
        ({"temperature": "low"}, "rare_class_temperature=low"),
        ({"min_pixels": 0}, "rare_class_min_pixels=0 is impossible; give a whole number from 1 on"),
        ({"min_pixels": 0.5}, "rare_class_min_pixels=0.5"),
        (
            {"min_pixels": 51},
            r"min_pixels=51: no image has as many pixels of 'sign' \(at most 50\), 'wire' \(at most 30\). Set it to 30 or",
        ),
    ],
)
def test_impossible_settings_of_rare_classes(settings, message):
    with pytest.raises(ConfigError, match=message):
        rare(**settings)


def test_rare_classes_of_a_split_without_labels():
    with pytest.raises(DataError, match=r"the train split has no labelled pixel[.] Set it to null"):
        rare(counts=np.zeros((4, 5), np.int64))


def test_every_draw_of_an_image_is_augmented_anew():
    dataset = Transformed(dataset=Copies(), transform=TrainTransform(crop_size=[16, 16]), seed=0)
    pictures = {key: dataset[key]["image"].numpy().tobytes() for key in [(0, 3, 0), (0, 3, 1), (0, 3, 2), (1, 3, 0)]}
    assert len(set(pictures.values())) == 4
    assert pictures[0, 3, 1] == dataset[0, 3, 1]["image"].numpy().tobytes()
    assert dataset[0, 3, 2]["index"] == 3
