"""Every conf/experiment/*.yaml: what it says of itself, the run that it asks for, its net, and a few updates of it."""

import re
from importlib import import_module

import pytest
import torch
from fixtures import write_camvid, write_folder
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf

from atrous.cli import train
from atrous.config.checks import check_config
from atrous.config.compose import CONF_DIR, prepare
from atrous.data.transforms import TrainTransform
from atrous.engine.build import build_model
from atrous.errors import ConfigError

OF_STUDIES = ("camvid_baseline", "camvid_scratch", "search_scenes")  # have their scores and protocol in experiments/
NAMES = sorted(
    path.stem
    for path in (CONF_DIR / "experiment").glob("*.yaml")
    if not path.stem.startswith(OF_STUDIES) and "shared/study" not in path.read_text()
)
PARTS = ("model", "data", "loss", "optimizer", "scheduler", "trainer")
NEEDS = {"folder_unet_encoder_4k": ["data.class_names=[background,cell]"]}
# Updates, batch, crop, encoder's rate, head's rate, the encoder's rate half way and at the end, the loss. Typed from the
# sources that the recipes name, not from the recipes.
RUNS = {
    **{
        f"{data}_{model}_{updates // 1000}k": (updates, batch, crop, 0.01, 0.01, 5.4e-3, 1e-4, "CrossEntropy")
        for model in ("dilated_fcn", "pspnet", "deeplabv3", "deeplabv3plus")
        for data, updates, batch, crop in (
            ("cityscapes", 80000, 8, [512, 1024]),
            ("ade20k", 160000, 16, [512, 512]),
            ("voc", 40000, 16, [512, 512]),
        )
    },
    "voc_deeplabv3plus_xception_30k": (30000, 16, [513, 513], 0.007, 0.007, 3.75e-3, 0, "CrossEntropy"),
    "cityscapes_deeplabv3plus_xception_90k": (90000, 16, [769, 769], 0.007, 0.007, 3.75e-3, 0, "CrossEntropy"),
    "ade20k_segmenter_160k": (160000, 8, [512, 512], 1e-3, 1e-3, 5.4e-4, 1e-5, "CrossEntropy"),
    "ade20k_setr_160k": (160000, 16, [512, 512], 1e-3, 1e-2, 5.8e-4, 1e-4, "CrossEntropy"),
    "cityscapes_setr_80k": (80000, 8, [768, 768], 0.01, 0.1, 5.4e-3, 1e-4, "CrossEntropy"),
    "camvid_segnet_basic_10k": (10000, 12, [360, 480], 0.1, 0.1, 0.1, 0.1, "CrossEntropy"),
    "camvid_segnet_40k": (40000, 4, [360, 480], 1e-3, 1e-3, 1e-3, 1e-3, "CrossEntropy"),
    "membranes_unet_20k": (20000, 1, [388, 388], 1e-3, 1e-3, 5.4e-4, 0, "BorderWeight"),
    "folder_unet_encoder_4k": (4000, 8, [256, 256], 1e-4, 1e-3, 5.4e-5, 0, "WeightedSum"),
}


def composed(name, *overrides):
    """The parts of the config that make a run what it is, resolved."""
    prepare()
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        config = compose("train", overrides=[f"experiment={name}", *NEEDS.get(name, []), *overrides])
    parts = OmegaConf.masked_copy(config, [*PARTS, "paths", "seed"])
    return OmegaConf.to_container(parts, resolve=True)


def test_every_recipe_is_held():
    assert sorted(RUNS) == NAMES


@pytest.mark.parametrize("name", RUNS)
def test_the_run_is_the_sources(name):
    config = composed(name)
    updates, batch, crop, rate, head_rate, half, end, loss = RUNS[name]
    check_config(config)
    trainer, data, optimizer = config["trainer"], config["data"], config["optimizer"]
    assert trainer["max_steps"] == updates
    assert updates % trainer["val_check_interval"] == 0
    assert 10 <= updates // trainer["val_check_interval"] <= 20
    assert (data["batch_size"], data["train_transform"]["crop_size"]) == (batch, crop)
    assert config["loss"]["_target_"].endswith(f".{loss}")
    schedule = instantiate(config["scheduler"])
    rates = [optimizer["lr"] * schedule(step, updates) for step in (updates // 2, updates)]
    assert rates == pytest.approx([half, end], rel=0.02, abs=1e-9)
    encoder, head = torch.nn.Conv2d(1, 1, 1), torch.nn.Conv2d(1, 1, 1)
    made = instantiate(optimizer)(torch.nn.ModuleDict({"encoder": encoder, "head": head}))
    found = {group["name"]: group["lr"] for group in made.param_groups}
    assert (found["encoder"], found["head"]) == pytest.approx((rate, head_rate))
    instantiate(data["train_transform"], _convert_="all")


@pytest.mark.parametrize("name", NAMES)
def test_the_header_says_what_to_expect(name):
    """Score and hardware, whose they are, and the command."""
    header = re.match(r"(#.*\n)+", (CONF_DIR / "experiment" / f"{name}.yaml").read_text())[0]
    assert header.startswith("# @package _global_\n")
    assert re.search(rf"^#   python train\.py experiment={name}\b", header, re.MULTILINE)
    for part in ("Paper: .*https://", "Score: ", "Hardware: "):
        assert re.search(rf"^# {part}", header, re.MULTILINE), part
    text = header.replace("\n# ", " ")
    assert "Not trained by us" in text or "Score: none." in text or "experiments/" in text


@pytest.mark.parametrize("name", NAMES)
def test_the_net_builds_and_scores_each_class(name):
    """Without memory or weights, at its full width."""
    config = composed(
        name, *(["model.encoder.weights=null"] if "segnet_basic" not in name and "unet_20k" not in name else [])
    )
    with torch.device("meta"):
        net = build_model(config).eval()
        output = net(torch.zeros(2, 3, 96, 128))
    assert output.logits.shape[:2] == (2, config["data"]["num_classes"])
    heads = {"dilated_fcn": 1, "pspnet": 1, "deeplabv3": 1, "setr": 4}
    assert len(output.aux) == next((count for model, count in heads.items() if f"_{model}_" in name), 0)


@pytest.mark.parametrize(("name", "classes"), [("cityscapes_deeplabv3_80k", 19), ("ade20k_deeplabv3_160k", 150)])
def test_deeplabv3s_head_is_as_large_as_mmsegmentations(name, classes):
    """Its ASPPHead and FCNHead, layer by layer: convolutions without biases and two parameters a channel of batch norm."""

    def conv(before, after, kernel=1):
        return before * after * kernel**2 + 2 * after

    aspp = 2 * conv(2048, 512) + 3 * conv(2048, 512, 3) + conv(5 * 512, 512, 3)
    aux = conv(1024, 256, 3)
    with torch.device("meta"):
        net = build_model(composed(name, "model.encoder.weights=null"))
    found = sum(value.numel() for key, value in net.named_parameters() if not key.startswith("encoder."))
    assert found == aspp + aux + (512 + 1) * classes + (256 + 1) * classes


def test_a_net_trained_at_output_stride_16_is_evaluated_at_8():
    """By the two settings that the recipe's command has: the same weights fit."""
    config = composed("voc_deeplabv3plus_xception_30k", "model.encoder.weights=null")
    with torch.device("meta"):
        trained = build_model(config)
        config["model"]["output_stride"] = config["model"]["encoder"]["output_stride"] = 8
        evaluated = build_model(config)
    trained, evaluated = ({key: value.shape for key, value in net.state_dict().items()} for net in (trained, evaluated))
    assert trained == evaluated


def test_a_recipe_yields_to_the_command_line():
    config = composed("cityscapes_pspnet_80k", "trainer=cpu", "optimizer=adamw", "scheduler=cosine", "loss=ohem")
    assert config["trainer"]["accelerator"] == "cpu"
    assert config["trainer"]["max_steps"] == 80000
    assert config["optimizer"]["algorithm"].endswith("AdamW")
    instantiate(config["scheduler"])(1, 80000)
    instantiate(config["loss"], _convert_="all")


def test_the_jitter_has_photo_metric_distortions_variance():
    """Each of mmsegmentation's is left out half of the time; ours never are."""
    transform = composed("voc_pspnet_40k")["data"]["train_transform"]
    for name, theirs in (("contrast", 0.5), ("saturation", 0.5), ("hue", 18 / 180), ("brightness", 32 / 255 / 0.449)):
        assert transform[name] ** 2 == pytest.approx(theirs**2 / 2, rel=0.05)  # 0.449: ImageNet's mean grey


TINY_CNN = ["model.encoder.name=test_resnet", "model.encoder.weights=null"]
FAMILIES = {
    "cityscapes_deeplabv3plus_80k": [*TINY_CNN, "model.aspp_channels=8", "model.decoder_channels=8"],
    "ade20k_setr_160k": ["model.encoder.name=test_vit", "model.encoder.weights=null", "model.decoder_channels=8"],
    "camvid_segnet_basic_10k": ["model.channels=4", "eval_split=val"],
    "membranes_unet_20k": ["model.encoder.channels=[4,6,8]"],
    "folder_unet_encoder_4k": TINY_CNN,
}
SLOW = {
    "voc_pspnet_40k": [*TINY_CNN, "model.decoder_channels=8"],
    "ade20k_segmenter_160k": ["model.encoder.name=test_vit", "model.encoder.weights=null"],
    "camvid_segnet_40k": ["model.encoder.name=vgg11_bn", "model.encoder.weights=null", "eval_split=val"],
}


def written(name, folder):
    """A tiny data set in the real one's layout, and where it is."""
    data = name.split("_")[0]
    if data == "folder":
        root = write_folder(folder, names=[f"{number:02d}" for number in range(20)], size=(48, 64))
        return [f"data.images={root / 'images'}", f"data.masks={root / 'masks'}", *NEEDS[name]]
    if data == "camvid":
        return [f"data.root={write_camvid(folder, splits={'train': 4, 'val': 2}, size=(48, 64))}"]
    writer = getattr(import_module(f"data.writers.{data}"), f"write_{data}")
    return [f"data.root={writer(folder)}"]


@pytest.mark.parametrize("name", [*FAMILIES, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_two_updates_run(name, tmp_path, result_of):
    train.main(
        [
            f"experiment={name}",
            *written(name, tmp_path / "data"),
            f"paths.runs={tmp_path / 'runs'}",
            f"paths.cache={tmp_path / 'cache'}",
            "trainer=cpu",
            "trainer.precision=32-true",
            "trainer.max_steps=2",
            "trainer.val_check_interval=2",
            "data.train_transform.crop_size=[32,32]",
            "data.batch_size=2",
            "data.eval_batch_size=1",
            "data.num_workers=0",
            *{**FAMILIES, **SLOW}[name],
        ]
    )
    (result,) = (tmp_path / "runs").rglob("result.json")
    assert result_of(result.parent)["status"] == "finished"
    assert result_of(result.parent)["steps"] == 2
    assert 0 <= result_of(result.parent)["scores"]["miou"] <= 1


def test_deformation_and_balanced_crops_exclude_each_other():
    transform = composed("membranes_unet_20k", "data.train_transform.cat_max_ratio=0.75")["data"]["train_transform"]
    del transform["_target_"]
    with pytest.raises(ConfigError, match="set cat_max_ratio=1"):
        TrainTransform(**transform)
