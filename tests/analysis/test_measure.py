import pytest
import torch
from torch import nn

from atrous.analysis.measure import measure, resident
from atrous.types import SegOutput


class Counts(nn.Module):
    """Holds what it was called with."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.calls = []

    def forward(self, x):
        y = self.conv(x)
        self.calls.append((tuple(x.shape), y.dtype, self.training, torch.is_grad_enabled()))
        return SegOutput(y)


def test_inference_is_measured_after_the_warm_up():
    net = Counts()
    cost = measure(net, batch_size=2, size=(8, 12), warm_up=2, repeats=5)
    assert net.calls == [((2, 3, 8, 12), torch.float32, False, False)] * 7
    assert 0 < cost.p50 <= cost.p95
    assert cost.throughput == 2 / cost.p50


def test_time_and_percentiles_of_calls_of_known_length(monkeypatch):
    now = [0.0]

    class Takes(Counts):
        def forward(self, x):
            self.calls.append(None)
            now[0] += 0.9 if len(self.calls) in (1, 4) else 0.5
            return SegOutput(x)

    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    cost = measure(Takes(), batch_size=3, size=(4, 4), warm_up=1, repeats=10)
    assert cost.p50 == pytest.approx(0.5)
    assert cost.p95 == pytest.approx(0.5 + 0.55 * 0.4)  # interpolated between the two longest
    assert cost.throughput == pytest.approx(6)


@pytest.mark.parametrize(
    ("precision", "dtype"), [("bf16-mixed", torch.bfloat16), ("bf16-true", torch.bfloat16), ("32-true", torch.float32)]
)
@pytest.mark.parametrize("mode", ["inference", "training"])
def test_precisions(precision, dtype, mode):
    net = Counts()
    measure(net, batch_size=2, size=(4, 4), precision=precision, mode=mode, warm_up=0, repeats=1)
    assert net.calls[-1] == ((2, 3, 4, 4), dtype, mode == "training", mode == "training")


def test_a_training_step_changes_the_weights():
    net = Counts()
    before = net.conv.weight.clone()
    measure(net, batch_size=2, size=(4, 4), mode="training", warm_up=0, repeats=3)
    assert not torch.equal(net.conv.weight, before)


def test_peak_memory_is_that_of_the_calls():
    class Allocates(nn.Module):
        def forward(self, x):
            torch.ones(2**23)  # 32 MiB of float32
            return SegOutput(x)

    held = resident()
    if held is None:
        pytest.skip("the peak memory is read from Linux's /proc")
    cost = measure(Allocates(), batch_size=1, size=(4, 4), warm_up=1, repeats=1, held_before=held)
    assert cost.peak_memory == pytest.approx(32 * 2**20, abs=4 * 2**20)  # pages around it come and go
    assert measure(Allocates(), batch_size=1, size=(4, 4), warm_up=0, repeats=1).peak_memory is None
