import cv2
import numpy as np
import pytest

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
