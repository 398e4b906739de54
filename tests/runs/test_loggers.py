"""The loggers: what metrics.csv holds after restarts, and that no failure of theirs ends a run."""

import csv
import errno
import warnings

import pytest
import torch

from lightning_ras2s.runs.best_effort import best_effort, warn_once
from lightning_ras2s.runs.loggers import MetricsFile, Wandb


@pytest.fixture(autouse=True)
def forget_warnings():
    warn_once.cache_clear()


def rows(folder):
    with (folder / "metrics.csv").open() as file:
        return [{k: v for k, v in row.items() if v} for row in csv.DictReader(file)]


def test_a_row_is_in_the_file_as_soon_as_it_is_logged(tmp_path):
    log = MetricsFile(str(tmp_path))
    log.log_metrics({"loss": torch.tensor(0.5)}, step=0)
    assert rows(tmp_path) == [{"loss": "0.5", "step": "0"}]
    log.log_metrics({"loss": 0.25}, step=1)
    assert rows(tmp_path)[1:] == [{"loss": "0.25", "step": "1"}]


def test_new_columns_keep_the_rows_before(tmp_path):
    log = MetricsFile(str(tmp_path))
    for step, metrics in enumerate([{"b": 1}, {"b": 2}, {"a": 3}, {"b": 4}]):
        log.log_metrics(metrics, step)
    values = [{"b": "1"}, {"b": "2"}, {"a": "3"}, {"b": "4"}]
    assert rows(tmp_path) == [v | {"step": str(n)} for n, v in enumerate(values)]
    assert {p.name for p in tmp_path.iterdir()} == {"metrics.csv"}


@pytest.mark.parametrize(
    ("metrics", "step", "kept"),
    [
        ({"loss": 9}, 2, 5),  # all: it goes on behind them
        ({"loss": 9}, 1, 3),  # from the checkpoint of step 1: the same step comes again
        ({"val": 9}, 1, 4),  # from the checkpoint before the validation of step 1
        ({"loss": 9}, 0, 0),
    ],
)
def test_a_training_that_goes_on_replaces_what_comes_again(tmp_path, metrics, step, kept):
    log = MetricsFile(str(tmp_path))
    logged = [
        ({"loss": 0}, 0),
        ({"rate": 1}, 0),
        ({"val": 2}, 0),
        ({"loss": 3}, 1),
        ({"val": 4}, 1),
    ]
    for entry in logged:
        log.log_metrics(*entry)
    with (tmp_path / "metrics.csv").open("a") as file:
        file.write("7,")  # a kill came in between
    again = MetricsFile(str(tmp_path))
    again.log_metrics(metrics, step)
    again.log_metrics({"new": 1}, step)
    expected = [*logged[:kept], (metrics, step), ({"new": 1}, step)]
    assert rows(tmp_path) == [
        {key: str(value) for key, value in (m | {"step": s}).items()} for m, s in expected
    ]


def test_a_full_disk_is_told_once_and_nothing_is_lost_when_it_has_room_again(tmp_path, monkeypatch):
    log = MetricsFile(str(tmp_path))
    log.log_metrics({"loss": 0}, 0)

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.open", full)
        patch.setattr("pathlib.Path.write_bytes", full)
        with pytest.warns(UserWarning, match=r"metrics.csv cannot be written .*No space left"):
            log.log_metrics({"loss": 1}, 1)
        with warnings.catch_warnings(action="error"):  # it is told once
            log.log_metrics({"loss": 2}, 2)
            log.log_metrics({"val": 3}, 2)
    assert rows(tmp_path) == [{"loss": "0", "step": "0"}]
    log.log_metrics({"loss": 3}, 3)
    assert [(row["step"], row.get("loss"), row.get("val")) for row in rows(tmp_path)] == [
        ("0", "0", None),
        ("1", "1", None),
        ("2", "2", None),
        ("2", None, "3"),
        ("3", "3", None),
    ]


def test_a_row_half_written_to_a_full_disk_is_written_over(tmp_path):
    log = MetricsFile(str(tmp_path))
    log.log_metrics({"a": 1, "b": 1}, 0)
    with (tmp_path / "metrics.csv").open("a") as file:
        file.write("2,2")
    log.log_metrics({"a": 3, "b": 3}, 1)
    assert [row["a"] for row in rows(tmp_path)] == ["1", "3"]


def test_only_the_errors_that_are_meant_are_unessential():
    full = r"no picture \(OSError: full\); the run goes on"
    with pytest.warns(UserWarning, match=full), best_effort("no picture"):
        raise OSError("full")
    with pytest.raises(ValueError, match="a bug"), best_effort("no picture"):
        raise ValueError("a bug")


def test_without_a_connection_wandb_keeps_the_run_on_the_disk(tmp_path, monkeypatch):
    import wandb

    begun = []

    def init(**options):
        begun.append(wandb.setup().settings.mode)
        if len(begun) == 1:
            raise wandb.errors.CommError("no route")
        return "a run"

    monkeypatch.setattr(wandb, "init", init)
    try:
        log = Wandb(save_dir=str(tmp_path))
        with pytest.warns(UserWarning, match=r"W&B cannot be reached.*no route"):
            assert log.experiment == "a run"
        assert log.experiment == "a run"
        assert begun[1:] == ["offline"]
    finally:
        wandb.teardown()


def test_wandb_may_fail_at_any_time(tmp_path):
    class Gone:
        config = property(lambda self: self)

        def __getattr__(self, name):
            raise ConnectionResetError("Connection lost")

    log = Wandb(save_dir=str(tmp_path))
    log._experiment = Gone()
    with pytest.warns(UserWarning, match="no numbers.*Connection lost"):
        log.log_metrics({"a": 1}, 0)
    with pytest.warns(UserWarning, match="no configuration.*Connection lost"):
        log.log_hyperparams({"a": 1})
