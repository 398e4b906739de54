"""The command line that goes on with a run, and the scripts that use it."""

import csv
import json
import os
import re
import shlex
import shutil
import signal
import stat
import subprocess
from pathlib import Path

import pytest
import torch
import yaml

from lightning_ras2s import HSIDenoiser, cli
from lightning_ras2s.runs import record
from lightning_ras2s.runs.folder import RunFolder
from lightning_ras2s.runs.resume import ResumeError, find_resumption
from tests.cubes import FOLDER, write_cubes
from tests.make import outside_make
from tests.test_cli import (  # noqa: F401
    BARE,
    TINY,
    files,
    folder,
    isolate,
    only_run,
    train_quickly,
)

torch.set_num_threads(1)

HOUSE = Path(__file__).parents[2]
RUN = Path("runs/toy/now")
UNTESTED = ("--trainer.limit_test_batches=0",)


@pytest.fixture(autouse=True)
def _without_wandb(folder, monkeypatch):  # noqa: F811
    monkeypatch.setenv("WANDB_MODE", "disabled")


@pytest.fixture
def run(folder):  # noqa: F811
    """The folder of a run that has left a checkpoint."""
    (RUN / "checkpoints").mkdir(parents=True)
    torch.save({"pytorch-lightning_version": "2", "state_dict": {}}, RUN / "checkpoints/last.ckpt")
    (RUN / "config.yaml").write_text("seed_everything: 1\nmodel:\n  learning_rate: 0.1\n")
    Path("runs/toy.latest").write_text("now")
    return RUN


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    """The folder of a training of one step, not tested."""
    place = tmp_path_factory.mktemp("once")
    with pytest.MonkeyPatch.context() as monkeypatch:
        isolate(monkeypatch, place)
        monkeypatch.setenv("WANDB_MODE", "disabled")
        assert train_quickly(place, *UNTESTED) == 0
    return place


@pytest.fixture
def trained(once, folder):  # noqa: F811
    """A run that can be gone on with, and changed."""
    shutil.copytree(once, folder, dirs_exist_ok=True)
    return only_run(folder).relative_to(folder)


def test_what_stands_behind_resume_overrides_the_run(run):
    args = ["fit", "-c", "defaults.yaml", "-c", "toy.yaml", "--resume=last", "--trainer.x=1"]
    found = find_resumption(args, Path("runs/toy"))
    assert found.run == RunFolder(RUN)
    assert found.checkpoint == RUN / "checkpoints/last.ckpt"
    assert found.args == [
        "fit",
        "-c",
        "runs/toy/now/config.yaml",
        "--run_dir=runs/toy/now",
        "--ckpt_path=runs/toy/now/checkpoints/last.ckpt",
        "--trainer.x=1",
    ]
    again = find_resumption(["fit", "--resume=runs/toy/now"], Path("elsewhere"))
    assert again.args == found.args[:-1]


def test_without_resume_or_without_any_run_there_is_nothing_to_go_on_with(folder):  # noqa: F811
    assert find_resumption(["fit", "-c", "toy.yaml", "--model.resume=1"], Path("runs/toy")) is None
    assert find_resumption(["fit", "--resume=last", "--x=1"], Path("runs/toy")) is None


def test_a_run_that_was_removed_is_not_gone_on_with(run):
    shutil.rmtree(run)
    assert find_resumption(["fit", "--resume=last"], Path("runs/toy")) is None


def test_a_run_without_a_checkpoint_is_not_begun_anew(run):
    (run / "checkpoints/last.ckpt").unlink()
    with pytest.raises(ResumeError, match=r"now/checkpoints: no checkpoint that can be read"):
        find_resumption(["fit", "--resume=last"], Path("runs/toy"))


def test_a_run_goes_on_in_its_own_folder(run):
    assert find_resumption(["fit", "--resume=last", f"--run_dir={run.resolve()}"], run.parent)
    with pytest.raises(ResumeError, match=r"--run_dir=other: a run goes on in its own folder"):
        find_resumption(["fit", "--resume=last", "--run_dir=other"], run.parent)


def test_what_a_runs_state_belongs_to_cannot_be_overridden(run):
    found = find_resumption(["fit", "--resume=last"], run.parent)
    now = {"seed_everything": 1, "model": {"learning_rate": 0.2, "loss": "l1"}}
    assert found.overrides(now) == {"model.learning_rate": (0.1, 0.2)}  # the loss was not known
    with pytest.raises(ResumeError, match=r"seed_everything=2: .* keeps seed_everything=1"):
        found.overrides(now | {"seed_everything": 2})


def test_the_configuration_of_an_earlier_commit_names_classes_where_they_are_now(run):
    (run / "config.yaml").write_text("logger: lightning_ras2s.loggers.Wandb\n")
    find_resumption(["fit", "--resume=last"], run.parent)
    assert (run / "config.yaml").read_text() == "logger: lightning_ras2s.runs.loggers.Wandb\n"


def test_a_folder_without_a_run_is_a_mistake(folder):  # noqa: F811
    with pytest.raises(ResumeError, match=r"nowhere/config.yaml: no such file; RESUME=last, or"):
        find_resumption(["fit", "--resume=nowhere"], Path("runs/toy"))
    assert cli.main(["fit", *files("quickstart"), "--resume=nowhere"]) == 2


def test_the_last_run_is_the_one_begun_last_whatever_the_clock_says(folder):  # noqa: F811
    for name in ("2026-01-02", "2020-01-01"):
        run = RunFolder(folder / "runs/toy" / name)
        run.path.mkdir(parents=True)
        record.note_latest(run)
    assert record.latest(folder / "runs/toy").path.name == "2020-01-01"


@pytest.mark.parametrize(
    ("place", "experiment"),
    [
        ("runs/toy/now", "toy"),
        ("now", None),
        ("runs/sweeps/regions/trial-0", None),
        ("/", None),
        ("/out", None),
    ],
)
def test_a_run_at_another_place_is_not_the_last_of_an_experiment(folder, place, experiment):  # noqa: F811
    if experiment:
        Path(place).mkdir(parents=True)
    record.note_latest(RunFolder(Path(place)))
    pointers = {path.name for path in folder.rglob("*.latest")}
    assert pointers == ({f"{experiment}.latest"} if experiment else set())
    if experiment:
        assert record.latest(Path("runs", experiment)) == RunFolder(Path(place))


def test_an_evaluation_is_not_the_last_training(trained, folder, caplog):  # noqa: F811
    run = trained
    begin = [*files("folder"), *FOLDER, *BARE, "--data.patches_per_epoch=16"]
    strange = Path("it's ${run_dir} = 1e5")
    shutil.copytree(run / "checkpoints", strange / "checkpoints")
    weights = [f"--weights={strange}"]  # the folder stands for its best weights
    given = [word for word in begin if "network" not in word]
    assert cli.main(["test", *given, *weights, "--data.test_noise=[mixture]"]) == 0
    assert len(list(folder.glob("runs/folder/*"))) == 2
    assert record.latest(Path("runs/folder")).path.name == run.name
    more = ("--trainer.max_steps=2", "--model.learning_rate=0.5")
    with caplog.at_level("INFO"):
        assert cli.main(["fit", *begin, "--resume=last", *more]) == 0
    (line,) = [line for line in caplog.messages if "Goes on from" in line]
    assert "checkpoints/last.ckpt, step 1 (epoch 0)" in line
    assert "trainer.max_steps=2 (was 1), model.learning_rate=0.5 (was 0.001)" in line


def rates_of(run):
    with (run / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    return {int(row["step"]): float(row["lr-Adam"]) for row in rows if row.get("lr-Adam")}


@pytest.mark.parametrize("schedule", ["paper", "cosine", "constant"])
def test_overrides_of_a_training_that_goes_on_are_applied_told_and_kept(folder, schedule):  # noqa: F811
    steps = (*UNTESTED, "--trainer.log_every_n_steps=1", f"--model.schedule={schedule}")
    assert train_quickly(folder, *steps, "--trainer.max_steps=2") == 0
    run = only_run(folder)
    new = ("--model.learning_rate=1e-5", "--model.optimizer.weight_decay=0.25")
    kept = torch.load(run / "checkpoints/last.ckpt", weights_only=True)
    assert kept["optimizer_states"][0]["param_groups"][0]["weight_decay"] == 0
    assert cli.main(["fit", f"--resume={run}", "--trainer.max_steps=4", *new]) == 0
    assert rates_of(run)[0] == pytest.approx(1e-3)
    rate = rates_of(run)[max(rates_of(run))]
    assert rate == pytest.approx(1e-5) if schedule != "cosine" else 0 < rate < 1e-5
    group = torch.load(run / "checkpoints/last.ckpt", weights_only=True)["optimizer_states"][0]
    assert group["param_groups"][0]["weight_decay"] == 0.25
    (told,) = json.loads((run / "run.json").read_text())["resumed"]
    assert told["overrides"] == {
        "model.learning_rate": 1e-5,
        "model.optimizer.weight_decay": 0.25,
        "trainer.max_steps": 4,
    }
    assert yaml.safe_load((run / "config.yaml").read_text())["model"]["learning_rate"] == 1e-5


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("--model.network.channels=4", "model.network.channels=4.*keeps model.network.channels=2"),
        ("--model.schedule=constant", "model.schedule=constant.*keeps model.schedule=paper"),
        ("--model.optimizer=AdamW", "model.optimizer.class_path=torch.optim.AdamW"),
        ("--seed_everything=9", "seed_everything=9.*keeps"),
        ("--run_dir=elsewhere", "a run goes on in its own folder"),
    ],
)
def test_what_cannot_be_applied_is_refused(trained, folder, capsys, override, told):  # noqa: F811
    run = trained
    before = (run / "run.json").read_text()
    assert cli.main(["fit", f"--resume={run}", "--trainer.max_steps=4", override]) == 2
    assert re.search(f"error: .*{told}", capsys.readouterr().err)
    assert (run / "run.json").read_text() == before
    assert not (folder / "elsewhere").exists()


def test_the_folder_of_a_training_is_not_begun_in_again(trained, folder, capsys):  # noqa: F811
    run = trained
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert train_quickly(folder, f"--run_dir={run}") == 2
    assert f"holds the checkpoints of a training; go on with it (RESUME={run})" in (
        capsys.readouterr().err
    )
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_another_measure_chooses_the_best_anew(trained):
    run = trained
    by_sam = ("--checkpoints.monitor=val/sam_rad", "--checkpoints.mode=min")
    assert cli.main(["fit", f"--resume={run}", "--trainer.max_steps=2", *by_sam]) == 0
    kept = torch.load(run / "checkpoints/last.ckpt", weights_only=True)["callbacks"]
    (state,) = [state for name, state in kept.items() if name.startswith("Checkpoints")]
    assert state["monitor"] == "val/sam_rad"
    assert state["best_model_score"] < 2  # rad, no dB


def test_a_stopped_training_goes_on_as_the_same_run(folder, monkeypatch):  # noqa: F811
    import wandb

    monkeypatch.delenv("WANDB_MODE")
    step = HSIDenoiser.training_step

    def told_to_stop(self, batch, batch_idx):
        os.kill(os.getpid(), signal.SIGTERM)
        return step(self, batch, batch_idx)

    write_cubes(folder / "cubes")
    begin = [*files("folder"), *FOLDER, *BARE, "--data.patches_per_epoch=64"]
    more = ("--trainer.max_steps=4",)
    monkeypatch.setattr(HSIDenoiser, "training_step", told_to_stop)
    assert cli.main(["fit", *begin, *more]) == 143
    run = only_run(folder)
    begun = json.loads((run / "run.json").read_text())
    assert begun["status"] == "stopped"
    config = (run / "config.yaml").read_text()

    wandb.teardown()  # as the end of the process does
    monkeypatch.setattr(HSIDenoiser, "training_step", step)
    assert cli.main(["fit", *files("folder"), "--resume=last", *more]) == 0
    assert only_run(folder) == run
    assert (run / "config.yaml").read_text() == config  # it still runs anew
    again = json.loads((run / "run.json").read_text())
    assert (again["status"], again["error"]) == ("finished", None)
    assert again["started"] == begun["started"]
    (resumption,) = again["resumed"]
    assert resumption["checkpoint"].endswith("last.ckpt")
    assert again["wandb"]["id"] == begun["wandb"]["id"]
    logs = sorted(run.glob("wandb/offline-run-*"))
    # offline-run-<time>-<id>, with -1 behind it for the second of the same second
    assert {log.name.split("-")[3] for log in logs} == {begun["wandb"]["id"]}
    kept = torch.load(run / "checkpoints/last.ckpt", weights_only=True)
    assert kept["global_step"] == 4


def test_the_make_target_passes_it_on(folder):  # noqa: F811
    command = ["make", "-n", "train", "RESUME=last", "EXP=icvl_mixture", "DEVICES=4", "NODES=2"]
    shown = subprocess.run(
        command, cwd=HOUSE, check=True, capture_output=True, text=True, env=outside_make()
    ).stdout
    words = shlex.split(shown.replace("\\\n", ""))
    assert words[-3:] == [
        "--resume=$RAS2S_RESUME",
        "--trainer.devices=4",
        "--trainer.num_nodes=2",
    ]


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
        (run / "checkpoints").mkdir(parents=True)
        (run / "checkpoints/last.ckpt").write_text("")
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
    place = "runs/icvl_mixture/slurm-42"
    assert given == [
        *([f"--resume={place}"] if began else ["icvl_mixture"]),
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
