"""The environment for commands of the Makefile in tests that ``make test`` may run itself."""

import os
import re
from pathlib import Path

MAKEFILE = (Path(__file__).parents[1] / "Makefile").read_text()


def outside_make():
    """This environment without what an outer make was given, as by ``make test ARGS=...``."""
    given = {"MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS"}
    given |= set(re.findall(r"\$\(([A-Z_]+)\)", MAKEFILE))
    return {name: value for name, value in os.environ.items() if name not in given}
