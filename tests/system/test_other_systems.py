"""What Linux has and macOS or Windows have not is taken away before anything is imported; loader workers are spawned."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SITE = """
import builtins, io, multiprocessing, os, subprocess, sys, types
for name in ("sched_getaffinity", "sched_setaffinity", "fork", "forkpty"):
    delattr(os, name)
if {windows}:
    for name in ("getloadavg", "getuid", "geteuid", "sysconf", "killpg", "setsid"):
        delattr(os, name)
    for name in ("fcntl", "resource"):
        sys.modules[name] = None
    locks = sys.modules["msvcrt"] = types.ModuleType("msvcrt")
    locks.LK_NBLCK, locks.locking = 2, lambda file, mode, size: None
multiprocessing.set_start_method("spawn")

def without_proc(function):
    def looked(path, *args, **kwargs):
        if isinstance(path, (str, os.PathLike)) and os.fspath(path).startswith("/proc"):
            raise FileNotFoundError(2, "no such file", path)
        return function(path, *args, **kwargs)
    return looked

for module, name in ((os, "stat"), (os, "open"), (os, "scandir"), (os, "listdir"), (io, "open"), (builtins, "open")):
    setattr(module, name, without_proc(getattr(module, name)))
"""
PROGRAM = """
import sys
from pathlib import Path

from atrous.cli.main import main

if __name__ == "__main__":
    runs, tiny = Path(sys.argv[1]), sys.argv[2:]
    sys.argv = ["atrous", "train", *tiny, f"paths.runs={runs}", "trainer.max_epochs=1"]
    main()
    (best,) = runs.rglob("best.ckpt")
    sys.argv = ["atrous", "predict", f"ckpt={best}", "split=val", f"out={runs / 'predicted'}", "data.num_workers=0"]
    main()
    sys.argv = ["atrous", "report", str(runs), f"out={runs / 'report'}"]
    main()
"""


@pytest.mark.parametrize(("system", "workers"), [("macOS", 1), ("Windows", 0)])
def test_a_run_is_trained_predicted_and_reported(system, workers, tiny, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(SITE.replace("{windows}", str(system == "Windows")))
    (tmp_path / "program.py").write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, tmp_path / "program.py", tmp_path / "runs", *tiny, f"data.num_workers={workers}"],
        env={**os.environ, "PYTHONPATH": str(tmp_path), "USERNAME": "somebody"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "runs" / "predicted" / "labels").rglob("*.png"))) == 4
    assert "finished" in (tmp_path / "runs" / "report" / "runs.csv").read_text()
