"""A run of several processes ends for the reason of the one that failed first."""

import signal

import pytest

from atrous.errors import ConfigError, TrainingError
from atrous.runs.failures import failure_from_outside, failure_of, first_failure
from atrous.system.signals import Interrupted

GONE = RuntimeError("[gloo/transport/tcp/pair.cc:545] Read error [127.0.0.1]:14738: Connection reset by peer")
REPORT = """
[0]:
  time      : 2026-12-01_03:15:27
  host      : here
  rank      : 0 (local_rank: 0)
  exitcode  : 1 (pid: 11)
[1]:
  rank      : 1 (local_rank: 1)
  exitcode  : {code} (pid: 12)
"""


@pytest.fixture
def as_process(monkeypatch):
    def be(number):
        monkeypatch.setenv("LOCAL_RANK", str(number))
        monkeypatch.setenv("RANK", str(number))

    return be


@pytest.mark.parametrize("met", [(GONE, 0), (Interrupted(signal.SIGTERM), 0), (GONE, signal.SIGTERM)])
def test_what_follows_from_anothers_failure_is_told_as_that(as_process, tmp_path, met):
    as_process(2)
    failure_of(GONE, tmp_path, 0)  # which is no reason, though it came first
    as_process(1)
    error = ConfigError("x=1 is impossible; give 2.")
    assert failure_of(error, tmp_path, 0) is error
    as_process(0)
    told = failure_of(met[0], tmp_path, met[1])
    assert isinstance(told, TrainingError)
    assert str(told) == "process 1 of the run failed: x=1 is impossible; give 2."
    assert not list(tmp_path.iterdir())


def test_an_error_of_all_is_told_as_it_is(as_process, tmp_path):
    for number in (1, 0):
        as_process(number)
        error = ConfigError("x=1 is impossible; give 2.")
        assert failure_of(error, tmp_path, 0) is error


def test_a_signal_to_all_is_no_failure(as_process, tmp_path):
    as_process(1)
    failure_of(GONE, tmp_path, signal.SIGINT)
    as_process(0)
    assert failure_of(GONE, tmp_path, signal.SIGINT).number == signal.SIGINT


def test_a_process_that_left_no_word_is_told_from_outside(as_process, tmp_path):
    as_process(0)
    assert "another process" in str(failure_of(GONE, tmp_path, 0))
    assert "process 1 of the run was ended by SIGKILL" in failure_from_outside(tmp_path, REPORT.format(code=-9))
    assert failure_from_outside(tmp_path, REPORT.format(code=-15)) is None  # as torchrun ends the others
    assert first_failure(tmp_path) is None
