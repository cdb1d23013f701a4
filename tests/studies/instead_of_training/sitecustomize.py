"""Imported by Python as it starts, where this folder is on its path: workers then do this instead of training.

Seed 13 raises, 14 is killed, 15 leaves by itself; the others tell what they were given.
"""

import json
import multiprocessing
import os
import signal
import sys
from pathlib import Path
from types import ModuleType


def run(config, folder, report=None):
    from atrous.errors import ConfigError
    from atrous.runs.record import RunRecord

    seed = config["seed"]
    if seed == 14:
        os.kill(os.getpid(), signal.SIGKILL)
    if seed == 15:
        os._exit(3)
    if seed == 13:
        raise ConfigError("unlucky")
    print("said by", seed)
    told = {
        "cores": sorted(os.sched_getaffinity(0)),
        "threads": int(os.environ["OMP_NUM_THREADS"]),
        "process": os.getpid(),
        "mark": os.environ.get("MARK"),
        "here": str(Path.cwd()),
        "workers": multiprocessing.get_start_method(),
    }
    (folder / "told.json").write_text(json.dumps(told))
    record = RunRecord(folder, config)
    record.update(status="finished", scores={"miou": seed / 100}, steps=7)
    record.release()
    return seed / 100


fit = ModuleType("atrous.engine.fit")  # the real one imports torch
fit.run = run
sys.modules["atrous.engine.fit"] = fit
