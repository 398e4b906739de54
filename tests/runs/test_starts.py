"""How a command begins: what it is started by, what it refuses, and what a failing start leaves."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import torch

from lightning_ras2s import HSIDenoiser, cli
from lightning_ras2s.runs import processes
from tests.cubes import write_cubes
from tests.test_cli import TINY, files, folder, only_run, train_quickly  # noqa: F401

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _no_job(folder, monkeypatch):  # noqa: F811
    """Started by nobody else."""
    of_jobs = ("SLURM", "TORCHELASTIC", "MASTER", "RANK", "WORLD", "LOCAL_RANK")
    for name in [name for name in os.environ if name.startswith(of_jobs)]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_MODE", "disabled")


TORCHRUN = {"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "TORCHELASTIC_RUN_ID": "a"}
SRUN = {"SLURM_NTASKS": "4", "SLURM_PROCID": "3", "SLURM_JOB_ID": "7", "SLURM_LOCALID": "3"}


@pytest.mark.parametrize(
    ("environment", "started", "rank"),
    [
        ({}, 1, 0),
        (TORCHRUN, 4, 1),
        (SRUN, 4, 3),
        ({"SLURM_NTASKS": "4", "SLURM_JOB_ID": "7"}, 1, 0),  # in the script itself
        (SRUN | {"SLURM_JOB_NAME": "bash"}, 1, 0),
        ({"SLURM_NTASKS": "1", "SLURM_PROCID": "0", "LOCAL_RANK": "2"}, 1, 2),  # Lightning's own
        ({"LOCAL_RANK": "2", "WORLD_SIZE": "4"}, 1, 2),  # launched by Lightning
    ],
)
def test_what_the_environment_says_of_processes(environment, started, rank, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert (processes.started(), processes.rank()) == (started, rank)


@pytest.mark.parametrize("rank", ["0", "3"])
def test_more_processes_than_devices_stop_at_once_and_one_of_them_says_why(
    rank,
    folder,  # noqa: F811
    monkeypatch,
    capsys,
):
    nodes = {"SLURM_NODEID": "0", "SLURM_NTASKS_PER_NODE": "4", "SLURM_NNODES": "1"}
    for name, value in (SRUN | nodes | {"SLURM_PROCID": rank, "SLURM_LOCALID": rank}).items():
        monkeypatch.setenv(name, value)
    assert train_quickly(folder) == 2
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    if rank == "0":
        (line,) = told
        assert "4 processes were started for 1 that trainer.devices=1" in line
    else:
        assert told == []
    assert not (folder / "runs").exists()


def test_a_batch_script_without_srun_trains_alone(folder, monkeypatch):  # noqa: F811
    monkeypatch.setenv("SLURM_NTASKS", "4")
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "7")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "5")
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    assert train_quickly(folder) == 0
    assert only_run(folder).name == "slurm-7_5"
    assert train_quickly(folder) == 0
    assert (folder / "runs/folder/slurm-7_5_2").is_dir()


@pytest.mark.parametrize("strategy", ["ddp_spawn", "ddp_fork", "ddp_notebook"])
def test_processes_that_begin_as_copies_are_refused(strategy, folder, capsys):  # noqa: F811
    assert train_quickly(folder, f"--trainer.strategy={strategy}") == 2
    assert f"trainer.strategy={strategy}: processes that begin as copies" in capsys.readouterr().err
    assert not (folder / "runs").exists()


def test_cuda_graphs_with_accumulated_gradients_are_refused(folder, capsys):  # noqa: F811
    both = ("--model.cuda_graphs=true", "--trainer.accumulate_grad_batches=2")
    assert train_quickly(folder, *both) == 2
    assert "model.cuda_graphs with trainer.accumulate_grad_batches=2" in capsys.readouterr().err
    assert not (folder / "runs").exists()


def test_a_training_without_loggers(folder):  # noqa: F811
    assert train_quickly(folder, "--trainer.logger=false") == 0
    run = only_run(folder)
    assert json.loads((run / "run.json").read_text())["status"] == "finished"
    assert (run / "evaluation.csv").is_file()
    assert not (run / "metrics.csv").exists()


def test_overfitting_has_the_same_patches_in_every_epoch(folder, monkeypatch):  # noqa: F811
    seen = []
    step = HSIDenoiser.training_step

    def training_step(self, batch, batch_idx):
        seen.append((self.current_epoch, batch["index"].tolist(), batch["noisy"].sum().item()))
        return step(self, batch, batch_idx)

    monkeypatch.setattr(HSIDenoiser, "training_step", training_step)
    options = ("--trainer.overfit_batches=1", "--trainer.max_steps=3")
    assert train_quickly(folder, *options) == 0
    assert [epoch for epoch, *_ in seen] == [0, 1, 2]
    assert len({str(patches) for _, *patches in seen}) == 1


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_scene_that_cannot_be_measured_is_told_before_training(split, folder, capsys):  # noqa: F811
    write_cubes(folder / "cubes")
    np.save(folder / "cubes" / split / "crop.npy", np.random.default_rng(0).random((6, 8, 8)))
    assert train_quickly(folder) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line == (
        f"error: {split} scene {split}/crop of cubes: 8 x 8 pixels, and SSIM needs 11 x 11 at "
        "least, the size of its window; leave it out"
    )
    assert not (folder / "runs").exists()


def test_an_unexpected_error_is_one_line_and_leaves_its_traceback(folder, monkeypatch, capsys):  # noqa: F811
    def training_step(self, batch, batch_idx):
        raise KeyError("surprise")

    monkeypatch.setattr(HSIDenoiser, "training_step", training_step)
    assert train_quickly(folder) == 1
    run = only_run(folder)
    line = next(x for x in capsys.readouterr().err.splitlines() if x.startswith("error:"))
    assert line.startswith("error: KeyError: 'surprise' (traceback: ")
    assert "in training_step" in (run / "traceback.txt").read_text()
    assert json.loads((run / "run.json").read_text())["status"] == "failed"


@pytest.mark.parametrize(
    "mistake", [["--model.lrr=1"], ["--data.patch_size=200"], ["--trainer.devices=abc"]]
)
def test_a_failed_start_leaves_no_folder(mistake, folder, capsys):  # noqa: F811
    assert cli.main(["fit", *files("quickstart"), *TINY, *mistake]) == 2
    assert list(folder.iterdir()) == []
    assert cli.main(["fit", *files("quickstart"), *TINY, *mistake, "--run_dir=mine"]) == 2
    assert list(folder.iterdir()) == []


def test_help_and_a_printed_configuration_leave_no_folder(folder, capsys):  # noqa: F811
    with pytest.raises(SystemExit):
        cli.main(["fit", "quickstart", "--print_config"])
    assert list(folder.iterdir()) == []


def test_a_table_is_shown_before_a_full_disk_is_met(folder, monkeypatch, capsys):  # noqa: F811
    def write_csv(rows, path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lightning_ras2s.callbacks.evaluation_table.write_csv", write_csv)
    assert train_quickly(folder) == 1
    told = capsys.readouterr()
    assert "RAS2S" in told.out
    assert "error: [Errno 28] No space left on device (traceback: " in told.err


def test_without_wandb_the_training_has_no_logs_there_and_that_is_all(
    folder,  # noqa: F811
    monkeypatch,
    recwarn,
):
    monkeypatch.delenv("WANDB_MODE")
    import wandb

    def init(**options):
        raise ImportError("cannot import name 'RunDisabled'")

    monkeypatch.setattr(wandb, "init", init)
    assert train_quickly(folder) == 0
    told = [str(w.message) for w in recwarn if "W&B" in str(w.message)]
    assert told == [
        "W&B keeps no logs (ImportError: cannot import name 'RunDisabled'); the run goes on"
    ]
    assert json.loads((only_run(folder) / "run.json").read_text())["wandb"] is None


def test_half_a_key_is_one_line(folder, monkeypatch, capsys):  # noqa: F811
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setenv("WANDB_API_KEY", "abc")
    assert train_quickly(folder) == 2
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("error:")]
    assert "W&B does not take the key" in line
    assert not (folder / "runs").exists()


@pytest.mark.parametrize(
    ("mistake", "hint"),
    [
        (["--traner.max_epochs=1"], "did you mean trainer?"),
        (["--data.batchsize=1"], "did you mean batch_size?"),
        (["--model.network.chanels=2"], "did you mean channels?"),
        (["--spectra.pointss=2"], "did you mean points?"),
        (["--model.lrr=1"], "model has .*learning_rate"),
        (["--model.loss=l2", "+", "0.001*sam"], "a value with blanks needs quotes of its own"),
        (["--run_dirr=x"], "did you mean run_dir?"),
    ],
)
def test_an_unknown_option_names_what_was_meant(mistake, hint, folder, capsys):  # noqa: F811
    assert cli.main(["fit", "quickstart", *mistake]) == 2
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("error:")]
    assert len(re.findall(hint.replace("?", r"\?"), line)) == 1, line


def test_datamodules_of_a_stranger_are_told(folder, monkeypatch, capsys):  # noqa: F811
    (folder / "datamodules").mkdir()
    (folder / "datamodules/__init__.py").write_text("X = 1\n")
    command = [sys.executable, "-m", "lightning_ras2s", "methods"]
    told = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(cli.__file__.rsplit("/", 2)[0])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 2
    (line,) = told.stderr.splitlines()
    assert f"{folder / 'datamodules'} is found in its place" in line
