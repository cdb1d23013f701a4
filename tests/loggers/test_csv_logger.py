import csv

import pytest

from atrous.loggers.csv_logger import CSVLogger


def rows_of(folder):
    with (folder / "metrics.csv").open(newline="") as file:
        return [{key: value for key, value in row.items() if value} for row in csv.DictReader(file)]


def test_rows_stand_in_order_also_when_a_column_comes_later(tmp_path):
    history = CSVLogger(folder=str(tmp_path / "run"))
    history.log_metrics({"train/loss": 2.5}, step=0)
    history.log_metrics({"val/miou": 0.25}, step=0)
    history.log_metrics({"train/loss": 1e-9}, step=1)
    assert history.rows == 3
    assert rows_of(tmp_path / "run") == [
        {"train/loss": "2.5", "step": "0"},
        {"val/miou": "0.25", "step": "0"},
        {"train/loss": "1e-09", "step": "1"},
    ]
    assert (tmp_path / "run" / "metrics.csv").read_text().splitlines()[0] == "step,train/loss,val/miou"


def test_a_continued_history_is_that_of_one_process(tmp_path):
    values = [{"train/loss": 3.0}, {"val/miou": 0.1}, {"train/loss": 2.0}, {"lr": 0.1, "train/loss": 1.0}]
    whole, first = (CSVLogger(folder=str(tmp_path / name)) for name in ("whole", "parts"))
    for step, row in enumerate(values):
        whole.log_metrics(row, step)
    for step, row in enumerate(values[:3]):
        first.log_metrics(row, step)
    second = CSVLogger(folder=str(tmp_path / "parts"))
    second.keep(2)  # the third row came after the checkpoint
    for step, row in enumerate(values[2:], start=2):
        second.log_metrics(row, step)
    second.sync()
    assert second.rows == 4
    assert (tmp_path / "parts" / "metrics.csv").read_bytes() == (tmp_path / "whole" / "metrics.csv").read_bytes()


def test_half_a_last_row_is_dropped(tmp_path):
    history = CSVLogger(folder=str(tmp_path))
    for step in range(3):
        history.log_metrics({"train/loss": 0.5}, step)
    path = tmp_path / "metrics.csv"
    path.write_text(path.read_text()[:-3])
    history = CSVLogger(folder=str(tmp_path))
    history.keep(2)
    assert [row["step"] for row in rows_of(tmp_path)] == ["0", "1"]


@pytest.mark.parametrize("rows", [0, 5])
def test_a_checkpoint_of_another_folder_finds_no_rows_here(tmp_path, rows):
    history = CSVLogger(folder=str(tmp_path))
    history.keep(rows)
    history.log_metrics({"train/loss": 1.0}, step=7)
    assert rows_of(tmp_path) == [{"train/loss": "1.0", "step": "7"}]


def test_without_keep_the_file_begins_anew(tmp_path):
    CSVLogger(folder=str(tmp_path)).log_metrics({"old": 1.0}, step=3)
    CSVLogger(folder=str(tmp_path)).log_metrics({"new": 1.0}, step=0)
    assert rows_of(tmp_path) == [{"new": "1.0", "step": "0"}]
