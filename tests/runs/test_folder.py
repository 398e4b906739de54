"""Run folders: made at once, found again, removed where nothing became of them."""

import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lightning_ras2s.runs.folder import RunFolder, find_runs, make_folder

HOUSE = Path(__file__).parents[2]
SOURCES = ("lightning_ras2s", "datamodules", "experiments", "benchmarks", "docs", "tests")


def test_runs_that_begin_at_once_have_folders_of_their_own(tmp_path):
    wanted = tmp_path / "runs/toy/now"
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(make_folder, [wanted] * 24))
    assert len(set(made)) == 24
    names = {"now", *(f"now_{n}" for n in range(2, 25))}
    assert {folder.name for folder in made} == names
    assert all(folder.is_dir() for folder in made)


def test_a_folder_that_nothing_became_of_goes_with_those_that_held_it_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = RunFolder(make_folder(Path("runs/toy/now")))
    run.checkpoints.mkdir()
    run.discard()
    assert list(tmp_path.iterdir()) == []
    kept = make_folder(Path("runs/toy/then"))
    RunFolder(make_folder(Path("runs/toy/now"))).discard()
    assert kept.is_dir()
    elsewhere = RunFolder(tmp_path / "results/out")
    elsewhere.path.mkdir(parents=True)
    elsewhere.discard()
    assert (tmp_path / "results").is_dir()  # it is somebody's


@pytest.mark.parametrize(
    ("there", "found"),
    [
        ((), None),
        (("last.ckpt",), "last.ckpt"),
        (("previous.ckpt", "last.ckpt", "best.ckpt"), "best.ckpt"),
    ],
)
def test_the_weights_of_a_run_are_its_best(there, found, tmp_path):
    run = RunFolder(tmp_path)
    run.checkpoints.mkdir()
    for name in there:
        (run.checkpoints / name).touch()
    assert run.weights == (found and run.checkpoints / found)


def test_a_run_lies_anywhere_and_w_and_bs_folder_is_none(tmp_path):
    for place in ("a/b", "c", "c/wandb/x", "wandb/y"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "config.yaml").touch()
    assert {run.path.relative_to(tmp_path).as_posix() for run in find_runs(tmp_path)} == {
        "a/b",
        "c",
    }


def test_git_sees_every_source_file_and_no_results():
    files = {p.parent: p for top in SOURCES for p in (HOUSE / top).rglob("*.py")}  # one of each
    assert HOUSE / "lightning_ras2s/runs" in files
    there = [str(file.relative_to(HOUSE)) for file in files.values()]
    results = ["runs/toy/now/run.json", "data/icvl/raw", "build/lib", "wandb/latest-run"]
    asked = subprocess.run(
        ["git", "check-ignore", "--no-index", "--stdin"],
        cwd=HOUSE,
        input="\n".join([*there, *results]),
        capture_output=True,
        text=True,
        check=False,
    )
    if asked.returncode == 128:
        pytest.skip("not a checkout of git")
    assert asked.stdout.split() == results
