"""The wheel in an environment and a folder of its own: what a stranger gets from pip."""

import csv
import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest

HOUSE = Path(__file__).parents[1]
TINY = (
    "--model.network.channels=2",
    "--data.patches_per_epoch=16",
    "--data.test_noise=[mixture]",
    "--trainer.accelerator=cpu",
)
pytestmark = pytest.mark.wheel


def run(command, folder):
    """Runs a command in a folder, without anything of the clone on its paths."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "CXX") if name in os.environ}
    own = {"WANDB_MODE": "offline", "OMP_NUM_THREADS": "1", "NETRC": str(folder / "none")}
    return subprocess.run(
        command,
        cwd=folder,
        env=kept | own,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The command of an environment that has the wheel, and what it needs by its own word."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip"]
    built = run([*pip, "wheel", "--quiet", "--no-deps", "-w", str(folder), str(HOUSE)], folder)
    assert built.returncode == 0, built.stderr
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "env", with_pip=True)
    python = folder / "env/bin/python"
    constraints = ["--constraint", str(HOUSE / "constraints.txt")]
    extra = f"{wheel}[sweep]"
    made = run([str(python), "-m", "pip", "install", "--quiet", *constraints, extra], folder)
    assert made.returncode == 0, made.stderr
    return folder / "env/bin/ras2s"


@pytest.fixture(scope="module")
def trained(installed, tmp_path_factory):
    """A run of two steps, in a folder that has nothing in it."""
    folder = tmp_path_factory.mktemp("strangers")
    told = run([str(installed), "fit", "quickstart", *TINY, "--trainer.max_steps=2"], folder)
    assert told.returncode == 0, told.stderr
    (path,) = folder.glob("runs/quickstart/*")
    return folder, path


def test_it_trains_from_any_folder(trained):
    folder, path = trained
    # The repaired scene of the quickstart is kept below DATA_ROOT, which is ./data.
    assert sorted(p.name for p in folder.iterdir()) == ["data", "runs"]
    assert [p.parent.name for p in folder.glob("data/**/*.npy")] == ["prepared"]
    assert json.loads((path / "run.json").read_text())["status"] == "finished"
    assert (path / "report.html").is_file()


def test_it_goes_on_and_evaluates(installed, trained):
    folder, path = trained
    more = ("--resume=last", "--trainer.max_steps=4")
    told = run([str(installed), "fit", "quickstart", *more], folder)
    assert told.returncode == 0, told.stderr
    assert "last.ckpt, step 2" in told.stderr
    tested = ("test", "quickstart", f"--weights={path}", *TINY[2:])
    told = run([str(installed), *tested], folder)
    assert told.returncode == 0, told.stderr
    both = list(folder.glob("runs/quickstart/*/evaluation.csv"))
    assert len(both) == 2
    assert both[0].read_bytes() == both[1].read_bytes()


def test_it_sweeps(installed, trained):
    folder, _ = trained
    steps = ("--", *TINY[1:], "--trainer.max_steps=1", "--model.network.channels=2")
    told = run([str(installed), "sweep", "regions", "quickstart", "--count=1", *steps], folder)
    assert told.returncode == 0, told.stdout + told.stderr
    with (folder / "runs/sweeps/regions-quickstart/sweep.csv").open() as file:
        (trial,) = csv.DictReader(file)
    assert trial["state"] == "finished"


def test_it_denoises_a_file_and_tells_whether_to_trust_it(installed, tmp_path):
    cube = np.linspace(0, 1000, 8 * 20 * 24).reshape(8, 20, 24)
    noisy = cube + np.random.default_rng(0).normal(0, 100, cube.shape)
    np.save(tmp_path / "scene.npy", noisy)
    told = run([str(installed), "denoise", "scene.npy", "-o", "clean.npy"], tmp_path)
    assert told.returncode == 0, told.stderr
    assert "may I trust it? clean.quality.html" in told.stdout
    denoised = np.load(tmp_path / "clean.npy")
    assert np.abs(denoised - cube).mean() < np.abs(noisy - cube).mean() / 2
    told = run([str(installed), "quality", "scene.npy", "clean.npy"], tmp_path)
    assert told.returncode == 0, told.stderr
    assert "Noise: half of the bands have" in told.stdout
    record = json.loads((tmp_path / "clean.quality.json").read_text())
    assert len(record["findings"]) == 5


def test_a_type_checker_sees_its_types(installed):
    folder = installed.parents[1] / "lib"
    assert {path.parent.name for path in folder.rglob("py.typed")} >= {
        "lightning_ras2s",
        "datamodules",
    }


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        ((), 0, "fit"),
        (("--help",), 0, "dashboard"),
        (("methods",), 0, "ras2s"),
        (("data",), 0, "icvl"),
        (("report",), 0, "report.html"),
        (("fit",), 2, "which experiment? ras2s fit quickstart"),
        (("fit", "quikstart"), 2, "did you mean quickstart?"),
        (("benchmark",), 2, "come with the clone only"),
        (("fti",), 2, "did you mean fit?"),
    ],
)
def test_every_command_says_what_it_does_or_wants(words, code, told, installed, trained):
    result = run([str(installed), *words], trained[0])
    assert result.returncode == code
    assert told in result.stdout + result.stderr
    assert "Traceback" not in result.stderr


def test_a_strangers_datamodules_folder_does_not_matter(installed, tmp_path):
    (tmp_path / "datamodules").mkdir()
    (tmp_path / "datamodules/__init__.py").write_text("X = 1\n")
    assert run([str(installed), "data"], tmp_path).returncode == 0
