"""A clone in which everything that the pages name is there, and small."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import torch
from scipy.io import savemat

from datamodules import Scene, write_scene
from lightning_ras2s import RAS2S
from lightning_ras2s.methods import find
from tests.documentation.pages import BLOCK, HOUSE
from tests.make import outside_make
from tests.miniatures import icvl, pavia_centre

FOLDERS = ("datamodules", "docs", "experiments", "lightning_ras2s", "tests", "benchmarks")
FILES = ("Makefile", "README.md", "constraints.txt", "pyproject.toml", "environment.yml")
LITTLE = (
    "--trainer.max_steps=1 --trainer.limit_val_batches=1 --trainer.limit_test_batches=1 "
    "--trainer.accelerator=cpu --data.num_workers=0 --data.test_noise=[mixture]"
)
UNSEEN = (  # all but the first training leave the pictures out, which take as long as the rest
    f"{LITTLE} --model.methods=[network] --inspector=null --scenes=null --spectra=null "
    "--regions=null --bandwise=null"
)
SHELL = 'make() { command make INSTALLED= INTERPRETER="$PYTHON" "$@"; }; '


class Miniature:
    """The clone.

    Args:
        folder: An empty one.
    """

    def __init__(self, folder):
        self.folder = folder
        self._runs = {}
        for part in FOLDERS:
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(HOUSE / part, folder / part, symlinks=True, ignore=ignored)
        for part in FILES:
            shutil.copy(HOUSE / part, folder)
        _follow_the_pages(folder)
        _write_scenes(folder)
        _write_weights(folder)
        _write_data(folder)
        _write_programs(folder)

    def run(self, command):
        """Runs a command in the clone."""
        environment = outside_make() | {
            "DATA_ROOT": "data",
            "NETRC": str(self.folder / "no_netrc"),
            "OMP_NUM_THREADS": "1",
            "PATH": os.pathsep.join(
                (str(self.folder / "bin"), str(Path(sys.executable).parent), os.environ["PATH"])
            ),
            "PYTHON": str(self.folder / "bin" / "python"),
            "PYTHONPATH": str(self.folder),
            "WANDB_MODE": "offline",
        }
        return subprocess.run(
            ["bash", "-c", SHELL + command],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def run_python(self, text):
        """Runs Python in the clone."""
        (self.folder / "snippet.py").write_text(text)
        return self.run('"$PYTHON" snippet.py')

    def prepared(self, dataset):
        """Prepares a dataset, when it is first asked for."""
        if not (self.folder / "data" / dataset / "prepared").exists():
            done = self.run(f"ras2s data {dataset} --offline --any-size")
            assert (self.folder / "data" / dataset / "prepared").exists(), done.stderr

    def trained(self, experiment, more=""):
        """The time of a run of a step, trained when it is first asked for."""
        if (experiment, more) not in self._runs:
            done = self.run(f"ras2s fit {experiment} {more} {UNSEEN}")
            assert done.returncode == 0, done.stderr
            path = max((self.folder / "runs" / experiment).iterdir(), key=os.path.getmtime)
            self._runs[experiment, more] = path.name
        return self._runs[experiment, more]


def _follow_the_pages(folder):
    """Adds the network and the dataset that two of the pages add."""
    page = (folder / "docs" / "add-a-network.md").read_text()
    network, descriptor = (text for found, text in BLOCK.findall(page) if found == "python")
    (folder / "lightning_ras2s" / "networks" / "residual3d.py").write_text(network)
    _insert(
        folder / "lightning_ras2s" / "methods.py",
        "\n)\nMETHODS: dict[str, Method]",
        f"\n{descriptor.rstrip()},",
    )
    page = (folder / "docs" / "add-a-dataset.md").read_text()
    dataset, name, experiment = (text for found, text in BLOCK.findall(page) if found != "bash")
    (folder / "datamodules" / "greenhouse.py").write_text(dataset)
    (folder / "experiments" / "greenhouse.yaml").write_text(experiment)
    _insert(folder / "datamodules" / "__init__.py", "}\n_OTHERS", f"    {name}")


def _insert(path, before, text):
    content = path.read_text()
    assert content.count(before) == 1
    path.write_text(content.replace(before, text + before))


def _cube(*shape, seed=0):
    """Smooth in space and spectrum, in [0, 1], float32."""
    band, row, column = np.meshgrid(*(np.linspace(0, 3, n) for n in shape), indexing="ij")
    noise = np.random.default_rng(seed).normal(0, 0.02, shape)
    return (0.5 + 0.3 * np.sin(row + band + seed) * np.cos(column) + noise).astype(np.float32)


def _write_scenes(folder):
    scene = Scene("scene", _cube(8, 20, 24), np.linspace(450.0, 950.0, 8))
    for name in ("scene.hdr", "scene.tif", "clean.hdr", "theirs.tif"):
        write_scene(scene, folder / name)
    np.save(folder / "scene.npy", scene.cube)
    np.savetxt(folder / "methane.txt", [[500.0, 0.9], [700.0, 0.6], [900.0, 0.9]])
    for name in ("scenes", "my_folder", "folder"):
        (folder / name).mkdir()
        for number in range(3):
            np.save(folder / name / f"{number}.npy", _cube(31, 64, 72, seed=number))
    (folder / "icvl_512_mixture").mkdir()
    for number in range(2):
        clean = _cube(31, 32, 32, seed=number).transpose(1, 2, 0)
        noisy = clean + np.random.default_rng(9).normal(0, 0.1, clean.shape)
        savemat(folder / "icvl_512_mixture" / f"{number}.mat", {"input": noisy, "gt": clean})


def _write_weights(folder):
    """A network of each kind that is named, untrained."""
    torch.save(RAS2S(channels=2).state_dict(), folder / "best.ckpt")
    torch.save(RAS2S(channels=2).state_dict(), folder / "official_s2s.pth")
    for name in ("theirs.pth", "model_best.pth"):
        torch.save(find("hsdt_s").build().state_dict(), folder / name)


def _write_data(folder):
    """Publishers' files: ICVL in part, Pavia, what a page adds; and a tiny experiment."""
    for name, write in DATASETS.items():
        raw = folder / "data" / name / "raw"
        raw.mkdir(parents=True)
        write(raw)
    shutil.copy(folder / "experiments" / "quickstart.yaml", folder / "tiny.yaml")
    with (folder / "tiny.yaml").open("a") as file:
        file.write("  max_steps: 1\n  limit_val_batches: 1\n  limit_test_batches: 1\n")


def _write_greenhouse(raw):
    for seed, plant in enumerate(("basil", "mint", "sage", "thyme")):
        counts = (4095 * _cube(61, 96, 96, seed=seed).clip(0, 1)).astype(np.uint16)
        with h5py.File(raw / f"{plant}.h5", "w") as file:
            file["cube"] = counts


DATASETS = {"icvl": icvl.write, "pavia_centre": pavia_centre.write, "greenhouse": _write_greenhouse}


def _write_programs(folder):
    """What would need an account or a cluster; and a Python that installs nothing into ours."""
    (folder / "bin").mkdir()
    (folder / ".venv").symlink_to(Path(sys.executable).parents[1])
    programs = {
        "python": f'if [[ "$1 $2" != "-m pip" ]]; then exec {sys.executable} "$@"; fi',
        "wandb": 'test "$1" = sync && test -d "$2"',
        "srun": 'while [[ "$1" == --* ]]; do shift; done; exec "$@"',
        "sbatch": 'while [[ "$1" == --* ]]; do shift; done; '
        'script="$1"; shift; SLURM_JOB_ID=7 exec bash "$script" "$@"',
    }
    for name, text in programs.items():
        (folder / "bin" / name).write_text(f"#!/usr/bin/env bash\n{text}\n")
        (folder / "bin" / name).chmod(0o755)


def shrink(command):
    """The same command with less to do: fewer steps, scenes, methods and processes."""
    for pattern, change in SMALLER:
        command = re.sub(pattern, change, command)
    return command


def _argument(more):
    """Puts options into the ARGS of a make command, or adds it."""

    def change(found):
        command = found[0]
        if "ARGS=" not in command:
            return f'{command} ARGS="{more}"'
        return re.sub(r'ARGS="?([^"]*)"?$', rf'ARGS="\1 {more}"', command)

    return change


CASE = "--data.test_noise=[mixture] --inspector=null"
SMALLER = (
    (r"DEVICES=4", "DEVICES=2"),
    (r"--nnodes=2 --nproc-per-node=4", "--nnodes=1 --nproc-per-node=2"),
    (r"--trainer.devices=4 --trainer.num_nodes=2", "--trainer.devices=2"),
    (r"<node>:29500", "127.0.0.1:0"),
    (r"<name>", "miniature"),
    (r"^(ras2s fit|torchrun|sbatch .*/train.sh) .*$", rf"\g<0> {UNSEEN}"),
    (r"^make train$", _argument(LITTLE)),
    (r"^make (train|weights)(?= ).*$", _argument(UNSEEN)),
    (r"^make weights$", _argument(UNSEEN)),
    (r"^make evaluate (?!.*Released).*$", _argument(CASE)),
    (r"^(make sweep (?!.*COUNT).*)$", r"\1 COUNT=1"),
    (r"COUNT=20 AGENTS=4", "COUNT=2 AGENTS=2"),
    (r"^make sweep .*$", _argument(UNSEEN)),
    (r"^(sbatch .*/sweep.sh regions) icvl_mixture$", r"COUNT=1 \1 tiny"),
    (r"^(make compare) METHODS=\S+( MINUTES=\S+| PATCHES=\S+)?", r"\1 METHODS=ras2s PATCHES=8"),
    (r"^(make compare (?!.*ARGS).*)$", rf'\1 ARGS="--rates=recipe -- {LITTLE}"'),
    (r'^(make compare .*patch_size=32)"$', rf'\1 {LITTLE}"'),
    (r"SEEDS=3", "SEEDS=1"),
    (r"METHODS=ras2s,ras2s\+s,lrtdtv", "METHODS=median"),
    (r"^(make tables)(?!.*METHODS)", r"\1 METHODS=identity,median,ras2s"),
    (r"^(make tables)(?!.*CASES)", r"\1 CASES=noniid"),
    (r"^(make tables)(?!.*DATASETS)", r"\1 DATASETS=scenes:my_folder"),
    (r"^make tables .*$", _argument("--no-wandb")),
    (r"BANDS=31", "BANDS=3"),
    (r"^make data DATASET=icvl", "make data DATASET=pavia_centre"),
)
