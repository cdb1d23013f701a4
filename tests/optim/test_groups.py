"""Parameter groups: what learns at which rate, and what decays."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from atrous.errors import ConfigError
from atrous.optim.groups import build_optimizer, param_groups


class Segmenter(nn.Module):
    """An encoder and a head with every kind of parameter."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.neck = nn.Sequential(nn.Conv2d(2, 2, 1), nn.GroupNorm(1, 2), nn.PReLU())
        self.classifier = nn.Linear(2, 3)


@pytest.fixture
def model() -> Segmenter:
    return Segmenter(nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2)))


@pytest.fixture(scope="module")
def resnet() -> Segmenter:
    return Segmenter(timm.create_model("resnet18", pretrained=False, features_only=True))


def names_of(model: nn.Module, groups: list[dict[str, object]]) -> dict[object, set[str]]:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {group["name"]: {names[id(parameter)] for parameter in group["params"]} for group in groups}


def test_splits_encoder_from_head_and_weights_from_norms_and_biases(model: Segmenter) -> None:
    groups = param_groups(model, lr=0.01, weight_decay=0.5, head_multiplier=4)
    assert names_of(model, groups) == {
        "encoder": {"encoder.0.weight"},
        "encoder_no_decay": {"encoder.0.bias", "encoder.1.weight", "encoder.1.bias"},
        "head": {"neck.0.weight", "classifier.weight"},
        "head_no_decay": {"neck.0.bias", "neck.1.weight", "neck.1.bias", "neck.2.weight", "classifier.bias"},
    }
    assert {group["name"]: (group["lr"], group["weight_decay"]) for group in groups} == {
        "encoder": (0.01, 0.5),
        "encoder_no_decay": (0.01, 0.0),
        "head": (0.04, 0.5),
        "head_no_decay": (0.04, 0.0),
    }


def test_every_parameter_of_a_resnet_once(resnet: Segmenter) -> None:
    groups = param_groups(resnet, lr=0.1, weight_decay=0.1)
    grouped = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(grouped) == sorted(id(parameter) for parameter in resnet.parameters())
    decaying = {id(p) for group in groups if group["weight_decay"] for p in group["params"]}
    layers = (nn.Conv2d, nn.Linear)
    assert decaying == {id(layer.weight) for layer in resnet.modules() if isinstance(layer, layers)}


def test_a_child_called_backbone_is_the_encoder() -> None:
    model = nn.ModuleDict({"backbone": nn.Linear(2, 2), "decoder": nn.ModuleDict({"encoder": nn.Linear(2, 2)})})
    groups = param_groups(model, lr=1.0, weight_decay=0.0)
    assert names_of(model, groups)["encoder"] == {"backbone.weight"}
    assert names_of(model, groups)["head"] == {"decoder.encoder.weight"}


def test_looks_through_a_module_around_the_model(model: Segmenter) -> None:
    around = nn.ModuleDict({"model": model})
    groups = param_groups(around, lr=0.01, weight_decay=0.1)
    assert names_of(around, groups)["encoder"] == {"model.encoder.0.weight"}
    assert names_of(around, groups)["head"] == {"model.neck.0.weight", "model.classifier.weight"}


def test_without_an_encoder_all_is_head_at_the_plain_rate() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    groups = param_groups(model, lr=0.1, weight_decay=0.1, head_multiplier=10)
    assert [(group["name"], group["lr"], len(group["params"])) for group in groups] == [
        ("head", 0.1, 2),
        ("head_no_decay", 0.1, 2),
    ]


def test_frozen_parameters_are_left_out_and_shared_ones_counted_once(model: Segmenter) -> None:
    model.encoder.requires_grad_(False)
    model.tied = model.classifier
    groups = param_groups(model, lr=0.01, weight_decay=0.1)
    assert [group["name"] for group in groups] == ["head", "head_no_decay"]
    assert groups[0]["lr"] == pytest.approx(0.1)
    build_optimizer(model, algorithm="torch.optim.SGD", lr=0.01)  # torch refuses parameters in two groups


def test_sgd_decays_weights_only(model: Segmenter) -> None:
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    optimizer = build_optimizer(
        model, algorithm="torch.optim.SGD", lr=0.1, weight_decay=0.5, head_multiplier=2, momentum=0.9
    )
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    for name, parameter in model.named_parameters():
        rate = 0.1 if name.startswith("encoder") else 0.2
        decay = 0.5 if name in ("encoder.0.weight", "neck.0.weight", "classifier.weight") else 0.0
        torch.testing.assert_close(parameter.detach(), before[name] - rate * (1 + decay * before[name]))


@pytest.mark.parametrize("algorithm", ["torch.optim.Adagrad", "torch.optim.RMSprop", "timm.optim.Lamb"])
def test_any_optimizer_by_its_path(algorithm: str, model: Segmenter) -> None:
    optimizer = build_optimizer(model, algorithm=algorithm, lr=0.1, weight_decay=0.1, eps=0.25)
    module, name = algorithm.rsplit(".", 1)
    assert type(optimizer).__name__ == name
    assert type(optimizer).__module__.startswith(module)
    assert all(group["eps"] == 0.25 for group in optimizer.param_groups)


@pytest.mark.parametrize(
    ("algorithm", "message"),
    [
        ("torch.optim.SDG", r"algorithm=torch\.optim\.SDG can't be imported .*such as torch\.optim\.SGD"),
        ("torhc.optim.SGD", r"algorithm=torhc\.optim\.SGD can't be imported"),
        ("SGD", r"algorithm=SGD can't be imported"),
        ("torch.nn.Linear", r"algorithm=torch\.nn\.Linear is not an optimizer; give the import path"),
    ],
)
def test_no_such_optimizer(algorithm: str, message: str, model: Segmenter) -> None:
    with pytest.raises(ConfigError, match=message):
        build_optimizer(model, algorithm=algorithm, lr=0.1)


@pytest.mark.parametrize("options", [{"betas": [0.9, 0.99]}, {"momentum": -1.0}])
def test_settings_that_the_optimizer_refuses(options: dict[str, object], model: Segmenter) -> None:
    with pytest.raises(ConfigError, match=rf"torch\.optim\.SGD refuses its settings .*{next(iter(options))}.*Change"):
        build_optimizer(model, algorithm="torch.optim.SGD", lr=0.1, **options)


def test_nothing_to_train(model: Segmenter) -> None:
    with pytest.raises(ConfigError, match=r"Segmenter has no trainable parameter; unfreeze"):
        build_optimizer(model.requires_grad_(False), algorithm="torch.optim.SGD", lr=0.1)
