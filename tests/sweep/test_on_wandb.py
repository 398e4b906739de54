"""A sweep on W&B, of which there is a fake: the right calls are made."""

import os
import sys
from types import SimpleNamespace

import pytest
from wandb import errors

from lightning_ras2s.runs.account import has_account
from lightning_ras2s.sweep import on_wandb
from lightning_ras2s.sweep.__main__ import main
from tests.sweep import toy

AGENT = [sys.executable, "-m", "wandb", "agent", "--project", "lightning_ras2s"]


@pytest.fixture
def wandb(monkeypatch):
    """W&B with an account; notes the sweeps that are created and the agents that are started."""
    fake = SimpleNamespace(account=True, sweeps=[], agents=[], ended=[], error=None)
    fake.codes = iter([0, 3])

    def login(prompt, verify):
        assert (prompt, verify) == (False, False)  # neither asks nor waits for a network
        return fake.account

    def sweep(config, project, entity):
        if fake.error:
            raise fake.error
        fake.sweeps.append((config, project, entity))
        return "abc123"

    def start(command, env):
        fake.agents.append((command, env))
        return SimpleNamespace(wait=wait, terminate=lambda: fake.ended.append(command))

    def wait():
        code = next(fake.codes)
        if code == "Ctrl-C":
            raise KeyboardInterrupt
        return code

    module = SimpleNamespace(login=login, sweep=sweep, errors=errors)
    monkeypatch.setitem(sys.modules, "wandb", module)
    monkeypatch.setattr(on_wandb.subprocess, "Popen", start)
    monkeypatch.delenv("WANDB_MODE")
    return fake


def test_with_an_account_the_sweep_runs_on_wandb(folder, wandb):
    parameters = {"x": {"distribution": "normal", "mu": 3}}  # which Optuna does not have
    sweep = toy.put(folder, parameters, method="bayes")
    assert main([sweep, "--count=5", "--agents=2", "--", "--fast=1"]) == 3  # the worst agent's
    ((config, project, entity),) = wandb.sweeps
    assert (project, entity) == ("lightning_ras2s", None)
    assert config["parameters"] == parameters
    assert config["run_cap"] == 5  # of all agents together
    assert config["command"][-2:] == ["--fast=1", "${args}"]
    assert [command for command, _ in wandb.agents] == [[*AGENT, "abc123"]] * 2
    path = wandb.agents[0][1]["PATH"].split(os.pathsep)
    assert os.path.samefile(path[0], os.path.dirname(sys.executable))  # noqa: PTH120, PTH121
    assert not (folder / "runs").exists()


def test_each_of_several_agents_has_a_gpu(folder, wandb, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    main([toy.put(folder), "--agents=2"])
    assert [env["CUDA_VISIBLE_DEVICES"] for _, env in wandb.agents] == ["5", "7"]


def test_project_and_entity_of_the_file_are_used(folder, wandb):
    assert main([toy.put(folder, project="mine", entity="team")]) == 0
    assert wandb.sweeps[0][1:] == ("mine", "team")
    assert wandb.agents[0][0][3:] == ["agent", "--project", "mine", "--entity", "team", "abc123"]


def test_ctrl_c_ends_the_agents(folder, wandb, capsys):
    wandb.codes = iter([0, "Ctrl-C", 0, 0])
    assert main([toy.put(folder), "--agents=2"]) == 130
    assert len(wandb.ended) == 2
    assert capsys.readouterr().err == ""


def test_what_wandb_refuses_is_told_in_one_line(folder, wandb, capsys):
    wandb.error = errors.CommError("no such\nentity")
    assert main([toy.put(folder)]) == 2
    assert capsys.readouterr().err == "error: W&B does not take the sweep: no such entity\n"


@pytest.mark.parametrize("option", ["--count=0", "--agents=0"])
def test_numbers_that_make_no_sense_start_nothing(option, folder, wandb, capsys):
    assert main([toy.put(folder), option]) == 2
    assert "is 0; give a number from 1" in capsys.readouterr().err
    assert (wandb.sweeps, wandb.agents) == ([], [])


def test_a_sweep_id_joins_a_sweep(folder, wandb):
    sweep = toy.put(folder)
    assert main([sweep, "--sweep_id=team/lightning_ras2s/xyz", "--count=2"]) == 0
    assert wandb.sweeps == []
    ((command, _),) = wandb.agents
    assert command == [*AGENT, "--count", "2", "team/lightning_ras2s/xyz"]


@pytest.mark.parametrize(
    ("mode", "account", "expected"),
    [
        (None, True, True),
        (None, False, False),
        ("online", True, True),
        ("offline", True, False),
        ("disabled", True, False),
    ],
)
def test_wandb_is_used_where_it_is_on_and_logged_in(mode, account, expected, wandb, monkeypatch):
    wandb.account = account
    if mode:
        monkeypatch.setenv("WANDB_MODE", mode)
    assert has_account() is expected


def test_online_without_an_account_is_a_mistake(folder, wandb, capsys, monkeypatch):
    wandb.account = False
    monkeypatch.setenv("WANDB_MODE", "online")
    assert main([toy.put(folder)]) == 2
    assert "wandb login" in capsys.readouterr().err


def test_the_experiment_is_asked_for_before_a_sweep_is_created(folder, wandb, capsys):
    sweep = toy.put(folder, command=["${envvar:EXPERIMENT}", "${args}"])
    assert main([sweep]) == 2
    assert "EXPERIMENT, which is not set" in capsys.readouterr().err
    assert wandb.sweeps == []
