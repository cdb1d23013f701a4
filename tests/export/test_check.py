import numpy as np
import pytest
import torch

from atrous.export import files
from atrous.export.check import compare, variants

ANY = {"batch": (1, None), "height": (1, None), "width": (1, None)}


@pytest.fixture(scope="module")
def images():
    return [np.random.default_rng(seed).integers(0, 256, (60, 80, 3), np.uint8) for seed in range(2)]


def test_sizes_are_odd_portrait_and_small(images):
    sizes = [crop.shape[:2] for crop in variants(images[0], ANY)]
    assert sizes == [(60, 80), (59, 79), (40, 40), (31, 61)]
    for crop in variants(images[0], ANY):
        np.testing.assert_array_equal(crop, images[0][: crop.shape[0], : crop.shape[1]])


def test_sizes_stay_within_what_is_taken(images):
    fixed = {**ANY, "height": (48, 48), "width": (64, 64)}
    assert [crop.shape[:2] for crop in variants(images[0], fixed)] == [(48, 64)]
    assert [crop.shape[:2] for crop in variants(images[0], {**ANY, "height": (50, None)})] == [
        (60, 80),
        (59, 79),
        (50, 40),
        (50, 61),
    ]
    assert list(variants(images[0], {**ANY, "width": (100, None)})) == []


def test_onnxruntime_and_the_program_agree_with_the_network(coarse, traced, onnx_file, images):
    program, taken = traced
    for run in (files.onnx_runner(str(onnx_file), threads=1), files.program_runner(program)):
        agreement = compare(coarse, run, images, taken)
        assert agreement.good
        assert agreement.equal > 0.9999
        assert agreement.max_difference < 1e-5 < agreement.spread
        assert agreement.images == 2 * 4 + 2  # and a batch of two
        assert agreement.sizes == ((60, 80), (59, 79), (40, 40), (31, 61))


def test_disagreement_is_measured(coarse, images):
    def spoilt(batch):
        with torch.no_grad():
            labels, logits, _ = coarse(torch.from_numpy(batch))
        labels[:, 0, :2] = (labels[:, 0, :2] + 1) % 5  # two pixels of each image
        return labels.numpy(), logits.numpy() + 0.25

    agreement = compare(coarse, spoilt, images, ANY)
    pixels = 60 * 80 + 59 * 79 + 40 * 40 + 31 * 61
    assert agreement.equal == pytest.approx(1 - 2 * 10 / (2 * pixels + 2 * 60 * 80), abs=1e-12)
    assert not agreement.good
    assert agreement.max_difference == pytest.approx(0.25, abs=1e-5)


def test_nothing_compared_is_not_good(coarse, images):
    assert not compare(coarse, lambda batch: (batch, batch), images, {**ANY, "width": (100, None)}).good
