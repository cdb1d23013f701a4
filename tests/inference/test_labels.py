import pytest
import torch
import torch.nn.functional as F

from atrous.inference.labels import labels, probabilities, resize


@pytest.mark.parametrize("size", [(8, 8), (33, 17), (16, 12)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_labels_are_the_argmax_of_the_resized_logits(size, dtype):
    logits = torch.randn(3, 5, 8, 6, generator=torch.Generator().manual_seed(0)).to(dtype)
    expected = F.interpolate(logits.double(), size=size, mode="bilinear", align_corners=False).argmax(1)
    result = labels(logits, size)
    assert result.dtype == torch.uint8
    assert (result == expected).float().mean() > 0.99  # float32 against float64 may differ at a tie


def test_more_classes_than_a_byte_holds():
    logits = torch.zeros(1, 300, 2, 2)
    logits[:, 299] = 1
    assert labels(logits, (3, 3)).unique().tolist() == [299]


def test_probabilities_sum_to_one():
    scores = probabilities(torch.randn(2, 4, 5, 5), (11, 13))
    assert scores.shape == (2, 4, 11, 13)
    torch.testing.assert_close(scores.sum(1), torch.ones(2, 11, 13))


def test_logits_of_the_right_size_are_left_alone():
    logits = torch.randn(1, 2, 4, 4)
    assert torch.equal(resize(logits, (4, 4)), logits)
