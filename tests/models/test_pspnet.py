import pytest
import timm
import torch
from segmentation_models_pytorch.decoders.pspnet.decoder import PSPModule
from torch import nn
from torch.nn import functional as F

from atrous.encoders.encoder import Encoder
from atrous.errors import ConfigError
from atrous.models.pspnet import PSPNet, PyramidPooling


def build(name="resnet18", output_stride=8, **options):
    torch.manual_seed(0)
    encoder = Encoder(name=name, output_stride=output_stride)
    options = {"decoder_channels": 16} | options
    return PSPNet(num_classes=5, encoder=encoder, output_stride=output_stride, **options)


def shake(module):
    """Moves batch norms off their start, where they hide mistakes."""
    torch.manual_seed(1)
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.running_mean, -0.1, 0.1)
            nn.init.uniform_(norm.running_var, 0.5, 1.5)
            nn.init.uniform_(norm.weight, 0.8, 1.2)
    return module.eval()


def unit(x, conv, norm, padding=0):
    x = F.conv2d(x, conv.weight, padding=padding)
    return F.relu(F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=1e-5))


def released(model, images):
    """`PSPNet.forward` of the authors' model/pspnet.py in evaluation, before it resizes the scores."""
    backbone = timm.create_model("resnet18", features_only=True, output_stride=8).eval()
    backbone.load_state_dict(model.encoder.net.state_dict())
    *_, layer3, x = backbone(images)
    maps = [x]
    for bins, (conv, norm, _) in zip((1, 2, 3, 6), model.pyramid.reduce, strict=True):
        cells = unit(nn.AdaptiveAvgPool2d(bins)(x), conv, norm)
        maps.append(F.interpolate(cells, x.shape[2:], mode="bilinear", align_corners=True))

    def score(x, head):
        (conv, norm, _), _, last = head
        return F.conv2d(unit(x, conv, norm, padding=1), last.weight, last.bias)

    return score(torch.cat(maps, 1), model.head), score(layer3, model.aux)


@pytest.mark.parametrize("size", [(64, 96), (65, 97)])
def test_equals_the_release_written_out(size):
    model = shake(build())
    images = torch.randn(2, 3, *size)
    with torch.no_grad():
        output, (logits, aux) = model(images), released(model, images)
    torch.testing.assert_close(output.logits, logits, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(output.aux[0], aux, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("size", [(12, 18), (9, 13), (4, 5)])
def test_pyramid_equals_that_of_segmentation_models_pytorch(size):
    """Which puts the map last, and has no batch norm for a pool size of 1."""
    torch.manual_seed(0)
    theirs, ours = shake(PSPModule(12, sizes=(2, 3, 6))), PyramidPooling(in_channels=12, pool_sizes=(2, 3, 6)).eval()
    ours.load_state_dict(dict(zip(ours.state_dict(), theirs.state_dict().values(), strict=True)))
    x = torch.randn(2, 12, *size)
    with torch.no_grad():
        torch.testing.assert_close(ours(x).roll(12, dims=1), theirs(x), atol=1e-5, rtol=1e-5)


def test_grids_on_the_crop_of_the_release_are_its_poolings():
    """Its prototxt pools a map of 60 x 60 by kernels and strides of 60, 30, 20 and 10."""
    pyramid = shake(PyramidPooling(in_channels=8, pool_sizes=(1, 2, 3, 6)))
    x = torch.randn(1, 8, 60, 60)
    with torch.no_grad():
        _, *grids = pyramid(x).split((8, 2, 2, 2, 2), dim=1)
        for kernel, grid, (conv, norm, _) in zip((60, 30, 20, 10), grids, pyramid.reduce, strict=True):
            cells = unit(F.avg_pool2d(x, kernel, kernel), conv, norm)
            expected = F.interpolate(cells, (60, 60), mode="bilinear", align_corners=True)
            torch.testing.assert_close(grid, expected)


def test_starts_as_the_caffe_release_does():
    """ "msra": deviation sqrt(2 / fan in)."""
    pyramid = build().pyramid
    weight = next(p for p in pyramid.parameters() if p.dim() == 4)
    assert weight.std().item() == pytest.approx((2 / 512) ** 0.5, rel=0.02)


def test_the_releases_stem_is_an_encoder_of_timm():
    """Three 3 x 3 convolutions with 64, 64 and 128 channels (semseg's `deep_base`)."""
    with torch.device("meta"):
        encoder = Encoder(name="resnet101s", output_stride=8)
    stem = [p.shape for p in encoder.parameters() if p.dim() == 4][:3]
    assert stem == [(64, 3, 3, 3), (64, 64, 3, 3), (128, 64, 3, 3)]


@pytest.mark.parametrize("upsample", ["nearest", "bicubic"])
def test_ways_of_enlarging_the_grids(upsample):
    pyramid = shake(PyramidPooling(in_channels=4, pool_sizes=[2], upsample=upsample))
    x = torch.randn(1, 4, 7, 9)
    (conv, norm, _) = pyramid.reduce[0]
    cells = unit(F.adaptive_avg_pool2d(x, 2), conv, norm)
    align = None if upsample == "nearest" else True
    expected = F.interpolate(cells, (7, 9), mode=upsample, align_corners=align)
    torch.testing.assert_close(pyramid(x)[:, 4:], expected)


@pytest.mark.parametrize("pool_sizes", [[1], [1, 2], [1, 2, 3, 6, 8]])
def test_other_pool_sizes_also_that_do_not_divide_the_channels(pool_sizes):
    model = build(pool_sizes=pool_sizes).eval()
    assert model(torch.randn(1, 3, 33, 50)).logits.shape == (1, 5, 5, 7)


def test_auxiliary_scores_in_train_and_eval_unless_turned_off():
    images = torch.randn(2, 3, 64, 64)
    for mode in (True, False):
        (aux,) = build().train(mode)(images).aux
        assert aux.shape == (2, 5, 8, 8)
    assert build(aux=False).eval()(images).aux == ()


def test_another_output_stride():
    assert build(output_stride=16).eval()(torch.randn(1, 3, 64, 96)).logits.shape == (1, 5, 4, 6)


def test_a_batch_of_one_does_not_train_a_grid_of_one_cell():
    images = torch.randn(1, 3, 64, 64)
    with pytest.raises(ConfigError, match="a batch of one image"):
        build().train()(images)
    assert build(pool_sizes=[2, 3]).train()(images).logits.shape == (1, 5, 8, 8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        *(({"pool_sizes": s}, r"pool_sizes .*pool_sizes=\[1,2,3,6\]") for s in ([], [1, 0], [2.0], 6)),
        *(({"upsample": s}, f"upsample '{s}' .*choose nearest, bilinear") for s in ("transposed", "bilnear")),
        *(({"kernel_sizes": s}, r"kernel_sizes .*kernel_sizes=\[3,1\]") for s in ([3], [2, 1], [3, 0], [3, 1.0])),
        ({"output_stride": 16}, "the model says output_stride=16"),
    ],
)
def test_impossible_settings(options, message):
    with pytest.raises(ConfigError, match=message):
        PSPNet(**{"num_classes": 5, "encoder": Encoder(name="resnet10t", output_stride=8)} | options)
