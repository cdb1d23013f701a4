"""A stranger's checkpoint runs no code, reads no secret and writes nowhere else. Each attack would succeed without its guard."""

import ast
import io
import pickle
import re
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from rich.console import Console

from atrous.cli.app import errors_as_messages
from atrous.config.compose import CONF_DIR
from atrous.config.trust import check_plain, check_targets, is_ours, own_config, read_class_info
from atrous.engine.checkpoint import load_checkpoint, restore
from atrous.errors import CheckpointError
from atrous.types import ClassInfo

SOURCE = Path(__file__).parents[2] / "src" / "atrous"


class Payload:
    """Leaves a folder where its pickle is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.mkdir, (self.path,)


def config(**parts):
    """The least config that gets past the check for its parts."""
    model = {"_target_": "atrous.models.msd.MSD", "num_classes": 2}
    data = {"_target_": "atrous.data.datamodule.SegmentationDataModule"}
    return {"model": model, "data": data, "trainer": {}, "task": {}, **parts}


def refused(checkpoint, folder):
    """The message with which `restore` refuses a checkpoint."""
    torch.save(checkpoint, folder / "bad.ckpt")
    with pytest.raises(CheckpointError) as caught:
        restore(folder / "bad.ckpt", accelerator="cpu")
    return str(caught.value)


def of(config):
    return {"state_dict": {}, "config": config, "class_info": {"names": ["a", "b"], "palette": [[0, 0, 0], [1, 1, 1]]}}


# Pickles


def as_zip(content, path):
    torch.save(content, path)


def as_old_format(content, path):
    torch.save(content, path, _use_new_zipfile_serialization=False)


def as_bare_pickle(content, path):
    path.write_bytes(pickle.dumps(content))


def as_tar(content, path):
    """The format before torch 0.1.10."""
    data = pickle.dumps(content)
    with tarfile.open(path, "w") as tar:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))


@pytest.mark.parametrize("write", [as_zip, as_old_format, as_bare_pickle, as_tar])
@pytest.mark.parametrize("nested", [False, True], ids=["whole", "in the optimizer's state"])
def test_a_pickle_does_not_run(tmp_path, write, nested):
    payload = Payload(tmp_path / "owned")
    write(
        {"state_dict": {}, "optimizer_states": [{"state": {0: payload}}]} if nested else payload, tmp_path / "bad.ckpt"
    )
    with pytest.raises(CheckpointError, match="never run"):
        load_checkpoint(tmp_path / "bad.ckpt")
    assert not (tmp_path / "owned").exists()


def calls(tree):
    """Every call as its name, `torch.load` or `.eval` with whatever before it, and its keywords."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func) if isinstance(node.func, ast.Name | ast.Attribute) else ""
            yield name, {keyword.arg: keyword.value for keyword in node.keywords}


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_reader_of_files_runs_code(path):
    tree = ast.parse(path.read_text())
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
    }
    assert not imported & {"pickle", "marshal", "shelve", "dill", "joblib", "cloudpickle"}
    assert not re.search(r"unsafe_load|full_load|(Unsafe|Full|yaml\.)Loader", path.read_text()), (
        f"{path} builds objects"
    )
    for name, keywords in calls(tree):
        assert name not in ("eval", "exec", "compile", "__import__"), f"{name} in {path}"
        assert "allow_pickle" not in keywords, f"{path} reads arrays of objects"
        if name == "torch.load" or "ckpt_path" in keywords:
            stated = keywords.get("weights_only")
            assert isinstance(stated, ast.Constant), f"{path} must state weights_only=True in its call of {name}"
            assert stated.value is True


# What a config may have called


TARGETS = [
    "os.system",
    "posix.system",
    "builtins.eval",
    "builtins.exec",
    "subprocess.Popen",
    "subprocess.check_output",
    "importlib.import_module",
    "functools.partial",
    "runpy.run_path",
    "pickle.loads",
    "shutil.copytree",
    "hydra.utils.get_method",
    "hydra.utils.get_object",
    "hydra.utils.get_class",
    "hydra.utils.call",
    "hydra.utils.instantiate",
    "hydra._internal.utils._locate",
    "omegaconf.OmegaConf.register_new_resolver",
    "torch.load",
    "torch.jit.load",
    "torch.hub.load",
    "torch.save",
    "torch.compile",
    "torch.utils.cpp_extension.load",
    "torch.utils.cpp_extension.load_inline",
    "torch.package.PackageImporter",
    "torch.multiprocessing.spawn",
    "torch.distributed.launcher.api.elastic_launch",
    "torch.nn.Module.apply",
    "torch.nn.Module.register_forward_hook",
    "torch.nn.modules.module.torch.load",
    "torch.nn.modules.lazy.sys.modules.clear",
    "torch.nn.functional.torch",
    "torch.nn.parallel.data_parallel",
    "torch.nn.utils.parametrize.transfer_parametrizations_and_params",
    "torch.nn.init.warnings.sys.exit",
    "torch.optim.SGD",
    "torch.optim.optimizer.torch.load",
    "timm.create_model",
    "timm.models.load_checkpoint",
    "timm.models.helpers.load_state_dict",
    "timm.optim.create_optimizer",
    "torchvision.models.get_model",
    "torchvision.models.segmentation.fcn.nn.Module.apply",
    "torchvision.models.segmentation.fcn_resnet50.__globals__.clear",
    "torchvision.datasets.utils.download_url",
    "segmentation_models_pytorch.from_pretrained",
    "segmentation_models_pytorch.Unet.from_pretrained",
    "segmentation_models_pytorch.base.model.torch.load",
    "lightning.pytorch.Trainer",
    "lightning.pytorch.LightningModule.load_from_checkpoint",
    "lightning.fabric.utilities.cloud_io._load",
    "albumentations.from_dict",
    "albumentations.load",
    "albumentations.Lambda",
    "wandb.init",
    "wandb.restore",
    "numpy.load",
    "numpy.savez",
    "scipy.io.loadmat",
    "PIL.Image.open",
    "matplotlib.pyplot.savefig",
    "atrous.data.io.listing.os.system",
    "atrous.data.cache.shutil.rmtree",
    "atrous.system.pool.in_processes",
    "atrous.system.pool.in_threads",
    "atrous.encoders.encoder.create",
    "atrous.encoders.encoder.timm.models.load_checkpoint",
    "atrous.encoders.weights_file.read_weights",
    "atrous.encoders.weights_file.torch.load",
    "atrous.encoders.encoder.functools.partial",
    "atrous.models.pretrained.load_pretrained",
    "atrous.models.pretrained.torch.hub.load",
    "atrous.models.unet.UNet.__init__.__globals__",
    "atrous.optim.groups.build_optimizer",
    "atrous.optim.groups.importlib.import_module",
    "atrous.runs.record.subprocess.run",
    "atrous.cli.train.main",
    "",
    ".",
    "atrous.models.msd.MSD ",
]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("place", ["top", "argument", "partial"])
def test_a_target_that_is_none_of_a_network_or_data_set(target, place):
    attack = {"_target_": target, "_args_": ["true"]}
    attack = {
        "top": attack,
        "argument": config()["model"] | {"x": [[attack]]},
        "partial": {**attack, "_partial_": True},
    }
    with pytest.raises(CheckpointError, match=r"wants to call .* not on the list of trusted") as caught:
        check_targets(attack[place], [], "the checkpoint x")
    assert repr(target) in str(caught.value)


def test_refusing_a_target_does_not_import_it(tmp_path, monkeypatch):
    (tmp_path / "wicked.py").write_text(f"from pathlib import Path\nPath({str(tmp_path / 'owned')!r}).mkdir()\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(CheckpointError, match=r"trusted=\[wicked\.\]"):
        check_targets({"_target_": "wicked.Net"}, ["their."], "x")
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    "target",
    [
        "torch.nn.Conv2d",
        "segmentation_models_pytorch.create_model",
        "segmentation_models_pytorch.Unet",
        "torchvision.models.segmentation.lraspp_mobilenet_v3_large",
    ],
)
def test_networks_of_known_libraries(target):
    check_targets({"_target_": target}, [], "x")


@pytest.mark.parametrize("group", ["model", "data", "inference"])
def test_whatever_our_conf_names(group):
    files = sorted((CONF_DIR / group).rglob("*.yaml"))
    assert files
    for file in files:
        part = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
        if part.get("_target_") != "???":
            check_targets(part, [], str(file))
    assert not is_ours("atrous.optim.groups.build_optimizer")


def test_what_the_user_vouches_for_may_not_lead_out_of_it():
    check_targets({"_target_": "fractions.Fraction"}, ["fractions."], "x")
    with pytest.raises(CheckpointError, match="wants to call"):
        check_targets({"_target_": "fractions.re.compile"}, ["fractions."], "x")


@pytest.mark.parametrize(
    "name", ["hf-hub:someone/net", "tu-hf-hub:someone/net", "tu-local-dir:/tmp/net", "https://a.b/c"]
)
def test_a_network_from_elsewhere(name):
    model = {"_target_": "segmentation_models_pytorch.create_model", "arch": "unet", "encoder_name": name}
    with pytest.raises(CheckpointError, match="from elsewhere"):
        check_targets(model, [], "x")
    check_targets(model, [name], "x")


def test_the_trainer_calls_nothing_else(tmp_path):
    trainer = {"_target_": "lightning.pytorch.Trainer", "profiler": {"_target_": "os.makedirs", "name": "owned"}}
    message = refused(of(config(trainer=trainer)), tmp_path)
    assert "os.makedirs" in message
    assert "in trainer" in message
    several = {**trainer, "profiler": None, "strategy": {"_target_": "lightning.pytorch.strategies.DDPStrategy"}}
    assert several.items() <= own_config(config(trainer=several))["trainer"].items()


# What a config may hold


@pytest.mark.parametrize(
    "value",
    [
        "${oc.env:ATROUS_TEST_SECRET}",
        "x/${oc.decode:${oc.env:ATROUS_TEST_SECRET}}",
        "${class_count:model}",
        "${.a}${.a}",
    ],
)
@pytest.mark.parametrize("place", ["value", "key", "other part"])
def test_no_interpolation_is_resolved(tmp_path, monkeypatch, value, place):
    monkeypatch.setenv("ATROUS_TEST_SECRET", "hunter2")
    data = {"_target_": "atrous.data.datamodule.SegmentationDataModule"}
    attack = {
        "value": config(data={**data, "root": value}),
        "key": config(data={**data, value: 1}),
        "other part": config(logger={"wandb": {"name": [value]}}),
    }[place]
    message = refused(of(attack), tmp_path)
    assert "holds the interpolation" in message
    assert "hunter2" not in message


def bombs():
    laughs = ["ha"] * 10
    for _ in range(12):
        laughs = [laughs] * 10
    itself = []
    itself.append(itself)
    deep = []
    for _ in range(200):
        deep = [deep]
    return {"a billion laughs": laughs, "itself": itself, "deep": deep}


@pytest.mark.parametrize("kind", ["a billion laughs", "itself", "deep"])
def test_no_end_of_values(kind):
    with pytest.raises(CheckpointError, match="holds more than"):
        own_config(config(data={"sizes": bombs()[kind]}))


@pytest.mark.parametrize("value", [torch.zeros(2), b"bytes", {1, 2}, 1j, torch.float32])
def test_nothing_but_plain_values(value):
    with pytest.raises(CheckpointError, match=f"holds a {type(value).__name__}"):
        own_config(config(data={"size": [value]}))


@pytest.mark.parametrize("text", ["\x1b]0;owned\x07", "a\rb", "\u202eexe.gnp", "a\x9b31m"])
def test_no_control_characters(text):
    with pytest.raises(CheckpointError, match="control characters") as caught:
        check_plain({"names": ["road", text]}, "x")
    assert str(caught.value).isprintable()
    check_plain("two\nlines of Gebäude", "x")


@pytest.mark.parametrize("stored", [None, "text", [], {}, {"model": {}, "data": {}, "trainer": {}}, {"model": "x"}])
def test_a_config_of_no_run(stored):
    with pytest.raises(CheckpointError, match="has no settings of"):
        own_config(stored)


def test_no_file_of_weights_is_read():
    encoder = {"_target_": "atrous.encoders.encoder.Encoder", "name": "resnet18", "weights": "/etc/passwd"}
    model = {"_target_": "atrous.models.pspnet.PSPNet", "encoder": encoder, "parts": [dict(encoder)]}
    theirs = {"_target_": "their.Net", "weights": "a name", "backbone": encoder}
    own = own_config(config(model={"a": model, "b": theirs}))["model"]
    assert own["a"]["encoder"]["weights"] is own["a"]["parts"][0]["weights"] is own["b"]["backbone"]["weights"] is None
    assert own["b"]["weights"] == "a name"
    assert encoder["weights"] == "/etc/passwd"  # what was given stays
    smp = {"_target_": "segmentation_models_pytorch.create_model", "encoder_weights": "imagenet"}
    assert own_config(config(model=smp))["model"]["encoder_weights"] is None


def test_the_cache_is_the_users_own(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    own = own_config(config(data={"cache_folder": "/home/other/.ssh", "root": "there"}))["data"]
    assert own == {"cache_folder": str(tmp_path / "atrous"), "root": "there"}


@pytest.mark.parametrize(
    "change",
    [
        {"names": ["road", "\x1b[31mcar"]},
        {"names": ["road", "road"]},
        {"names": ["road"]},
        {"palette": [[0, 0, 0], [0, 0, 256]]},
        {"palette": [[0, 0, 0], "red"]},
        {"ids": [0, 70000]},
        {"ids": [0, -1]},
        {"names": [], "palette": []},
        {"unknown": 1},
        {"things": [float("inf")]},
    ],
)
def test_classes_that_cannot_be_used(change):
    good = {"names": ["road", "[link=x]car[/link]"], "palette": [[0, 0, 0], [0, 0, 255]]}
    assert read_class_info(good, "x") == ClassInfo(("road", "[link=x]car[/link]"), ((0, 0, 0), (0, 0, 255)))
    with pytest.raises(CheckpointError, match="x h"):
        read_class_info({**good, **change}, "x")
    with pytest.raises(CheckpointError, match="can't be used"):
        read_class_info(["road"], "x")


def test_classes_out_of_a_checkpoint(tmp_path, monkeypatch):
    named = {"names": ["a", "\x1b[31mb"], "palette": [[0, 0, 0], [1, 1, 1]]}
    monkeypatch.setattr("atrous.engine.checkpoint.check_config", lambda config: None)  # it wants a whole run's
    good = config(trainer={"accelerator": "cpu"}, task={"channels_last": False})
    assert "control characters" in refused({**of(good), "class_info": named}, tmp_path)


def test_a_class_name_is_no_markup():
    from atrous.report.evaluation import show_evaluation
    from atrous.runs.protocol import protocol
    from atrous.runs.scores import Evaluation

    info = ClassInfo(("[link=https://a.b]road[/link]", "[/]car"), ((0, 0, 0), (1, 1, 1)))
    console = Console(width=200, record=True, file=io.StringIO())
    about = protocol(
        split="val",
        images=1,
        data="x",
        class_info=info,
        resolution="output stride 16",
        inference="whole",
        precision="32-true",
        weights="as trained",
    )
    show_evaluation(console, Evaluation(["x"], np.array([[[3, 1], [0, 2]]], np.int32), info.names, about))
    assert console.export_text().count("[link=https://a.b]road[/link]") == 2  # in the table, and as the commonest class


def test_keys_of_weights_do_not_steer_the_terminal(capsys):
    with pytest.raises(SystemExit), errors_as_messages():
        raise CheckpointError("unknown \x1b]0;owned\x07\u202e key")
    assert capsys.readouterr().err == "\nerror: unknown \\x1b]0;owned\\x07\\u202e key\n\n"


def test_weights_that_unpack_to_more_than_their_size(tmp_path):
    torch.save({"state_dict": {"a": torch.zeros(1_000_000)}}, tmp_path / "plain.ckpt")
    with (
        zipfile.ZipFile(tmp_path / "plain.ckpt") as plain,
        zipfile.ZipFile(tmp_path / "bomb.ckpt", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for entry in plain.infolist():
            bomb.writestr(entry.filename, plain.read(entry))
    assert torch.equal(load_checkpoint(tmp_path / "plain.ckpt")["state_dict"]["a"], torch.zeros(1_000_000))
    with pytest.raises(CheckpointError, match="unpacks to more than its size"):
        load_checkpoint(tmp_path / "bomb.ckpt")
