import pytest
import torch
from torch.nn import functional as F

from atrous.encoders.vit import ViT
from atrous.errors import ConfigError
from atrous.models.segmenter import Segmenter
from atrous.optim.groups import param_groups


def build(**options):
    torch.manual_seed(0)
    return Segmenter(num_classes=5, encoder=ViT(name="test_vit"), **options).eval()


def released(model, images):
    """`Segmenter.forward` with `MaskTransformer` of the authors' release, whose heads have 64 channels: one here."""
    height, width = images.shape[-2:]
    images = F.pad(images, (0, -width % 16, 0, -height % 16))
    grid = images.shape[-2] // 16, images.shape[-1] // 16
    x = model.encoder.net.forward_features(images)[:, 1:]
    decoder = model.decoder
    weights = dict(decoder.named_parameters())

    def linear(x, name):
        return F.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])

    def norm(x, name):
        return F.layer_norm(x, x.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"], eps=1e-5)

    x = torch.cat([linear(x, "project"), decoder.classes.expand(len(x), -1, -1)], 1)
    for i in range(len(decoder.blocks)):
        q, k, v = linear(norm(x, f"blocks.{i}.norm1"), f"blocks.{i}.attn.qkv").chunk(3, dim=-1)
        x = x + linear(((q @ k.mT) * q.shape[-1] ** -0.5).softmax(-1) @ v, f"blocks.{i}.attn.proj")
        x = x + linear(F.gelu(linear(norm(x, f"blocks.{i}.norm2"), f"blocks.{i}.mlp.fc1")), f"blocks.{i}.mlp.fc2")
    x = norm(x, "norm")
    patches, classes = x[:, :-5] @ decoder.project_patch, x[:, -5:] @ decoder.project_class
    patches = patches / patches.norm(dim=-1, keepdim=True)
    classes = classes / classes.norm(dim=-1, keepdim=True)
    masks = norm(patches @ classes.mT, "mask_norm").mT.reshape(len(x), 5, *grid)
    return F.interpolate(masks, size=images.shape[-2:], mode="bilinear")[..., :height, :width]


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("size", [(64, 96), (49, 33)])
def test_mask_transformer_equals_the_release_written_out(layers, size):
    model = build(decoder_layers=layers)
    for parameter in model.decoder.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    images = torch.randn(2, 3, *size)
    with torch.no_grad():
        logits = model(images).logits
        torch.testing.assert_close(logits, released(model, images), atol=1e-4, rtol=0)
    assert logits.shape == (2, 5, *size)


def test_linear_decoder_classifies_each_patch():
    model = build(decoder="linear")
    images = torch.randn(1, 3, 64, 96)
    tokens = model.encoder.net.forward_features(images)[:, 1:]  # (N, h w, D)
    weight, bias = model.decoder.weight[..., 0, 0], model.decoder.bias
    scores = F.linear(tokens, weight, bias).mT.reshape(1, 5, 4, 6)
    with torch.no_grad():
        logits = model(images).logits
        torch.testing.assert_close(logits, F.interpolate(scores, size=(64, 96), mode="bilinear"), atol=1e-5, rtol=0)


def test_masks_are_cosines_before_their_norm():
    """Each patch's logits lie within what a layer norm of values in [-1, 1] gives: their scale does not matter."""
    model = build()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        before = model(images).logits
        model.decoder.project_patch.mul_(7)
        torch.testing.assert_close(model(images).logits, before, atol=1e-5, rtol=1e-4)


def test_initialisation_is_the_releases():
    model = build()
    assert model.decoder.classes.std().item() == pytest.approx(0.02, rel=0.2)
    assert model.decoder.project.weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert model.decoder.project_patch.std().item() == pytest.approx(64**-0.5, rel=0.1)
    assert not model.decoder.project.bias.any()
    assert build(decoder="linear").decoder.weight.std().item() == pytest.approx(0.02, rel=0.2)


@pytest.mark.parametrize("decoder", ["linear", "mask"])
@pytest.mark.parametrize("upsample", ["nearest", "bicubic", "transposed", "resize_conv"])
def test_every_way_of_upsampling(decoder, upsample):
    model = build(decoder=decoder, upsample=upsample)
    model(torch.randn(1, 3, 33, 50)).logits.square().mean().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_dropout_acts_in_training_only():
    model = build(dropout=0.5)
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(model(images).logits, model(images).logits)
        model.train()
        assert not torch.allclose(model(images).logits, model(images).logits)


def test_unknown_decoder():
    with pytest.raises(ConfigError, match="decoder 'masks' is none of Segmenter's; use decoder=linear or decoder=mask"):
        build(decoder="masks")


def test_the_class_embeddings_do_not_decay():
    """`no_weight_decay` of the release's MaskTransformer, segm/model/decoder.py."""
    model = Segmenter(num_classes=3, encoder=ViT(name="test_vit"))
    decaying, not_decaying = (
        {id(p) for group in param_groups(model, lr=1.0, weight_decay=1.0) for p in group["params"] if decays(group)}
        for decays in (lambda group: group["weight_decay"] > 0, lambda group: group["weight_decay"] == 0)
    )
    assert id(model.decoder.classes) in not_decaying
    assert {id(model.decoder.project_patch), id(model.decoder.project_class)} <= decaying
