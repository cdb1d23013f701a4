import pytest
import torch
import torch.nn.functional as F

from atrous.layers import strips
from atrous.layers.strips import resized_strips


@pytest.mark.parametrize(
    ("source", "size"), [((16, 32), (128, 256)), ((33, 65), (257, 515)), ((90, 70), (41, 33)), ((9, 7), (36, 7))]
)
@pytest.mark.parametrize("pieces", [[1000], [1, 2, 5], [7]])
def test_strips_are_the_rows_of_the_whole(source, size, pieces, monkeypatch):
    """However the logits come in and the result goes out; where a side grows by a power of two, to the last bits."""
    monkeypatch.setattr(strips, "CPU_STRIP", 4 * 4 * size[1])
    logits = torch.randn(1, 4, *source, generator=torch.Generator().manual_seed(0))
    cuts = (pieces * source[0])[: source[0]]
    incoming = list(logits.split_with_sizes(fill(cuts, source[0]), dim=2))
    found = list(resized_strips(incoming, source, size))
    assert max(strip.shape[2] for strip in found) == 4
    expected = F.interpolate(logits, size=size, mode="bilinear", align_corners=False)
    tolerance = 1e-6 if size[0] % source[0] == 0 else 3e-5
    torch.testing.assert_close(torch.cat(found, dim=2), expected, atol=tolerance, rtol=0)


def fill(sizes, total):
    """The first sizes that sum to `total`, the last one cut."""
    taken = []
    for size in sizes:
        if sum(taken) == total:
            break
        taken.append(min(size, total - sum(taken)))
    return taken
