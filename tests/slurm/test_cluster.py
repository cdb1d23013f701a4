"""Multiruns on a real SLURM: arrays, requeues, several tasks, and jobs that die."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from kill_and_resume import TINY, differences, run_folder, start, wait

pytestmark = pytest.mark.slurm
SHORT = [*TINY, "data.num_workers=0", "callbacks.last.every_minutes=10"]
LONG = [*TINY, "trainer.max_epochs=30"]  # so that a signal finds it training
TWO = ["trainer.devices=2", "data.num_workers=0", "data.eval_batch_size=1"]
SLURM = ["-m", "hydra/launcher=slurm", "hydra.launcher.mem_gb=1", "hydra.launcher.cpus_per_task=1"]
LOOPBACK = "hydra.launcher.setup=['export MASTER_ADDR=127.0.0.1']"  # the nodes' names are nobody's


def result(folder):
    return json.loads((folder / "result.json").read_text())


def until(ready, what, seconds=300):
    """Waits until `ready()` is true, and returns that."""
    end = time.monotonic() + seconds
    while not (found := ready()):
        assert time.monotonic() < end, f"{what} took more than {seconds} s"
        time.sleep(0.1)
    return found


def trains(folder, rows=4):
    """Whether a run has made a few updates and is not near its end."""
    metrics = folder / "metrics.csv"
    return metrics.exists() and len(metrics.read_text().splitlines()) > rows


def tasks(job):
    """The processes of a job, as this machine numbers them."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            told = dict(line.partition("=")[::2] for line in (path / "environ").read_text().split("\0"))
            command = (path / "cmdline").read_text()
        except OSError:  # it has ended
            continue
        name = f"{told.get('SLURM_ARRAY_JOB_ID')}_{told.get('SLURM_ARRAY_TASK_ID')}"
        if job in (name, told.get("SLURM_JOB_ID")) and "atrous.worker" in command and "srun" not in command:
            found.append(int(path.name))
    return found


def submitted(study, count):
    """SLURM's ids of a study's jobs by folder, once there are `count`."""
    path = study / "slurm" / "jobs.json"
    until(lambda: path.exists() and len(json.loads(path.read_text())) == count, "submitting")
    return {study / name: number for name, number in json.loads(path.read_text()).items()}


def undisturbed(runs, *overrides):
    """The folder of a run that nothing has interrupted, outside SLURM."""
    torch.set_num_threads(1)
    assert wait(start(runs, *overrides)) == 0, (runs / "output.txt").read_text()[-2000:]
    return run_folder(runs)


@pytest.fixture(scope="module")
def study(cluster, tmp_path_factory):
    """Three jobs: one is left alone, one is told to go by SLURM in the middle, and one is killed."""
    runs = tmp_path_factory.mktemp("study")
    os.environ |= {"NETRC": str(runs / "none"), "WANDB_SILENT": "true"}  # `cluster` puts back what was
    os.environ.pop("WANDB_API_KEY", None)
    command = [*SLURM, *LONG, "logger=wandb", f"paths.runs={runs}", "seed=0,1,2"]
    launcher = cluster.start(runs / "first.txt", *command)
    ids = submitted(runs / "sweep", 3)
    launcher.send_signal(signal.SIGINT)
    left = launcher.wait(timeout=120)
    launcher = cluster.start(runs / "second.txt", *command)
    alone, killed, told = sorted(ids)  # by their seeds; the last one's number is the whole array's in SLURM
    until(lambda: trains(told), "training")
    cluster.slurm("scancel", "--signal=USR2", ids[told])
    until(lambda: trains(killed), "training")
    (process,) = [task for task in tasks(ids[killed]) if os.getpgid(task) == task]
    os.killpg(process, signal.SIGKILL)
    status = launcher.wait(timeout=500)
    return {
        "runs": runs,
        "ids": ids,
        "folders": (alone, killed, told),
        "statuses": (left, status),
        "said": [(runs / name).read_text() for name in ("first.txt", "second.txt")],
        "jobs": {folder: cluster.job(number) for folder, number in ids.items()},
    }


def test_a_launcher_that_is_stopped_leaves_the_jobs_and_finds_them_again(study):
    first, second = study["said"]
    (array,) = {number.partition("_")[0] for number in study["ids"].values()}
    assert study["statuses"][0] == 128 + signal.SIGINT
    assert "The jobs go on without this command" in first
    assert f"scancel {array}" in first
    assert "queued or running already: 3 jobs;" in second
    assert sorted(study["ids"].values()) == [f"{array}_{number}" for number in range(3)]  # one array, submitted once


def test_a_job_that_slurm_wants_out_goes_on_where_it_was(study, tmp_path):
    *others, told = study["folders"]
    assert {study["jobs"][other]["Restarts"] for other in others} == {"0"}
    assert study["jobs"][told]["Restarts"] == "1"
    assert study["jobs"][told]["JobState"] == "COMPLETED"
    (resumed,) = result(told)["resumed"]
    assert 0 < resumed["steps"] < result(told)["steps"] == 150
    straight = undisturbed(tmp_path, *LONG, "seed=2")
    assert differences(straight, told) == []


def test_a_requeued_jobs_w_and_b_run_goes_on(study):
    alone, _, told = study["folders"]
    for folder, parts in ((alone, 1), (told, 2)):
        files = [path.name for path in folder.rglob("*.wandb")]
        assert files == [f"run-{result(folder)['wandb_id']}.wandb"] * parts


def test_a_killed_job_is_told_and_the_others_finish(study):
    alone, killed, told = study["folders"]
    said = study["said"][1]
    assert study["statuses"][1] == 1
    assert "1 of 3 jobs did not finish" in said
    assert f"  {killed.name}: killed\n" in said
    assert re.search(rf"{killed.name} +│ killed ", said)
    assert f"{killed.name} has ended unfinished: job {study['ids'][killed]} is FAILED" in said
    for folder in (alone, told):
        assert re.search(rf"{folder.name} +│ finished +│ {result(folder)['scores']['miou']:.4f} ", said)


def test_two_tasks_train_as_torchrun_does_and_resume(cluster, tmp_path):
    settings = [*LONG, *TWO]
    launcher = cluster.start(tmp_path / "said.txt", *SLURM, *settings, LOOPBACK, f"paths.runs={tmp_path}", "seed=0")
    ((folder, number),) = submitted(tmp_path / "sweep", 1).items()
    until(lambda: trains(folder), "training")
    cluster.slurm("scancel", "--signal=USR2", number)
    assert launcher.wait(timeout=500) == 0, (tmp_path / "said.txt").read_text()
    job = cluster.job(number)
    assert (job["Restarts"], job["NumTasks"], job["JobState"]) == ("1", "2", "COMPLETED")
    (resumed,) = result(folder)["resumed"]
    assert 0 < resumed["steps"] < result(folder)["steps"]
    assert len((folder / "train.log").read_text().splitlines()) < 20  # of one process
    straight = undisturbed(tmp_path / "straight", *settings, "seed=0")
    assert differences(straight, folder) == []


def test_plain_srun_makes_one_run(cluster, tmp_path):
    command = ["srun", "--nodes=1", "--ntasks=2", sys.executable, str(Path(__file__).parents[2] / "train.py")]
    environment = {**os.environ, "MASTER_ADDR": "127.0.0.1"}
    arguments = [*SHORT, *TWO, f"paths.runs={tmp_path}"]
    ran = subprocess.run([*command, *arguments], env=environment, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    (folder,) = (path for path in tmp_path.glob("*/*") if path.is_dir())
    assert result(folder)["status"] == "finished"
    assert "on 2 x cpu" in ran.stdout
    assert ran.stdout.count("run folder:") == 1
    assert list(tmp_path.glob(".*")) == []


def test_the_script_that_dry_run_shows_is_one_that_slurm_takes(cluster, tmp_path):
    shown = cluster.train(*SLURM, *SHORT, f"paths.runs={tmp_path}", "seed=0,1", "hydra.launcher.dry_run=true")
    assert shown.returncode == 0, shown.stderr
    script = tmp_path / "script.sh"
    script.write_text(shown.stdout[shown.stdout.index("#!/bin/bash") :])
    taken = subprocess.run(["sbatch", "--test-only", script], capture_output=True, text=True, timeout=30)
    assert taken.returncode == 0, taken.stderr
    assert not (tmp_path / "sweep").exists()


def test_what_slurm_refuses_is_told(cluster, tmp_path):
    refused = cluster.train(*SLURM, *SHORT, f"paths.runs={tmp_path}", "seed=0", "hydra.launcher.partition=nowhere")
    assert refused.returncode == 1
    assert "SLURM refuses the job" in refused.stderr
    assert "invalid partition" in refused.stderr
