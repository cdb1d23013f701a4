"""The accumulator of an evaluation against counting by hand."""

import numpy as np
import pytest
import torch

from atrous.metrics.scores import summary
from atrous.tasks.scoring import ScoreAccumulator
from atrous.types import ClassInfo

INFO = ClassInfo(("ground", "cell", "never"), ((0, 0, 0), (1, 1, 1), (2, 2, 2)))


@pytest.mark.parametrize("extra", [False, True])
def test_each_image_has_its_matrix_in_the_order_of_names(extra):
    rng = torch.Generator().manual_seed(0)
    masks = torch.randint(0, 2, (4, 9, 7), generator=rng)
    masks[1], masks[2, :3] = 255, 255  # one image wholly ignored
    labels = torch.randint(0, 3, (4, 9, 7), generator=rng)
    scores = ScoreAccumulator(INFO, extra=extra)
    for first in (2, 0):
        batch = slice(first, first + 2)
        scores.add([f"image {i}" for i in range(first, first + 2)], labels[batch], masks[batch], torch.rand(2, 9, 7))
    expected = np.zeros((4, 3, 3), np.int32)
    for image, (mask, label) in enumerate(zip(masks.numpy(), labels.numpy(), strict=True)):
        np.add.at(expected[image], (mask[mask != 255], label[mask != 255]), 1)
    assert scores.names == [f"image {i}" for i in range(4)]
    np.testing.assert_array_equal(scores.matrices, expected)
    assert np.isfinite(summary(scores.matrices.sum(0))["miou"])
    assert (scores.extra is None) is not extra


def test_no_images_have_no_matrices():
    assert ScoreAccumulator(INFO).matrices.shape == (0, 3, 3)
