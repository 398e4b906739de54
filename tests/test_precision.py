"""Half precision trains as single precision does."""

import lightning as L
import pytest
import torch
from lightning.pytorch.plugins.precision import MixedPrecision

from lightning_ras2s import RAS2S, HSIDenoiser
from tests.test_module import Ramps

torch.set_num_threads(1)

STEPS = 40


class Watched(HSIDenoiser):
    """Notes its losses."""

    def on_train_batch_end(self, outputs, batch, batch_idx):
        super().on_train_batch_end(outputs, batch, batch_idx)
        self.losses = [*getattr(self, "losses", []), outputs["value"].item()]


def train(folder, steps, rate, state=None, **precision):
    torch.manual_seed(1)
    denoiser = Watched(RAS2S(channels=4), learning_rate=rate, schedule="constant")
    if state is not None:
        denoiser.network.load_state_dict(state)
    engine = L.Trainer(
        default_root_dir=folder,
        accelerator="cpu",
        max_steps=steps,
        max_epochs=-1,
        gradient_clip_val=0.5,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        **precision,
    )
    data = {"batch_size": 4, "patch_size": 12, "patch_bands": 4, "patches_per_epoch": 4 * steps}
    engine.fit(denoiser, Ramps(**data, train_noise=["gaussian50"], seed=3))
    return denoiser


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    """Weights beyond the start of a training, whose length hangs on the last bits."""
    denoiser = train(tmp_path_factory.mktemp("start"), 160, 5e-3)
    assert denoiser.losses[-1] < denoiser.losses[0] / 2
    return {name: weight.clone() for name, weight in denoiser.network.state_dict().items()}


@pytest.fixture(scope="module")
def single(started, tmp_path_factory):
    """The losses in single precision."""
    return torch.tensor(train(tmp_path_factory.mktemp("single"), STEPS, 5e-4, started).losses)


@pytest.mark.slow
@pytest.mark.parametrize(
    "precision",
    [
        pytest.param({"precision": "bf16-mixed"}, id="bf16"),
        pytest.param(  # Lightning itself takes bf16 for fp16 on the CPU
            {"plugins": [MixedPrecision("16-mixed", "cpu")]}, id="fp16"
        ),
    ],
)
def test_the_training_curve_is_that_of_single_precision(tmp_path, started, single, precision):
    denoiser = train(tmp_path, STEPS, 5e-4, started, **precision)
    half = torch.tensor(denoiser.losses)
    assert not torch.equal(half, single)
    torch.testing.assert_close(half, single, rtol=0.05, atol=0)  # 0.015 was seen
    torch.testing.assert_close(half.mean(), single.mean(), rtol=0.01, atol=0)  # 0.002
    assert denoiser.skipped == 0


@pytest.mark.parametrize("clip", [1e-9, 1e6])
def test_bf16_clips_gradients(tmp_path, clip):
    denoiser = HSIDenoiser(RAS2S(channels=2))
    before = {name: weight.clone() for name, weight in denoiser.network.state_dict().items()}
    norms = []

    class Norm(L.Callback):
        def on_before_zero_grad(self, trainer, pl_module, optimizer):
            norms.append(
                torch.nn.utils.get_total_norm(
                    [p.grad for p in pl_module.parameters() if p.grad is not None]
                )
            )

    engine = L.Trainer(
        default_root_dir=tmp_path,
        accelerator="cpu",
        precision="bf16-mixed",
        max_steps=2,
        gradient_clip_val=clip,
        callbacks=[Norm()],
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    engine.fit(denoiser, Ramps(batch_size=2, patch_size=8, patch_bands=3, patches_per_epoch=8))
    norm = float(norms[-1])
    assert norm == pytest.approx(1e-9, rel=1e-2) if clip < 1 else norm > 1e-3
    assert any(not torch.equal(before[n], w) for n, w in denoiser.network.state_dict().items())


def test_an_overflow_of_half_precision_is_the_scalers_to_skip(tmp_path):
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40)  # beyond float16's range
    plugin = MixedPrecision("16-mixed", "cpu", scaler)
    denoiser = train(tmp_path, 12, 1e-3, plugins=[plugin])
    assert denoiser.skipped > 0
    assert denoiser.skipped_in_a_row == 0
    assert scaler.get_scale() < 2.0**40
