"""What a package tells of itself: version, citation, readme, help; and the hooks of a commit."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import jsonschema
import pytest
import yaml

import lightning_ras2s
from lightning_ras2s.methods import METHODS
from tests.make import outside_make

HOUSE = Path(__file__).parents[1]
CITATION = yaml.safe_load((HOUSE / "CITATION.cff").read_text())


def test_the_citation_is_valid():
    try:
        files = metadata.files("cffconvert")
    except metadata.PackageNotFoundError:
        pytest.skip("cffconvert, which has the schema, comes with make test-docs")
    (schema,) = [f for f in files if f.match(f"schemas/{CITATION['cff-version']}/schema.json")]
    jsonschema.validate(CITATION, json.loads(schema.read_text()))


def test_there_is_one_version():
    changes = (HOUSE / "CHANGELOG.md").read_text()
    assert lightning_ras2s.__version__ == CITATION["version"]
    assert re.search(r"^## (\S+)", changes, re.MULTILINE)[1].strip(",") == CITATION["version"]
    project = tomllib.loads((HOUSE / "pyproject.toml").read_text())["project"]
    assert "version" in project["dynamic"]


def test_extras_that_are_named_are_there():
    project = tomllib.loads((HOUSE / "pyproject.toml").read_text())["project"]
    assert all(url.startswith("https://") for url in project["urls"].values())
    for file in (
        HOUSE / "Dockerfile",
        HOUSE / "Makefile",
        *HOUSE.glob("*.md"),
        *HOUSE.glob("docs/*.md"),
    ):
        for extras in re.findall(r"'\.\[([\w,]+)\]'", file.read_text()):
            assert set(extras.split(",")) <= set(project["optional-dependencies"]), file


def test_the_readme_is_short_and_begins_with_what_people_do():
    lines = (HOUSE / "README.md").read_text().splitlines()
    assert len(lines) <= 120
    assert [line.split("#")[0].strip() for line in lines[:12] if line.startswith("make ")] == [
        "make train",
        "make test",
    ]


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_help_lists_experiments_sweeps_and_methods_without_an_environment(tmp_path):
    made = subprocess.run(
        ["make", "--no-print-directory", "help", f"VENV={tmp_path}/none"],
        cwd=HOUSE,
        env=outside_make(),
        capture_output=True,
        text=True,
        check=True,
    )
    told = dict(line.split("=", 1) for line in made.stdout.splitlines() if "= " in line[:11])
    experiments = {path.stem for path in HOUSE.glob("experiments/*.yaml")} - {"defaults"}
    assert experiments <= set(told["EXP"].split())
    assert {path.stem for path in HOUSE.glob("experiments/sweeps/*.yaml")} <= set(
        re.findall(r"\w+", told["SWEEP"])
    )
    assert list(METHODS) == told["METHOD"].split(";")[0].split()
    for path in HOUSE.glob("experiments/rivals/*.yaml"):
        assert f"rivals/{path.stem}" in made.stdout


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_hooks_of_a_commit_mend_style(tmp_path):
    for part in ("pyproject.toml", ".pre-commit-config.yaml"):
        shutil.copy(HOUSE / part, tmp_path)
    (tmp_path / ".venv").symlink_to(Path(sys.executable).parents[1])
    (tmp_path / "module.py").write_text('"""A module."""\n\nimport os\nX = {  "a":1 }\n')
    home = {"HOME": str(tmp_path), "PRE_COMMIT_HOME": str(tmp_path / "cache"), "SKIP": "mypy"}
    run = {"cwd": tmp_path, "env": os.environ | home, "capture_output": True, "text": True}
    subprocess.run(["git", "init", "-q"], check=True, **run)
    subprocess.run(["git", "add", "."], check=True, **run)
    hooks = [sys.executable, "-m", "pre_commit", "run", "--all-files"]
    assert subprocess.run(hooks, **run).returncode == 1
    assert (tmp_path / "module.py").read_text() == '"""A module."""\n\nX = {"a": 1}\n'
    subprocess.run(["git", "add", "."], check=True, **run)
    again = subprocess.run(hooks, **run)
    assert again.returncode == 0, again.stdout
