"""HSIDenoiser: its step, metrics, optimizer, schedules, guard and checkpoints."""

import lightning as L
import pytest
import torch
from torch import nn

from datamodules.base import HSIDataModule
from datamodules.samples import REAL
from datamodules.scene import Measured, Scene
from lightning_ras2s import RAS2S, HSIDenoiser, load_network
from lightning_ras2s.metrics import METRICS
from lightning_ras2s.module import NonFiniteLossError

torch.set_num_threads(1)


class Ramps(HSIDataModule):
    """Two small smooth scenes a split."""

    name = "ramps"

    def scenes(self, split):
        ramp = torch.linspace(0, 1, 6 * 16 * 16).reshape(6, 16, 16).numpy()
        return [Scene(f"{split}_up", ramp), Scene(f"{split}_down", 1 - ramp)]


class Scale(nn.Module):
    """A network of one number."""

    def __init__(self, factor=0.5):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, noisy):
        return self.factor * noisy


def data(**options):
    return Ramps(
        **{"batch_size": 2, "patch_size": 12, "patch_bands": 4, "patches_per_epoch": 8} | options
    )


def trainer(tmp_path, **options):
    return L.Trainer(
        **{
            "default_root_dir": tmp_path,
            "accelerator": "cpu",
            "max_epochs": 1,
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "use_distributed_sampler": False,
        }
        | options
    )


def test_training_minimises_the_loss(tmp_path):
    denoiser = HSIDenoiser(Scale(0.0), learning_rate=0.1, schedule="constant")
    trainer(tmp_path, max_epochs=20).fit(denoiser, data(train_noise=["gaussian5"]))
    assert denoiser.network.factor.item() == pytest.approx(1, abs=0.1)


def test_training_loss_is_that_of_the_noisy_patches():
    module, denoiser = data(), HSIDenoiser(Scale(0.5), loss="l2 + 0.1*sam")
    module.setup("fit")
    batch = module.on_after_batch_transfer(next(iter(module.train_dataloader())), 0)
    denoiser.log = lambda *args, **kwargs: None
    loss = denoiser.training_step(batch, 0)
    expected = denoiser.loss(0.5 * batch["noisy"], batch["clean"])
    assert loss.item() == pytest.approx(expected.item())
    assert loss.item() > (0.5 * batch["noisy"] - batch["clean"]).square().mean().item()


def test_the_logged_norm_is_of_all_gradients_before_they_are_clipped(tmp_path):
    norms = []

    class Watched(HSIDenoiser):
        def on_after_backward(self):
            squares = [p.grad.double().square().sum() for p in self.parameters()]
            norms.append(sum(squares).sqrt().item())

    clipped = trainer(tmp_path, limit_train_batches=1, gradient_clip_val=1e-3)
    clipped.fit(Watched(RAS2S(channels=2)), data())
    assert norms[0] > 1e-2
    assert clipped.callback_metrics["train/grad_norm"].item() == pytest.approx(norms[0], rel=1e-5)


def test_test_has_a_row_per_scene_case_and_method(tmp_path):
    module = data(test_noise=["gaussian30", "mixture"])
    denoiser = HSIDenoiser(Scale(0.5), baselines=["Median 3x3x3"])
    (logged,) = trainer(tmp_path).test(denoiser, module, verbose=False)
    rows = denoiser.evaluation
    assert len(rows) == 2 * 2 * 3
    for item in module.test_set:
        noisy, clean = item["noisy"][None], item["clean"][None]
        for method, image in (("Noisy", noisy), ("Scale", 0.5 * noisy)):
            (row,) = [
                r
                for r in rows
                if (r["noise_case"], r["scene"], r["method"])
                == (item["case"], item["name"], method)
            ]
            for metric, function in METRICS.items():
                assert row[metric] == pytest.approx(function(image, clean).item(), rel=1e-6)
    ours = [r for r in rows if r["method"] == "Scale"]
    mixture = [r["psnr_db"] for r in ours if r["noise_case"] == "mixture"]
    assert logged["test/mixture/psnr_db"] == pytest.approx(sum(mixture) / 2, rel=1e-6)
    assert logged["test/ssim"] == pytest.approx(sum(r["ssim"] for r in ours) / 4, rel=1e-6)


def test_a_test_after_a_validation_starts_with_an_empty_table(tmp_path):
    denoiser, run = HSIDenoiser(Scale()), trainer(tmp_path)
    run.validate(denoiser, data(val_noise=["noniid", "stripe", "deadline"]), verbose=False)
    run.test(denoiser, data(test_noise=["noniid"]), verbose=False)
    assert len(denoiser.evaluation) == 2 * 2


def test_windows_cover_all_bands_and_are_their_own_row(tmp_path):
    class BandsSeen(nn.Module):
        def forward(self, noisy):
            return torch.full_like(noisy, noisy.shape[1]) + noisy[:, :1]

    noisy = torch.arange(7.0)[None, :, None, None].expand(1, 7, 2, 2)
    denoised = HSIDenoiser(BandsSeen()).denoise_windows(noisy, 3)
    # windows 0..2, 3..5 and 4..6, each 3 bands and its own first band
    assert denoised[0, :, 0, 0].tolist() == [3, 3, 3, 6, 7, 7, 7]
    few = HSIDenoiser(BandsSeen()).denoise_windows(noisy[:, :2], 3)
    assert few[0, :, 0, 0].tolist() == [2, 2]
    denoiser = HSIDenoiser(Scale(), test_bands=4)
    trainer(tmp_path).test(denoiser, data(test_noise=["noniid"]), verbose=False)
    methods = {row["method"] for row in denoiser.evaluation}
    assert methods == {"Noisy", "Scale, 4-band windows", "Scale"}


def test_one_validation_case_is_logged_without_its_name(tmp_path):
    (logged,) = trainer(tmp_path).validate(HSIDenoiser(Scale()), data(), verbose=False)
    assert set(logged) == {f"val/{metric}" for metric in METRICS}


def test_default_optimizer_is_the_released_recipe(tmp_path):
    rates = []

    class NoteRate(L.Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    denoiser = HSIDenoiser(Scale())
    trainer(tmp_path, max_epochs=7, callbacks=[NoteRate()], limit_val_batches=0).fit(
        denoiser, data()
    )
    optimizer = denoiser.trainer.optimizers[0]
    assert isinstance(optimizer, torch.optim.Adam)
    assert optimizer.defaults["betas"] == (0.9, 0.99)
    assert optimizer.defaults["weight_decay"] == 0
    assert rates == pytest.approx([1e-3] * 5 + [5e-4] * 2)


def test_cosine_schedule_spans_the_training(tmp_path):
    denoiser = HSIDenoiser(Scale(), learning_rate=1.0, schedule="cosine", warmup_steps=2)
    trainer(tmp_path, max_epochs=2, limit_val_batches=0).fit(denoiser, data())
    assert denoiser.trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.01)


def test_a_loss_that_is_not_finite_stops_training_and_says_where(tmp_path):
    denoiser = HSIDenoiser(Scale(float("nan")))
    with pytest.raises(NonFiniteLossError, match=r"nan at step 0.*train_.*learning_rate"):
        trainer(tmp_path).fit(denoiser, data())


@pytest.mark.parametrize("log_every_n_steps", [1, 2, 50])
def test_the_step_that_is_not_finite_is_named_before_anything_is_kept(tmp_path, log_every_n_steps):
    class Diverges(HSIDenoiser):
        def training_step(self, batch, batch_idx):
            self.validated = False
            loss = super().training_step(batch, batch_idx)
            return loss * float("inf") if batch_idx == 2 else loss

        def validation_step(self, batch, batch_idx):
            self.validated = True

    denoiser = Diverges(Scale())
    engine = trainer(tmp_path, num_sanity_val_steps=0, log_every_n_steps=log_every_n_steps)
    with pytest.raises(NonFiniteLossError, match="inf at step 2"):
        engine.fit(denoiser, data())
    assert not denoiser.validated


def test_speed_is_an_option_of_networks_that_have_it():
    network = RAS2S(channels=2)
    denoiser = HSIDenoiser(network, compile_steps=True, cuda_graphs=True)
    assert network.compiled
    assert denoiser.state_dict().keys() == HSIDenoiser(RAS2S(channels=2)).state_dict().keys()
    with pytest.raises(ValueError, match="compile_steps: Scale has no steps"):
        HSIDenoiser(Scale(), compile_steps=True)


def test_checkpoint_holds_plain_types_and_gives_the_network_back(tmp_path):
    torch.manual_seed(0)
    denoiser = HSIDenoiser(RAS2S(channels=4, regions=2), loss="l2 + 0.001*sam")
    run = trainer(tmp_path, max_steps=1)
    run.fit(denoiser, data())
    path = tmp_path / "own.ckpt"
    run.save_checkpoint(path)
    content = torch.load(path, weights_only=True)  # refuses anything but plain types and tensors
    assert content["hyper_parameters"]["loss"] == "l2 + 0.001*sam"
    noisy = torch.rand(1, 5, 12, 12)
    network = load_network(path)
    assert not network.training
    with torch.no_grad():
        assert torch.equal(network(noisy), denoiser.network(noisy))


@pytest.mark.parametrize(
    ("options", "message"),
    [({"loss": "l3"}, "unknown loss 'l3'"), ({"baselines": ["BM3D"]}, "BM3D.*Median 3x3x3")],
)
def test_unknown_names_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        HSIDenoiser(Scale(), **options)


def test_a_training_that_ends_by_its_steps_is_validated(tmp_path):
    engine = trainer(tmp_path, max_steps=1, max_epochs=-1)
    engine.fit(HSIDenoiser(Scale()), datamodule=data())
    assert engine.global_step == 1
    assert "val/psnr_db" in engine.callback_metrics


class Unknown(Ramps):
    """The same scenes with noise of their own, and no clean ones."""

    def __init__(self):
        super().__init__(test_noise=(REAL,))

    def scenes(self, split):
        return [Measured(scene) for scene in super().scenes(split)]


def test_scenes_without_a_reference_are_denoised_and_not_measured(tmp_path):
    module = HSIDenoiser(Scale())
    metrics = trainer(tmp_path).test(module, datamodule=Unknown(), verbose=False)
    assert module.evaluation == []
    assert metrics == [{}]
