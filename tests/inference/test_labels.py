import pytest
import torch
import torch.nn.functional as F

from atrous.inference.image import ImageBatch, Scaled
from atrous.inference.labels import labels, most_likely, probabilities, resize
from atrous.layers import strips as resizing
from atrous.layers.strips import resized_strips


def whole(logits, size):
    return F.interpolate(logits.float(), size=size, mode="bilinear", align_corners=False)


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("size", [(8, 6), (33, 17), (16, 12), (128, 96), (5, 4)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_labels_are_the_argmax_of_the_resized_logits(size, dtype, monkeypatch):
    """Where two classes are no nearer to each other than the rounding of float32."""
    monkeypatch.setattr(resizing, "CPU_STRIP", 3 * 5 * size[1])  # three rows
    logits = random(3, 5, 8, 6).to(dtype)
    scores = F.interpolate(logits.double(), size=size, mode="bilinear", align_corners=False)
    result = labels(logits, size)
    assert result.dtype == torch.uint8
    first, second = scores.topk(2, dim=1).values.unbind(1)
    clear = first - second > 1e-5
    assert clear.float().mean() > 0.99
    assert torch.equal(result[clear], scores.argmax(1).to(torch.uint8)[clear])


def test_equal_classes_give_the_first():
    logits = torch.zeros(1, 4, 3, 3)
    logits[:, 2:] = 1
    assert labels(logits, (9, 9)).unique().tolist() == [2]


def test_more_classes_than_a_byte_holds():
    logits = torch.zeros(1, 300, 2, 2)
    logits[:, 299] = 1
    assert labels(logits, (3, 3)).unique().tolist() == [299]
    assert most_likely(logits).dtype == torch.int64


def test_probabilities_sum_to_one():
    scores = probabilities(torch.randn(2, 4, 5, 5), (11, 13))
    assert scores.shape == (2, 4, 11, 13)
    torch.testing.assert_close(scores.sum(1), torch.ones(2, 11, 13))


def test_logits_of_the_right_size_are_left_alone():
    logits = torch.randn(1, 2, 4, 4)
    assert torch.equal(resize(logits, (4, 4)), logits)
    assert torch.equal(torch.cat(list(resized_strips([logits], (4, 4), (4, 4))), dim=2), logits)


@pytest.mark.parametrize("size", [(60, 91), (21, 30), (40, 52), (1, 1)])
def test_parts_of_a_scaled_image_are_parts_of_the_resized_one(size):
    images = random(2, 3, 40, 52)
    expected = whole(images, size)
    scaled = Scaled(ImageBatch(images), size)
    for rows, columns in [
        (slice(0, size[0]), slice(0, size[1])),
        (slice(size[0] // 3, size[0] // 2 + 1), slice(size[1] // 4, size[1])),
    ]:
        torch.testing.assert_close(scaled.part(rows, columns), expected[..., rows, columns], atol=2e-5, rtol=0)
