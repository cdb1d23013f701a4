"""A SLURM of the tests' own: two nodes on this machine, loopback only, without systemd, in a private folder.

It needs Debian's or Ubuntu's packages `slurmctld slurmd slurm-client munge`; without them the tests are skipped.
"""

import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

TRAIN = Path(__file__).parents[2] / "train.py"
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel", "sinfo")
NODES = 2
CONFIG = """
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={root}/run/munge.sock,cred_expire=5
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation={root}/state
SlurmctldPidFile={root}/run/slurmctld.pid
SlurmctldLogFile={root}/log/slurmctld.log
SlurmdSpoolDir={root}/spool/%n
SlurmdPidFile={root}/run/slurmd.%n.pid
SlurmdLogFile={root}/log/slurmd.%n.log
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
JobCompType=jobcomp/none
MailProg=/bin/true
ReturnToService=2
KillWait=5
MinJobAge=300
JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmdParameters=config_overrides
NodeName=n[1-{nodes}] NodeHostname=localhost NodeAddr=127.0.0.1 Port=[{first}-{last}] CPUs=2 RealMemory=4000 State=UNKNOWN
PartitionName=debug Nodes=n[1-{nodes}] Default=YES MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=60
PartitionName=urgent Nodes=n[1-{nodes}] MaxTime=INFINITE State=UP PriorityTier=2
"""


@dataclass
class Cluster:
    """The daemons' folder, and what was started on it; commands find it by SLURM_CONF, which the fixture sets."""

    root: Path
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def train(self, *arguments: str, timeout: float = 200) -> subprocess.CompletedProcess[str]:
        """`python train.py ...`, as on a login node."""
        command = [sys.executable, str(TRAIN), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout)

    def start(self, output: Path, *arguments: str) -> subprocess.Popen[bytes]:
        """The same in the background, with all it says in the file `output`."""
        with output.open("ab") as file:
            self.started.append(
                subprocess.Popen([sys.executable, "-u", str(TRAIN), *arguments], stdout=file, stderr=file)
            )
        return self.started[-1]

    def slurm(self, *command: str, timeout: float = 30) -> str:
        """What a SLURM command prints."""
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=True).stdout

    def job(self, number: str) -> dict[str, str]:
        """What the controller knows of a job."""
        words = self.slurm("scontrol", "show", "job", "--oneliner", number).split()
        return dict(word.split("=", 1) for word in words if "=" in word)


@pytest.fixture(scope="session")
def cluster():
    """A running SLURM with two idle nodes of two cores each."""
    os.environ["PATH"] += os.pathsep + "/usr/sbin"
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        pytest.skip(f"no {', '.join(missing)} here; on Debian: apt-get install slurmctld slurmd slurm-client munge")
    root = Path(tempfile.mkdtemp(prefix="atrous-slurm-"))
    processes: list[subprocess.Popen[bytes]] = []
    before = dict(os.environ)
    interrupt = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    running = None
    try:
        _start(root, processes)
        os.environ["OMP_NUM_THREADS"] = "1"
        running = Cluster(root)
        yield running
    finally:
        for launcher in running.started if running else []:
            launcher.kill()
            launcher.wait(timeout=10)
        _stop(processes)
        signal.signal(signal.SIGINT, interrupt)
        os.environ.clear()
        os.environ.update(before)
        shutil.rmtree(root, ignore_errors=True)


def _start(root: Path, processes: list[subprocess.Popen[bytes]]) -> None:
    for name in ("etc", "run", "log", "state", "spool"):
        (root / name).mkdir()
    (root / "run").chmod(0o755)
    key = root / "etc" / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(os.urandom(128))
    ports = _free_ports(1 + NODES)
    config = root / "etc" / "slurm.conf"
    config.write_text(
        CONFIG.format(
            root=root, user=getpass.getuser(), nodes=NODES, port=ports[0], first=ports[1], last=ports[1] + NODES - 1
        )
    )
    os.environ["SLURM_CONF"] = str(config)
    run, log = root / "run", root / "log"
    munged = ["munged", "--foreground", f"--socket={run}/munge.sock", f"--key-file={key}", "--force"]
    munged += [f"--pid-file={run}/munged.pid", f"--log-file={log}/munged.log", f"--seed-file={run}/munge.seed"]
    _spawn(processes, log / "munged.out", *munged)
    _wait_for(lambda: (run / "munge.sock").exists(), "munged", log)
    _spawn(processes, log / "slurmctld.out", "slurmctld", "-D", "-f", str(config))
    for number in range(1, NODES + 1):
        _spawn(processes, log / f"slurmd.n{number}.out", "slurmd", "-D", "-f", str(config), "-N", f"n{number}")
    _wait_for(lambda: _idle_nodes() == NODES, "SLURM", log)


def _spawn(processes: list[subprocess.Popen[bytes]], output: Path, *command: str) -> None:
    with output.open("wb") as file:
        processes.append(subprocess.Popen(command, stdout=file, stderr=file, stdin=subprocess.DEVNULL))


def _idle_nodes() -> int:
    command = ["sinfo", "--noheader", "--partition=debug", "--states=idle", "--format=%D"]
    sinfo = subprocess.run(command, capture_output=True, text=True, timeout=30)
    return sum(int(line) for line in sinfo.stdout.split())


def _wait_for(ready, what: str, log: Path, seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > until:
            ends = "\n".join(f"{path.name}: {path.read_text()[-600:]}" for path in sorted(log.iterdir()))
            pytest.fail(f"{what} was not there after {seconds:.0f} s:\n{ends}")
        time.sleep(0.1)


def _stop(processes: list[subprocess.Popen[bytes]]) -> None:
    if len(processes) > 1:
        subprocess.run(["scancel", f"--user={getpass.getuser()}"], capture_output=True, timeout=30, check=False)
        until = time.monotonic() + 15
        while _jobs() and time.monotonic() < until:
            time.sleep(0.2)
    for process in reversed(processes):
        process.send_signal(signal.SIGTERM)
    for process in processes:
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()


def _jobs() -> str:
    return subprocess.run(["squeue", "--noheader"], capture_output=True, text=True, timeout=30).stdout


def _free_ports(count: int) -> list[int]:
    """Ports one after another that nobody listens on."""
    for first in range(17000 + os.getpid() % 1000 * 10, 60000, count):
        sockets = [socket.socket() for _ in range(count)]
        try:
            for number, each in enumerate(sockets):
                each.bind(("127.0.0.1", first + number))
            return list(range(first, first + count))
        except OSError:
            continue
        finally:
            for each in sockets:
                each.close()
    raise RuntimeError("no free ports")
