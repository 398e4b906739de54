"""The sweeps of experiments/sweeps: read by W&B, by Optuna, and by the command that they start."""

import csv
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from lightning_ras2s import RAS2S, cli
from lightning_ras2s.losses import parse_loss
from lightning_ras2s.runs.start import RUN_DIR
from lightning_ras2s.sweep import space
from lightning_ras2s.sweep.__main__ import main
from lightning_ras2s.sweep.definition import fill_command, read_sweep
from tests.cubes import FOLDER, write_cubes

HOUSE = Path(__file__).parents[2]
SWEEPS = sorted((HOUSE / "experiments" / "sweeps").glob("*.yaml"))
NETWORK = "model.network.init_args."

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def quickstart(folder, monkeypatch):
    """In the repository, on the quickstart; what the command line sets is set back afterwards."""
    monkeypatch.chdir(HOUSE)
    monkeypatch.setenv("EXPERIMENT", "experiments/quickstart.yaml")
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setattr("sys.argv", ["lightning_ras2s"])
    for variable in ("DATA_DIR", "CACHE_DIR", "ARTIFACT_DIR", "SILENT"):
        monkeypatch.setenv(f"WANDB_{variable}", "")
        monkeypatch.delenv(f"WANDB_{variable}")
    monkeypatch.setenv(RUN_DIR, "")


@pytest.fixture(params=SWEEPS, ids=lambda path: path.stem)
def sweep(request):
    """Each sweep."""
    return request.param


def values(parameter):
    """All values of a parameter, or its bounds."""
    return parameter.get("values") or [parameter["min"], parameter["max"]]


def test_the_first_line_is_the_command(sweep):
    config = read_sweep(sweep)
    text = sweep.read_text()
    count = "" if config["method"] == "grid" else r" COUNT="
    assert text.startswith(f"# make sweep SWEEP={sweep.stem}{count}")
    assert config["name"] == sweep.stem


def test_the_command_takes_every_value(sweep, capsys):
    config = read_sweep(sweep)
    python, dash, program, *words = fill_command(config, {})
    assert (python, dash, program) == (sys.executable, "-m", "lightning_ras2s")
    for name, parameter in config["parameters"].items():
        # An option that is repeated is checked each time; the last one holds.
        words += [f"--{name}={value}" for value in values(parameter)]
    with pytest.raises(SystemExit):
        cli.main([*words, "--run_dir=unused", "--print_config"])
    found = yaml.safe_load(capsys.readouterr().out)
    for name, parameter in config["parameters"].items():
        value = found
        for part in name.split("."):
            value = value[part]
        assert value == values(parameter)[-1]


def test_the_model_takes_every_value(sweep):
    for name, parameter in read_sweep(sweep)["parameters"].items():
        for value in values(parameter):
            if name.startswith(NETWORK):
                RAS2S(**{name.removeprefix(NETWORK): value})
            elif name == "model.loss":
                assert parse_loss(value)
            else:
                assert (name, value > 0) == ("model.learning_rate", True)


def test_the_metric_is_what_the_best_checkpoint_is_chosen_by(sweep):
    defaults = yaml.safe_load((HOUSE / "experiments/defaults.yaml").read_text())
    checkpoint = defaults["checkpoints"]
    metric = read_sweep(sweep)["metric"]
    assert metric == {"name": checkpoint["monitor"], "goal": f"{checkpoint['mode']}imize"}


def test_wandb_and_its_optuna_read_the_same_space(sweep):
    twin = pytest.importorskip("wandb.sdk.sweeps.scheduler.optuna")  # since 0.31
    from wandb.apis.public.sweeps import _validate_config_and_fill_distribution

    config = read_sweep(sweep)
    filled = _validate_config_and_fill_distribution(config)
    assert twin.search_space_from_sweep_config(filled["parameters"]) == space.search_space(config)


def test_wandb_starts_the_same_command(sweep):
    from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

    config = read_sweep(sweep)
    point = {name: values(p)[0] for name, p in config["parameters"].items()}
    macros = create_sweep_command_args({"args": {k: {"value": v} for k, v in point.items()}})
    macros |= {"env": [], "interpreter": [sys.executable], "program": [config["program"]]}
    theirs = []
    for word in create_sweep_command(list(config["command"])):
        theirs += macros[word[2:-1]] if word.startswith("${") else [word]
    assert fill_command(config, point) == theirs


def test_wandb_finds_no_fault(sweep):
    jsonschema = pytest.importorskip("jsonschema")
    package = importlib.util.find_spec("sweeps")
    if package is None:
        pytest.skip("W&B's package sweeps, which has its schema, is not there (it needs numpy<2)")
    schema = Path(package.origin).with_name("config") / "schema.json"
    jsonschema.validate(read_sweep(sweep), json.loads(schema.read_text()))


@pytest.mark.parametrize(
    ("experiment", "given", "expected"),
    [
        ("icvl_mixture", {}, "offline width icvl_mixture"),
        ("mine.yaml", {}, "offline width mine.yaml"),
        (
            "icvl_mixture",
            {"COUNT": "9", "SWEEP_ID": "abc"},
            " width icvl_mixture --count=9 --sweep_id=abc",
        ),
    ],
)
def test_an_array_of_slurm_runs_the_command_in_each_task(experiment, given, expected, tmp_path):
    python = tmp_path / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho "${WANDB_MODE:-}" "$@"\n')
    python.chmod(0o755)
    script = HOUSE / "experiments/slurm/sweep.sh"
    environment = {"PATH": os.environ["PATH"], **given}
    result = subprocess.run(
        ["bash", str(script), "width", experiment],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.replace("-m lightning_ras2s sweep ", "").strip("\n") == expected


@pytest.mark.slow
def test_the_best_of_a_real_sweep_runs_again_to_the_very_score(tmp_path, monkeypatch):
    rate = read_sweep(HOUSE / "experiments/sweeps/learning_rate.yaml")
    rate |= {"method": "grid", "parameters": {"model.learning_rate": {"values": [1e-05, 0.01]}}}
    (tmp_path / "two.yaml").write_text(yaml.safe_dump(rate))
    write_cubes(tmp_path / "cubes")
    few = ("--trainer.max_steps=2", "--data.patches_per_epoch=16")
    tiny = (*FOLDER, f"--data.init_args.path={tmp_path / 'cubes'}", *few)
    monkeypatch.setenv("EXPERIMENT", "experiments/folder.yaml")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    folder = tmp_path / "sweep"
    assert main([str(tmp_path / "two.yaml"), f"--folder={folder}", "--", *tiny]) == 0
    with (folder / "sweep.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["model.learning_rate"] for row in rows] == ["1e-05", "0.01"]
    scores = [float(row["value"]) for row in rows]
    assert scores[0] != scores[1]
    best = yaml.safe_load((folder / "best.yaml").read_text())
    assert best["model"]["learning_rate"] == (1e-05, 0.01)[scores[1] > scores[0]]
    assert best["trainer"]["default_root_dir"] == "${run_dir}"

    again = tmp_path / "again"
    files = ("-c", "experiments/defaults.yaml", "-c", str(folder / "best.yaml"))
    assert cli.main(["fit", *files, f"--run_dir={again}"]) == 0
    with (again / "metrics.csv").open() as file:
        logged = [row["val/psnr_db"] for row in csv.DictReader(file) if row["val/psnr_db"]]
    assert [float(score) for score in logged] == [max(scores)]
