import numpy as np
import pytest
import torch

from atrous.classical.cuts import energy, grid
from atrous.classical.refine import GridCRF, SuperpixelPooling
from atrous.config.compose import compose_groups, instantiate
from atrous.inference.image import ImageBatch

PHOTO = np.zeros((24, 30, 3), np.uint8)
PHOTO[:, 14:] = (200, 180, 40)


@pytest.fixture
def scores():
    """Probabilities of 3 classes that shift by a pixel at the photo's edge, with noise."""
    logits = torch.randn(2, 3, 24, 30, generator=torch.Generator().manual_seed(0))
    logits[:, 0, :, :15] += 2
    logits[:, 1, :, 15:] += 2
    return logits.softmax(1)


def test_a_superpixel_has_its_mean_probabilities(scores):
    images = torch.from_numpy(np.stack([PHOTO, PHOTO]))
    pooled = SuperpixelPooling(superpixels=2, compactness=0.1)(scores, images)
    left = scores[..., :14].mean((2, 3))
    torch.testing.assert_close(pooled[..., :14], left[..., None, None].expand(-1, -1, 24, 14))
    torch.testing.assert_close(pooled.sum(1), torch.ones(2, 24, 30))
    many = SuperpixelPooling(superpixels=100_000, compactness=10)(scores, images)
    torch.testing.assert_close(many, scores)


def test_a_grid_crf_labels_by_less_energy_and_follows_the_edge(scores):
    images = torch.from_numpy(np.stack([PHOTO, PHOTO]))
    labels = GridCRF(smoothness=3.0, neighbours=4, cycles=3)(scores, images).argmax(1)
    assert (labels[..., :14] == 0).float().mean() > 0.99
    assert (labels[..., 14:] == 1).float().mean() > 0.99
    edges, unary = grid(PHOTO / 255, neighbours=4, weight=3.0), -scores[0].flatten(1).log().T.double().numpy()
    assert energy(unary, edges, labels[0].flatten().numpy()) < energy(unary, edges, unary.argmin(1))
    untouched = GridCRF(smoothness=0.0, neighbours=8, cycles=1)(scores, images)
    torch.testing.assert_close(untouched.argmax(1), scores.argmax(1))


@pytest.mark.parametrize("name", ["superpixels", "grid_crf"])
def test_they_are_modes_of_inference(name, scores):
    config = compose_groups([f"inference={name}"], ("model", "data", "optimizer", "trainer", "inference"))
    mode = instantiate(config["inference"])

    class Net:
        def __call__(self, images):
            from atrous.types import SegOutput

            return SegOutput(scores[: len(images)].log())

    found = torch.cat(list(mode(Net(), ImageBatch(torch.zeros(1, 3, 24, 30)))), dim=2).softmax(1)
    assert found.shape == (1, 3, 24, 30)
    torch.testing.assert_close(found.sum(1), torch.ones(1, 24, 30))
    assert str(mode).startswith("whole, refined by")
