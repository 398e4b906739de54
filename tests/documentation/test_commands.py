"""Every command that README and docs show, run in a miniature of what a stranger has."""

import re

import pytest

from tests.documentation.miniature import shrink
from tests.documentation.pages import commands

pytestmark = pytest.mark.docs

ELSEWHERE = {  # what runs these
    "make test": "the suite itself",
    'make test ARGS="-k noise"': "the suite itself",
    "make lint": ".ci/run",
    "make env": ".ci/run, as the first thing that make does",
    "pip install .": "tests/test_wheel.py",
    ".venv/bin/pre-commit install": "it writes into .git; test_package.py runs the hooks",
    "make dashboard": "tests/pages/test_dashboard.py, which ends it",
    "make weights-report SCENES=folder": "tests/test_house.py",
    'make benchmark ARGS="--only=network"': "tests/test_benchmarks.py",
}
SHOWN = commands()
TRAINED = {  # what <time> stands for, where it is no run of the quickstart
    "add-a-network.md": (
        "quickstart",
        "--model.network=lightning_ras2s.networks.residual3d.Residual3D",
    ),
    "weights.md": ("weights", ""),
}


def test_nothing_is_left_out_that_is_not_there():
    assert set(ELSEWHERE) <= {shown.text for shown in SHOWN}
    assert len(SHOWN) > 50


@pytest.mark.parametrize(
    "shown", [shown for shown in SHOWN if shown.text not in ELSEWHERE], ids=str
)
def test_a_command_that_is_shown_works(clone, shown):
    command = shrink(shown.text)
    if "<time>" in command:
        time = clone.trained(*TRAINED.get(shown.page, ("quickstart", "")))
        command = command.replace("<time>", time)
    if "greenhouse" in command or "icvl" in command:
        clone.prepared("greenhouse" if "greenhouse" in command else "icvl")
    assert not re.search(r"<\w+>", command), command
    done = clone.run(command)
    told = f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    assert done.returncode == 0, told
    assert "Traceback" not in done.stderr, told
