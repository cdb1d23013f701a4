"""Every conf/data/*.yaml builds, and gives batches that fit its own settings."""

from functools import partial
from importlib import import_module
from pathlib import Path

import pytest
from fixtures import write_camvid, write_folder
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf, open_dict

from atrous.config.compose import prepare
from atrous.errors import ConfigError

CONF = Path(__file__).parents[2] / "conf"


WRITERS = {"camvid": partial(write_camvid, splits={"train": 5, "val": 2, "test": 2}, size=(48, 64))} | {
    name: getattr(import_module(f"data.writers.{name}"), f"write_{name}")
    for name in (path.stem for path in (Path(__file__).parent / "writers").glob("[a-z]*.py"))
}


@pytest.fixture(scope="module")
def overrides(tmp_path_factory):
    """What each data set needs to be small and present; those on disk that are not named here, only their folder."""
    own = write_folder(tmp_path_factory.mktemp("own"), names=[f"{number:02d}" for number in range(20)], size=(48, 64))
    special = {
        "folder": {
            "class_names": ["ground", "cell"],
            "images": str(own / "images"),
            "masks": str(own / "masks"),
            "test_fraction": 0.2,
        },
        "scenes": {"size": [48, 64], "train": {"length": 5}, "val": {"length": 2}, "test": {"length": 2}},
    }

    def of(name):
        if name in special:
            return special[name]
        writer = WRITERS[name.removesuffix("_v2")]
        return {"root": str(writer(tmp_path_factory.mktemp(name)))}

    return of


def load(name, changes):
    prepare()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        composed = compose("train", overrides=[f"data={name}", "paths.cache=null"])
    small = {"batch_size": 4, "num_workers": 0, "train_transform": {"crop_size": [32, 40]}}
    with open_dict(composed):
        config = OmegaConf.merge({"seed": 0, "paths": composed.paths, "data": composed.data}, {"data": small | changes})
    return OmegaConf.to_container(config, resolve=True)["data"]


@pytest.mark.parametrize("name", sorted(path.stem for path in (CONF / "data").glob("*.yaml")))
def test_every_data_config(name, overrides):
    settings = load(name, overrides(name))
    data = instantiate(settings, _convert_="all")
    data.check()
    assert data.class_info.num_classes == settings["num_classes"]
    batch = next(iter(data.train_dataloader()))
    assert batch["image"].shape == (4, 3, 32, 40)
    allowed = {*range(settings["num_classes"]), data.class_info.ignore_index}
    for split in ("train", "val", "test"):
        labels = allowed if getattr(data.dataset(split), "labelled", True) else {data.class_info.ignore_index}
        for batch in data.train_dataloader() if split == "train" else data.eval_dataloader(split):
            assert set(batch["mask"].unique().tolist()) <= labels
            assert batch["image"].shape[-2:] == batch["mask"].shape[-2:]
            assert abs(batch["image"].mean()) < 3


def test_a_setting_that_the_dataset_does_not_know(overrides):
    settings = load("camvid", {**overrides("camvid"), "rot": "x"})
    with pytest.raises(Exception, match="unexpected keyword argument 'rot'; expected the settings of CamVid") as error:
        instantiate(settings, _convert_="all")
    assert isinstance(error.value.__cause__, ConfigError)
