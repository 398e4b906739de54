"""``unshare -rm python -m tests.faults.small_disk FOLDER MIB COMMAND``: FOLDER, on a small disk.

What is left there is copied into the folder itself at the end.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path


def main(folder, size, *command):
    """Runs the command; gives its exit code."""
    under = Path(tempfile.mkdtemp())  # the folder, below what is mounted on it
    subprocess.run(["mount", "--bind", folder, under], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}m", "tmpfs", folder], check=True)
    code = subprocess.run(command, check=False).returncode
    shutil.copytree(folder, under, dirs_exist_ok=True, ignore=shutil.ignore_patterns("filler"))
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
