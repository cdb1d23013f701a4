import os
import signal

import pytest

from atrous.system.signals import Interrupted, Signals


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_before_there_is_anything_to_save_a_signal_ends_the_run(number, status):
    with pytest.raises(Interrupted) as caught, Signals():
        os.kill(os.getpid(), number)
    assert caught.value.code == status
    assert caught.value.name == number.name


def test_a_deferred_signal_is_noted_and_told(capfd):
    with Signals() as signals:
        signals.deferred = True
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)  # as where a launcher passes on what the terminal has sent already
        assert signals.number == signal.SIGTERM
    assert capfd.readouterr().err.count("SIGTERM: stopping after this update") == 1


def test_a_second_ctrl_c_stops_at_once(monkeypatch):
    clock = iter([10.0, 10.9, 11.1])
    monkeypatch.setattr("atrous.system.signals.time.monotonic", lambda: next(clock))
    with Signals() as signals:
        signals.deferred = True
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(Interrupted):
            os.kill(os.getpid(), signal.SIGINT)


def test_handlers_are_put_back():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with Signals() as signals:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # as Lightning puts its own in place
        signals.install()
        signals.deferred = True
        os.kill(os.getpid(), signal.SIGTERM)
        assert signals.number == signal.SIGTERM
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_forked_process_lets_the_signal_pass():
    with Signals() as signals:
        child = os.fork()
        if child == 0:
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGINT)
            os._exit(signals.number)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
