"""``python -m tests.oldest``: constraints for the lowest version of each dependency but torch.

It asks pip which versions there are: pyproject.toml says from where on.
"""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

HOUSE = Path(__file__).parents[1]
PINNED = ("torch",)  # as in constraints.txt


def floors(text):
    """The lowest allowed version of each dependency, by its name."""
    project = tomllib.loads(text)["project"]
    listed = project["dependencies"] + project["optional-dependencies"]["dev"]
    found = (re.fullmatch(r"([\w.-]+)(?:\[.*\])?>=([\d.]+)", requirement) for requirement in listed)
    return {match[1]: match[2] for match in found}


def key(version):
    """Sorts versions; those before a release have letters, and are none."""
    return tuple(map(int, version.split(".")))


def lowest(versions, floor):
    """The first release from a version on."""
    releases = [version for version in versions if re.fullmatch(r"[\d.]+", version)]
    return min((version for version in releases if key(version) >= key(floor)), key=key)


def main():
    """Prints a constraint for each."""
    pins = dict(
        line.split("==")
        for line in (HOUSE / "constraints.txt").read_text().splitlines()
        if "==" in line
    )
    for name, floor in floors((HOUSE / "pyproject.toml").read_text()).items():
        if name in PINNED:
            version = pins[name]
        else:
            command = [sys.executable, "-m", "pip", "index", "versions", name]
            shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            listed = re.search(r"Available versions: (.*)", shown)[1]
            version = lowest(listed.split(", "), floor)
        print(f"{name}=={version}")  # noqa: T201


if __name__ == "__main__":
    main()
