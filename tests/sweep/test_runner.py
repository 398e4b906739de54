"""Sweeps as a user runs them, on a training that is quick and whose score is known."""

import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest
import yaml

from lightning_ras2s.sweep.__main__ import main
from lightning_ras2s.sweep.runner import _set_by_signals
from tests.sweep import toy

HOUSE = Path(__file__).parents[2]
RUNS = Path("runs/sweeps/toy")


def wait_for(condition):
    """Waits, a minute at most."""
    for _ in range(6000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it never came to that")


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def argv(number):
    """The options that a trial was given."""
    words = (RUNS / f"trial-{number:04d}" / "argv").read_text().split("\0")
    return dict(word.removeprefix("--").split("=", 1) for word in words)


def test_a_grid_runs_each_point_once_in_order(folder):
    parameters = {"x": {"values": [1, 2]}, "y": {"min": 3, "max": 5}, "z": {"value": 7}}
    assert main([toy.put(folder, parameters)]) == 0
    rows = toy.rows()
    assert [(r["x"], r["y"], r["z"]) for r in rows] == [
        (x, y, "7") for x in "12" for y in ("3", "4", "5")
    ]
    assert {r["state"] for r in rows} == {"finished"}
    for number, row in enumerate(rows):
        assert argv(number) == {
            **{name: row[name] for name in "xyz"},
            "run_dir": str(RUNS / f"trial-{number:04d}"),
        }


def test_the_value_of_a_trial_is_its_best_validation(folder):
    main([toy.put(folder)])
    assert [(r["number"], float(r["value"]), r["epochs"]) for r in toy.rows()] == [
        ("0", 3, "3"),
        ("1", 4, "3"),
        ("2", 5, "3"),
        ("3", 6, "3"),
    ]
    main([toy.put(folder, goal="minimize"), "--folder", "least"])
    assert [float(r["value"]) for r in toy.rows(Path("least"))] == [1, 2, 3, 4]


@pytest.mark.parametrize(("goal", "best"), [("maximize", 4), ("minimize", 1)])
def test_best_yaml_is_the_config_of_the_best_trial(goal, best, folder, capsys):
    main([toy.put(folder, goal=goal)])
    text = (RUNS / "best.yaml").read_text()
    assert yaml.safe_load(text) == {"x": best}
    assert text.startswith(f"# trial {best - 1}: val/score")
    out = capsys.readouterr().out
    lines = [line for line in out.splitlines() if line.startswith("│")]
    order = [line.split("│")[3].strip() for line in lines]
    assert order == (["4", "3", "2", "1"] if goal == "maximize" else ["1", "2", "3", "4"])
    assert f"make train EXP={RUNS / 'best.yaml'}" in out


def test_the_page_needs_no_network_and_draws_one_parameter(folder):
    main([toy.put(folder, name="four numbers")])
    page = (RUNS / "parallel.html").read_text()
    assert "four numbers: 4 finished trials" in page
    assert '"values":[3.0,4.0,5.0,6.0]' in page
    assert '<script src="http' not in page
    assert len(page) > 1e6  # plotly's own code


def test_values_reach_the_training_as_they_are(folder):
    values = {
        "x": {"value": 1},
        "loss": {"values": ["l2 + 0.001*sam"]},
        "rate": {"values": [1e-05]},
        "flag": {"values": [True, False]},
        "nothing": {"value": None},
        "noise": {"value": ["mixture", "blind"]},
    }
    assert main([toy.put(folder, values)]) == 0
    first, second = argv(0), argv(1)
    assert (first.pop("flag"), second.pop("flag")) == ("true", "false")
    assert first.pop("run_dir") != second.pop("run_dir")
    assert first == second
    assert first == {
        "x": "1",
        "loss": "l2 + 0.001*sam",
        "rate": "1e-05",
        "nothing": "null",
        "noise": '["mixture", "blind"]',
    }


@pytest.mark.parametrize("method", ["random", "bayes"])
def test_the_same_sweep_draws_the_same_points_also_in_two_goes(method, folder):
    parameters = {"x": {"distribution": "log_uniform_values", "min": 1.0, "max": 100.0}}
    sweep = toy.put(folder, parameters, method=method)
    assert main([sweep, "--count", "12"]) == 0
    drawn = toy.points()
    assert len(set(drawn)) == 12
    assert all(1 <= float(x) <= 100 for x in drawn)
    for count in ("5", "12", "12"):
        assert main([sweep, f"--count={count}", "--folder=again"]) == 0
        assert len(toy.rows(Path("again"))) == int(count)
    assert toy.points(folder=Path("again")) == drawn


def test_bayes_learns_where_the_score_is_high(folder):
    parameters = {"x": {"min": 0.0, "max": 1000.0}}
    drawn = {}
    for method in ("random", "bayes"):
        main([toy.put(folder, parameters, method=method), "--count=16", f"--folder={method}"])
        drawn[method] = [float(x) for x in toy.points(folder=Path(method))[10:]]
    assert sum(drawn["bayes"]) / 6 > sum(drawn["random"]) / 6 + 100
    assert sorted(drawn["bayes"])[1] > 500  # one of the six may explore


def test_hyperband_stops_the_worse_at_once(folder, monkeypatch):
    # The worse would go on for minutes: it is ended, not waited for.
    monkeypatch.setenv("HOLD_AT", "1")
    parameters = {"x": {"values": [3, 1, 4]}}
    rule = {"type": "hyperband", "min_iter": 1, "eta": 2}
    assert main([toy.put(folder, parameters, early_terminate=rule)]) == 0
    assert toy.points("finished") == ["3", "4"]
    assert toy.points("stopped early") == ["1"]
    row = toy.rows()[1]
    assert (float(row["value"]), row["epochs"]) == (2, "1")
    assert not is_running((RUNS / "trial-0001/pid").read_text())
    assert yaml.safe_load((RUNS / "best.yaml").read_text()) == {"x": 4}


def test_a_failing_trial_is_told_and_the_sweep_goes_on(folder, capsys, monkeypatch):
    monkeypatch.setenv("FAIL_AT", "2")
    sweep = toy.put(folder)
    assert main([sweep]) == 0
    assert (toy.points("finished"), toy.points("failed")) == (["1", "3", "4"], ["2"])
    log = RUNS / "trial-0001/output.log"
    told = f"trial 1 (x=2): failed: exit code 3, error: no memory left (all of it: {log})"
    assert told in capsys.readouterr().out.splitlines()
    assert "loading" in log.read_text()
    monkeypatch.delenv("FAIL_AT")
    assert main([sweep]) == 0  # the same command tries it again
    assert toy.points("finished") == ["1", "3", "4", "2"]


def test_if_all_fail_the_command_fails(folder, capsys, monkeypatch):
    monkeypatch.setenv("FAIL_AT", "7")
    sweep = toy.put(folder, {"x": {"value": 7}}, method="random")
    assert main([sweep, "--count=3"]) == 1
    assert len(toy.points("failed")) == 3  # and does not try for ever
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "error: every trial failed; see runs/sweeps/toy/trial-*/output.log"
    assert not (RUNS / "best.yaml").exists()


def test_a_training_without_the_metric_has_failed(folder, capsys):
    sweep = toy.put(folder, {"x": {"value": 1}}, metric={"name": "val/typo"})
    assert main([sweep]) == 1
    assert "it logged no val/typo in runs/sweeps/toy/trial-0000/metrics.csv" in (
        capsys.readouterr().out
    )


def test_a_metric_that_is_no_number_has_failed_also_where_it_is_stopped(folder, capsys):
    rule = {"type": "hyperband", "min_iter": 1}
    sweep = toy.put(folder, {"x": {"values": [3, "nan"]}}, early_terminate=rule)
    assert main([sweep]) == 0
    assert (toy.points("finished"), toy.points("failed")) == (["3"], ["nan"])
    assert "val/score was not a number in runs/sweeps/toy/trial-0001" in capsys.readouterr().out


def test_a_command_that_cannot_be_started_has_failed(folder, capsys):
    assert main([toy.put(folder, command=["no-such-program", "${args}"])]) == 1
    out = capsys.readouterr().out
    assert "trial 3 (x=4): failed: it cannot be started: " in out
    assert "'no-such-program'" in out
    assert len(toy.points("failed")) == 4


def test_if_all_are_stopped_early_there_is_no_best(folder, capsys, monkeypatch):
    monkeypatch.setattr("lightning_ras2s.sweep.study.SharedStudy.report", lambda *_: True)
    monkeypatch.setenv("HOLD_AT", "5")
    assert main([toy.put(folder, {"x": {"value": 5}})]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "error: every trial was stopped early, so there is no best.yaml"


def test_count_is_that_of_all_goes(folder):
    sweep = toy.put(folder)
    assert main([sweep, "--count=1"]) == 0
    assert toy.points() == ["1"]
    assert main([sweep, "--count=3"]) == 0
    assert toy.points() == ["1", "2", "3"]
    assert main([sweep, "--count=3"]) == 0
    assert main([sweep, "--count=99"]) == 0
    assert main([sweep]) == 0
    assert toy.points() == ["1", "2", "3", "4"]


def test_run_cap_is_the_count_that_the_file_has(folder):
    sweep = toy.put(folder, {"x": {"min": 0, "max": 9}}, method="random", run_cap=2)
    assert main([sweep]) == 0
    assert len(toy.points()) == 2


def test_agents_train_at_once_on_gpus_of_their_own(folder, monkeypatch):
    monkeypatch.setenv("MEET", "2")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    assert main([toy.put(folder), "--agents=2"]) == 0
    assert sorted(toy.points()) == ["1", "2", "3", "4"]
    devices = {path.read_text() for path in RUNS.glob("*/device")}
    assert devices == {"5", "7"}


def test_runners_on_one_folder_share_a_sweep(folder, monkeypatch):
    monkeypatch.setenv("MEET", "2")
    parameters = {"x": {"values": list(range(10))}}
    command = toy.command(toy.put(folder, parameters), "--count=9")
    environment = os.environ | {"PYTHONPATH": str(HOUSE)}
    runners = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    told = [runner.communicate()[0] for runner in runners]
    assert [runner.returncode for runner in runners] == [0, 0]
    assert toy.points() == [str(x) for x in range(9)]
    assert all(": finished" in text for text in told)


def test_a_stopped_sweep_ends_its_training_and_goes_on_later(folder, capsys, monkeypatch):
    monkeypatch.setenv("STOP_AT", "2")
    sweep, before = toy.put(folder), signal.getsignal(signal.SIGTERM)
    assert main([sweep]) == 130
    assert signal.getsignal(signal.SIGTERM) == before
    assert "the same command goes on" in capsys.readouterr().out
    assert not is_running((RUNS / "trial-0001/pid").read_text())
    assert toy.points("interrupted") == ["2"]
    monkeypatch.delenv("STOP_AT")
    assert main([sweep]) == 0
    assert sorted(toy.points()) == ["1", "2", "3", "4"]


@pytest.mark.parametrize("status", ["stopped", "finished"])
def test_a_training_that_a_signal_ends_too_is_interrupted(status, folder, monkeypatch):
    monkeypatch.setenv("STOP_AT", "2")
    monkeypatch.setenv("QUIT_AT", "2")
    monkeypatch.setenv("STATUS", status)
    assert main([toy.put(folder)]) == 130
    state = "interrupted" if status == "stopped" else status
    assert toy.points(state)[-1] == "2"


def test_a_training_that_alone_is_ended_by_a_signal_has_failed(folder, capsys, monkeypatch):
    monkeypatch.setenv("QUIT_AT", "2")
    monkeypatch.setenv("STATUS", "stopped")
    assert main([toy.put(folder)]) == 0
    assert (toy.points("finished"), toy.points("failed")) == (["1", "3", "4"], ["2"])
    assert "trial 1 (x=2): failed: ended from outside by a signal" in capsys.readouterr().out


def test_a_signal_that_nohup_has_ignored_stays_ignored(monkeypatch):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    stop = threading.Event()
    try:
        with _set_by_signals(stop):
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop.is_set()
            os.kill(os.getpid(), signal.SIGTERM)
            assert stop.is_set()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_killed_sweep_goes_on_and_loses_nothing(folder, monkeypatch):
    sweep = toy.put(folder)
    environment = os.environ | {"PYTHONPATH": str(HOUSE), "HOLD_AT": "3"}
    runner = subprocess.Popen(toy.command(sweep), env=environment)
    held = RUNS / "trial-0002"
    wait_for(lambda: (held / "metrics.csv").exists())
    runner.kill()
    runner.wait()
    orphan = int((held / "pid").read_text())
    assert is_running(orphan)
    assert yaml.safe_load((RUNS / "best.yaml").read_text()) == {"x": 2}

    assert main([sweep]) == 0
    wait_for(lambda: not is_running(orphan))
    assert sorted(toy.points("finished")) == ["1", "2", "3", "4"]
    assert toy.points("interrupted") == ["3"]
    assert yaml.safe_load((RUNS / "best.yaml").read_text()) == {"x": 4}


def test_what_follows_two_dashes_is_given_to_every_training(folder):
    sweep = toy.put(folder)
    assert main([sweep, "--count=1", "--", "--epochs=3", "--x=9"]) == 0
    words = (RUNS / "trial-0000/argv").read_text().split("\0")
    assert words[:3] == ["--epochs=3", "--x=9", "--x=1"]  # the sweep has the last word


@pytest.mark.parametrize(
    ("experiment", "name"),
    [
        ("experiments/icvl_mixture.yaml", "toy-icvl_mixture"),
        ("runs/q/t1/config.yaml", "toy-q-t1"),
        ("runs/sweeps/width-q/best.yaml", "toy-width-q"),
    ],
)
def test_the_folder_is_named_after_sweep_and_experiment(experiment, name, folder, monkeypatch):
    Path(experiment).parent.mkdir(parents=True)
    Path(experiment).touch()
    monkeypatch.setenv("EXPERIMENT", experiment)
    main([toy.put(folder), "--count=1"])
    assert Path("runs/sweeps", name, "sweep.csv").exists()
