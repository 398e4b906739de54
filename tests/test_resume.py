"""The command line that goes on with a run, and the scripts that use it."""

import json
import os
import shlex
import shutil
import signal
import stat
import subprocess
from pathlib import Path

import pytest
import torch

from lightning_ras2s import HSIDenoiser, cli, run_record
from lightning_ras2s.resume import ResumeError, resumed
from tests.cubes import FOLDER, write_cubes
from tests.make import outside_make
from tests.test_cli import TINY, files, folder, only_run  # noqa: F401

torch.set_num_threads(1)

HOUSE = Path(__file__).parents[1]
RUN = Path("runs/toy/now")


@pytest.fixture
def run(folder):  # noqa: F811
    """The folder of a run that left no checkpoint yet."""
    RUN.mkdir(parents=True)
    (RUN / "config.yaml").write_text("seed_everything: 1\n")
    Path("runs/toy.latest").write_text("now")
    return RUN


def test_what_stands_behind_resume_overrides_the_run(run):
    args = ["fit", "-c", "defaults.yaml", "-c", "toy.yaml", "--resume=last", "--trainer.x=1"]
    given = resumed(args, Path("runs/toy"))
    assert given == [
        "fit",
        "-c",
        "runs/toy/now/config.yaml",
        "--run_dir=runs/toy/now",
        "--trainer.x=1",
    ]
    assert resumed(["fit", "--resume=runs/toy/now"], Path("elsewhere")) == given[:-1]


def test_without_resume_nothing_changes():
    args = ["fit", "-c", "toy.yaml", "--model.resume=1"]
    assert resumed(args, Path("runs/toy")) == args


def test_without_a_run_the_first_one_begins(folder):  # noqa: F811
    args = ["fit", "-c", "toy.yaml", "--resume=last", "--x=1"]
    assert resumed(args, Path("runs/toy")) == ["fit", "-c", "toy.yaml", "--x=1"]


def test_a_run_that_was_removed_is_not_gone_on_with(run):
    shutil.rmtree(run)
    assert resumed(["fit", "--resume=last"], Path("runs/toy")) == ["fit"]


def test_a_folder_without_a_run_is_a_mistake(folder):  # noqa: F811
    with pytest.raises(ResumeError, match=r"nowhere/config.yaml: no such file; RESUME=last, or"):
        resumed(["fit", "--resume=nowhere"], Path("runs/toy"))
    assert cli.main(["fit", *files("quickstart"), "--resume=nowhere"]) == 2


def test_the_last_run_is_the_one_begun_last_whatever_the_clock_says(folder):  # noqa: F811
    for name in ("2026-01-02", "2020-01-01"):
        (folder / "runs/toy" / name).mkdir(parents=True)
        run_record._pointer(folder / "runs/toy").write_text(name)
    assert run_record.latest(folder / "runs/toy").name == "2020-01-01"


@pytest.mark.parametrize(
    ("place", "experiment"),
    [("runs/toy/now", "toy"), ("now", None), ("runs/sweeps/regions/trial-0", None)],
)
def test_a_run_at_another_place_is_not_the_last_of_an_experiment(
    folder,  # noqa: F811
    monkeypatch,
    place,
    experiment,
):
    for facts in ("hardware", "data_facts", "_wandb_run"):
        monkeypatch.setattr(run_record, facts, lambda trainer: None)
    run_record.start(Path(place), "a command", None)
    pointers = {path.name for path in folder.rglob("*.latest")}
    assert pointers == ({f"{experiment}.latest"} if experiment else set())
    if experiment:
        assert run_record.latest(Path("runs", experiment)) == Path(place)


def test_a_stopped_training_goes_on_as_the_same_run(folder, monkeypatch):  # noqa: F811
    import wandb

    step = HSIDenoiser.training_step

    def told_to_stop(self, batch, batch_idx):
        os.kill(os.getpid(), signal.SIGTERM)
        return step(self, batch, batch_idx)

    write_cubes(folder / "cubes")
    begin = [*files("folder"), *FOLDER, "--data.patches_per_epoch=64"]
    more = ("--trainer.max_steps=4",)
    monkeypatch.setattr(HSIDenoiser, "training_step", told_to_stop)
    assert cli.main(["fit", *begin, *more]) == 143
    run = only_run(folder)
    record = json.loads((run / "run.json").read_text())
    assert record["status"] == "stopped"
    config = (run / "config.yaml").read_text()

    wandb.teardown()  # as the end of the process does
    monkeypatch.setattr(HSIDenoiser, "training_step", step)
    assert cli.main(["fit", *files("folder"), "--resume=last", *more]) == 0
    assert only_run(folder) == run
    assert (run / "config.yaml").read_text() == config  # it still runs anew
    again = json.loads((run / "run.json").read_text())
    assert (again["status"], again["error"]) == ("finished", None)
    assert again["started"] == record["started"]
    (resumption,) = again["resumed"]
    assert resumption["checkpoint"].endswith("last.ckpt")
    assert again["wandb"]["id"] == record["wandb"]["id"]
    logs = sorted(run.glob("wandb/offline-run-*"))
    assert {log.name.rpartition("-")[2] for log in logs} == {record["wandb"]["id"]}
    kept = torch.load(run / "checkpoints/last.ckpt", weights_only=True)
    assert kept["global_step"] == 4


def test_the_make_target_passes_it_on(folder):  # noqa: F811
    command = ["make", "-n", "train", "RESUME=last", "EXP=icvl_mixture", "DEVICES=4", "NODES=2"]
    shown = subprocess.run(
        command, cwd=HOUSE, check=True, capture_output=True, text=True, env=outside_make()
    ).stdout
    words = shlex.split(shown.replace("\\\n", ""))
    assert words[-3:] == ["--resume=last", "--trainer.devices=4", "--trainer.num_nodes=2"]


def fake(folder, name, text):  # noqa: F811
    """A program of a cluster."""
    path = folder / "bin" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/usr/bin/env bash\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.mark.parametrize("code", [0, 130, 143])
@pytest.mark.parametrize("began", [False, True])
def test_a_slurm_job_goes_on_where_its_time_was_over(folder, code, began):  # noqa: F811
    fake(folder, "srun", f'echo "$@" > srun.txt; exit {code}')
    fake(folder, "scontrol", 'echo "$@" > scontrol.txt')
    run = folder / "runs/icvl_mixture/slurm-42"
    if began:
        run.mkdir(parents=True)
        (run / "config.yaml").write_text("")
    environment = {
        "PATH": f"{folder}/bin:{os.environ['PATH']}",
        "SLURM_JOB_ID": "42",
        "SLURM_NTASKS_PER_NODE": "4",
        "SLURM_NNODES": "2",
    }
    script = HOUSE / "experiments/slurm/train.sh"
    ended = subprocess.run(
        ["bash", script, "icvl_mixture", "--model.loss=l2"],
        cwd=folder,
        env=environment,
        check=False,
    )
    words = (folder / "srun.txt").read_text().split()
    given = words[words.index("fit") + 1 :]
    begin = ["-c", "experiments/defaults.yaml", "-c", "experiments/icvl_mixture.yaml"]
    place = "runs/icvl_mixture/slurm-42"
    assert given == [
        *([f"--resume={place}"] if began else begin),
        f"--run_dir={place}",
        "--trainer.devices=4",
        "--trainer.num_nodes=2",
        "--model.loss=l2",
    ]
    requeued = folder / "scontrol.txt"
    if code == 130:
        assert requeued.read_text() == "requeue 42\n"
        assert ended.returncode == 0
    else:
        assert not requeued.exists()
        assert ended.returncode == code


def test_several_nodes_need_a_place_to_meet(capsys, folder, monkeypatch):  # noqa: F811
    for variable in ("SLURM_NTASKS", "TORCHELASTIC_RUN_ID", "MASTER_ADDR"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert cli.main(["fit", *files("quickstart"), *TINY, "--trainer.num_nodes=2"]) == 2
    assert "NODES=2, but nothing tells where they meet" in capsys.readouterr().err
