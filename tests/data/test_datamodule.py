import functools
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from fixtures import write_folder
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from atrous.data.datamodule import SegmentationDataModule
from atrous.data.folder import Folder
from atrous.data.transforms import EvalTransform, TrainTransform
from atrous.errors import ConfigError, DataError
from atrous.types import ClassInfo, RawSample

INFO = ClassInfo(("ground", "cell"), ((0, 0, 0), (1, 1, 1)))


class Noise:
    """Random images; every second one is wider on request, and image `bad` can't be read."""

    class_info = INFO

    def __init__(self, *, split, length=10, sizes=(32,), bad=None):
        if split == "test":
            raise DataError("there is no test split")
        self.split, self.length, self.sizes, self.bad = split, length, sizes, bad

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        if index == self.bad:
            raise DataError(f"file {index} is bad")
        width = self.sizes[index % len(self.sizes)]
        image = np.random.default_rng(index).integers(0, 256, (24, width, 3), dtype=np.uint8)
        return RawSample(image, image[..., 0] % 2, f"{self.split}/{index}")


def module(**settings):
    defaults = {
        "dataset": Noise,
        "num_classes": 2,
        "train_transform": TrainTransform(crop_size=[16, 16]),
        "eval_transform": EvalTransform(),
        "batch_size": 4,
        "num_workers": 0,
    }
    return SegmentationDataModule(**{**defaults, **settings})


def epoch_of(loader, epoch):
    loader.sampler.set_epoch(epoch)
    return [{**batch, "name": tuple(batch["name"])} for batch in loader]


def equal(first, second):
    return all(
        torch.equal(value, second[key]) if isinstance(value, torch.Tensor) else value == second[key]
        for key, value in first.items()
    )


def test_batches_follow_the_contract():
    data = module(val={"length": 3}, eval_batch_size=2, length=9)
    data.setup("fit")
    (first, _) = epoch_of(data.train_dataloader(), 0)
    assert (first["image"].shape, first["image"].dtype) == ((4, 3, 16, 16), torch.float32)
    assert (first["mask"].shape, first["mask"].dtype) == ((4, 16, 16), torch.int64)
    assert first["name"] == tuple(f"train/{index}" for index in first["index"].tolist())
    val = list(data.val_dataloader())
    assert [batch["name"] for batch in val] == [["val/0", "val/1"], ["val/2"]]
    raw = data.dataset("val")[0]
    assert torch.equal(val[0]["image"][0], data.normalise(raw.image))
    assert torch.equal(val[0]["mask"][0], torch.from_numpy(raw.mask).long())
    assert data.class_info is INFO


def test_any_number_of_workers_makes_the_same_batches_and_none_repeats():
    """The batches of 0, 1 and 2 workers are equal bit for bit; 8 samples in 2 epochs are 16 augmentations."""
    loaders = [module(num_workers=workers, length=8).train_dataloader() for workers in (0, 1, 2)]
    one_image = [module(num_workers=2, dataset=OneImage).train_dataloader()]
    seen = set()
    for epoch in (0, 1):
        expected, *others = [epoch_of(loader, epoch) for loader in loaders]
        assert len(expected) == 2
        for batches in others:
            assert all(equal(*pair) for pair in zip(expected, batches, strict=True))
        for batch in epoch_of(one_image[0], epoch):
            seen |= {image.numpy().tobytes() for image in batch["image"]}
    assert len(seen) == 16


class OneImage(Noise):
    def __init__(self, *, split):
        super().__init__(split=split, length=8)

    def __getitem__(self, index):
        return super().__getitem__(0)


def test_loading_leaves_the_global_random_state_alone():
    before = torch.get_rng_state()
    list(module().train_dataloader())
    assert torch.equal(before, torch.get_rng_state())


def test_nothing_warns_with_a_worker():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        list(module(num_workers=1).train_dataloader())


def test_a_split_is_built_when_asked_for():
    data = module()
    data.setup("fit")
    with pytest.raises(DataError, match="there is no test split"):
        data.test_dataloader()
    with pytest.raises(ValueError, match="no split 'holdout'; choose one of train, val, test"):
        data.dataset("holdout")


class Kept(Noise):
    def cache_key(self):
        return f"{self.split}-{self.length}"


@pytest.mark.parametrize("cache", ["ram", "disk"])
def test_the_cache_changes_nothing(cache, tmp_path):
    cached = module(dataset=Kept, cache=cache, cache_folder=str(tmp_path), sizes=[32, 40])
    plain = epoch_of(module(sizes=[32, 40]).train_dataloader(), 1)
    assert all(equal(*pair) for pair in zip(plain, epoch_of(cached.train_dataloader(), 1), strict=True))
    assert any(path.is_dir() for path in tmp_path.glob("*train-10*")) == (cache == "disk")


def test_a_disk_cache_needs_a_folder():
    with pytest.raises(ConfigError, match=r"data.cache=disk needs data.cache_folder=\.\.\."):
        module(dataset=Kept, cache="disk").dataset("train")
    with pytest.raises(ConfigError, match=r"data.cache=gpu is impossible; choose one of none, ram, disk"):
        module(cache="gpu")


def test_a_split_is_not_renamed_by_its_settings():
    with pytest.raises(ConfigError, match=r"data.train.split=val: data.train is the split 'train'"):
        module(train={"split": "val"})


def test_a_jpeg_that_is_shown_small_is_decoded_small(tmp_path):
    write_folder(tmp_path, names=["a", "b", "c", "d"], size=(64, 80))
    settings = {"images": str(tmp_path / "images"), "masks": str(tmp_path / "masks"), "val_fraction": 0.0}
    small = TrainTransform(
        crop_size=[16, 16], scale=[0.25, 0.25], flip=0, brightness=0, contrast=0, saturation=0, hue=0, blur=0
    )
    data = module(dataset=Folder, class_names=["ground", "cell"], train_transform=small, **settings)
    (batch,) = data.train_dataloader()
    usual = module(dataset=Folder, class_names=["ground", "cell"], train_transform=small, cache="ram", **settings)
    (whole,) = usual.train_dataloader()  # what is kept was decoded whole
    assert torch.equal(batch["mask"], whole["mask"])
    difference = (batch["image"] - whole["image"]).abs()
    assert 0 < difference.mean() < 0.35  # averaged before it is sampled; the images' noise is 0.2


class Rare(Noise):
    """Every pixel is ground, but for cells in image 3 and, few, in image 6."""

    def __getitem__(self, index):
        sample = super().__getitem__(index)
        cells = {3: 100, 6: 5}.get(index, 0)
        return sample._replace(mask=(np.arange(24 * 32) < cells).reshape(24, 32).astype(np.uint8))


def test_images_with_rare_classes_come_more_often():
    data = module(dataset=Rare, length=100, rare_class_temperature=0.1, rare_class_min_pixels=50)
    data.check()
    drawn = [batch["index"] for epoch in range(5) for batch in epoch_of(data.train_dataloader(), epoch)]
    counts = torch.bincount(torch.cat(drawn), minlength=100)
    assert counts.sum() == 500
    assert counts[3] > 450  # the ground is drawn with exp(-10) of the cells' probability
    again = [batch["index"] for batch in epoch_of(data.train_dataloader(), 4)]
    assert torch.equal(torch.cat(again), torch.cat(drawn)[400:])
    batch = epoch_of(data.train_dataloader(), 0)[0]
    assert len({image.numpy().tobytes() for image in batch["image"]}) == 4
    with pytest.raises(ConfigError, match=r"rare_class_min_pixels=3000: no image has .*'ground' \(at most 768\)"):
        module(dataset=Rare, rare_class_temperature=0.1).check()


def test_a_bad_file_is_found_before_training_and_in_a_worker():
    with pytest.raises(DataError, match=r"^file 7 is bad"):
        module(train={"bad": 7}).check()
    with pytest.raises(DataError, match=r"^file 7 is bad"):
        module(val={"bad": 7}).setup("fit")
    data = module(num_workers=1, length=4)
    data.dataset("train").bad = 2  # damaged since
    with pytest.raises(DataError, match="file 2 is bad"):
        list(data.train_dataloader())


def end_when_asked(path):
    signal.signal(signal.SIGTERM, lambda *_: (path.write_text("asked to end"), os._exit(0)))
    path.write_text("ready")
    time.sleep(100)


def test_a_program_ends_whose_worker_has_failed_and_its_other_processes_are_asked_to_end(tmp_path):
    """Workers ignore the signal by which Python ends them, and an error may leave them behind."""
    code = (
        f"import sys; sys.path[:0] = {[str(Path(__file__).parent), str(Path(__file__).parents[1])]}\n"
        "import multiprocessing, pathlib, time\n"
        "from test_datamodule import end_when_asked, module\n"
        "own = pathlib.Path(sys.argv[1])\n"
        "multiprocessing.Process(target=end_when_asked, args=(own,), daemon=True).start()\n"
        "while not own.exists(): time.sleep(0.05)\n"
        "data = module(num_workers=1, length=4)\n"
        "data.dataset('train').bad = 2\n"
        "loader = data.train_dataloader()\n"
        "iterator = iter(loader)\n"
        "next(iterator)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "own"], capture_output=True, text=True, timeout=100, check=False
    )
    assert "file 2 is bad" in ended.stderr
    assert (tmp_path / "own").read_text() == "asked to end"


def test_images_of_several_sizes():
    data = module(sizes=(32, 40))
    assert {tuple(batch["image"].shape) for batch in data.val_dataloader()} == {(1, 3, 24, 32), (1, 3, 24, 40)}
    assert len(list(data.train_dataloader())) == 2
    data = module(sizes=(32, 40), eval_batch_size=2)
    with pytest.raises(
        DataError, match=r"differ in size: val/0 24 x 32, val/1 24 x 40 pixels. Set data.eval_batch_size=1"
    ):
        list(data.val_dataloader())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_classes": 3}, "num_classes=3, but the dataset has 2 classes: ground, cell. Set data.num_classes=2"),
        ({"batch_size": 11}, "train split has 10 images, fewer than data.batch_size=11; set data.batch_size to 10 or"),
        (
            {"train_transform": TrainTransform(crop_size=[8, 8], ignore_index=254)},
            "ignore_index=254, but the dataset ignores 255; .*Set data.train_transform.ignore_index=255",
        ),
    ],
)
def test_impossible_settings_are_found_before_training(settings, message):
    with pytest.raises(ConfigError, match=message):
        module(**settings).check()


class Rooted(Noise):
    def __init__(self, *, root, split):
        super().__init__(split=split)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lenght": 3}, "data: .*unexpected keyword argument 'lenght'; expected the settings of Noise"),
        ({"val": {"colour": 3}}, "unexpected keyword argument 'colour'"),
        ({"dataset": functools.partial(OneImage), "length": 8}, "argument 'length'; expected the settings of OneImage"),
        ({"dataset": Rooted}, "missing a required .*argument: 'root'; expected the settings of Rooted"),
    ],
)
def test_settings_that_no_dataset_takes(settings, message):
    with pytest.raises(ConfigError, match=message):
        module(**settings)


class Counter(LightningModule):
    """Notes which samples it sees, and learns nothing."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.epochs = {}
        self.val_names = []

    def training_step(self, batch, index):
        self.epochs.setdefault(self.current_epoch, []).append(batch["image"].sum().item())
        return self.weight * 0

    def validation_step(self, batch, index):
        self.val_names += batch["name"]

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def trainer_for(folder, **options):
    defaults = {
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "use_distributed_sampler": False,
        "num_sanity_val_steps": 0,
        "default_root_dir": folder,
    }
    return Trainer(**{**defaults, **options})


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("workers", [0, 1])
def test_lightning_trains_on_the_epochs_batches_also_when_resumed(tmp_path, workers):
    keep = ModelCheckpoint(dirpath=tmp_path, save_top_k=-1, filename="{epoch}")
    straight = Counter()
    trainer_for(tmp_path, max_epochs=3, callbacks=[keep], enable_checkpointing=True).fit(
        straight, datamodule=module(num_workers=workers)
    )
    reference = module().train_dataloader()
    for epoch in range(3):
        assert straight.epochs[epoch] == [batch["image"].sum().item() for batch in epoch_of(reference, epoch)]
    assert sorted(straight.val_names) == sorted(3 * [f"val/{index}" for index in range(10)])
    resumed = Counter()
    trainer_for(tmp_path, max_epochs=3).fit(
        resumed, datamodule=module(num_workers=workers), ckpt_path=tmp_path / "epoch=0.ckpt", weights_only=True
    )
    assert resumed.epochs == {epoch: straight.epochs[epoch] for epoch in (1, 2)}


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_batch_size_is_the_total_one(tmp_path):
    data = module(batch_size=6)
    trainer = trainer_for(tmp_path, max_epochs=1, accumulate_grad_batches=3)
    model = Counter()
    trainer.fit(model, datamodule=data)
    assert trainer.global_step == 1
    assert len(model.epochs[0]) == 3
    assert {len(batch["image"]) for batch in data.train_dataloader()} == {2}
    trainer = trainer_for(tmp_path, max_epochs=1, accumulate_grad_batches=4)
    with pytest.raises(
        ConfigError, match=r"batch_size=6 can't be divided over 1 devices x .*=4; set data.batch_size to 4 or 8"
    ):
        trainer.fit(Counter(), datamodule=data)
    with pytest.raises(ConfigError, match=r"set data.batch_size to 4[.]"):
        trainer.fit(Counter(), datamodule=module(batch_size=3))
