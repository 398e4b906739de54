"""What is wrong with a sweep is told in one line, and ends the command with code 2."""

import math
import sys
from pathlib import Path

import pytest

from lightning_ras2s.sweep.__main__ import main
from tests.sweep import toy

HYPERBAND = {"type": "hyperband", "min_iter": 2}


def told(capsys, *arguments):
    assert main(list(arguments)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": None}, "toy.yaml: the key 'method' is missing"),
        ({"method": "gird"}, "method is 'gird'; there are: grid, random, bayes"),
        ({"methd": "grid"}, "unknown key 'methd'; did you mean method?"),
        ({"metric": "val/score"}, "metric is 'val/score'"),
        ({"goal": "max"}, "metric.goal is 'max'; there are: minimize, maximize"),
        ({"parameters": {}}, "parameters is {}; name at least one"),
        ({"parameters": {"x": 3}}, "parameter x: 3 needs value, values, or min and max"),
        ({"parameters": {"x": {"min": 3}}}, "parameter x: {'min': 3} needs"),
        ({"parameters": {"x": {"values": "abc"}}}, "parameter x: values is 'abc'; give a list"),
        ({"parameters": {"m": {"parameters": {"x": {"value": 1}}}}}, "parameter m: nested"),
        (
            {"parameters": {"x": {"values": [1, 2], "probabilities": [0.1, 0.9]}}},
            "parameter x: probabilities are not known here",
        ),
        (
            {"parameters": {"x": {"distribution": "inv_log_uniform_values", "min": 1, "max": 2}}},
            "parameter x: distribution inv_log_uniform_values is known to W&B alone",
        ),
        (
            {"parameters": {"x": {"distribution": "normal", "mu": 1}}},
            "parameter x: distribution normal is known to W&B alone",
        ),
        ({"parameters": {"x": {"min": "1e-4", "max": 1.0}}}, "the bound '1e-4' is not a number"),
        ({"parameters": {"x": {"min": 1, "max": 2.5}}}, "of the bounds 1 and 2.5 one is whole"),
        ({"parameters": {"x": {"min": 5, "max": 2}}}, "parameter x: "),
        ({"parameters": {"x": {"min": 1.0, "max": 2.0}}}, "parameter x: a grid needs values"),
        ({"command": ["${interpreter}"]}, "give a list with '${args}' in it"),
        ({"command": ["${args_json}", "${args}"]}, "${args_json} cannot be filled in"),
        ({"command": ["${envvar:MISSING}", "${args}"]}, "environment variable MISSING"),
        ({"early_terminate": {"type": "median"}}, "there is only type: hyperband"),
        ({"early_terminate": {"type": "hyperband"}}, "max_iter is missing"),
        ({"early_terminate": HYPERBAND | {"eta": 1.5}}, "early_terminate.eta is 1.5"),
        ({"early_terminate": HYPERBAND | {"min_iter": 0}}, "early_terminate.min_iter is 0"),
        ({"early_terminate": HYPERBAND | {"max_iter": "9"}}, "early_terminate.max_iter is '9'"),
        (
            {"early_terminate": HYPERBAND | {"max_iter": math.inf}},
            "early_terminate.max_iter is inf",
        ),
        (
            {"early_terminate": HYPERBAND | {"strict": True}},
            "early_terminate.strict is known to W&B",
        ),
        ({"early_terminate": "hyperband"}, "early_terminate is 'hyperband'; there is only"),
        ({"early_terminate": {}}, "early_terminate is {}; there is only"),
        ({"metric": {"name": "m", "target": 3}}, "metric.target is known to W&B alone"),
        ({"run_cap": "3"}, "run_cap is '3'; give a whole number from 1"),
        ({"command": ["${envvar:lower}", "${args}"]}, "${envvar:lower} cannot be filled in"),
    ],
)
def test_a_mistake_in_the_file(changes, message, folder, capsys):
    assert message in told(capsys, toy.put(folder, **changes))
    assert not (folder / "runs").exists()


@pytest.mark.parametrize(("text", "message"), [("a: [", "is not YAML"), ("", "got None")])
def test_a_file_that_is_no_sweep(text, message, folder, capsys):
    (folder / "toy.yaml").write_text(text)
    assert message in told(capsys, "toy.yaml")


def test_an_unknown_sweep_names_those_there_are(folder, capsys):
    (folder / "regions.yaml").touch()
    toy.put(folder)
    line = told(capsys, "nope.yaml")
    assert line == "error: there is no sweep 'nope' (nope.yaml); there are: regions, toy"


def test_an_empty_early_terminate_is_a_mistake(folder, capsys):
    sweep = Path(toy.put(folder))
    sweep.write_text(sweep.read_text() + "early_terminate:\n")
    assert "early_terminate is None; there is only type: hyperband" in told(capsys, str(sweep))
    assert not (folder / "runs").exists()


def test_an_unknown_experiment_names_those_there_are(folder, capsys, monkeypatch):
    (folder / "experiments").mkdir()
    for name in ("defaults", "quick", "blind"):
        (folder / f"experiments/{name}.yaml").touch()
    monkeypatch.setenv("EXPERIMENT", "experiments/nope.yaml")
    line = told(capsys, toy.put(folder, command=["${envvar:EXPERIMENT}", "${args}"]))
    assert line.endswith("experiment 'nope' (experiments/nope.yaml); there are: blind, quick")
    assert not (folder / "runs").exists()


@pytest.mark.parametrize(
    ("option", "message"),
    [("--count=0", "COUNT is 0"), ("--count=-2", "COUNT is -2"), ("--agents=0", "AGENTS is 0")],
)
def test_numbers_that_make_no_sense(option, message, folder, capsys):
    assert message in told(capsys, toy.put(folder), option)


@pytest.mark.parametrize("method", ["random", "bayes"])
def test_a_sweep_without_end_asks_for_a_count(method, folder, capsys):
    assert f"a {method} sweep never ends; say COUNT" in told(capsys, toy.put(folder, method=method))


def test_another_sweep_in_the_same_folder_is_refused(folder, capsys, monkeypatch):
    for name in ("a.yaml", "b.yaml"):
        (folder / name).touch()
    monkeypatch.setenv("EXPERIMENT", "a.yaml")
    command = [sys.executable, str(toy.FAKE), "--e=${envvar:EXPERIMENT}", "${args}"]
    assert main([toy.put(folder, command=command), "--folder=f", "--count=1"]) == 0
    changed = toy.put(folder, {"x": {"values": [1, 2]}}, command=command)
    line = told(capsys, changed, "--folder=f")
    assert "begun with another parameters; give this one another, FOLDER=" in line
    same = toy.put(folder, command=command, run_cap=2)
    assert main([same, "--folder=f"]) == 0
    monkeypatch.setenv("EXPERIMENT", "b.yaml")
    assert "begun with another environment; give" in told(capsys, same, "--folder=f")


@pytest.mark.parametrize("package", ["optuna", "plotly"])
def test_a_missing_package_is_told_with_its_remedy(package, folder, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    for name in [n for n in sys.modules if n.startswith("lightning_ras2s.sweep.")]:
        monkeypatch.delitem(sys.modules, name)
    line = told(capsys, toy.put(folder))
    assert package in line
    assert "pip install optuna plotly" in line
