import cv2
import numpy as np
import pytest
from scipy.stats import ks_2samp

from atrous.data.io.files import REDUCTIONS
from atrous.data.scale_crop import random_scale_crop, scale_crop

FILL, FILL_MASK = (10.4, 20, 30), 255


def smooth_image(size, seed=0):
    noise = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    blurred = cv2.GaussianBlur(noise, (0, 0), 4)
    return cv2.normalize(blurred, None, 0, 255, cv2.NORM_MINMAX)


def resize_pad_crop(image, mask, scaled, offset, size):
    """The same in the usual three steps."""
    big = cv2.resize(image, scaled[::-1], interpolation=cv2.INTER_LINEAR)
    big_mask = cv2.resize(mask, scaled[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    pad = max(size)
    big = cv2.copyMakeBorder(big, pad, pad, pad, pad, cv2.BORDER_CONSTANT, value=[10, 20, 30])
    big_mask = cv2.copyMakeBorder(big_mask, pad, pad, pad, pad, cv2.BORDER_CONSTANT, value=FILL_MASK)
    window = (slice(offset[0] + pad, offset[0] + pad + size[0]), slice(offset[1] + pad, offset[1] + pad + size[1]))
    return big[window], big_mask[window]


@pytest.mark.parametrize(
    ("scaled", "offset", "size"),
    [
        ((40, 60), (0, 0), (40, 60)),
        ((40, 60), (7, 11), (21, 33)),
        ((80, 120), (13, 50), (32, 32)),
        ((61, 91), (30, 59), (31, 32)),
        ((20, 30), (3, 1), (16, 17)),
        ((25, 37), (-4, -10), (48, 64)),
        ((23, 90), (-9, 20), (32, 32)),
        ((1, 1), (-5, -3), (8, 8)),
        ((40, 61), (0, 0), (40, 61)),
        ((39, 61), (1, 2), (37, 58)),
        ((40, 61), (0, 0), (40, 20)),
    ],
)
def test_equal_to_resize_pad_and_crop(scaled, offset, size):
    image = smooth_image((40, 60))
    mask = np.random.default_rng(1).integers(0, 11, (40, 60), dtype=np.uint8)
    got, got_mask = scale_crop(image, mask, scaled=scaled, offset=offset, size=size, fill=FILL, fill_mask=FILL_MASK)
    expected, expected_mask = resize_pad_crop(image, mask, scaled, offset, size)
    assert abs(got.astype(int) - expected).max() <= 2  # OpenCV's warp rounds positions to 1/32 pixel
    # Where a centre lies between two pixels, OpenCV takes either.
    ys, xs = (np.arange(n) + first for n, first in zip(size, offset, strict=True))
    ties = ((2 * ys + 1) * 40 % (2 * scaled[0]) == 0)[:, None] | ((2 * xs + 1) * 60 % (2 * scaled[1]) == 0)
    np.testing.assert_array_equal(got_mask[~ties], expected_mask[~ties])


def test_a_doubled_mask_is_repeated_and_a_halved_one_picked():
    mask = np.random.default_rng(1).integers(0, 11, (8, 10), dtype=np.uint8)
    image = np.zeros((8, 10, 3), np.uint8)
    _, double = scale_crop(image, mask, scaled=(16, 20), offset=(0, 0), size=(16, 20), fill=FILL, fill_mask=FILL_MASK)
    np.testing.assert_array_equal(double, mask.repeat(2, 0).repeat(2, 1))
    _, half = scale_crop(image, mask, scaled=(4, 5), offset=(0, 0), size=(4, 5), fill=FILL, fill_mask=FILL_MASK)
    np.testing.assert_array_equal(half, mask[1::2, 1::2])


def test_image_and_mask_stay_aligned():
    """An image that shows its mask's class: away from class borders both still agree."""
    coarse = np.random.default_rng(0).integers(0, 11, (6, 8), dtype=np.uint8)
    mask = coarse.repeat(16, 0).repeat(16, 1)
    image = np.repeat(mask[..., None] * 20, 3, -1)
    for seed in range(40):
        rng = np.random.default_rng(seed)
        got, got_mask = random_scale_crop(
            image, mask, size=(64, 72), scale=(0.5, 2), fill=(255, 255, 255), fill_mask=FILL_MASK, rng=rng
        )
        inside = got_mask != FILL_MASK
        border = cv2.dilate(cv2.morphologyEx(got_mask, cv2.MORPH_GRADIENT, np.ones((3, 3))), np.ones((3, 3))) > 0
        flat = (inside & ~border)[2:-2, 2:-2]  # a class border may lie just outside the crop
        flat = np.pad(flat, 2)
        assert flat.sum() > 500
        np.testing.assert_array_equal(got[flat][:, 0], got_mask[flat] * 20)
        assert (got[~inside] == 255).all()


def test_all_positions_and_the_whole_range_of_scales_occur():
    image = np.zeros((20, 20, 3), np.uint8)
    mask = np.zeros((20, 20), np.uint8)
    shares, corners = [], set()
    for seed in range(300):
        _, crop = random_scale_crop(
            image, mask, size=(40, 40), scale=(0.5, 2), fill=FILL, fill_mask=1, rng=np.random.default_rng(seed)
        )
        shares.append((crop == 0).mean() ** 0.5 * 2)  # the factor
        corners.add((int(crop[0, 0]), int(crop[-1, -1])))
    assert np.quantile(shares, [0, 0.5, 1]) == pytest.approx([0.5, 1.25, 2], abs=0.12)
    assert {(0, 1), (1, 0), (1, 1)} <= corners


def test_int32_masks_and_images_beyond_the_limit_of_opencvs_warp():
    image = np.zeros((8, 40_000, 3), np.uint8)
    image[:, -8:] = 200
    mask = np.full((8, 40_000), -1, np.int32)
    mask[:, -8:] = 70_000
    got, got_mask = scale_crop(
        image, mask, scaled=(16, 80_000), offset=(0, 79_984), size=(16, 20), fill=(0, 0, 0), fill_mask=-1
    )
    assert (got[:, 1:16] == 200).all()
    assert (got[:, 16:] == 0).all()
    np.testing.assert_array_equal(np.unique(got_mask, return_counts=True), [[-1, 70_000], [64, 256]])


def test_equal_to_resize_pad_and_crop_at_every_scale_and_position():
    """The fast way, where the crop can begin on a whole source pixel, and the other one."""
    image = smooth_image((240, 330), seed=3)
    mask = np.zeros((240, 330), np.uint8)
    rng = np.random.default_rng(0)
    for number in range(150):
        factor = rng.uniform(0.2, 5)
        scaled = (round(240 * factor), round(330 * factor))
        size = tuple(int(side) for side in rng.integers(20, 150, 2))
        offset = tuple(
            int(rng.integers(min(0, s - c), max(0, s - c), endpoint=True)) for s, c in zip(scaled, size, strict=True)
        )
        got, _ = scale_crop(image, mask, scaled=scaled, offset=offset, size=size, fill=FILL, fill_mask=FILL_MASK)
        expected, _ = resize_pad_crop(image, mask, scaled, offset, size)
        assert abs(got.astype(int) - expected).max() <= 3, (number, scaled, offset, size)


def features(size, image, mask):
    """What tells how and where a crop was taken: position, scale, classes, padding, and the pixels themselves."""
    inside = mask != FILL_MASK
    x, y, texture = (image[..., channel][inside].astype(float) for channel in range(3))
    shares = [float((mask == label).mean()) for label in range(3)]
    rows, cols = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    return {
        "x": x.mean(),
        "y": y.mean(),
        "scale": np.ptp(x) / len(cols) + np.ptp(y) / len(rows),
        "padding above": rows[0],
        "padding on the left": cols[0],
        "mean": texture.mean(),
        "standard deviation": texture.std(),
        **{f"share of class {label}": share for label, share in enumerate(shares)},
        "padding": 1 - inside.mean(),
    }


def in_the_usual_order(image, mask, size, scale, rng):
    """Resize all, pad what is smaller at a random side, crop: nothing of ours."""
    factor = rng.uniform(*scale)
    scaled = max(1, round(mask.shape[1] * factor)), max(1, round(mask.shape[0] * factor))
    image = cv2.resize(image, scaled, interpolation=cv2.INTER_LINEAR)
    mask = cv2.resize(mask, scaled, interpolation=cv2.INTER_NEAREST_EXACT)
    for axis in (0, 1):
        missing = max(0, size[axis] - mask.shape[axis])
        before = rng.integers(0, missing + 1)
        sides = [(0, 0), (0, 0)]
        sides[axis] = (before, missing - before)
        image = np.pad(image, [*sides, (0, 0)])
        mask = np.pad(mask, sides, constant_values=FILL_MASK)
    y, x = (rng.integers(0, n - s + 1) for n, s in zip(mask.shape, size, strict=True))
    return image[y : y + size[0], x : x + size[1]], mask[y : y + size[0], x : x + size[1]]


def a_scene(size=(96, 144)):
    """Red grows to the right and green downwards, blue is a texture; three classes in bands and spots."""
    ys, xs = np.mgrid[: size[0], : size[1]]
    image = np.stack([xs * 255 // size[1], ys * 255 // size[0], smooth_image(size)[..., 0]], -1).astype(np.uint8)
    mask = (ys > 60).astype(np.uint8)
    mask[cv2.GaussianBlur(smooth_image(size, 5)[..., 0], (0, 0), 3) > 150] = 2
    return image, mask


def disagreeing(first, second):
    """The features whose distributions over two lists of crops differ, at a chance of 1 in 2000 each if they don't."""
    rng = np.random.default_rng(0)
    differ = set()
    for name in first[0]:
        values = np.array([[crop[name] for crop in crops] for crops in (first, second)], float)
        values += rng.normal(0, 0.05 * values.std(), values.shape)  # rounding alone is no difference
        if ks_2samp(*values, method="asymp").pvalue < 0.0005:
            differ.add(name)
    return differ


@pytest.mark.parametrize("reduce", [False, True])
def test_crops_are_distributed_as_in_the_usual_order(reduce):
    """Over drawn scales and positions; reduced, as a JPEG is decoded when the scale is 1/2 or less.

    A reduced image is smoothed before it is made smaller, so that it varies a little less than in the usual order.
    """
    image, mask = a_scene()
    scale, size = ((0.1, 0.5), (24, 32)) if reduce else ((0.5, 2), (64, 80))
    ours, usual, wrong = [], [], []
    for seed in range(400):
        reduced = image
        if reduce:
            factor = np.random.default_rng(seed).uniform(*scale)  # the first draw
            reduction = max(n for n in REDUCTIONS if factor * n <= 1)
            reduced = cv2.resize(image, None, fx=1 / reduction, fy=1 / reduction, interpolation=cv2.INTER_AREA)
        rng = np.random.default_rng(seed)
        crop = random_scale_crop(reduced, mask, size=size, scale=scale, fill=(0, 0, 0), fill_mask=FILL_MASK, rng=rng)
        ours.append(features(size, *crop))
        rng = np.random.default_rng(10_000 + seed)
        usual.append(features(size, *in_the_usual_order(image, mask, size, scale, rng)))
        wrong.append(features(size, *in_the_usual_order(image, mask, size, (scale[0] * 2, scale[1]), rng)))
    assert disagreeing(ours, usual) <= ({"standard deviation"} if reduce else set())
    deviations = [np.mean([crop["standard deviation"] for crop in crops]) for crops in (ours, usual)]
    assert deviations[0] == pytest.approx(deviations[1], rel=0.15 if reduce else 0.05)
    assert "scale" in disagreeing(ours, wrong)


@pytest.mark.parametrize("size", [(40, 60), (41, 67), (7, 9), (3, 1)])
@pytest.mark.parametrize("reduction", [2, 4, 8])
def test_a_reduced_image_lies_where_the_whole_one_does(size, reduction):
    """On a ramp, whose reduction is known to the pixel, odd sizes too."""
    mask = np.zeros(size, np.uint8)
    ys, xs = (np.arange(-(-side // reduction)) * reduction + (reduction - 1) / 2 for side in size)
    reduced = np.stack(
        [np.tile(3 * xs, (len(ys), 1)), np.tile(3 * ys[:, None], (1, len(xs))), np.zeros((len(ys), len(xs)))], -1
    )
    scaled = tuple(max(1, side // reduction // 2) for side in size)
    got, _ = scale_crop(
        reduced.astype(np.uint8), mask, scaled=scaled, offset=(0, 0), size=scaled, fill=FILL, fill_mask=FILL_MASK
    )
    for axis in (0, 1):
        step = size[axis] / scaled[axis]
        places = (np.arange(scaled[axis]) + 0.5) * step - 0.5
        expected = 3 * places.clip(*((xs[0], xs[-1]) if axis else (ys[0], ys[-1])))
        line = got[0, :, 0] if axis else got[:, 0, 1]
        assert abs(line - expected).max() <= 1.6


def test_an_image_that_is_no_reduction_of_its_mask():
    with pytest.raises(ValueError, match="an image of 3 x 3 pixels does not fit its mask of 4 x 9"):
        scale_crop(
            np.zeros((3, 3, 3), np.uint8),
            np.zeros((4, 9), np.uint8),
            scaled=(4, 9),
            offset=(0, 0),
            size=(4, 9),
            fill=FILL,
            fill_mask=FILL_MASK,
        )


def balanced_crops(mask, ratio, seeds=200):
    for seed in range(seeds):
        image = np.repeat(mask[..., None], 3, -1)
        rng = np.random.default_rng(seed)
        yield random_scale_crop(
            image, mask, size=(20, 20), scale=(1, 1), fill=FILL, fill_mask=FILL_MASK, rng=rng, max_ratio=ratio
        )


def largest_share(crop):
    counts = np.unique(crop[crop != FILL_MASK], return_counts=True)[1]
    return counts.max() / counts.sum()


def test_a_balanced_crop_shows_no_class_alone():
    """A class of 4 % of the image, with ignored pixels beside it."""
    mask = np.zeros((100, 100), np.uint8)
    mask[40:60, 40:60] = 3
    mask[40:60, 60:80] = FILL_MASK
    any_shares, shares = ([largest_share(crop) for _, crop in balanced_crops(mask, r)] for r in (1, 0.75))
    passing = np.mean(np.array(any_shares) <= 0.75)
    assert 0.03 < passing < 0.25
    expected = 1 - (1 - passing) ** 10  # ten tries
    assert np.mean(np.array(shares) <= 0.75) == pytest.approx(expected, abs=0.12)


def test_a_balanced_crop_counts_labelled_pixels_alone():
    mask = np.full((20, 20), FILL_MASK, np.uint8)
    mask[0, :4] = [0, 0, 1, 2]
    for ratio in (0.4, 0.5):  # no position passes, and the only one does
        (_, crop), *_ = balanced_crops(mask, ratio, seeds=1)
        np.testing.assert_array_equal(crop, mask)


def test_image_and_mask_of_a_balanced_crop_are_of_one_position():
    mask = np.random.default_rng(0).integers(0, 3, (100, 100), dtype=np.uint8)
    mask[:, :70] = 1
    for image, crop in balanced_crops(mask, 0.75, seeds=30):
        np.testing.assert_array_equal(image[..., 0], crop)


def test_an_image_without_labels_or_with_one_class_is_cropped_all_the_same():
    for mask in (np.full((30, 30), FILL_MASK, np.uint8), np.zeros((30, 30), np.uint8)):
        for _, crop in balanced_crops(mask, 0.5, seeds=2):
            assert (crop == mask[0, 0]).all()
    wide = np.full((30, 30), FILL_MASK, np.int32)
    wide[::2] = 70_000
    assert all(crop.dtype == np.int32 for _, crop in balanced_crops(wide, 0.5, seeds=2))
