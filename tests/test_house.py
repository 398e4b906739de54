"""The house's rules: what imports what, and files that must agree with each other."""

import ast
import dataclasses
import importlib
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from matplotlib import pyplot as plt
from packaging.requirements import Requirement

from lightning_ras2s import RAS2S
from tests.make import MAKEFILE, outside_make

HOUSE = Path(__file__).parents[1]
PROJECT = tomllib.loads((HOUSE / "pyproject.toml").read_text())["project"]
REQUIREMENTS = [
    Requirement(text) for text in PROJECT["dependencies"] + PROJECT["optional-dependencies"]["dev"]
]
TARGETS = set(re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)[1].split())
needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


def test_datamodules_never_import_the_framework():
    for path in HOUSE.glob("datamodules/**/*.py"):
        assert not [m for m in imports(path) if m.startswith("lightning_ras2s")], path


def test_networks_import_torch_and_their_own_parts_only():
    for path in HOUSE.glob("lightning_ras2s/networks/**/*.py"):
        for module in imports(path):
            ours = module.startswith("lightning_ras2s.networks")
            allowed = ours or module.split(".")[0] in {"torch", *sys.stdlib_module_names}
            assert allowed, f"{path} imports {module}"


def test_networks_have_no_device_strings():
    for path in HOUSE.glob("lightning_ras2s/networks/**/*.py"):
        assert not re.search(r"""["'](cuda|cpu|mps)""", path.read_text()), path


def test_importing_the_network_does_not_import_what_is_heavy_or_optional():
    code = (
        "import sys, lightning_ras2s, datamodules; "
        "heavy = ('lightning', 'wandb', 'omegaconf', 'jsonargparse'); "
        "print([m for m in heavy if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=HOUSE, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


def test_conda_users_get_the_same_packages():
    renamed = {"torch": "pytorch", "OpenEXR": "openexr-python", "lmdb": "python-lmdb"}
    renamed["PyWavelets"] = "pywavelets"
    ours = {renamed.get(r.name, r.name): str(r.specifier) for r in REQUIREMENTS}
    ours["python"] = PROJECT["requires-python"]
    *listed, by_pip = yaml.safe_load((HOUSE / "environment.yml").read_text())["dependencies"]
    listed += [text for text in by_pip["pip"] if not text.startswith("-")]
    listed = [Requirement(text) for text in listed]
    theirs = {r.name: str(r.specifier) for r in listed}
    # pip itself, what builds the kernels, and what jsonargparse's extra "signatures" stands for
    for name in ("pip", "cxx-compiler", "typeshed-client", "docstring_parser"):
        theirs.pop(name)
    assert theirs == ours


def test_constraints_pin_every_dependency_within_its_range():
    lines = (HOUSE / "constraints.txt").read_text().splitlines()
    pinned = dict(line.lower().split("==") for line in lines if not line.startswith("#"))
    for requirement in REQUIREMENTS:
        assert requirement.specifier.contains(pinned[requirement.name.lower()]), requirement


def test_readme_names_commands_that_exist():
    readme = (HOUSE / "README.md").read_text()
    named = set(re.findall(r"\bmake ([a-z][a-z-]+)", readme))
    assert {"train", "test", "evaluate"} <= named <= TARGETS
    for path in re.findall(r"\]\(((?!http)[^)#]+)\)", readme):
        assert (HOUSE / path).exists(), path


@needs_make
def test_help_lists_every_target():
    out = subprocess.run(
        ["make", "--no-print-directory", "help"],
        cwd=HOUSE,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert {line.split()[1] for line in out.splitlines() if line.startswith("make ")} == TARGETS


def make(*arguments, **environment):
    """Runs make in this environment instead of its own."""
    return subprocess.run(
        ["make", *arguments, "INSTALLED=", f"INTERPRETER={sys.executable}"],
        cwd=HOUSE,
        capture_output=True,
        text=True,
        check=False,
        env=outside_make() | environment,
    )


@needs_make
@pytest.mark.slow
def test_make_trains_and_evaluates(tmp_path):
    run_dir = tmp_path / "run"
    small = "--data.test_noise=[mixture] --trainer.accelerator=cpu"
    tiny = "--model.network.channels=2 --trainer.max_epochs=1 --data.patches_per_epoch=8"
    arguments = f"ARGS={tiny} {small} --run_dir={run_dir}"
    trained = make("train", arguments, WANDB_MODE="offline", OMP_NUM_THREADS="1")
    assert trained.returncode == 0, trained.stderr
    best = run_dir / "checkpoints" / "best.ckpt"
    arguments = f"ARGS={small} --run_dir={tmp_path / 'evaluation'}"
    evaluated = make(
        "evaluate", f"CKPT={best}", arguments, WANDB_MODE="offline", OMP_NUM_THREADS="1"
    )
    assert evaluated.returncode == 0, evaluated.stderr
    rows = [run / "evaluation.csv" for run in (run_dir, tmp_path / "evaluation")]
    assert rows[0].read_bytes() == rows[1].read_bytes()
    (run_dir / "report.html").unlink()
    reported = make("report", f"RUN={run_dir}")
    assert str(run_dir / "report.html") in reported.stdout.splitlines()
    assert "<html" in (run_dir / "report.html").read_text()


@needs_make
def test_make_tells_the_sweeps_and_a_port_that_cannot_be():
    sweep = make("sweep", "SWEEP=nope")
    assert sweep.returncode == 2
    assert "there is no sweep 'nope'" in sweep.stderr
    assert "regions" in sweep.stderr
    dashboard = make("dashboard", "ARGS=--port 99999")
    assert dashboard.returncode == 2
    assert "error: no dashboard on port 99999" in dashboard.stderr


@needs_make
def test_make_evaluate_asks_for_the_weights():
    result = make("evaluate")
    assert result.returncode == 2
    assert "make evaluate EXP=quickstart CKPT=" in result.stderr


@needs_make
def test_an_unknown_experiment_ends_make_with_code_2():
    result = make("train", "EXP=nope")
    assert result.returncode == 2
    assert "there is no experiment 'nope'" in result.stderr
    assert "quickstart" in result.stderr


def test_the_readme_picture_is_drawn(tmp_path):
    torch.save(
        RAS2S(channels=2, zero_start=True, hidden_compensation=False).state_dict(),
        tmp_path / "w.pth",
    )
    figures = runpy.run_path(str(HOUSE / "docs" / "figures.py"))
    figures["main"](tmp_path / "w.pth", tmp_path / "picture.png", tmp_path / "figures")
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {
        "picture.svg",
        "picture.pdf",
    }
    picture = plt.imread(tmp_path / "picture.png")[..., :3]
    ours = plt.imread(HOUSE / "docs" / "quickstart.png")[..., :3]
    assert picture.shape == ours.shape
    clean = np.s_[120:540, 535:622]  # the clean image does not depend on the weights
    assert np.abs(picture[clean] - ours[clean]).mean() < 0.02
    assert picture[clean].std() > 0.1


def test_the_readme_table_of_methods_is_what_its_command_prints(monkeypatch, tmp_path, capsys):
    monkeypatch.syspath_prepend(HOUSE)
    methods = importlib.import_module("docs.methods")
    monkeypatch.setattr(methods, "METHODS", {"identity": "Noisy", "median": "Median"})
    methods.main(tmp_path / "picture.png")
    header, _, noisy, median = capsys.readouterr().out.splitlines()
    readme = (HOUSE / "README.md").read_text()
    assert noisy in readme
    assert median.rsplit("|", 2)[0] in readme  # all but the seconds
    assert header.split("|", 2)[2] in readme
    height, width, _ = plt.imread(tmp_path / "picture.png").shape
    assert width > height > 200


def test_the_report_of_the_weights_has_a_row_a_scene_and_noise(monkeypatch, tmp_path, capsys):
    monkeypatch.syspath_prepend(HOUSE)
    weights = importlib.import_module("docs.weights")
    monkeypatch.setattr(weights, "CASES", ("mixture", "gaussian1"))
    block = weights.IndianPines().scenes("test")[0]
    part = dataclasses.replace(block, cube=block.cube[40:60, :32], wavelengths=None, fwhm=None)
    monkeypatch.setattr(weights.IndianPines, "scenes", lambda *_: [part])
    (tmp_path / "scenes").mkdir()
    np.save(tmp_path / "scenes/other.npy", np.random.default_rng(0).random((5, 20, 30)))
    weights.main([f"--scenes={tmp_path / 'scenes'}"], tmp_path / "picture.png")
    header, _, *rows = capsys.readouterr().out.splitlines()
    assert header == "| scene | noise | Noisy | Median | RAS2S | RAS2S+S |"
    named = [tuple(cell.strip() for cell in row.split("|")[1:3]) for row in rows]
    assert named == [
        (scene, case)
        for scene in ("indian_pines_test", "other")
        for case in ("mixture", "gaussian1")
    ] + [("mean", "mixture"), ("mean", "gaussian1")]
    noisy = 20 * np.log10(255)  # of sigma 1 grey level
    assert abs(float(rows[1].split("|")[3].strip("* ")) - noisy) < 0.1
    height, width, _ = plt.imread(tmp_path / "picture.png").shape
    assert height > width > 100


@needs_make
def test_make_info_tells_what_a_file_is_taken_for(tmp_path):
    np.save(tmp_path / "a $cube.npy", np.random.default_rng(0).random((5, 20, 30)))
    result = make("info", f"FILE={tmp_path}/a $cube.npy")
    assert "5 bands x 20 rows x 30 columns" in result.stdout
    assert make("info").returncode == 2


@needs_make
def test_make_quality_tells_the_noise_of_a_scene(tmp_path):
    np.save(tmp_path / "a $cube.npy", np.random.default_rng(0).random((5, 20, 30)))
    result = make("quality", f"INPUT={tmp_path}/a $cube.npy")
    assert "Noise: half of the bands have" in result.stdout
    assert (tmp_path / "a $cube.quality.html").exists()
    assert make("quality").returncode == 2


@needs_make
def test_make_tables_compares_methods_on_a_folder(tmp_path):
    (tmp_path / "a $folder").mkdir()
    np.save(tmp_path / "a $folder/cube.npy", np.random.default_rng(0).random((5, 20, 30)))
    result = make(
        "tables",
        f"DATASETS=scenes:{tmp_path}/a $folder",
        "METHODS=identity,median",
        "CASES=noniid",
        f"ARGS=--no-wandb --output='{tmp_path}/out'",
    )
    assert "Noisy" in result.stdout, result.stderr
    assert (tmp_path / "out/index.html").exists()
    wrong = make("tables", "METHODS=ras3s")
    assert wrong.returncode == 2
    assert "did you mean ras2s?" in wrong.stderr


@needs_make
def test_make_compare_asks_which_networks_and_refuses_what_is_none():
    asked, wrong = make("compare"), make("compare", "METHODS=ras3s", "MINUTES=1")
    assert (asked.returncode, wrong.returncode) == (2, 2)
    assert "say which networks: make compare METHODS=" in asked.stderr
    assert "did you mean ras2s?" in wrong.stderr
