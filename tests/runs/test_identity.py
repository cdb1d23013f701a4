"""Which stored run is the one that a command asks for."""

import inspect
import json
import shutil

import pytest
from fixtures import write_folder

from atrous.cli import train
from atrous.config.compose import compose, prepare
from atrous.config.fingerprint import fingerprint
from atrous.config.jobs import JobConfig
from atrous.data.datamodule import SegmentationDataModule
from atrous.errors import TrainingError
from atrous.runs.identity import OF_DATAMODULE, Files, nearest, told
from atrous.runs.resume import choose_folder
from atrous.runs.run import Run, load_run, run_folders

NAMES = [f"{letter}{number}" for letter in "ab" for number in range(6)]
NET = ["trainer=cpu", "model=unet", "model.padded=true", "model.encoder.channels=[2,4]", "model.decoder_channels=[2]"]
NET += ["trainer.max_epochs=1", "data.batch_size=4", "data.num_workers=0"]
FOLDER = [
    *NET,
    "data=folder",
    "data.class_names=[a,b]",
    "data.value_map={0:0,1:1}",
    "data.train_transform.crop_size=[16,16]",
]
SCENES = [*NET, "data.size=[32,32]", "data.scale_range=[4,16]", "data.train.length=8", "data.val.length=4"]


def of_files(root):
    return [*FOLDER, f"data.images={root}/images", f"data.masks={root}/masks"]


def identity(config):
    return Files().identity(config)


def config_of(*words):
    prepare()
    return JobConfig(compose("train", words, return_hydra_config=True)).resolved()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """`paths.runs` with one run on files, and the files; another data set of the same names lies beside them."""
    place = tmp_path_factory.mktemp("trained")
    write_folder(place / "one", names=NAMES)
    write_folder(place / "other", names=NAMES, seed=1)
    train.main([*of_files(place / "one"), f"paths.runs={place / 'runs'}"])
    return place


@pytest.fixture
def place(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "place")


def only_run(place):
    (folder,) = run_folders(place / "runs")
    return load_run(folder)


def test_the_datamodules_own_keys_are_known_without_torch():
    signature = inspect.signature(SegmentationDataModule).parameters
    assert {"_target_", *signature} - {"shared"} == OF_DATAMODULE


def test_data_are_their_files_wherever_they_lie(place, capfd):
    shutil.move(place / "one", place / "moved")
    train.main([*of_files(place / "moved"), f"paths.runs={place / 'runs'}", "resume=auto"])
    assert f"is finished: {only_run(place).folder}" in capfd.readouterr().out
    assert identity(config_of(*of_files(place / "moved"))).is_of(only_run(place))
    assert not identity(config_of(*of_files(place / "other"))).is_of(only_run(place))
    near = nearest(identity(config_of(*of_files(place / "other"))), [only_run(place)])
    assert told(near[1]) == "the data's files of train, val"


def test_other_data_at_the_same_place_are_other_data(place):
    shutil.rmtree(place / "one")
    shutil.move(place / "other", place / "one")
    (result,) = (place / "runs").rglob("result.json")
    assert not identity(config_of(*of_files(place / "one"))).is_of(load_run(result.parent))


def test_data_that_cant_be_read_are_known_by_their_place(trained, tmp_path):
    run = only_run(trained)
    place = shutil.move(shutil.copytree(trained / "one", tmp_path / "one"), tmp_path / "away")
    config = run.config
    for key in ("images", "masks"):
        config["data"][key] = str(tmp_path / "one" / key)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text(json.dumps(config))
    there = Run(tmp_path / "run", run.result)
    wanted = identity(config_of(*of_files(tmp_path / "one")))
    assert "one" in wanted.unread
    assert wanted.is_of(there)
    assert not identity(config_of(*of_files(tmp_path / "another"))).is_of(there)
    assert identity(config_of(*of_files(place))).is_of(there)


def test_the_files_of_a_study_are_read_once(place, monkeypatch):
    reads = []
    from atrous.data import quick_check

    whole = quick_check.fingerprint
    monkeypatch.setattr(quick_check, "fingerprint", lambda dataset: reads.append(dataset) or whole(dataset))
    files = Files()
    for seed in range(5):
        files.identity(config_of(*of_files(place / "other"), f"seed={seed}", f"data.num_workers={seed}"))
    assert len(reads) == 2  # train and val


def equal(one, other):
    return fingerprint(config_of(*SCENES, *one)) == fingerprint(config_of(*SCENES, *other))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (["optimizer.lr=1"], ["optimizer.lr=1.0"], True),
        (["trainer.gradient_clip_val=5"], ["trainer.gradient_clip_val=5.0"], True),
        (["data.train_transform.scale=[1,2]"], ["data.train_transform.scale=[1.0,2.0]"], True),
        (["optimizer.lr=1"], ["optimizer.lr=2"], False),
        (["trainer.limit_val_batches=1"], ["trainer.limit_val_batches=1.0"], False),
        (["trainer.val_check_interval=1"], ["trainer.val_check_interval=1.0"], False),
        (["reset_head=true"], ["reset_head=1"], False),
        (["trainer.log_every_n_steps=1"], ["trainer.log_every_n_steps=50"], True),
    ],
)
def test_what_means_the_same_counts_as_the_same(one, other, same):
    assert equal(one, other) is same


def test_the_run_folder_in_a_callback_has_no_name():
    words = ["+callbacks.mine._target_=a.B", "+callbacks.mine.file=${hydra:runtime.output_dir}/mine.txt"]
    job = JobConfig(compose("train", [*SCENES, *words], return_hydra_config=True))
    prints = {fingerprint(job.resolved(folder)) for folder in ("/runs/a", "/runs/b/c")} | {fingerprint(job.resolved())}
    assert len(prints) == 1
    assert prints != {fingerprint(config_of(*SCENES))}


def test_where_nothing_is_found_the_nearest_is_named(place, capfd):
    one = [*of_files(place / "one"), f"paths.runs={place / 'runs'}"]
    finished = only_run(place).folder
    train.main([*one, "resume=auto", "optimizer.lr=0.003", "trainer.limit_val_batches=2"])
    out = capfd.readouterr().out
    assert f"nearest, {finished}" in out
    assert "optimizer.lr: 0.01 / 0.003; trainer.limit_val_batches: 1 / 2" in out
    train.main(["-m", *one, "study=s", "seed=5"])
    capfd.readouterr()
    train.main(["-m", *one, "study=s", "seed=5,6", "optimizer.lr=0.004"])
    assert "optimizer.lr: 0.01 / 0.004" in capfd.readouterr().out
    train.main(["-m", *one, "study=s", "seed=7,8"])  # another value of what varies is no news
    assert "near" not in capfd.readouterr().out


def test_a_named_folder_is_not_overwritten(place, capfd):
    run = only_run(place)
    before = (run.folder / "result.json").read_text()
    words = [*of_files(place / "one"), f"hydra.run.dir={run.folder}", f"paths.runs={place / 'elsewhere'}"]
    for more, said in (([], "resume=auto"), (["optimizer.lr=0.5"], "optimizer.lr: 0.01 / 0.5")):
        with pytest.raises(SystemExit):
            train.main([*words, *more])
        told = capfd.readouterr().err
        assert "holds a run already, finished" in told
        assert said in told
        assert "hydra.run.dir" in told
    train.main([*words, "resume=auto"])
    assert "is finished" in capfd.readouterr().out
    assert (run.folder / "result.json").read_text() == before


def test_several_processes_may_name_the_folder_that_the_main_one_has_begun(place):
    run = only_run(place)
    config = config_of(*of_files(place / "one"), "optimizer.lr=0.5")
    assert choose_folder(config, run.folder, leads=False)[1] == run.folder
    with pytest.raises(TrainingError):
        choose_folder(config, run.folder)
