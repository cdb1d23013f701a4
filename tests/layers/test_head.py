import pytest
import torch
from torchvision.models.segmentation.fcn import FCNHead

from atrous.layers.head import ScoreHead


@pytest.mark.parametrize("size", [(8, 12), (7, 9)])
def test_equals_torchvisions_fcn_head(size):
    torch.manual_seed(0)
    theirs = FCNHead(16, 5).eval()
    ours = ScoreHead(in_channels=16, channels=4, num_classes=5, dropout=0.1).eval()
    ours.load_state_dict(dict(zip(ours.state_dict(), theirs.state_dict().values(), strict=True)))
    x = torch.randn(2, 16, *size)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x))


def test_drops_out_in_training():
    head = ScoreHead(in_channels=4, channels=64, num_classes=2, dropout=0.5)
    x = torch.randn(2, 4, 5, 5)
    assert not torch.equal(head(x), head(x))
