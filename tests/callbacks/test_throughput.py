"""Throughput and the progress bar: read at log steps only."""

import pytest
import torch
from lightning.pytorch.loggers import CSVLogger

from lightning_ras2s import HSIDenoiser
from lightning_ras2s.callbacks import ProgressBar, Throughput, throughput
from tests.test_module import Scale, data, trainer


def test_patches_a_second_are_those_between_two_logs(tmp_path, monkeypatch):
    times = iter([100.0, 104.0, 104.0, 106.0, 106.0])
    monkeypatch.setattr(throughput.time, "perf_counter", lambda: next(times))
    engine = trainer(
        tmp_path,
        callbacks=[Throughput()],
        logger=CSVLogger(tmp_path, "", ""),
        log_every_n_steps=2,
        limit_val_batches=0,
    )
    engine.fit(HSIDenoiser(Scale()), data())  # 4 steps of 2 patches
    lines = (tmp_path / "metrics.csv").read_text().splitlines()
    column = lines[0].split(",").index("train/samples_per_sec")
    rates = [float(value) for line in lines[1:] if (value := line.split(",")[column])]
    assert rates == [1.0, 2.0]


def test_the_bar_shows_the_loss(tmp_path):
    shown = {}

    class Bar(ProgressBar):
        def get_metrics(self, *args):
            shown.update(super().get_metrics(*args))
            return shown

    engine = trainer(tmp_path, enable_progress_bar=True, callbacks=[Bar(refresh_rate=1)])
    engine.fit(HSIDenoiser(Scale()), data())
    assert float(shown["train/loss"]) == pytest.approx(
        engine.callback_metrics["train/loss"].item(), abs=1e-4
    )
    assert "val/psnr_db" in shown


def test_no_step_waits_for_the_device(tmp_path):
    class Watched(HSIDenoiser):
        def configure_optimizers(self):
            return torch.optim.SGD(
                self.parameters(), 0.1, fused=True
            )  # Adam reads its steps, on the CPU

        def on_train_batch_start(self, batch, batch_idx):
            if batch_idx == 10:
                self.profile = torch.profiler.profile()
                self.profile.start()

        def on_train_batch_end(self, outputs, batch, batch_idx):
            super().on_train_batch_end(outputs, batch, batch_idx)
            if batch_idx == 29:
                self.profile.stop()

    denoiser = Watched(Scale())
    engine = trainer(
        tmp_path,
        enable_progress_bar=True,
        callbacks=[ProgressBar(), Throughput()],
        logger=CSVLogger(tmp_path),
        log_every_n_steps=10,
        gradient_clip_val=1e6,
        limit_val_batches=0,
    )
    engine.fit(denoiser, data(patches_per_epoch=80))
    waits = [e for e in denoiser.profile.events() if e.name == "aten::_local_scalar_dense"]
    assert 0 < len(waits) <= 10  # of 20 steps, 2 of which are logged and drawn
