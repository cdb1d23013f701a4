"""A network with an output for void beside its data's classes: counting, training, label files, exports."""

import functools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from atrous.losses.class_weights import with_named_weights
from atrous.losses.cross_entropy import CrossEntropy
from atrous.metrics.bootstrap import paired_difference
from atrous.metrics.confusion import ConfusionMatrix
from atrous.metrics.scores import summary
from atrous.models.adapter import adapt
from atrous.tasks.scoring import ScoreAccumulator
from atrous.tasks.semantic import SemanticScorer
from atrous.types import ClassInfo, SegOutput, has_void_output

INFO = ClassInfo(("sky", "road", "car"), ((9, 0, 0), (0, 9, 0), (0, 0, 9)))
VOID = 3


class Net(nn.Module):
    """The channels of the image are the first three outputs' scores; where all are low it is void."""

    void_output = True

    def forward(self, images):
        return SegOutput(torch.cat([images, torch.full_like(images[:, :1], 0.5)], 1))


@pytest.fixture
def maps():
    rng = torch.Generator().manual_seed(0)
    masks = torch.randint(0, 3, (4, 40, 36), generator=rng)
    masks[:, :4] = 255
    images = torch.rand(4, 3, 40, 36, generator=rng)
    return images, masks


def test_a_pixel_labelled_void_is_wrong_and_no_other_classs(maps):
    images, masks = maps
    labels = SemanticScorer(model=Net(), class_info=INFO).predict_labels(images)
    assert 0.1 < (labels == VOID).float().mean() < 0.2  # an eighth of the cube
    scores = ScoreAccumulator(INFO, void=True, extra=True)
    scores.add(list("abcd"), labels, masks, torch.rand(4, 40, 36))
    found, truth = labels.numpy()[masks.numpy() != 255], masks.numpy()[masks.numpy() != 255]
    iou = [((found == c) & (truth == c)).sum() / ((found == c) | (truth == c)).sum() for c in range(3)]
    result = summary(scores.matrices.sum(0))
    assert result["miou"] == pytest.approx(np.mean(iou), abs=1e-12)
    assert result["pixel_accuracy"] == pytest.approx((found == truth).mean(), abs=1e-12)
    state = ConfusionMatrix(num_classes=3, ignore_index=255, void=True)
    state.update(labels, masks)
    np.testing.assert_array_equal(state.compute(), scores.matrices.sum(0))
    extra = scores.extra.as_json(INFO.names)
    assert extra["boundary"]["rings"]["pixels"]
    assert 0 < extra["boundary"]["f1"] < 1
    assert sum(extra["boundary"]["rings"]["pixels"]) == len(truth)

    class_only = ScoreAccumulator(INFO)
    class_only.add(list("abcd"), images.argmax(1), masks)
    better = np.mean([summary(class_only.matrices.sum(0))["miou"]]) - result["miou"]
    assert paired_difference([class_only.matrices], [scores.matrices], resamples=10).score == pytest.approx(better)


def test_void_is_refused_of_a_network_that_does_not_declare_it(maps):
    images, masks = maps
    with pytest.raises(ValueError, match=r"label 3; expected 0 to 2"):
        ScoreAccumulator(INFO).add(list("abcd"), Net()(images).logits.argmax(1), masks)


def test_void_is_no_target_and_has_no_weight(maps):
    images, masks = maps
    settings = with_named_weights(
        {"class_weights": [1.0, 2.0, 3.0], "base": {"class_weights": None}}, list, void_output=True
    )
    loss = CrossEntropy(class_weights=settings["class_weights"])
    logits = Net()(images).logits.requires_grad_()
    expected = F.cross_entropy(logits, masks, weight=torch.tensor([1.0, 2.0, 3.0, 77.0]), ignore_index=255)
    torch.testing.assert_close(loss(SegOutput(logits), masks), expected)
    loss(SegOutput(logits), masks).backward()
    assert (logits.grad[:, VOID, 4:] > 0).all()  # pushed down wherever a class is
    assert settings["base"]["class_weights"] is None


@pytest.mark.parametrize(
    ("ids", "ignore_index", "value"),
    [((), 255, 255), ((0, 128, 255), 255, 254), ((), -1, 255), ((), 3, 3), (tuple(range(1, 4)), 0x1FF, 0x1FF)],
)
def test_label_files_have_a_value_of_its_own_for_void(ids, ignore_index, value):
    info = ClassInfo(INFO.names, INFO.palette, ignore_index, ids=ids).with_void()
    assert info.ids[VOID] == value
    assert info.ids.count(value) == 1
    assert info.names[:3] == INFO.names
    assert info.names[VOID] == "void"


def test_a_network_of_others_may_declare_it_too():
    assert has_void_output(adapt(Net()))
    assert not has_void_output(adapt(nn.Conv2d(3, 3, 1)))
    scorer = functools.partial(SemanticScorer, class_info=INFO)
    assert scorer(model=adapt(Net())).label_info.num_classes == 4
    assert scorer(model=nn.Conv2d(3, 3, 1)).label_info == INFO
