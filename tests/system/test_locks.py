import subprocess
import sys
import time

import pytest

from atrous.errors import TrainingError
from atrous.system.locks import FolderLock, is_held, locked

HOLD = (
    "import sys, pathlib, atrous.system.locks as l; l.FolderLock(pathlib.Path(sys.argv[1])); print(flush=True); input()"
)
WAIT = (
    "import sys, atrous.system.locks as l\nwith l.locked(sys.argv[1], waiting='waiting for another'): print('got it')"
)


def test_a_folder_is_held_until_its_process_dies(tmp_path):
    assert not is_held(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        other.stdout.readline()
        assert is_held(tmp_path)
        with pytest.raises(TrainingError, match=f"{tmp_path}.*wait for it or stop it"):
            FolderLock(tmp_path)
        other.kill()
        other.wait()
    assert not is_held(tmp_path)


def test_who_holds_a_folder_may_ask_for_it(tmp_path):
    lock = FolderLock(tmp_path)
    assert is_held(tmp_path)
    asked = [
        sys.executable,
        "-c",
        "import sys, pathlib, atrous.system.locks as l; print(l.is_held(pathlib.Path(sys.argv[1])))",
    ]
    assert subprocess.run([*asked, tmp_path], capture_output=True, text=True, check=True).stdout == "True\n"
    with pytest.raises(TrainingError, match=str(tmp_path)):
        FolderLock(tmp_path)
    lock.release()
    assert not is_held(tmp_path)


def test_a_locked_file_lets_others_wait_and_say_so(tmp_path):
    with locked(tmp_path / "lock", waiting=""):
        other = subprocess.Popen(
            [sys.executable, "-c", WAIT, tmp_path / "lock"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert other.stderr.readline() == "waiting for another\n"
        time.sleep(0.3)
        assert other.poll() is None
    assert other.communicate(timeout=30)[0] == "got it\n"
