"""Trials of runners that are gone, and search spaces in terms of Optuna."""

import os
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState
from rich.console import Console

from lightning_ras2s.sweep import parallel, space
from lightning_ras2s.sweep.definition import read_sweep
from lightning_ras2s.sweep.runner import Runner
from lightning_ras2s.sweep.study import LOST_AFTER_S, SharedStudy
from lightning_ras2s.sweep.training import LOG, Training, run_dir_option
from tests.sweep import toy


def shared(folder, **changes):
    return SharedStudy(read_sweep(Path(toy.put(folder, **changes))), folder / "sweep", count=None)


def test_a_trial_on_another_machine_is_lost_when_it_shows_no_life(folder, monkeypatch):
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(socket, "gethostname", lambda: "elsewhere")
        theirs = shared(folder).next_trial()
    ours = shared(folder)
    assert ours.next_trial().params == {"x": 2}  # theirs is x=1
    log = ours.run_dir(theirs) / LOG
    os.utime(log, (time.time(), time.time() - LOST_AFTER_S - 60))
    assert [ours.next_trial().params["x"] for _ in range(3)] == [3, 4, 1]
    assert ours.next_trial() is None
    assert ours.trials(TrialState.FAIL)[0].number == theirs.number


def test_a_trial_on_this_machine_is_lost_when_its_runner_is_gone(folder, monkeypatch):
    study = shared(folder)
    gone = 2**22 + 1  # above any process number
    with monkeypatch.context() as other:
        other.setattr(os, "getpid", lambda: gone)
        study.next_trial()
    assert [study.next_trial().params["x"] for _ in range(4)] == [2, 3, 4, 1]


def test_runners_that_ask_at_once_get_as_many_trials_as_wanted(folder):
    sweep = read_sweep(Path(toy.put(folder, {"x": {"min": 0.0, "max": 1.0}}, method="random")))
    studies = [SharedStudy(sweep, folder / "sweep", count=12) for _ in range(4)]

    def take_all(study):
        return list(iter(study.next_trial, None))

    with ThreadPoolExecutor(4) as pool:
        trials = [trial for taken in pool.map(take_all, studies) for trial in taken]
    assert sorted(trial.number for trial in trials) == list(range(12))
    assert len({trial.params["x"] for trial in trials}) == 12


def test_a_runner_gives_up_a_trial_that_was_taken_for_lost(folder):
    study, console = shared(folder), Console(record=True, width=200)
    trial = study.next_trial()
    study.release(trial)
    Runner(study, 1, console)._train(trial, {})
    assert "given up: it was taken for lost" in console.export_text()
    assert not study.trials(TrialState.COMPLETE)


def test_a_metric_is_read_while_it_is_written(folder):
    training = Training(["true"], folder, "val/score", {})
    training.process.wait()
    assert training.validations() == []
    file = folder / "metrics.csv"
    file.write_text("epoch,train/loss,val/score\n0,0.5,\n0,,30.5\n1,0.4,\n1,,31.2")
    assert training.validations() == [(1, 30.5)]  # the last number may go on
    file.write_text(file.read_text() + "5\n")
    assert training.validations() == [(1, 30.5), (2, 31.25)]


def test_a_training_that_does_not_listen_is_killed(folder, monkeypatch):
    monkeypatch.setattr("lightning_ras2s.sweep.training.GRACE_S", 0.01)
    deaf = "trap '' TERM; echo ready; read forever < pipe"
    os.mkfifo(folder / "pipe")
    training = Training(["sh", "-c", deaf], folder, "val/score", {})
    while "ready" not in (folder / LOG).read_text():
        training.has_ended()
    training.end()
    assert training.process.returncode == -9
    assert training.problem() == "SIGKILL, ready"
    assert training.process.args[-1] == run_dir_option(folder)


def test_an_exit_code_of_a_signal_is_told_as_one(folder):
    training = Training(["sh", "-c", "echo epoch 3; exit 143"], folder, "val/score", {})
    training.process.wait()
    assert training.problem() == "ended from outside by a signal, epoch 3"


@pytest.mark.parametrize(
    ("parameter", "expected"),
    [
        ("{value: a}", CategoricalDistribution(["a"])),
        ("{values: [1, 2.5, true, b]}", CategoricalDistribution([1, 2.5, True, "b"])),
        ("{values: [[1, 2]]}", CategoricalDistribution(["[1, 2]"])),
        ("{min: 1, max: 4}", IntDistribution(1, 4)),
        ("{min: 1.0, max: 4.0}", FloatDistribution(1, 4)),
        ("{distribution: uniform, min: 1, max: 4}", FloatDistribution(1, 4)),
        (
            "{distribution: log_uniform_values, min: 0.1, max: 4}",
            FloatDistribution(0.1, 4, log=True),
        ),
        ("{distribution: q_uniform, min: 2, max: 8, q: 3}", IntDistribution(2, 8, step=3)),
        (
            "{distribution: q_uniform, min: 0.5, max: 2, q: 0.5}",
            FloatDistribution(0.5, 2, step=0.5),
        ),
    ],
)
def test_distributions(parameter, expected):
    assert space.distribution(yaml.safe_load(parameter)) == expected


def test_a_grid_has_what_is_counted_off():
    distributions = {
        "a": IntDistribution(2, 8, step=3),
        "b": FloatDistribution(0.5, 1.5, step=0.5),
    }
    assert space.grid(distributions) == [
        {"a": a, "b": b} for a in (2, 5, 8) for b in (0.5, 1.0, 1.5)
    ]


@pytest.mark.parametrize(
    ("rule", "cuts"),
    [
        ({"min_iter": 2}, [2, 6, 18]),  # W&B's default of eta is 3
        ({"min_iter": 1, "eta": 2}, [1, 2, 4, 8, 16]),
        ({"max_iter": 27, "s": 2, "eta": 3}, [3, 9]),
        ({"max_iter": 4, "s": 9, "eta": 2}, [1, 2]),
    ],
)
def test_hyperband_cuts_where_wandb_does(rule, cuts, folder):
    study = shared(folder, early_terminate={"type": "hyperband", **rule})
    good = study.next_trial()
    for step in range(1, 30):
        assert not study.report(good, step, 9.0)
    found = []
    bad = study.next_trial()
    for step in range(1, 28):  # as good as the other until just now
        trial = study.study.ask(study.space)
        for before in range(1, step):
            study.report(trial, before, 9.0)
        if study.report(trial, step, 1.0):
            found.append(step)
    assert bad.params
    assert found == cuts


def test_axes_have_readable_marks():
    rates = parallel._axis(FloatDistribution(1e-4, 1e-2, log=True), [1e-3, 1e-4])
    assert rates["ticktext"] == ["0.0001", "0.0002", "0.0005", "0.001", "0.002", "0.005", "0.01"]
    assert rates["values"] == pytest.approx([-3, -4])
    losses = parallel._axis(CategoricalDistribution(["l1", "l2", "sam"]), ["sam", "l1"])
    assert (losses["values"], losses["ticktext"]) == ([2, 0], ["l1", "l2", "sam"])
