"""`profile`: what networks cost, each measured in a process of its own, as a table, a csv and a plot of score over cost."""

from __future__ import annotations

import fnmatch
import itertools
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from atrous.cli.app import errors_as_messages, run_command
from atrous.config.compose import CONF_DIR, prepare
from atrous.config.values import NonNegativeInt, NotEmpty, PositiveInt, Size
from atrous.errors import AtrousError, ConfigError

if TYPE_CHECKING:
    from rich.table import Table

_FOREIGN = ("custom", "smp", "torchvision")  # templates for other people's models, which a glob leaves out
Row = dict[str, Any]


@dataclass(frozen=True)
class Subject:
    """One network to measure.

    Args:
        name: What the table calls it.
        model: The resolved config of the model.
        score: mIoU of its run; None where it is no run's.
    """

    name: str
    model: dict[str, Any]
    score: float | None = None


@dataclass(frozen=True)
class Settings:
    """See conf/profile.yaml."""

    models: str | list[str] | None
    runs: str | list[str] | None
    sizes: Annotated[list[Size], NotEmpty()]
    batch_sizes: Annotated[list[PositiveInt], NotEmpty()]
    precisions: Annotated[list[Literal["32-true", "16-mixed", "bf16-mixed", "16-true", "bf16-true"]], NotEmpty()]
    modes: Annotated[list[Literal["inference", "training"]], NotEmpty()]
    warm_up: NonNegativeInt
    repeats: PositiveInt
    threads: PositiveInt | None
    accelerator: Literal["cpu", "gpu", "cuda"]
    out: Path | None
    trusted: list[str]
    overrides: list[str]
    command: str


def main(argv: Sequence[str] | None = None) -> None:
    """`atrous profile models=... [key=value ...]`; see conf/profile.yaml."""
    run_command("profile", Settings, lambda settings: run(vars(settings), settings.overrides), argv)


def run(settings: dict[str, Any], overrides: list[str]) -> list[Row]:
    """Shows the table and returns its rows, which it writes to `out`."""
    from rich.console import Console
    from rich.progress import Progress

    from atrous.runs.record import now
    from atrous.system.devices import processor_name
    from atrous.system.files import to_json, write_text

    subjects = [*_models(settings["models"], overrides), *_runs(settings["runs"], settings["trusted"])]
    if not subjects:
        subjects = list(_models("deeplabv3plus_small", overrides))
    points = [
        {"size": size, "batch_size": batch, "precision": precision, "mode": mode}
        for size, batch, precision, mode in itertools.product(
            settings["sizes"], settings["batch_sizes"], settings["precisions"], settings["modes"]
        )
    ]
    options = {key: settings[key] for key in ("warm_up", "repeats", "threads", "accelerator")}
    rows: list[Row] = []
    with Progress(transient=True) as progress:
        bar = progress.add_task("measuring", total=len(subjects) * len(points))
        for subject in subjects:
            progress.update(bar, description=subject.name)
            for row in measure_apart(subject.model, points, options):
                rows.append({"model": subject.name, "score": subject.score, **row})
                progress.advance(bar)
    console = Console()
    console.print(_table(rows))
    for row in rows:
        if row["error"]:
            console.print(f"[red]not measured[/] {row['model']}, {_point(row)}: {row['error']}", soft_wrap=True)
    if settings["out"] is not None:
        out = Path(settings["out"])
        device = next((row["device"] for row in rows if row.get("device")), processor_name())
        content = {"command": settings["command"], "created": now(), "device": device, **options, "rows": rows}
        write_text(out / "profile.json", to_json(content))
        write_text(out / "profile.csv", _csv(rows))
        drawn = _draw(out / "profile.png", rows)
        print(f"written to {out}: profile.csv, profile.json{', profile.png' * drawn}")
    return rows


def _models(asked: str | list[str] | None, overrides: list[str]) -> Iterator[Subject]:
    """The networks of `models`: each entry a name or glob of conf/model and settings of its own behind it."""
    from atrous.config.compose import compose_groups

    known = sorted(path.stem for path in (CONF_DIR / "model").glob("*.yaml"))
    for entry in [asked] if isinstance(asked, str) else asked or []:
        pattern, *own = str(entry).split()
        names = [name for name in fnmatch.filter(known, pattern) if name == pattern or name not in _FOREIGN]
        if not names:
            raise ConfigError(f"models={pattern} is none of conf/model; there are {', '.join(known)}.")
        for name in names:
            model = compose_groups([f"model={name}", *overrides, *own])["model"]
            yield Subject(" ".join([name, *(override.removeprefix("model.") for override in own)]), model)


def _runs(asked: str | list[str] | None, trusted: list[str]) -> Iterator[Subject]:
    """The networks of finished runs with their scores."""
    from omegaconf import OmegaConf

    from atrous.config.trust import check_targets

    for pattern in [asked] if isinstance(asked, str) else asked or []:
        base = Path(pattern)
        folders = [base] if base.is_dir() else sorted(Path(base.anchor or ".").glob(str(base.relative_to(base.anchor))))
        folders = [
            folder for folder in folders if (folder / "config.yaml").is_file() and (folder / "result.json").is_file()
        ]
        if not folders:
            raise ConfigError(
                f"runs={pattern} names no run folder; give one that holds config.yaml and result.json, or a glob."
            )
        for folder in folders:
            config = OmegaConf.to_container(OmegaConf.load(folder / "config.yaml"), resolve=False)
            assert isinstance(config, dict)
            check_targets(config["model"], trusted, f"the run {folder}")
            scores = json.loads((folder / "result.json").read_text()).get("scores") or {}
            yield Subject(str(folder), config["model"], scores.get("miou"))


def measure_apart(model: dict[str, Any], points: list[Row], options: Row) -> Iterator[Row]:
    """One row for each point, as the process measures them; where it ends early, the rest of the rows say so."""
    given = json.dumps({"model": model, "points": points, **options})
    command = [sys.executable, "-m", __name__, given]
    measured = 0
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if line.startswith(_MARK):
                    yield json.loads(line.removeprefix(_MARK))
                    measured += 1
            status = process.wait()
        finally:
            process.kill()
        errors.seek(0)
        told = errors.read().strip().splitlines()
    why = told[-1] if told else f"its process ended with status {status}, as when memory runs out"
    for point in points[measured:]:
        yield {**point, "error": why}


_MARK = "row: "


def measure_points(given: dict[str, Any]) -> Iterator[Row]:
    """Builds a network and measures it at each point; what fails at one is told in its row."""
    import torch
    from hydra.utils import get_object

    from atrous.analysis.cost import macs
    from atrous.analysis.measure import measure, resident
    from atrous.config.compose import instantiate
    from atrous.config.trust import targets
    from atrous.models.adapter import adapt
    from atrous.system.devices import processor_name

    if given["threads"] is not None:
        torch.set_num_threads(given["threads"])
    on_gpu = given["accelerator"] != "cpu"
    if on_gpu and not torch.cuda.is_available():
        raise ConfigError(f"accelerator={given['accelerator']}, but PyTorch finds no GPU here. Use accelerator=cpu.")
    for target in targets(given["model"]):
        get_object(target)  # imported here, so that no library counts as the network's memory
    held = resident()
    torch.manual_seed(0)
    model = adapt(instantiate(given["model"]))
    if on_gpu:
        model = model.cuda()
    about: Row = {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "device": torch.cuda.get_device_name() if on_gpu else f"{processor_name()}, {torch.get_num_threads()} threads",
    }
    for point in given["points"]:
        row = {**point, **about, "error": None}
        arguments = {**point, "size": tuple(point["size"]), "held_before": held}
        try:
            cost = measure(model, warm_up=given["warm_up"], repeats=given["repeats"], **arguments)
            row |= {"macs": macs(model, *point["size"]), **asdict(cost)}
        except (
            AtrousError,
            RuntimeError,
            NotImplementedError,
            MemoryError,
        ) as error:  # CUDA's out of memory is the second
            row["error"] = str(error).splitlines()[0] if str(error) else type(error).__name__
        yield row


def _parts(row: Row) -> tuple[str, ...]:
    height, width = row["size"]
    return row["mode"], f"{row['batch_size']} x {height} x {width}", row["precision"]


def _point(row: Row) -> str:
    return ", ".join(_parts(row))


def _table(rows: list[Row]) -> Table:
    from rich.table import Table
    from rich.text import Text

    varies = [len(set(values)) > 1 for values in zip(*map(_parts, rows), strict=True)]  # the others are told once
    alike = [part for part, varied in zip(_parts(rows[0]), varies, strict=True) if not varied]
    table = Table(title=f"cost of a batch ({', '.join(alike) or 'as told'}); MACs of an image", title_justify="left")
    columns = ["model", "weights, M", "MACs, G", "p50, ms", "p95, ms", "images/s", "peak, MB"]
    scored, energy = (any(row.get(key) is not None for row in rows) for key in ("score", "energy"))
    columns += ["J/image"] * energy + ["mIoU"] * scored
    for column in columns:
        left = column == "model"
        table.add_column(column, justify="left" if left else "right", overflow="fold")
    told = None
    for row in rows:
        keys = [("parameters", 1e-6, 2), ("macs", 1e-9, 1), ("p50", 1e3, 1), ("p95", 1e3, 1), ("throughput", 1, 2)]
        keys += [("peak_memory", 2.0**-20, 0), *[("energy", 1, 2)] * energy, *[("score", 1, 3)] * scored]
        values = ["" if row.get(key) is None else f"{row[key] * factor:.{digits}f}" for key, factor, digits in keys]
        name = "/".join(Path(row["model"]).parts[-2:])  # of a run's folder its own and the one above
        point = ", ".join(part for part, varied in zip(_parts(row), varies, strict=True) if varied)
        if point and told != row["model"]:
            table.add_section()
            table.add_row(Text(name, style="bold"))
            told = row["model"]
        table.add_row(Text(f"  {point}" if point else name), *values)
    return table


_COLUMNS = (
    "model", "mode", "batch_size", "height", "width", "precision", "parameters", "macs", "p50", "p95", "throughput",
    "peak_memory", "energy", "score", "device", "error",
)  # fmt: skip


def _csv(rows: list[Row]) -> str:
    """Seconds, images per second, bytes, joules per image."""
    from atrous.system.text import csv_text

    sized = [{**row, "height": row["size"][0], "width": row["size"][1]} for row in rows]
    return csv_text(_COLUMNS, [[row.get(column) for column in _COLUMNS] for row in sized])


def _draw(path: Path, rows: list[Row]) -> bool:
    """Score over latency, over MACs and over memory, a colour a run; whether any row has a score."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    from atrous.system.files import save_figure

    scored = [row for row in rows if row["score"] is not None and not row["error"]]
    if not scored:
        return False
    colours = _numbered([row["model"] for row in scored], [f"C{i}" for i in range(10)])
    markers = _numbered([_point(row) for row in scored], "osD^vP*X")
    figure = Figure(figsize=(14, 5), layout="constrained")
    costs = (
        ("p50", 1e3, "median latency of a batch, ms"),
        ("macs", 1e-9, "MACs of an image, G"),
        ("peak_memory", 2.0**-20, "peak memory, MB"),
    )
    for axes, (key, factor, label) in zip(figure.subplots(1, 3, sharey=True), costs, strict=True):
        for (_, colour), (_, marker), row in zip(colours, markers, scored, strict=True):
            if row.get(key) is not None:
                axes.scatter(factor * row[key], row["score"], color=colour, marker=marker)
        axes.set(xscale="log", xlabel=label)
    figure.axes[0].set_ylabel("mIoU")
    handles = [
        Line2D([], [], color=colour, label="/".join(Path(name).parts[-2:])) for name, colour in dict(colours).items()
    ]
    handles += [
        Line2D([], [], color="grey", marker=marker, linestyle="", label=point)
        for point, marker in dict(markers).items()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize="small")
    save_figure(path, figure)
    return True


def _numbered(values: list[str], looks: Sequence[str]) -> list[tuple[str, str]]:
    """Each value with the look that stands for it."""
    order = list(dict.fromkeys(values))
    return [(value, looks[order.index(value) % len(looks)]) for value in values]


if __name__ == "__main__":  # the process of one network; `main` is called through `atrous profile`
    prepare()
    with errors_as_messages():
        for measured_row in measure_points(json.loads(sys.argv[1])):
            print(_MARK + json.dumps(measured_row), flush=True)
