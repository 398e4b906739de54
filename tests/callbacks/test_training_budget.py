"""TrainingBudget: when it ends a training, at which rates, and what it notes."""

import csv

import lightning as L
import pytest
import torch
from torch import nn

from lightning_ras2s import HSIDenoiser
from lightning_ras2s.callbacks import TrainingBudget, training_budget
from lightning_ras2s.metrics import mpsnr
from lightning_ras2s.runs.errors import UserError
from lightning_ras2s.schedules import half_cosine
from tests.test_module import Ramps

torch.set_num_threads(1)


class Clock:
    """Stands still unless somebody moves it."""

    now = 0.0

    def perf_counter(self):
        return self.now


class Slow(nn.Module):
    """A network that takes 2 s for a step, and 100 s where it is only looked at."""

    def __init__(self, clock):
        super().__init__()
        self.factor, self.clock = nn.Parameter(torch.tensor(0.5)), clock

    def forward(self, noisy):
        self.clock.now += 2 if self.training else 100
        return self.factor * noisy


class Noted(HSIDenoiser):
    """Notes the rate of each step."""

    def training_step(self, batch, batch_idx):
        self.rates = [*getattr(self, "rates", []), self.optimizers().param_groups[0]["lr"]]
        return super().training_step(batch, batch_idx)


@pytest.fixture
def clock(monkeypatch):
    moved = Clock()
    monkeypatch.setattr(training_budget, "time", moved)
    return moved


def fit(folder, clock, budget, checkpoint=None, **options):
    denoiser = Noted(Slow(clock), **{"learning_rate": 0.1, "schedule": "constant"} | options)
    engine = L.Trainer(
        default_root_dir=folder,
        accelerator="cpu",
        max_epochs=-1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        limit_val_batches=0,
        callbacks=[budget],
    )
    data = Ramps(batch_size=2, patch_size=12, patch_bands=4, patches_per_epoch=6)
    engine.fit(denoiser, data, ckpt_path=checkpoint)
    engine.save_checkpoint(folder / "end.ckpt")
    return denoiser


def test_so_many_patches_end_it_and_the_rate_falls_to_that_end(tmp_path, clock):
    budget = TrainingBudget(patches=16)
    denoiser = fit(tmp_path, clock, budget)
    assert denoiser.trainer.global_step == 8
    shares = [2 * step / 16 for step in range(8)]
    assert denoiser.rates == pytest.approx([0.1 * half_cosine(share) for share in shares])
    rows = list(csv.DictReader((tmp_path / "budget.csv").open()))
    assert [int(row["patches"]) for row in rows] == [0, 2, 4, 6, 8, 10, 12, 14, 16]
    values = [float(row["psnr_db"]) for row in rows]
    assert len(set(values)) == len(values)


def test_time_is_that_of_the_steps_but_the_first_three(tmp_path, clock):
    budget = TrainingBudget(minutes=10 / 60)
    denoiser = fit(tmp_path, clock, budget)
    assert denoiser.trainer.global_step == 3 + 5  # of 2 s each
    assert budget.seconds == pytest.approx(10)
    rows = list(csv.DictReader((tmp_path / "budget.csv").open()))
    assert [float(row["seconds"]) for row in rows] == pytest.approx([0, 2, 4, 6, 8, 10])


def test_the_curve_is_the_psnr_of_the_middle_of_the_validation_scenes(tmp_path, clock):
    budget = TrainingBudget(patches=2)
    denoiser = fit(tmp_path, clock, budget)
    ramp = torch.linspace(0, 1, 6 * 16 * 16).view(1, 6, 16, 16)
    crops = [noisy for noisy, _ in budget._crops]
    assert torch.equal(budget._crops[0][1], ramp[:, 1:5])
    assert [tuple(crop.shape) for crop in crops] == 2 * [(1, 4, 16, 16)]
    last = [mpsnr(denoiser.network.factor * noisy, clean) for noisy, clean in budget._crops]
    assert budget.curve[-1][2] == pytest.approx(torch.cat(last).mean().item(), rel=1e-5)
    assert denoiser.network.training


def test_it_goes_on_with_what_is_left(tmp_path, clock):
    fit(tmp_path, clock, TrainingBudget(patches=8))
    further = TrainingBudget(patches=12)
    denoiser = fit(tmp_path, clock, further, tmp_path / "end.ckpt")
    assert denoiser.trainer.global_step == 6
    assert [patches for _, patches, _ in further.curve][:2] == [0, 2]
    assert further.curve[-1][1] == 12


@pytest.mark.parametrize("given", [{}, {"minutes": 0}, {"patches": -1}])
def test_there_is_something_to_use_up(given):
    with pytest.raises(ValueError, match="give one, above 0"):
        TrainingBudget(**given)


def test_another_schedule_is_refused(tmp_path, clock):
    with pytest.raises(UserError, match=r"model\.schedule is paper: .*set constant"):
        fit(tmp_path, clock, TrainingBudget(patches=4), schedule="paper")
