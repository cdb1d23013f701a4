"""The whole of training, on one batch of real images: what can't be overfitted is not learning."""

import torch
from lightning.pytorch import seed_everything

from atrous.data.camvid import CamVid
from atrous.data.transforms import TrainTransform
from atrous.encoders.encoder import Encoder
from atrous.inference.labels import labels
from atrous.losses.cross_entropy import CrossEntropy
from atrous.metrics.confusion import confusion_matrix
from atrous.metrics.scores import summary
from atrous.models.deeplabv3plus import DeepLabV3Plus
from atrous.optim.groups import build_optimizer


def test_one_batch_of_camvid_is_learned_by_heart(camvid_root):
    seed_everything(0, verbose=False)
    dataset = CamVid(root=camvid_root, split="train")
    plain = dict.fromkeys(("brightness", "contrast", "saturation", "hue", "blur", "flip"), 0.0)
    transform = TrainTransform(crop_size=(176, 240), scale=(0.5, 0.5), **plain)
    pairs = [transform(dataset[i].image, dataset[i].mask, seed=i) for i in (0, 100, 200, 300)]
    images, masks = (torch.stack(part) for part in zip(*pairs, strict=True))

    encoder = Encoder(name="resnet10t", output_stride=16)
    model = DeepLabV3Plus(num_classes=11, encoder=encoder, aspp_channels=32, decoder_channels=32, dropout=0.0)
    loss_function = CrossEntropy()
    optimizer = build_optimizer(model, algorithm="torch.optim.SGD", lr=0.02, momentum=0.9, head_multiplier=5.0)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = loss_function(model(images), masks)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[1] < losses[0]  # the first step already goes down
    with torch.no_grad():
        predicted = labels(model(images).logits, (176, 240))
    scores = summary(confusion_matrix(predicted, masks, 11, 255).numpy())
    assert scores["pixel_accuracy"] > 0.9
    assert scores["miou"] > 0.4
