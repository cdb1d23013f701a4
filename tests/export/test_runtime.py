import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image

from atrous.data.io.files import IMAGE_SUFFIXES
from atrous.export import files, runtime
from atrous.pages.images import overlay
from atrous.types import ClassInfo

# Runs the script in a Python that has no more than the script's own needs.
BLOCKED = """
import runpy, sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"atrous", "torch", "torchvision", "lightning", "hydra", "omegaconf", "timm", "cv2", "scipy"}:
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Blocker())
script, *sys.argv[1:] = sys.argv[1:]
sys.argv[0] = script
runpy.run_path(script, run_name="__main__")
"""


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    (folder / "deeper").mkdir()
    for name, size in {"a.png": (37, 51), "deeper/b.bmp": (64, 30)}.items():
        Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).save(folder / name)
    return folder


def labels_of(coarse, image):
    with torch.no_grad():
        return coarse(torch.from_numpy(image[None]))[0][0].numpy()


def test_the_script_alone_labels_a_folder(coarse, description, onnx_file, photos, tmp_path):
    script = files.write_script(tmp_path)
    command = [sys.executable, "-c", BLOCKED, script, onnx_file, photos, "-o", tmp_path / "out", "--probabilities"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "2 of 2 images labelled" in done.stdout
    classes = description["classes"]
    info = ClassInfo(tuple(classes["names"]), tuple(map(tuple, classes["palette"])))
    for name in ("a.png", "deeper/b.bmp"):
        image = np.array(Image.open(photos / name))
        stem = name.rpartition(".")[0]
        indices = labels_of(coarse, image)
        stored = np.array(Image.open(tmp_path / "out" / "labels" / f"{stem}.png"))
        assert (stored == np.array(classes["ids"])[indices]).mean() > 0.9999
        drawn = np.array(Image.open(tmp_path / "out" / "overlays" / f"{stem}.png"))
        assert (drawn == overlay(image, indices, info)).mean() > 0.9999
        scores = np.load(tmp_path / "out" / "probabilities" / f"{stem}.npz")["probabilities"]
        assert scores.shape == (5, *image.shape[:2])
        np.testing.assert_allclose(scores.astype(np.float32).sum(0), 1, atol=0.01)


def test_it_says_what_it_is_without_steering_the_terminal(onnx_file, capsys):
    assert runtime.main([str(onnx_file), "--info"]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert json.loads(out)["classes"]["names"][3] == "\x1b[31mtree"


def test_images_are_read_upright_and_of_16_bits(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 12, 3), np.uint8)
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = 6  # shown turned clockwise
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=turned)
    np.testing.assert_array_equal(runtime.read_image(tmp_path / "turned.png"), np.rot90(pixels, -1))
    deep = (np.arange(96, dtype=np.uint16) * 682).reshape(8, 12)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    grey = runtime.read_image(tmp_path / "deep.png")
    np.testing.assert_array_equal(grey, np.repeat((deep >> 8).astype(np.uint8)[..., None], 3, axis=2))
    Image.fromarray(np.dstack([pixels, pixels[..., :1]])).save(tmp_path / "alpha.png")
    np.testing.assert_array_equal(runtime.read_image(tmp_path / "alpha.png"), pixels)


@pytest.mark.parametrize(
    ("extra", "part"),
    [
        (["--max-megapixels", "0.001"], "37 are more than 0.001 megapixels; allow more by --max-megapixels"),
        ([], "1 of 2 images labelled"),
    ],
)
def test_one_bad_image_does_not_stop_the_others(onnx_file, photos, tmp_path, capsys, extra, part):
    (tmp_path / "bad\x1b.png").write_bytes(b"\x89PNG\r\n")
    status = runtime.main([str(onnx_file), str(photos / "a.png"), str(tmp_path), "-o", str(tmp_path / "out"), *extra])
    assert status == 1
    told = capsys.readouterr()
    assert part in told.out + told.err
    assert "bad\\x1b.png: cannot identify image file" in told.err


def test_a_size_that_the_network_does_not_take(onnx_model, description, photos, tmp_path, capsys):
    fixed = {
        **description,
        "sizes": {"batch": [1, None], "height": [64, 64], "width": [10, 40]},
        "probabilities": False,
    }
    files.write_onnx(onnx_model, tmp_path / "fixed.onnx", fixed)
    arguments = [str(tmp_path / "fixed.onnx"), str(photos), "-o", str(tmp_path / "out")]
    assert runtime.main(arguments) == 1
    told = capsys.readouterr()
    assert "the height is 37 and the network takes 64. Resize the image, or export" in told.err
    assert "1 of 2 images labelled" in told.out
    assert runtime.main([*arguments, "--probabilities"]) == 1
    assert "exported without probabilities" in capsys.readouterr().err


def test_what_is_no_model_or_no_image(onnx_model, photos, tmp_path, capsys):
    (tmp_path / "text.onnx").write_text("hello")
    del onnx_model.metadata_props[:]
    (tmp_path / "foreign.onnx").write_bytes(onnx_model.SerializeToString())
    (tmp_path / "empty").mkdir()
    for model, part in {
        "absent.onnx": "no file",
        "text.onnx": "text.onnx",
        "foreign.onnx": "holds no 'atrous'",
    }.items():
        assert runtime.main([str(tmp_path / model), str(photos)]) == 1
        assert part in capsys.readouterr().err


def test_images_that_share_a_name(photos, tmp_path):
    for name in ("same.png", "same.bmp", "other/same.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((photos / "a.png").read_bytes())
    found = runtime.find_images([str(tmp_path)])
    assert {name: str(path.relative_to(tmp_path)) for name, path in found.items()} == {
        "same.png": "same.png",
        "same.bmp": "same.bmp",
        str(Path("other/same")): "other/same.png",
    }
    with pytest.raises(ValueError, match="several images have one name"):
        runtime.find_images([str(tmp_path / "same.png"), str(tmp_path / "other" / "same.png")])
    with pytest.raises(ValueError, match="no images in"):
        runtime.find_images([])


def test_it_reads_the_kinds_of_files_that_predict_reads():
    assert set(runtime.SUFFIXES) == IMAGE_SUFFIXES
