"""docs/add-a-network.md, followed by the letter in a copy of the clone."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.methods

HOUSE = Path(__file__).parents[2]
PARTS = ("lightning_ras2s", "datamodules", "experiments", "tests", "pyproject.toml", "Makefile")


def test_a_stranger_adds_a_network_as_the_page_says(tmp_path):
    page = (HOUSE / "docs" / "add-a-network.md").read_text()
    network, descriptor = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(network.splitlines()) + len(descriptor.splitlines()) < 50
    for part in PARTS:
        place = HOUSE / part
        if place.is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(place, tmp_path / part, symlinks=True, ignore=ignored)
        else:
            shutil.copy(place, tmp_path)
    package = tmp_path / "lightning_ras2s"
    (package / "networks" / "residual3d.py").write_text(network)
    registry = package / "methods.py"
    text = registry.read_text()
    end = "\n)\nMETHODS: dict[str, Method]"
    assert text.count(end) == 1
    registry.write_text(text.replace(end, f"\n{descriptor.rstrip()},{end}"))
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"}
    words = ["-m", "methods or not methods", "-k", "residual3d", "-p", "no:xdist", "-rA"]
    files = ["tests/methods/test_every_network.py", "tests/test_methods.py"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *files, *words],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    passed = re.findall(r"PASSED (\S+)\[residual3d\]", done.stdout)
    assert {name.rpartition("::")[2] for name in passed} >= {
        "test_five_steps_of_the_quickstart_give_weights_for_all_that_follows",
        "test_what_was_stopped_goes_on_as_if_it_had_not_been",
        "test_two_processes_train_as_one",
        "test_half_precision_trains_as_single_does",
        "test_it_is_written_for_others_or_says_why_not",
        "test_a_network_has_its_weights_its_name_and_a_training_step_as_promised",
        "test_a_descriptor_is_complete",
    }
    assert not (tmp_path / "lightning_ras2s" / "networks" / "residual3d.py").is_symlink()
