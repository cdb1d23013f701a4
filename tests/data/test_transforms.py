import warnings

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from atrous.data.transforms import EvalTransform, TrainTransform, normalise
from atrous.errors import ConfigError

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (48, 64, 3), dtype=np.uint8)
MASK = RNG.integers(0, 11, (48, 64), dtype=np.uint8)
PLAIN = {"scale": [1, 1], "flip": 0, "brightness": 0, "contrast": 0, "saturation": 0, "hue": 0, "blur": 0}
AS_IS = {"mean": [0, 0, 0], "std": [1, 1, 1]}


def test_normalisation_is_torchvisions():
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    expected = v2.functional.normalize(torch.from_numpy(IMAGE).permute(2, 0, 1).float() / 255, mean, std)
    got = normalise(IMAGE, mean, std)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, expected, atol=2e-6, rtol=1e-6)
    torch.testing.assert_close(EvalTransform().normalise(IMAGE), expected, atol=2e-6, rtol=1e-6)


def test_evaluation_changes_nothing_but_the_scale():
    image, mask = EvalTransform(**AS_IS)(IMAGE, MASK, seed=3)
    np.testing.assert_array_equal((image * 255).round().permute(1, 2, 0), IMAGE)
    assert mask.dtype == torch.int64
    np.testing.assert_array_equal(mask, MASK)


def test_training_gives_the_crop_size_and_types():
    image, mask = TrainTransform(crop_size=[33, 41])(IMAGE, MASK, seed=0)
    assert (image.shape, image.dtype) == ((3, 33, 41), torch.float32)
    assert (mask.shape, mask.dtype) == ((33, 41), torch.int64)


def test_nothing_random_is_nothing_changed():
    image, mask = TrainTransform(crop_size=[48, 64], **PLAIN, **AS_IS)(IMAGE, MASK, seed=0)
    np.testing.assert_array_equal((image * 255).round().permute(1, 2, 0), IMAGE)
    np.testing.assert_array_equal(mask, MASK)


def test_flips_are_exact_and_joint():
    transform = TrainTransform(crop_size=[48, 64], **{**PLAIN, "flip": 0.5}, **AS_IS)
    flipped = 0
    for seed in range(60):
        image, mask = transform(IMAGE, MASK, seed=seed)
        flip = not np.array_equal(mask, MASK)
        flipped += flip
        np.testing.assert_array_equal(mask, MASK[:, ::-1] if flip else MASK)
        np.testing.assert_array_equal((image * 255).round().permute(1, 2, 0), IMAGE[:, ::-1] if flip else IMAGE)
    assert 15 < flipped < 45


def test_padding_is_the_mean_colour_and_ignored():
    transform = TrainTransform(crop_size=[80, 90], **PLAIN, ignore_index=200)
    image, mask = transform(IMAGE, MASK, seed=0)
    padded = mask == 200
    assert padded.sum() == 80 * 90 - 48 * 64
    assert image[:, padded].abs().max() < 0.02
    assert set(mask.unique().tolist()) == {*range(11), 200}


def test_the_result_is_a_function_of_the_seed():
    transform, other = TrainTransform(crop_size=[32, 32]), TrainTransform(crop_size=[32, 32])
    transform(IMAGE, MASK, seed=1)
    first, again, new = transform(IMAGE, MASK, seed=5), other(IMAGE, MASK, seed=5), other(IMAGE, MASK, seed=6)
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], new[0])


def test_the_steps_are_drawn_independently():
    """Flips and blurs of probability 1/2 come in all four combinations."""
    transform = TrainTransform(crop_size=[48, 64], **{**PLAIN, "flip": 0.5, "blur": 0.5}, **AS_IS)
    seen = np.zeros((2, 2), int)
    for seed in range(100):
        image, mask = transform(IMAGE, MASK, seed=seed)
        flip = not np.array_equal(mask, MASK)
        original = IMAGE[:, ::-1] if flip else IMAGE
        seen[int(flip), int(not np.array_equal((image * 255).round().permute(1, 2, 0), original))] += 1
    assert (seen > 10).all()


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation", "hue"])
def test_colour_knobs_change_the_image_alone(name):
    transform = TrainTransform(crop_size=[48, 64], **{**PLAIN, name: 0.4})
    plain = TrainTransform(crop_size=[48, 64], **PLAIN)
    image, mask = transform(IMAGE, MASK, seed=0)
    expected, expected_mask = plain(IMAGE, MASK, seed=0)
    assert (image - expected).abs().mean() > 0.02
    assert torch.equal(mask, expected_mask)


def test_the_input_is_left_alone_and_nothing_warns():
    image, mask = IMAGE.copy(), MASK.copy()
    image.flags.writeable = mask.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        transform = TrainTransform(crop_size=[64, 64], blur=1.0)
        for seed in range(10):
            transform(image, mask, seed=seed)
        EvalTransform()(image, mask)


def test_a_one_pixel_image():
    image, mask = TrainTransform(crop_size=[4, 4])(IMAGE[:1, :1], MASK[:1, :1], seed=0)
    assert image.isfinite().all()
    assert (mask != 255).any()


def test_a_balanced_crop_turns_away_from_one_class():
    mask = np.zeros((200, 200), np.uint8)
    mask[:40, :40] = 1
    image = np.repeat(mask[..., None], 3, -1)
    plain, balanced = (
        TrainTransform(crop_size=[32, 32], **{**PLAIN, "cat_max_ratio": ratio}, **AS_IS) for ratio in (1.0, 0.9)
    )
    both = [[len(t(image, mask, seed=seed)[1].unique()) == 2 for seed in range(100)] for t in (plain, balanced)]
    assert sum(both[0]) < 20
    assert sum(both[1]) > sum(both[0]) + 15


def test_an_image_may_be_reduced_to_what_its_scale_needs():
    """The reduction is told by the seed, before the image is read."""
    transform = TrainTransform(crop_size=[24, 32], **{**PLAIN, "scale": [0.1, 1.2]}, **AS_IS)
    flat = np.full((96, 128, 3), 77, np.uint8)
    mask = np.zeros((96, 128), np.uint8)
    seen = set()
    for seed in range(60):
        reduction = transform.reduction(seed)
        seen.add(reduction)
        whole = transform(flat, mask, seed=seed)
        reduced = transform(flat[::reduction, ::reduction], mask, seed=seed)
        assert torch.equal(whole[0], reduced[0])
        assert torch.equal(whole[1], reduced[1])
        # As large as it is shown, and not twice as large.
        shown = (whole[1] == 0).sum(0).max().item(), (whole[1] == 0).sum(1).max().item()
        if shown[0] < 24 and shown[1] < 32:  # all of it
            assert 96 / reduction >= shown[0] - 1
            assert reduction == 8 or 96 / reduction < 2 * shown[0] + 2
    assert seen == {1, 2, 4, 8}
    assert {TrainTransform(crop_size=[8, 8], scale=[0.51, 2]).reduction(seed) for seed in range(50)} == {1}
    assert TrainTransform(crop_size=[8, 8], scale=[0.5, 0.5]).reduction(0) == 2
    assert EvalTransform().reduction(0) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cat_max_ratio": 0}, "cat_max_ratio=0 is impossible; expected a share above 0, such as 0.75, or 1 for off"),
        ({"cat_max_ratio": 1.5}, "cat_max_ratio=1.5"),
        ({"crop_size": [0, 5]}, r"crop_size=\[0, 5\] is impossible; expected \[height, width\]"),
        ({"crop_size": [5]}, r"crop_size=\[5\]"),
        ({"crop_size": [5.5, 6]}, r"crop_size=\[5.5, 6\]"),
        ({"scale": [2, 0.5]}, r"scale=\[2, 0.5\] is impossible; expected \[smallest, largest\]"),
        ({"scale": [0, 1]}, r"scale=\[0, 1\]"),
        ({"flip": 1.5}, "flip=1.5 is impossible; expected a number from 0 to 1"),
        ({"brightness": -0.1}, "brightness=-0.1"),
        ({"contrast": 2}, "contrast=2"),
        ({"saturation": 2}, "saturation=2"),
        ({"hue": 0.6}, "hue=0.6 is impossible; expected a number from 0 to 0.5"),
        ({"blur": -1}, "blur=-1"),
        ({"elastic": -1}, "elastic=-1 is impossible; expected pixels from 0 on, such as 10"),
        ({"elastic": float("inf")}, "elastic=inf is impossible"),
        ({"rotation": 181}, "rotation=181 is impossible; expected a number from 0 to 180"),
        ({"elastic": 10, "cat_max_ratio": 0.75}, "cat_max_ratio=0.75 chooses among crops .* set cat_max_ratio=1"),
        ({"mean": [0.5]}, r"mean=\[0.5\] and std=.*expected three numbers"),
        ({"std": [1, 1, 0]}, "std above 0"),
    ],
)
def test_impossible_settings(change, message):
    with pytest.raises(ConfigError, match=message):
        TrainTransform(**{"crop_size": [8, 8], **change})
    if change.keys() <= {"mean", "std"}:
        with pytest.raises(ConfigError, match=message):
            EvalTransform(**change)
