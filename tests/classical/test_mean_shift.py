import numpy as np
import pytest

from atrous.classical.compiled import climbed
from atrous.classical.mean_shift import joined_neighbours, without_small


def climb(colours, spatial, colour, iterations=100):
    return climbed(colours.astype(np.float32), np.float32(spatial), np.float32(colour), iterations, np.float32(1e-4))


def test_modes_of_a_known_density():
    """Colours drawn symmetrically about two values, all within the spatial bandwidth: the modes are these values."""
    offsets = np.concatenate([np.linspace(-4, 4, 9)] * 4)
    values = np.concatenate([30 + offsets, 70 + offsets])
    np.random.default_rng(0).shuffle(values)
    colours = np.zeros((8, 9, 3))
    colours[..., 0] = values.reshape(8, 9)
    modes = climb(colours, 100, 9)
    np.testing.assert_allclose(modes[..., 2], np.where(colours[..., 0] < 50, 30, 70), atol=1e-3)
    np.testing.assert_allclose(modes[..., 3:], 0, atol=1e-6)


@pytest.mark.parametrize(("spatial", "colour"), [(3.0, 12.0), (2.5, 40.0)])
def test_a_step_is_the_mean_within_both_bandwidths_and_modes_stand_still(spatial, colour):
    colours = np.random.default_rng(1).random((7, 6, 3)) * 50
    rows, columns = np.indices((7, 6))

    def mean(point):
        near = (rows - point[0]) ** 2 + (columns - point[1]) ** 2 <= spatial**2
        near &= ((colours - point[2:]) ** 2).sum(-1) <= colour**2
        return np.array([rows[near].mean(), columns[near].mean(), *colours[near].mean(0)])

    once, modes = climb(colours, spatial, colour, 1), climb(colours, spatial, colour)
    for row, column in np.ndindex(7, 6):
        np.testing.assert_allclose(
            once[row, column], mean(np.array([row, column, *colours[row, column]])), rtol=1e-4, atol=1e-4
        )
        np.testing.assert_allclose(mean(modes[row, column].astype(float)), modes[row, column], rtol=1e-2, atol=1e-2)


def test_neighbours_with_near_modes_are_one_segment_and_small_ones_are_joined():
    modes = np.zeros((4, 6, 5), np.float32)
    modes[:, 3:, 2] = 5
    modes[1, 1, 3] = 3
    segments = joined_neighbours(modes)
    assert len(np.unique(segments)) == 3
    merged = without_small(segments, modes[..., 2:], 2)
    assert len(np.unique(merged)) == 2
    assert merged[1, 1] == merged[0, 0] != merged[0, 5]
    assert len(np.unique(without_small(segments, modes[..., 2:], 1000))) == 1
