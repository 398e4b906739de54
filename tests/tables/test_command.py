"""``ras2s tables``: from files to files, and one line for what cannot be."""

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lightning_ras2s.cli import main
from lightning_ras2s.methods import METHODS
from lightning_ras2s.tables.command import FILES
from tests.tables.toy import put_scenes
from tests.wandb_files import WandbFiles

torch.set_num_threads(1)

HOUSE = Path(__file__).parents[2]


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """Runs it in a folder of its own; gives exit code, what it said and what it told."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "disabled")

    def run(*args):
        capsys.readouterr()
        try:
            code = main(["tables", *args])
        except SystemExit as error:
            code = error.code
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_all_files_are_written_and_nothing_is_computed_again(command, tmp_path):
    dataset = put_scenes(tmp_path / "scenes")
    args = (f"--datasets={dataset}", "--methods=identity,median,median+s", "--cases=noniid,stripe")
    code, out, told = command(*args)
    assert code == 0
    assert "[12/12]" in told
    assert "12 of 12 cells computed" in told
    folder = tmp_path / "tables"
    assert {path.name for path in folder.iterdir()} >= {*FILES, "cells"}
    before = {name: (folder / name).read_bytes() for name in FILES[:3]}
    rows = list(csv.DictReader((folder / "tables.csv").read_text().splitlines()))
    assert len(rows) == 6
    best = max(rows, key=lambda row: float(row["psnr_db"]))
    assert f"{float(best['psnr_db']):.2f}" in out
    assert "tables/index.html" in out
    assert all(float(row["psnr_db"]) > 10 for row in rows)
    code, _, told = command(*args)
    assert code == 0
    assert "0 of 12 cells computed" in told
    assert {name: (folder / name).read_bytes() for name in FILES[:3]} == before
    page = (folder / "index.html").read_text()
    data = json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])
    assert [case["name"] for case in data["tables"][0]["cases"]] == [
        "mean of all", "noniid", "stripe",
    ]  # fmt: skip
    view = data["tables"][0]["cases"][1]
    assert set(view["pictures"]) == {"clean", "identity", "median", "median+s"}
    assert len(view["spectra"]["median"]) == 8


def test_networks_of_a_group_that_have_no_weights_are_left_out_and_told(command, tmp_path):
    dataset = put_scenes(tmp_path / "scenes", names=("one",))
    torch.save(METHODS["mst"].build(bands=4).state_dict(), tmp_path / "mst.pth")
    args = (f"--datasets={dataset}", "--cases=noniid", "--no-wandb")
    code, _, told = command(*args, "--methods=learned", "--weights=mst=mst.pth")
    assert code == 0
    assert "left out, for want of weights: HSDT-S, HSDT-M" in told
    assert "make train EXP=rivals/hsdt_s_icvl" in told
    rows = list(csv.DictReader((tmp_path / "tables" / "tables.csv").read_text().splitlines()))
    figures = {row["method"]: float(row["psnr_db"]) for row in rows}
    assert list(figures) == ["ras2s", "ras2s+s", "mst", "mst+s"]  # 8 bands, by windows of 4
    code, _, told = command(*args, "--methods=identity,qrnn3d")
    assert code == 0
    assert "no weights of QRNN3D come with the package" in told


def test_a_group_brings_its_methods_with_and_without_s(command, tmp_path):
    dataset = put_scenes(tmp_path / "scenes", names=("one",))
    code, _, _ = command(f"--datasets={dataset}", "--methods=fast", "--cases=noniid", "--no-wandb")
    assert code == 0
    rows = list(csv.DictReader((tmp_path / "tables" / "tables.csv").read_text().splitlines()))
    keys = [row["method"] for row in rows]
    assert keys[:3] == ["identity", "median", "median+s"]
    assert keys[-2:] == ["ras2s", "ras2s+s"]
    assert "identity+s" not in keys
    assert "lrtdtv" not in keys


def test_two_folders_merge(command, tmp_path):
    dataset = put_scenes(tmp_path / "scenes")
    args = (f"--datasets={dataset}", "--cases=noniid", "--no-wandb")
    command(*args, "--methods=identity", "--output=one")
    code, _, told = command(*args, "--methods=median,identity", "--output=two", "--merge=one")
    assert code == 0
    assert "2 cells taken over from one" in told
    assert "2 of 4 cells computed" in told
    code, _, told = command(*args, "--output=two", "--merge=scenes")
    assert code == 2
    assert "scenes: holds no cells" in told


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--methods=ras3s"], "unknown method 'ras3s'; did you mean ras2s?"),
        (["--methods=,"], "no method"),
        (["--datasets=icvll"], "unknown dataset 'icvll'"),
        (["--datasets=icvl:mine"], "no protocol 'mine'"),
        (["--cases=fog"], "fog"),
        (["--seeds=0"], "--seeds=0; give at least 1"),
        (["--weights=best.ckpt"], "give them as METHOD=FILE"),
        (["--weights=ras2s=none.ckpt"], "there is no file none.ckpt"),
        (["--weights=ras2s=none.ckpt", "--methods=median"], "is not among the methods"),
        (["--device=abacus"], "device 'abacus' cannot be used"),
        (["--datasets=icvl"], "nothing could be computed"),
    ],
)
def test_a_mistake_is_told_in_a_line_and_leaves_no_file(command, tmp_path, args, said):
    code, _, told = command("--cases=noniid", *args)
    assert code == 2
    errors = [line for line in told.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert said in errors[0]
    assert not (tmp_path / "tables" / "tables.md").exists()


def test_the_rows_go_to_wandb(tmp_path):
    dataset = put_scenes(tmp_path / "scenes", names=("one",))
    chosen = (f"--datasets={dataset}", "--methods=identity,median", "--cases=noniid")
    command = [sys.executable, "-m", "lightning_ras2s", "tables", *chosen]
    environment = os.environ | {"WANDB_MODE": "offline", "PYTHONPATH": str(HOUSE)}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    table = WandbFiles(tmp_path / "tables").table("tables")
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    assert [row["method"] for row in rows] == ["identity", "median"]
    (kept,) = (tmp_path / "tables/cells/median").glob("*.json")
    assert rows[1]["psnr_db"] == pytest.approx(json.loads(kept.read_text())["metrics"]["psnr_db"])
