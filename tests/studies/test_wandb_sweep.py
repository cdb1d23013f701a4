"""conf/wandb_sweep/*.yaml: what W&B's agent makes of them, composed as `train` does and run offline."""

import json

import pytest
import wandb
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from loggers.test_wandb import offline, records  # noqa: F401 - a fixture
from omegaconf import OmegaConf, open_dict, read_write
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args, load_sweep_config

from atrous.cli import train
from atrous.config.checks import check_config
from atrous.config.compose import CONF_DIR, prepare, resolved

FILES = sorted((CONF_DIR / "wandb_sweep").glob("*.yaml"))
# W&B's own schema: github.com/wandb/sweeps, src/sweeps/config/schema.json at 023865a; of it what is used here.
KEYS = {"name", "project", "program", "command", "method", "metric", "parameters", "run_cap", "description"}
PARAMETERS = {
    frozenset({"values"}): lambda found: isinstance(found["values"], list) and found["values"],
    frozenset({"distribution", "min", "max"}): lambda found: (
        found["distribution"] == "log_uniform_values"
        and all(isinstance(found[end], int | float) for end in ("min", "max"))
        and 0 < found["min"] < found["max"]
    ),
}


def points(sweep):
    """Runs of a sweep in which each value comes at least once; of what is drawn, the ends."""
    choices = {
        key: options["values"] if "values" in options else [options["min"], options["max"]]
        for key, options in sweep["parameters"].items()
    }
    for number in range(max(map(len, choices.values()))):
        point = {key: values[number % len(values)] for key, values in choices.items()}
        yield json.loads(json.dumps(point))  # as it comes from W&B's server


def arguments(sweep, point):
    """The command line behind train.py, as the agent builds it (wandb/wandb_agent.py, `_command_run`)."""
    known = create_sweep_command_args({"args": {key: {"value": value} for key, value in point.items()}})
    known |= {"env": ["/usr/bin/env"], "interpreter": ["python"], "program": [sweep["program"]]}
    words = []
    for word in create_sweep_command(list(sweep["command"])):
        words += known[word[2:-1]] if word.startswith("${") and word.endswith("}") else [word]
    assert words[:3] == ["/usr/bin/env", "python", "train.py"]
    return words[3:]


@pytest.fixture
def agent(monkeypatch, tmp_path):
    """What W&B's agent sets around a run."""

    def start(sweep, run, point):
        path = tmp_path / f"config-{run}.yaml"
        path.write_text(yaml.safe_dump({"wandb_version": 1, **{key: {"value": value} for key, value in point.items()}}))
        monkeypatch.setenv("WANDB_SWEEP_ID", sweep)
        monkeypatch.setenv("WANDB_RUN_ID", run)
        monkeypatch.setenv("WANDB_SWEEP_PARAM_PATH", str(path))
        wandb.teardown()  # each run has a process of its own, which reads the environment anew

    yield start
    wandb.teardown()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_schema(path):
    sweep = load_sweep_config(str(path))
    assert set(sweep) <= KEYS
    assert sweep["method"] in ("grid", "bayes", "random")
    assert sweep["metric"] == {"name": "val/miou", "goal": "maximize"}
    for key, options in sweep["parameters"].items():
        assert PARAMETERS[frozenset(options)](options), key
        assert sweep["method"] != "grid" or "values" in options, f"a grid can't draw {key}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_its_runs_have_the_values_that_the_agent_gives(path, agent):
    sweep = load_sweep_config(str(path))
    prepare()
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        for number, point in enumerate(points(sweep)):
            agent("s1", f"r{number}", point)
            cfg = compose("train", overrides=arguments(sweep, point), return_hydra_config=True)
            for key, value in point.items():
                found = OmegaConf.select(cfg, key)
                assert (list(found) if isinstance(value, list) else found) == value, key
            HydraConfig.instance().set_config(cfg)
            assert cfg.hydra.run.dir == f"runs/wandb-s1/r{number}"
            assert cfg.hydra.runtime.choices.logger == "wandb"
            with read_write(cfg.hydra.runtime), open_dict(cfg.hydra.runtime), open_dict(cfg):
                cfg.hydra.runtime.output_dir = "run"
                HydraConfig.instance().set_config(cfg)
                del cfg["hydra"]
            check_config(resolved(cfg))


def test_an_agents_run_is_the_one_that_it_was_given(offline, tiny, tmp_path, agent, result_of):  # noqa: F811
    sweep = load_sweep_config(str(CONF_DIR / "wandb_sweep" / "output_stride.yaml"))
    point = next(points(sweep))
    for run in ("abc", "def"):  # started in the same second, as by two agents
        agent("s1", run, point)
        train.main([*arguments(sweep, point), *tiny, f"paths.runs={tmp_path}/runs", "trainer.max_epochs=1"])
    wandb.teardown()  # writes what it still has
    for run in ("abc", "def"):
        folder = tmp_path / "runs" / "wandb-s1" / run
        assert result_of(folder)["status"] == "finished"
        assert result_of(folder)["wandb_id"] == run
        (file,) = folder.rglob("*.wandb")
        (told,) = (record.run for record in records(file) if record.WhichOneof("record_type") == "run")
        assert (told.run_id, told.sweep_id, told.run_group, told.display_name) == (run, "s1", "", "")
        kept = {item.key: json.loads(item.value_json) for item in told.config.update}
        assert kept["model"]["dilations"] == point["model.dilations"]
        assert kept["model.dilations"] == point["model.dilations"]  # by which W&B's own pages sort a sweep
