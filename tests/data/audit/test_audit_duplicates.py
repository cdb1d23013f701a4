import cv2
import numpy as np
import pytest

from atrous.data.audit.duplicates import NEAR, repeats, shared, similar
from atrous.data.audit.samples import difference_hash
from atrous.data.camvid import CamVid


def flipped(hashes, bits, rng):
    """The hashes with `bits` different bits flipped each."""
    masks = [sum(1 << int(bit) for bit in rng.choice(64, bits, replace=False)) for _ in hashes]
    return hashes ^ np.array(masks, np.uint64)


def test_similar_hashes_are_those_that_a_comparison_of_all_pairs_finds():
    rng = np.random.default_rng(0)
    first = rng.integers(0, 2**64, 300, dtype=np.uint64)
    first[:60] &= np.uint64(0xFFFF)  # many agree in three of the four bands
    second = np.concatenate([flipped(first[:100], bits, rng) for bits in range(6)])
    first = np.concatenate([first, flipped(first[:100], 2, rng)])  # some have two near ones, in different bands
    second = np.concatenate([second, second[:50], rng.integers(0, 2**64, 100, dtype=np.uint64)])
    apart = np.array([[int(a ^ b).bit_count() for a in first] for b in second])  # (second, first)
    at, of, distance = similar(first, second)
    np.testing.assert_array_equal(at, np.flatnonzero(apart.min(1) <= NEAR))
    np.testing.assert_array_equal(distance, apart.min(1)[at])
    np.testing.assert_array_equal(apart[at, of], distance)
    assert set(distance.tolist()) == set(range(NEAR + 1))


def test_the_nearest_is_found_whichever_bands_agree():
    first = np.array([1 << 63, 7], np.uint64)  # 1 and 3 bits from 0; 2 bits each from 4
    at, of, distance = similar(first, np.array([0, 4, 1 << 63], np.uint64))
    assert (at.tolist(), distance.tolist()) == ([0, 1, 2], [1, 2, 0])
    assert of.tolist()[::2] == [0, 0]


@pytest.mark.parametrize("length", [0, 1])
def test_few_hashes(length):
    none = np.zeros(0, np.uint64)
    some = np.zeros(length, np.uint64)
    assert len(similar(none, some)[0]) == len(similar(some, none)[0]) == 0
    assert len(shared(none, some)[0]) == 0
    assert repeats(some) == []


def test_many_pairs_are_compared_in_pieces(monkeypatch):
    monkeypatch.setattr("atrous.data.audit.duplicates._CHUNK", 7)
    first = np.arange(40, dtype=np.uint64)
    at, of, distance = similar(first, first + np.uint64(64))
    np.testing.assert_array_equal(at, of)
    assert set(distance.tolist()) == {1}


def test_repeats_and_shared_values():
    values = np.array([5, 7, 5, 9, 7, 5], np.uint64)
    assert [group.tolist() for group in repeats(values)] == [[0, 2, 5], [1, 4]]
    at, of = shared(values, np.array([1, 9, 5, 9], np.uint64))
    assert (at.tolist(), of.tolist()) == ([1, 2, 3], [3, 0, 3])


def test_a_hash_is_where_brightness_rises_to_the_right():
    ramp = np.linspace(10, 250, 90).astype(np.uint8)
    picture = np.broadcast_to(ramp[None, :, None], (80, 90, 3)).copy()
    picture[40:] = picture[40:, ::-1]
    assert difference_hash(picture) == 0xFFFFFFFF_00000000
    assert difference_hash(np.full((5, 3, 3), 9, np.uint8)) == 0


def variants(image):
    yield cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 50])[1], cv2.IMREAD_COLOR)
    yield cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    yield cv2.resize(image, (401, 287), interpolation=cv2.INTER_LINEAR)


def test_the_distance_parts_copies_from_other_images(camvid_root):
    train, val = (CamVid(root=camvid_root, split=split) for split in ("train", "val"))
    chosen = [train[index].image for index in range(0, 367, 12)]
    hashes = np.array([difference_hash(image) for image in chosen], np.uint64)
    copies = np.array([difference_hash(copy) for image in chosen for copy in variants(image)], np.uint64)
    at, of, _ = similar(hashes, copies)
    assert len(at) >= 0.95 * len(copies)
    np.testing.assert_array_equal(of, at // 3)
    video = np.array([difference_hash(val[index].image) for index in range(101)], np.uint64)  # 1/15 s apart
    assert len(similar(hashes, video)[0]) == 0
    assert len(similar(video[::2], video[1::2])[0]) >= 0.6 * 50
