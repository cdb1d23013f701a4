"""experiments/gpu: what a device computes beside the CPU (`-m gpu`), and that its command goes on where it stopped."""

import importlib
import json
from pathlib import Path

import pytest
import torch

FOLDER = Path(__file__).parents[1] / "experiments" / "gpu"


@pytest.fixture
def stages(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    return lambda name: importlib.import_module(name)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_device_computes_what_the_cpu_does(stages):
    rows = {name: stages("run").attempt(item) for _, name, item in stages("right").items(torch.device("cuda"))}
    assert {name: row for name, row in rows.items() if not row.get("right")} == {}


def test_the_command_goes_on_and_tries_again_what_failed(stages, monkeypatch, tmp_path):
    run = stages("run")
    calls = []

    def item(rank, name, fails=()):
        def compute():
            calls.append(name)
            if calls.count(name) in fails:
                raise RuntimeError("no kernel <here>")
            return {"right": True}

        return rank, name, compute

    items = [item(2, "late"), item(0, "first"), item(1, "broken", fails=(1,))]
    monkeypatch.setattr(run, "STAGES", {"right": lambda device: items, "fast": lambda device: []})
    words = ["--device", "cpu", "--out", str(tmp_path)]
    run.main([*words, "--minutes", "0"])
    assert calls == []
    run.main(words)
    assert calls == ["first", "broken", "late"]
    assert "RuntimeError: no kernel &lt;here&gt;" in (tmp_path / "page.html").read_text()
    run.main(words)
    assert calls == ["first", "broken", "late", "broken"]
    assert set(json.loads((tmp_path / "right.json").read_text())["items"]) == {"first", "broken", "late"}
    assert "RuntimeError" not in (tmp_path / "page.html").read_text()
