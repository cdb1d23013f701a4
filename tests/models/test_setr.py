import pytest
import torch
from torch import nn
from torch.nn import functional as F

from atrous.encoders.vit import ViT
from atrous.errors import ConfigError
from atrous.models.setr import SETR


def build(**options):
    """Six blocks: a quarter, a half and three quarters are 1, 3 and 4."""
    torch.manual_seed(0)
    model = SETR(num_classes=5, encoder=ViT(name="test_vit"), **{"decoder_channels": 16, **options})
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.running_mean, -0.1, 0.1)
            nn.init.uniform_(norm.running_var, 0.5, 1.5)
    return model.eval()


def block_maps(model, images):
    """The map after each block, (N, 64, h, w), blocks counted from 1."""
    net = model.encoder.net
    x = net._pos_embed(net.patch_embed(images))
    maps = {}
    for i, block in enumerate(net.blocks, start=1):
        x = block(x)
        maps[i] = x[:, 1:].mT.unflatten(2, (images.shape[-2] // 16, images.shape[-1] // 16))
    return maps


def double(x, times=1):
    return F.interpolate(x, scale_factor=2**times, mode="bilinear")


def norm(x, layer):
    return F.layer_norm(x.movedim(1, -1), x.shape[1:2], layer.weight, layer.bias, eps=1e-6).movedim(-1, 1)


def unit(x, unit):
    conv, bn = unit[0], unit[1]
    x = F.conv2d(x, conv.weight, padding=conv.weight.shape[-1] // 2)
    return F.relu(F.batch_norm(x, bn.running_mean, bn.running_var, bn.weight, bn.bias))


def score(x, conv):
    return F.conv2d(x, conv.weight, conv.bias, padding=conv.weight.shape[-1] // 2)


def naive(x, head):
    return double(score(unit(norm(x, head.norm), head.convs[0]), head.scores.conv), 4)


def pup(x, head):
    x = norm(x, head.norm)
    for conv in head.convs[:3]:
        x = double(unit(x, conv))
    return double(score(unit(x, head.convs[3]), head.scores.conv))


def pup_aux(x, head):
    return double(score(double(unit(norm(x, head.norm), head.convs[0]), 2), head.scores.conv), 2)


@pytest.mark.parametrize(
    ("decoder", "blocks", "main", "aux"), [("naive", [1, 3, 4], naive, naive), ("pup", [1, 3, 4, 6], pup, pup_aux)]
)
@pytest.mark.parametrize("size", [(32, 48), (64, 32)])
def test_naive_and_pup_equal_the_release_written_out(decoder, blocks, main, aux, size):
    model = build(decoder=decoder)
    images = torch.randn(2, 3, *size)
    with torch.no_grad():
        output, maps = model(images), block_maps(model, images)
        torch.testing.assert_close(output.logits, main(maps[6], model.head), atol=1e-4, rtol=0)
        for logits, block, head in zip(output.aux, blocks, model.aux_heads, strict=True):
            torch.testing.assert_close(logits, aux(maps[block], head), atol=1e-4, rtol=0)
    assert {part.weight.shape[-1] for part in (model.head.convs[0][0],)} == {1 if decoder == "naive" else 3}


def test_mla_equals_the_release_written_out():
    model = build(decoder="mla")
    images = torch.randn(2, 3, 32, 48)
    with torch.no_grad():
        output, maps = model(images), block_maps(model, images)
        total, streams = 0, []
        for block, reduce, refine in zip(
            (6, 4, 3, 1), reversed(model.aggregate.reduce), reversed(model.aggregate.refine), strict=True
        ):
            total = total + unit(norm(maps[block], reduce[0]), reduce[1])
            streams.insert(0, unit(total, refine))
        x = [double(unit(unit(s, convs[0]), convs[1]), 2) for s, convs in zip(streams, model.head.convs, strict=True)]
        logits = double(score(torch.cat(x, 1), model.head.scores.conv), 2)
        torch.testing.assert_close(output.logits, logits, atol=1e-4, rtol=0)
        for stream, head, logits in zip(streams, model.aux_heads, output.aux, strict=True):
            torch.testing.assert_close(logits, double(score(stream, head.conv), 4), atol=1e-4, rtol=0)


@pytest.mark.parametrize("decoder", ["naive", "pup", "mla"])
def test_odd_images_are_padded_with_zeros_and_cropped(decoder):
    model = build(decoder=decoder)
    images = torch.randn(1, 3, 33, 50)
    with torch.no_grad():
        output, whole = model(images), model(F.pad(images, (0, 14, 0, 15)))
    for ours, theirs in zip((output.logits, *output.aux), (whole.logits, *whole.aux), strict=True):
        torch.testing.assert_close(ours, theirs[..., :33, :50])


@pytest.mark.parametrize(
    ("decoder", "blocks"), [("naive", [10, 15, 20]), ("pup", [10, 15, 20, 24]), ("mla", [6, 12, 18, 24])]
)
def test_the_papers_blocks_of_its_24(decoder, blocks):
    with torch.device("meta"):
        model = SETR(num_classes=2, encoder=ViT(name="vit_large_patch16_384"), decoder=decoder)
    assert model.aux_blocks == blocks


def test_given_blocks():
    assert len(build(aux_blocks=[2, 5])(torch.randn(1, 3, 32, 32)).aux) == 2


@pytest.mark.parametrize("decoder", ["naive", "pup", "mla"])
@pytest.mark.parametrize("upsample", ["nearest", "bicubic", "transposed", "resize_conv"])
def test_every_way_of_upsampling(decoder, upsample):
    model = build(decoder=decoder, upsample=upsample)
    output = model(torch.randn(1, 3, 33, 50))
    sum(logits.square().mean() for logits in (output.logits, *output.aux)).backward()
    assert output.logits.shape == (1, 5, 33, 50)
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_unknown_decoder():
    with pytest.raises(ConfigError, match="decoder 'fpn' is none of SETR's; use decoder=naive, decoder=pup or"):
        build(decoder="fpn")


@pytest.mark.parametrize("blocks", [[], [0], [7], [3, 2]])
def test_impossible_blocks(blocks):
    with pytest.raises(ConfigError, match=r"must be some of the encoder's blocks 1 to 6 in ascending .*\[1, 3, 4, 6\]"):
        build(aux_blocks=blocks)
