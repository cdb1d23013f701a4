import contextlib
import signal

import numpy as np
import pytest

from atrous.system.files import whole_file, write_arrays, write_text


def test_a_file_appears_whole_with_its_folders(tmp_path):
    path = tmp_path / "new" / "folder" / "a.txt"
    with whole_file(path, "w", sync=True) as file:
        file.write("ä\r\nb\n")
        assert not path.exists()
    assert path.read_bytes() == "ä\r\nb\n".encode()
    write_text(path, "again")
    write_arrays(str(path.with_name("b.npz")), numbers=np.arange(3))
    assert path.read_text() == "again"
    assert np.load(path.with_name("b.npz"))["numbers"].tolist() == [0, 1, 2]
    assert sorted(file.name for file in path.parent.iterdir()) == ["a.txt", "b.npz"]


def test_an_error_leaves_the_earlier_file_and_nothing_else(tmp_path):
    write_text(tmp_path / "a.txt", "before")
    for error in (ValueError, KeyboardInterrupt):
        with contextlib.suppress(error), whole_file(tmp_path / "a.txt", "w") as file:
            file.write("half")
            raise error
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        write_text(tmp_path / "folder", "can't be renamed to a folder")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.txt", "folder"]
    assert (tmp_path / "a.txt").read_text() == "before"


def test_a_full_disk_leaves_the_earlier_file_and_nothing_else(tmp_path):
    resource = pytest.importorskip("resource")
    write_text(tmp_path / "a.txt", "before")
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            write_text(tmp_path / "a.txt", "x" * 1000)  # stands in the buffer until the file is closed
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("a.txt", "before")]
