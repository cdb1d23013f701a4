"""What jobs ask SLURM for, the scripts, and the waiting: with stand-ins for SLURM's commands. tests/slurm has a real one."""

import json
import os
import re
import signal
import subprocess
from types import SimpleNamespace

import pytest

from atrous.cli import train
from atrous.errors import ConfigError, TrainingError
from atrous.runs import announce
from atrous.runs.resume import Run
from atrous.studies import slurm_queue, slurm_script
from atrous.studies import torchrun as launch
from atrous.studies.study import Job
from atrous.system import ranks
from atrous.system.signals import Interrupted, Signals

SETTINGS = {
    "partition": None,
    "account": None,
    "qos": None,
    "constraint": None,
    "minutes": 60,
    "save_seconds": 120,
    "max_requeues": 3,
    "cpus_per_task": None,
    "gpus_per_node": None,
    "mem_gb": None,
    "array_parallelism": 256,
    "setup": [],
    "additional": [],
    "dry_run": False,
}


def trainer(**changes):
    return {"devices": 1, "num_nodes": 1, "accelerator": "gpu", **changes}


@pytest.fixture
def commands(tmp_path, monkeypatch):
    """Makes stand-ins for SLURM's commands, ahead of the real ones; each notes its arguments."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}/usr/bin{os.pathsep}/bin")

    def make(**scripts):
        for name, script in {"sbatch": "", "srun": "", "squeue": "", "scontrol": "", "sinfo": "", **scripts}.items():
            path = folder / name
            path.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/{name}.txt\n{script}\n')
            path.chmod(0o755)

    make()
    return make


@pytest.fixture
def task_of_srun(monkeypatch):
    """Makes this process look like one of srun's tasks."""
    monkeypatch.delenv("LOCAL_RANK", raising=False)

    def make(task, tasks, nodes=1):
        for name, value in {
            "SLURM_JOB_ID": 7,
            "SLURM_STEP_ID": 0,
            "SLURM_STEP_NUM_TASKS": tasks,
            "SLURM_STEP_NUM_NODES": nodes,
            "SLURM_PROCID": task,
            "SLURM_NTASKS_PER_NODE": tasks // nodes,
        }.items():
            monkeypatch.setenv(name, str(value))

    return make


@pytest.mark.parametrize(
    ("trains", "workers", "changes", "expected"),
    [
        ({"devices": 8, "num_nodes": 2}, 5, {}, (2, 8, 8, 6, 4 * 6 * 8 * 1024)),
        ({"devices": [0, 2]}, 0, {}, (1, 2, 2, 1, 8 * 1024)),
        ({"devices": 4, "accelerator": "cpu"}, None, {}, (1, 4, 0, 8, 4 * 8 * 4 * 1024)),
        ({"devices": "auto", "accelerator": "cpu"}, 1, {}, (1, 1, 0, 2, 8 * 1024)),
        ({"devices": 2}, 9, {"cpus_per_task": 3, "mem_gb": 1.5, "gpus_per_node": 0}, (1, 2, 0, 3, 1536)),
    ],
)
def test_a_job_asks_for_what_it_trains_with(trains, workers, changes, expected):
    found = slurm_script.resources(trainer(**trains), {"num_workers": workers}, {**SETTINGS, **changes})
    assert (found.nodes, found.tasks, found.gpus, found.cores, found.megabytes) == expected


@pytest.mark.parametrize(("nodes_have", "gpus"), [("gpu:a100:8", 2), ("(null)", 0)])
def test_whatever_device_there_is_is_the_partitions(commands, tmp_path, nodes_have, gpus):
    commands(sinfo=f"echo '{nodes_have}'")
    asked = slurm_script.resources(
        trainer(devices=2, accelerator="auto"), {"num_workers": 0}, {**SETTINGS, "partition": "night"}
    )
    assert asked.gpus == gpus
    assert "--partition=night" in (tmp_path / "sinfo.txt").read_text()


@pytest.mark.parametrize("devices", ["auto", -1, 0])
def test_all_devices_of_a_node_are_not_known_here(devices):
    with pytest.raises(ConfigError, match=rf"trainer\.devices={devices} .* such as trainer\.devices=8"):
        slurm_script.resources(trainer(devices=devices), {"num_workers": 0}, SETTINGS)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"minutes": 0}, "hydra.launcher.minutes=0 is impossible; give a whole number from 1 on"),
        ({"max_requeues": -1}, "hydra.launcher.max_requeues=-1 is impossible"),
        ({"cpus_per_task": 1.5}, "hydra.launcher.cpus_per_task=1.5 is impossible"),
        ({"additional": ["mail-type=FAIL"]}, "mail-type=FAIL is no option of sbatch"),
        ({"mem_gb": 0}, "hydra.launcher.mem_gb=0 is impossible; give a number from 0.001 on, or null"),
        ({"minutes": 2, "save_seconds": 120}, "Give it more minutes"),
    ],
)
def test_impossible_settings_are_refused(changes, told):
    with pytest.raises(ConfigError, match=re.escape(told)):
        slurm_script.check_settings({**SETTINGS, **changes})


def options(script):
    """The `#SBATCH` lines of a script."""
    return dict(re.findall(r"^#SBATCH --([\w-]+)=?(.*)$", script, re.MULTILINE))


def test_dry_run_shows_an_array_for_each_kind_of_job(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))  # where there is no SLURM
    train.main(
        [
            *["-m", "hydra/launcher=slurm", "hydra.launcher.dry_run=true", f"paths.runs={tmp_path}/runs"],
            *["trainer=gpu", "trainer.devices=8", "trainer.num_nodes=1,2", "seed=0,1,2", "data.num_workers=3"],
            *[
                "hydra.launcher.partition=long",
                'hydra.launcher.additional=["--mail-type=FAIL","--exclusive"]',
                "study=big",
            ],
            "hydra.launcher.setup=[module load cuda]",
        ]
    )
    shown = capsys.readouterr().out
    _, *scripts = shown.split("#!/bin/bash")
    assert len(scripts) == 2
    for nodes, script in zip(("1", "2"), scripts, strict=True):
        asked = options(script)
        assert asked["nodes"] == nodes
        assert (asked["ntasks-per-node"], asked["gpus-per-node"], asked["cpus-per-task"]) == ("8", "8", "4")
        assert asked["array"] == "0-2%3"
        assert asked["mem"] == f"{4 * 4 * 8 * 1024}MB"
        assert asked["signal"] == "USR2@120"
        assert (asked["partition"], asked["job-name"], asked["mail-type"]) == ("long", "big", "FAIL")
        assert {"requeue", "exclusive"} < asked.keys()
        assert {"account", "qos", "constraint", "wckey"}.isdisjoint(asked)
        assert script.index("module load cuda") < script.index("\nsrun ")
    assert "of 6 jobs none was submitted" in shown
    assert not (tmp_path / "runs").exists()


def test_without_slurm_it_says_where_to_start(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit) as left:
        train.main(["-m", "hydra/launcher=slurm", "trainer=cpu", f"paths.runs={tmp_path}/runs"])
    assert left.value.code == 1
    assert "needs sbatch, srun, squeue, scontrol, which is not on the PATH" in capsys.readouterr().err


def test_a_single_run_is_not_submitted(tmp_path, capsys):
    with pytest.raises(SystemExit):
        train.main(["hydra/launcher=slurm", f"hydra.run.dir={tmp_path}"])
    assert "add -m" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("status", "restarts", "preempted", "again"),
    [
        (0, 0, False, False),
        (1, 0, False, False),
        (140, 0, False, True),  # USR2
        (140, 2, False, True),
        (140, 3, False, False),  # as often as it may
        (143, 0, False, False),  # TERM, such as of a task whose neighbour has failed
        (143, 0, True, True),
        (1, 0, True, False),
    ],
)
def test_the_script_queues_the_job_again_where_slurm_wants_it_out(
    commands, tmp_path, status, restarts, preempted, again
):
    when = "2026-01-02T03:04:05" if preempted else "None"
    scontrol = f"echo JobState=RUNNING PreemptTime={when}"
    commands(srun=f'[ "$ATROUS_COMMAND" = "python train.py \'a b\'" ] || exit 99; exit {status}', scontrol=scontrol)
    config = SimpleNamespace(command="python train.py 'a b'", environment={})
    jobs = [Job(tmp_path / "a study" / name, [], config) for name in ("one", "other", "third")]
    asked = slurm_script.Resources(1, 1, 0, 1, 1024)
    alone = {"SLURM_JOB_ID": "12", "SLURM_RESTART_COUNT": str(restarts)}
    last_of_three = {
        **alone,
        "SLURM_ARRAY_JOB_ID": "12",
        "SLURM_ARRAY_TASK_ID": "2",
    }  # the array's number is its own, too
    calls = tmp_path / "scontrol.txt"
    for variables, name, count in ((alone, "12", 1), (last_of_three, "12_2", 3)):
        script = slurm_script.script(jobs[:count], asked, SETTINGS)
        calls.unlink(missing_ok=True)
        ran = subprocess.run(["bash", "-c", script], env=os.environ | variables, capture_output=True, timeout=20)
        assert ran.returncode == status
        assert (tmp_path / "srun.txt").read_text().endswith(f"-m atrous.worker {jobs[count - 1].folder}\n")
        assert (f"requeue {name}\n" in (calls.read_text() if calls.exists() else "")) == again


def test_why_a_job_waits_is_told_where_slurm_knows(commands):
    commands(squeue='printf "1|PENDING|None\\n2_7|PENDING|Resources\\n3|RUNNING|None\\n"')
    assert slurm_queue.queue() == {"1": "pending", "2_7": "pending (Resources)", "3": "running"}


def test_jobs_that_are_queued_are_not_submitted_twice(commands, tmp_path, capsys):
    """One of two jobs is queued from before, and then gone unfinished."""
    arguments = ["-m", "hydra/launcher=slurm", "trainer=cpu", f"paths.runs={tmp_path}/runs", "seed=0,1"]
    once = (
        f'[ -e {tmp_path}/looked ] || echo "4|PENDING|Resources"; [ -e {tmp_path}/4 ] && touch {tmp_path}/looked; true'
    )
    commands(
        sbatch=f'touch {tmp_path}/4; echo "5;cluster"',
        squeue=once,
        scontrol="echo JobId=$4 JobState=CANCELLED ExitCode=0:15",
    )
    train.main([*arguments, "hydra.launcher.dry_run=true"])
    first, second = re.search("# 2 jobs: (.*), (.*)", capsys.readouterr().out).groups()
    ids = tmp_path / "runs" / "sweep" / "slurm" / "jobs.json"
    ids.parent.mkdir(parents=True)
    ids.write_text(json.dumps({first: "4"}))
    with pytest.raises(SystemExit) as left:
        train.main(arguments)
    assert left.value.code == 1
    assert json.loads(ids.read_text()) == {first: "4", second: "5"}
    assert len((tmp_path / "sbatch.txt").read_text().splitlines()) == 1
    printed = capsys.readouterr()
    assert "queued or running already: 1 job;" in printed.out
    assert "1 completing, 1 pending (Resources)" in printed.out
    assert f"{second} has ended unfinished: job 5 is CANCELLED, exit code 0:15" in printed.out
    assert "2 of 2 jobs did not finish" in printed.err


def test_what_sbatch_refuses_is_told(commands, tmp_path, capsys):
    commands(sbatch="echo 'sbatch: error: Invalid qos specification' >&2; exit 1")
    with pytest.raises(SystemExit) as left:
        train.main(["-m", "hydra/launcher=slurm", "trainer=cpu", f"paths.runs={tmp_path}/runs"])
    assert left.value.code == 1
    assert "SLURM refuses the job: sbatch: error: Invalid qos specification" in capsys.readouterr().err


def test_a_controller_that_does_not_answer(commands, tmp_path, capsys, monkeypatch):
    commands(squeue="exit 1")
    with pytest.raises(SystemExit):
        train.main(["-m", "hydra/launcher=slurm", "trainer=cpu", f"paths.runs={tmp_path}/runs"])
    assert "squeue finds no SLURM controller" in capsys.readouterr().err
    monkeypatch.setattr(slurm_queue, "PATIENCE", 0.0)
    with pytest.raises(TrainingError, match="squeue has not answered"):
        slurm_queue.wait([slurm_queue.SlurmJob("3", tmp_path, tmp_path / "log")])


def test_a_shell_of_an_allocation_is_no_task(monkeypatch):
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.setenv("SLURM_NTASKS", "2")
    monkeypatch.setenv("SLURM_PROCID", "0")
    assert not ranks.is_launched()
    assert ranks.is_main_process()
    assert launch.needs_launch(trainer(devices=2))


def test_in_tasks_of_srun_nothing_more_is_started(task_of_srun, monkeypatch):
    task_of_srun(1, tasks=2)
    monkeypatch.delenv("SLURM_NTASKS_PER_NODE")
    assert not launch.needs_launch(trainer(devices=2))
    assert os.environ["SLURM_NTASKS_PER_NODE"] == "2"  # Lightning would refuse without
    assert not ranks.is_main_process()
    with pytest.raises(ConfigError, match=r"srun has started 2 tasks on 1 nodes, but trainer\.devices=3"):
        launch.needs_launch(trainer(devices=3))
    with pytest.raises(ConfigError, match="--nodes=2 --ntasks-per-node=1"):
        launch.needs_launch(trainer(devices=1, num_nodes=2))


def test_torchrun_inside_a_task_counts_its_own(task_of_srun, monkeypatch):
    task_of_srun(1, tasks=2)
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setenv("RANK", "0")
    assert ranks.is_main_process()
    assert not launch.needs_launch(trainer(devices=4))


@pytest.mark.parametrize("finished", [False, True])
def test_the_other_tasks_follow_the_first_into_its_folder(task_of_srun, tmp_path, finished):
    chosen, own = tmp_path / "a" / "12-00-01", tmp_path / "a" / "12-00-02"
    chosen.mkdir(parents=True)
    own.mkdir()
    record = {"status": "finished" if finished else "running", "fingerprint": "0", "scores": {"miou": 0.5}}
    (chosen / "result.json").write_text(json.dumps(record))
    task_of_srun(0, tasks=2)
    note = announce.announce(tmp_path, chosen, Run(chosen, record))
    task_of_srun(1, tasks=2)
    config, folder, run = announce.follow({"save": [f"{own}/checkpoints", "x"]}, own, tmp_path)
    assert (config, folder) == ({"save": [f"{chosen}/checkpoints", "x"]}, chosen)
    assert (run is not None and run.finished) == finished
    assert (note is None) == finished
    assert not own.exists()


def test_another_step_of_the_job_is_another_run(task_of_srun, tmp_path, monkeypatch):
    task_of_srun(0, tasks=2)
    announce.announce(tmp_path, tmp_path / "one", None)
    monkeypatch.setenv("SLURM_STEP_ID", "1")
    monkeypatch.setattr(announce, "PATIENCE", 0.0)
    with pytest.raises(TrainingError, match="the main process has not told its run folder"):
        announce.follow({}, tmp_path, tmp_path)


def test_slurms_signal_is_one_that_a_run_stops_by():
    with Signals() as signals:
        signals.deferred = True
        os.kill(os.getpid(), signal.SIGUSR2)
        assert signals.number == signal.SIGUSR2
        signals.deferred = False
        with pytest.raises(Interrupted) as stopped:
            os.kill(os.getpid(), signal.SIGUSR2)
    assert stopped.value.code == 140  # the number that the script looks for
