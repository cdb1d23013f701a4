"""Parameter groups: what learns at which rate, and what decays."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from timm.optim import param_groups_layer_decay
from torch import nn

from atrous.encoders.vit import ViT
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


def test_a_value_that_the_optimizer_refuses(model: Segmenter) -> None:
    with pytest.raises(ConfigError, match=r"torch\.optim\.SGD refuses its settings .*momentum.*Change"):
        build_optimizer(model, algorithm="torch.optim.SGD", lr=0.1, momentum=-1.0)


def test_settings_that_the_optimizer_has_not(model: Segmenter) -> None:
    message = (
        r"torch\.optim\.NAdam has no setting momentum, nesterov; it has lr, betas, .*"
        r"~optimizer\.momentum ~optimizer\.nesterov, or start from optimizer=custom"
    )
    with pytest.raises(ConfigError, match=message):
        build_optimizer(model, algorithm="torch.optim.NAdam", lr=0.1, momentum=0.9, nesterov=False)


def test_an_optimizer_without_weight_decay(model: Segmenter) -> None:
    build_optimizer(model, algorithm="torch.optim.Rprop", lr=0.1)
    with pytest.raises(ConfigError, match=r"Rprop has no setting weight_decay; .*with optimizer\.weight_decay=0"):
        build_optimizer(model, algorithm="torch.optim.Rprop", lr=0.1, weight_decay=0.1)


def by_parameter(model: nn.Module, groups: list[dict[str, Any]]) -> dict[str, tuple[float, float]]:
    """Each parameter's learning rate and weight decay."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {names[id(p)]: (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]}


def test_layer_decay_of_a_vit_equals_timms() -> None:
    classifier = timm.create_model("test_vit", num_classes=3)
    reference = param_groups_layer_decay(
        classifier, weight_decay=0.05, no_weight_decay_list=classifier.no_weight_decay(), layer_decay=0.75
    )
    expected = by_parameter(classifier, [group | {"lr": 0.01 * group["lr_scale"]} for group in reference])
    del expected["head.weight"], expected["head.bias"]
    model = Segmenter(ViT(name="test_vit"))
    groups = param_groups(model, lr=0.01, weight_decay=0.05, head_multiplier=1.0, layer_decay=0.75)
    found = by_parameter(model, groups)
    trunk = {name.removeprefix("encoder.net."): value for name, value in found.items() if name.startswith("encoder.")}
    assert trunk.keys() == expected.keys()
    for name, value in expected.items():
        assert trunk[name] == pytest.approx(value), name
    assert found["classifier.weight"] == (0.01, 0.05)
    assert trunk["pos_embed"] == trunk["cls_token"] == (pytest.approx(0.01 * 0.75**7), 0.0)


def test_layer_decay_of_a_resnet_goes_by_stages(resnet: Segmenter) -> None:
    found = by_parameter(resnet, param_groups(resnet, lr=1.0, weight_decay=0.1, head_multiplier=4.0, layer_decay=0.5))
    places = {"conv1": 5, "bn1": 5, "layer1": 4, "layer2": 3, "layer3": 2, "layer4": 1}
    for name, (lr, decay) in found.items():
        part = name.split(".")[1]
        assert lr == (4.0 if part not in places else 0.5 ** places[part]), name
        assert decay == (0.1 if resnet.get_parameter(name).ndim > 1 else 0.0), name


def test_groups_of_layers_have_names_and_the_last_comes_first(resnet: Segmenter) -> None:
    groups = param_groups(resnet, lr=1.0, weight_decay=0.1, layer_decay=0.5)
    names = [f"encoder_{layer}{decay}" for layer in (4, 3, 2, 1, 0) for decay in ("", "_no_decay")]
    assert [group["name"] for group in groups] == [*names, "head", "head_no_decay"]


def test_a_learning_step_of_each_layer() -> None:
    model = Segmenter(ViT(name="test_vit"))
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    optimizer = build_optimizer(
        model, algorithm="torch.optim.SGD", lr=0.5, weight_decay=0.0, head_multiplier=2.0, layer_decay=0.5
    )
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    for name, rate in {
        "encoder.net.pos_embed": 0.5**8,
        "encoder.net.blocks.0.attn.qkv.weight": 0.5**7,
        "encoder.net.blocks.5.attn.qkv.weight": 0.5**2,
        "encoder.net.norm.weight": 0.5**2,
        "classifier.weight": 1.0,
    }.items():
        torch.testing.assert_close(model.get_parameter(name).detach(), before[name] - rate)


def test_embeddings_do_not_decay_as_timm_says() -> None:
    """Swin's relative position tables, and Nest's and CaiT's embeddings, also in networks cut to their features."""
    with torch.device("meta"):
        for name, flattened in [("swin_tiny_patch4_window7_224", True), ("cait_xxs24_224", False)]:
            whole = timm.create_model(name)
            cut = Segmenter(timm.create_model(name, features_only=True) if flattened else whole)
            expected = {f"encoder.{each.replace('layers.', 'layers_')}" for each in whole.no_weight_decay()}
            undecayed = {
                key
                for key, (_, decay) in by_parameter(cut, param_groups(cut, lr=1, weight_decay=1)).items()
                if not decay
            }
            assert expected
            assert {key for key in undecayed if cut.get_parameter(key).ndim > 1} == expected


def test_what_a_module_names_and_embedding_tables_do_not_decay() -> None:
    class Decoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.queries = nn.Embedding(3, 2)
            self.classes = nn.Parameter(torch.zeros(1, 3, 2))
            self.project = nn.Parameter(torch.zeros(2, 2))
            self.blocks = nn.ModuleList(nn.Linear(2, 2) for _ in range(2))

        def no_weight_decay(self) -> set[str]:
            return {"classes", "blocks.1.*"}

    model = nn.ModuleDict({"encoder": nn.Linear(2, 2), "decoder": Decoder()})
    names = names_of(model, param_groups(model, lr=1.0, weight_decay=0.1))
    assert names["head"] == {"decoder.project", "decoder.blocks.0.weight"}


def test_biases_of_several_dimensions_do_not_decay() -> None:
    layer = nn.Linear(2, 2)
    layer.bias = nn.Parameter(torch.zeros(1, 2))
    assert names_of(layer, param_groups(layer, lr=1.0, weight_decay=0.1))["head"] == {"weight"}


@pytest.mark.parametrize("layer_decay", [0.0, 1.5, -1.0])
def test_impossible_layer_decay(layer_decay: float, resnet: Segmenter) -> None:
    with pytest.raises(ConfigError, match=rf"optimizer\.layer_decay={layer_decay} is out of range; give more than 0"):
        param_groups(resnet, lr=1.0, weight_decay=0.0, layer_decay=layer_decay)


def test_nothing_to_train(model: Segmenter) -> None:
    with pytest.raises(ConfigError, match=r"Segmenter has no trainable parameter; unfreeze"):
        build_optimizer(model.requires_grad_(False), algorithm="torch.optim.SGD", lr=0.1)
