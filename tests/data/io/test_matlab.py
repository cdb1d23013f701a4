import numpy as np
import pytest
from data.writers.voc import save_sbd
from scipy.io import savemat

from atrous.data.io.files import read_mask
from atrous.data.io.matlab import read_matlab
from atrous.errors import DataError

VALUES = np.random.default_rng(0).integers(0, 21, (13, 17), dtype=np.uint8)


def test_sbds_struct(tmp_path):
    save_sbd(VALUES, tmp_path / "a.mat")
    np.testing.assert_array_equal(read_matlab(tmp_path / "a.mat"), VALUES)
    np.testing.assert_array_equal(read_mask(tmp_path / "a.mat"), VALUES)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float64])  # Matlab computes in doubles
@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("shape", [(13, 17), (1, 5), (5, 1)])
def test_coco_stuffs_map(tmp_path, dtype, compressed, shape):
    values = np.resize(VALUES, shape)
    savemat(tmp_path / "a.mat", {"S": values.astype(dtype), "names": ["x"]}, do_compression=compressed)
    labels = read_matlab(tmp_path / "a.mat")
    assert labels.dtype.kind in "iu"
    np.testing.assert_array_equal(labels, values)


@pytest.mark.parametrize(
    "content", [{"GTinst": {"Segmentation": VALUES}}, {"GTcls": {"Boundaries": VALUES}}, {"GTcls": VALUES}]
)
def test_other_contents(tmp_path, content):
    savemat(tmp_path / "a.mat", content)
    with pytest.raises(DataError, match=r"a.mat holds neither GTcls.Segmentation \(SBD\) nor S .* folder cls"):
        read_matlab(tmp_path / "a.mat")


@pytest.mark.parametrize(
    ("labels", "found"),
    [(VALUES + 0.5, r"float64 of shape \(13, 17\)"), (VALUES[None], r"uint8 of shape \(1, 13, 17\)"), ("text", "<U4")],
)
def test_no_label_map(tmp_path, labels, found):
    savemat(tmp_path / "a.mat", {"S": labels})
    with pytest.raises(DataError, match=rf"a.mat: its label map is {found}.*expected whole numbers .*Copy"):
        read_matlab(tmp_path / "a.mat")


def test_a_missing_file(tmp_path):
    with pytest.raises(DataError, match=r"no file .*a.mat. Copy it there"):
        read_matlab(tmp_path / "a.mat")


@pytest.mark.parametrize("kept", [0, 3, 60, 128, 140, 200, 300])
def test_a_cut_file(tmp_path, kept):
    save_sbd(VALUES, tmp_path / "a.mat")
    whole = (tmp_path / "a.mat").read_bytes()
    assert kept < len(whole) - 100
    (tmp_path / "a.mat").write_bytes(whole[:kept])
    with pytest.raises(DataError, match=r"a\.mat (is no complete Matlab file|holds neither)"):
        read_matlab(tmp_path / "a.mat")


def test_flipped_bytes_raise_nothing_but_data_errors(tmp_path):
    save_sbd(VALUES, tmp_path / "a.mat")
    whole = (tmp_path / "a.mat").read_bytes()
    errors = 0
    for position in range(0, len(whole), 7):
        (tmp_path / "a.mat").write_bytes(whole[:position] + bytes([whole[position] ^ 0x5A]) + whole[position + 1 :])
        try:
            read_matlab(tmp_path / "a.mat")
        except DataError:
            errors += 1
    assert errors > 10


def test_version_7_3(tmp_path):
    (tmp_path / "a.mat").write_bytes(b"MATLAB 7.3 MAT-file".ljust(124, b" ") + b"\x00\x02IM" + bytes(512))
    with pytest.raises(DataError, match=r"no complete Matlab file of version 5: .* '-v7'"):
        read_matlab(tmp_path / "a.mat")
