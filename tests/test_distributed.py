"""Two processes against one: the same training, whatever parts the network has; agreement."""

import os
from datetime import timedelta

import lightning as L
import pytest
import torch
from lightning.pytorch.strategies import DDPStrategy

from datamodules.scene import Measured
from lightning_ras2s import RAS2S, HSIDenoiser, cli
from lightning_ras2s.runs import processes
from lightning_ras2s.runs.signals import Agreement, Wish
from lightning_ras2s.runs.start import RUN_DIR
from tests.test_module import Ramps

torch.set_num_threads(1)

STEPS = 20


class Watched(HSIDenoiser):
    """Notes its losses, as they are logged."""

    def on_train_batch_end(self, outputs, batch, batch_idx):
        super().on_train_batch_end(outputs, batch, batch_idx)
        losses = getattr(self, "losses", [])
        self.losses = [*losses, self.trainer.callback_metrics["train/loss"].item()]

    def on_fit_end(self):
        if self.global_rank == 0:
            kept = {"losses": self.losses, "weights": self.network.state_dict()}
            torch.save(kept, f"{self.trainer.default_root_dir}/{self.trainer.world_size}.pt")


def train(folder, processes, **ablation):
    torch.manual_seed(1)
    denoiser = Watched(RAS2S(channels=2, **ablation), learning_rate=3e-3, schedule="constant")
    strategy = "auto"
    if processes > 1:  # what cli.py chooses, launched by a fork
        strategy = DDPStrategy(start_method="fork", static_graph=True, gradient_as_bucket_view=True)
    engine = L.Trainer(
        default_root_dir=folder,
        accelerator="cpu",
        devices=processes,
        strategy=strategy,
        max_steps=STEPS,
        max_epochs=-1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        limit_val_batches=0,
    )
    data = Ramps(batch_size=4, patch_size=8, patch_bands=5, patches_per_epoch=42)
    engine.fit(denoiser, data)
    return torch.load(folder / f"{processes}.pt", weights_only=True)


OFTEN = [
    {},
    {"attention_bands": 1},  # its convolution has no effect, and no gradient
    {"gradient_checkpointing": True},
]
ABLATIONS = [
    {"hidden_compensation": False},
    {"spatial_regions": False},
    {"spectral_regions": False},
    {"spatial_regions": False, "spectral_regions": False},
    {"bidirectional": False},
    {"regions": 1},
]


@pytest.mark.parametrize(
    "ablation", [*OFTEN, *(pytest.param(a, marks=pytest.mark.faults) for a in ABLATIONS)], ids=str
)
def test_two_processes_train_as_one(tmp_path, ablation):
    one, two = train(tmp_path, 1, **ablation), train(tmp_path, 2, **ablation)
    assert len(one["losses"]) == STEPS
    assert two["losses"] == pytest.approx(one["losses"], rel=1e-5)
    assert len(set(one["losses"])) == STEPS
    for name, weight in one["weights"].items():
        torch.testing.assert_close(two["weights"][name], weight, rtol=1e-3, atol=1e-5)


class Own(RAS2S):
    """Of nobody knows how many graphs."""


OWN = ("--model.network=tests.test_distributed.Own", "--model.methods=null")
UNSURE = {"find_unused_parameters": True, "gradient_as_bucket_view": True}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--trainer.devices=2", *OWN), UNSURE),
        (("--trainer.devices=2",), {"static_graph": True, "gradient_as_bucket_view": True}),
        (("--trainer.devices=2", "--trainer.strategy=ddp"), {}),
        (("--trainer.devices=1",), None),
    ],
)
def test_several_devices_get_ddp_with_a_static_graph(tmp_path, monkeypatch, options, expected):
    seen = []

    def fit(self, *args, **kwargs):
        seen.append(getattr(self.strategy, "_ddp_kwargs", None))
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(RUN_DIR, "")
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setattr(L.Trainer, "fit", fit)
    monkeypatch.setattr("sys.argv", ["lightning_ras2s"])
    from tests.test_cli import files

    assert cli.main(["fit", *files("quickstart"), "--trainer.accelerator=cpu", *options]) == 130
    assert seen == [expected]


def _wishes(rank, folder, wishes):
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2
    )
    agreement = Agreement()
    answers = [int(agreement(Wish(wish))) for wish in wishes[rank]]
    torch.save(answers, f"{folder}/{rank}.pt")


def test_processes_agree_on_the_largest_wish_one_step_later(tmp_path):
    wishes = [[0, 1, 0, 0, 0, 0], [0, 0, 0, 2, 1, 0]]
    torch.multiprocessing.start_processes(
        _wishes, (str(tmp_path), wishes), nprocs=2, start_method="fork"
    )
    for rank in range(2):
        assert torch.load(tmp_path / f"{rank}.pt", weights_only=True) == [0, 0, 1, 0, 2, 1]


def test_one_process_agrees_with_itself_at_once():
    agreement = Agreement()
    assert [agreement(wish) for wish in Wish] == list(Wish)


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ({}, None),
        ({"SLURM_JOB_ID": "7"}, "slurm-7"),
        ({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "8"}, "slurm-7"),
        (
            {"SLURM_JOB_ID": "9", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "2"},
            "slurm-7_2",
        ),
        ({"TORCHELASTIC_RUN_ID": "abc", "MASTER_ADDR": "n0"}, "job-abc"),
        ({"TORCHELASTIC_RUN_ID": "none", "MASTER_ADDR": "n0", "MASTER_PORT": "9"}, "job-n0-9"),
    ],
)
def test_processes_that_others_start_name_the_run_after_the_job(monkeypatch, environment, name):
    for variable in [v for v in os.environ if v.startswith(("SLURM", "TORCHELASTIC", "MASTER"))]:
        monkeypatch.delenv(variable)
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    assert processes.job_name() == name


class Mixed(Ramps):
    """A validation and a test of which one process has only scenes that nobody knows clean."""

    def scenes(self, split):
        clean = super().scenes(split)[:1]
        unknown = [Measured(scene, None) for scene in super().scenes(split)[:1]]
        return clean if split == "train" else [*clean, *unknown]


def test_an_evaluation_ends_where_one_process_has_no_reference(tmp_path):
    """It waited for ever: the process without rows did not come to the meeting."""
    denoiser = HSIDenoiser(RAS2S(channels=2), schedule="constant")
    engine = L.Trainer(
        default_root_dir=tmp_path,
        accelerator="cpu",
        devices=2,
        strategy=DDPStrategy(start_method="fork", timeout=timedelta(seconds=60)),
        max_steps=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    data = Mixed(
        batch_size=2, patch_size=8, patch_bands=5, patches_per_epoch=2, test_noise=["stripe"]
    )
    engine.fit(denoiser, data)
    assert engine.callback_metrics["val/psnr_db"] > 0
    (scores,) = engine.test(denoiser, data, verbose=False)
    assert scores["test/psnr_db"] > 0
