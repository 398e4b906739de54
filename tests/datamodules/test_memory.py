"""Patches of many scenes are read from disk: a process does not grow with their number."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from datamodules.source import Source
from datamodules.stored import Excerpt, store_scene

HOUSE = Path(__file__).parents[2]
READ = """
import sys
from pathlib import Path
from datamodules.patches import PatchShape
from datamodules.samples import GridPatches
from datamodules.stored import open_scene
import torch

def anonymous():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))

torch.set_num_threads(1)
folders = sorted(Path(sys.argv[1]).iterdir())[: int(sys.argv[2])]
scenes = [level.scaled(0, 4095) for folder in folders for level in open_scene(folder)]
patches = GridPatches(scenes, PatchShape(31, 64, 64), ["mixture"], 0, [64], "d")
before = anonymous()
seen = set()
for number in range(800):
    seen.add(patches[number]["name"])
assert len(seen) == len(folders)
print(before, anonymous())
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="/proc says what is used")
def test_a_process_needs_no_more_memory_for_100_scenes_than_for_10(tmp_path):
    rng = np.random.default_rng(0)
    cube = rng.integers(0, 4096, (31, 128, 128)).astype(np.float32)
    for number in range(100):
        name = f"scene_{number:03}"
        store_scene(tmp_path / name, name, cube, None, Excerpt(), Source("", 0, 0, ""))
    used = {}
    for scenes in (10, 100):
        result = subprocess.run(
            [sys.executable, "-c", READ, str(tmp_path), str(scenes)],
            cwd=HOUSE,
            # glibc gives freed patches back at once, so that its heap's gaps are not measured
            env=os.environ | {"MALLOC_MMAP_THRESHOLD_": "131072"},
            capture_output=True,
            text=True,
            check=True,
        )
        used[scenes] = [int(kilobytes) for kilobytes in result.stdout.split()]
    assert used[100][1] < 1.5 * used[10][1], used
    # Of what reading added to torch's own, 90 scenes of 1 MB must not be a part.
    assert used[100][1] - used[100][0] < 30_000, used
