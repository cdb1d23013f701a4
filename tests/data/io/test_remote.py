"""Data sets under URLs: the samples are those of the same files on disk, whatever the file system."""

import fsspec
import numpy as np
import pytest
from fixtures import write_camvid, write_folder
from PIL import Image

from atrous.data.camvid import CamVid
from atrous.data.datamodule import SegmentationDataModule
from atrous.data.folder import Folder
from atrous.data.io.remote import local_places
from atrous.data.transforms import EvalTransform, TrainTransform
from atrous.errors import ConfigError, DataError

STATISTICS = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
NAMES = ["a/1", "a/2", "b", "c d"]


@pytest.fixture
def own(tmp_path):
    root = write_folder(tmp_path / "own", names=NAMES)
    (root / "all.csv").write_text(
        "image,mask,split\n" + "".join(f"images/{n}.jpg,masks/{n}.png,train\n" for n in NAMES)
    )
    return root


@pytest.fixture(scope="module")
def s3():
    """The URL of a bucket on this machine."""
    moto = pytest.importorskip("moto.server")
    pytest.importorskip("s3fs")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    environment = {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
    }
    with pytest.MonkeyPatch.context() as patch:
        for key, value in environment.items():
            patch.setenv(key, value)
        fsspec.filesystem("s3").mkdir("bucket")
        yield "s3://bucket"
        server.stop()


@pytest.fixture(params=["memory", "file", "s3"])
def place(request, tmp_path):
    """A URL to put things below."""
    if request.param == "s3":
        return f"{request.getfixturevalue('s3')}/{tmp_path.name}"
    return f"memory://{tmp_path.name}" if request.param == "memory" else f"file://{tmp_path}/elsewhere"


def put(root, url):
    files, path = fsspec.core.url_to_fs(url)
    for file in root.rglob("*.*"):
        files.makedirs(f"{path}/{file.parent.relative_to(root).as_posix()}", exist_ok=True)
        files.pipe_file(f"{path}/{file.relative_to(root).as_posix()}", file.read_bytes())
    return url


def data_of(tmp_path, dataset=Folder, workers=0, **settings):
    if dataset is Folder:
        settings = {"class_names": ["ground", "cell"], "val_fraction": 0, "num_classes": 2, **settings}
    return SegmentationDataModule(
        dataset=dataset,
        train_transform=TrainTransform(crop_size=[16, 16], ignore_index=255, **STATISTICS),
        eval_transform=EvalTransform(**STATISTICS),
        cache_folder=str(tmp_path / "cache"),
        batch_size=2,
        num_workers=workers,
        **settings,
    )


def samples_of(dataset):
    return {sample.name: sample for sample in map(dataset.__getitem__, range(len(dataset)))}


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    for name, sample in expected.items():
        np.testing.assert_array_equal(found[name].image, sample.image)
        np.testing.assert_array_equal(found[name].mask, sample.mask)


@pytest.mark.parametrize("how", ["folders", "csv", "disk"])
def test_own_files(own, place, tmp_path, how):
    settings = {"images": f"{place}/images", "masks": f"{place}/masks"}
    local = {"images": str(own / "images"), "masks": str(own / "masks")}
    if how == "csv":
        settings, local = {"csv": f"{place}/all.csv"}, {"csv": str(own / "all.csv")}
    put(own, place)
    data = data_of(tmp_path, cache="disk" if how == "disk" else "none", **settings)
    assert_equal(samples_of(data.dataset("train")), samples_of(data_of(tmp_path, **local).dataset("train")))
    mirrored = list((tmp_path / "cache").rglob("remote-*/**/*.jpg"))
    assert len(mirrored) == len(NAMES)
    assert all(not hasattr(path.stat(), "st_blocks") or path.stat().st_blocks == 0 for path in mirrored)


def test_a_published_layout(place, tmp_path):
    root = write_camvid(tmp_path / "camvid", splits={"train": 2, "val": 1})
    data = data_of(tmp_path, CamVid, root=put(root, place), num_classes=11)
    assert_equal(samples_of(data.dataset("train")), samples_of(CamVid(root=str(root), split="train")))


@pytest.mark.parametrize("place", ["file", "s3"], indirect=True)
def test_loader_processes(own, place, tmp_path):
    put(own, place)
    data = data_of(tmp_path, workers=2, images=f"{place}/images", masks=f"{place}/masks")
    names = [name for batch in data.train_dataloader() for name in batch["name"]]
    assert sorted(names) == sorted(NAMES)


def test_what_changes_there_changes_here(own, place, tmp_path):
    put(own, place)
    settings = {"images": f"{place}/images", "masks": f"{place}/masks"}
    before = data_of(tmp_path, **settings).raw_dataset("train").cache_key()
    assert data_of(tmp_path, **settings).raw_dataset("train").cache_key() == before
    changed = write_folder(tmp_path / "new", names=["b"], seed=5)
    put(changed, place)
    after = data_of(tmp_path, **settings).raw_dataset("train")
    assert after.cache_key() != before
    expected = np.asarray(Image.open(changed / "masks" / "b.png"))
    np.testing.assert_array_equal(samples_of(after)["b"].mask, expected)
    files, path = fsspec.core.url_to_fs(place)
    for file in ("images/b.jpg", "masks/b.png"):
        files.rm_file(f"{path}/{file}")
    assert "b" not in samples_of(data_of(tmp_path, **settings).raw_dataset("train"))


def test_a_file_that_is_gone_meanwhile_is_told(own, place, tmp_path):
    put(own, place)
    data = data_of(tmp_path, images=f"{place}/images", masks=f"{place}/masks").raw_dataset("train")
    files, path = fsspec.core.url_to_fs(place)
    files.rm_file(f"{path}/images/b.jpg")
    with pytest.raises(DataError, match=r"images/b\.jpg can't be read: FileNotFoundError.*credentials"):
        samples_of(data)


def test_places_that_cannot_be_opened(tmp_path):
    cache = str(tmp_path)
    for url, kind, said in (
        ("nope://bucket/x", ConfigError, "nope"),
        ("memory://nothing/here", DataError, "no files at memory://nothing/here"),
        ("simplecache::memory://x", None, ""),
        ("memory://x::y", ConfigError, "plain URL"),
    ):
        if kind is None:
            assert local_places(url, cache) == url  # is no URL, and so a path that is not there
            continue
        with pytest.raises(kind, match=said):
            local_places(url, cache)
    with pytest.raises(ConfigError, match=r"memory://a needs data\.cache_folder"):
        local_places("memory://a", None)


def test_what_is_no_url_stays():
    for value in ("data/images", "C:\\photos", {"train": "a", "val": None}, 3, None, [1]):
        assert local_places(value, None) == value


def test_no_file_is_put_outside_the_mirror(tmp_path):
    fsspec.filesystem("memory").pipe_file("/bad/../../x.png", b"x")
    fsspec.filesystem("memory").store["/bad/../evil.png"] = fsspec.filesystem("memory").store["/bad/../../x.png"]
    with pytest.raises(DataError, match="leads out of its folder"):
        local_places("memory://bad", str(tmp_path / "cache"))
    assert not (tmp_path / "evil.png").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]
