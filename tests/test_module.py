"""HSIDenoiser: its step, metrics, optimizer, schedules, guard and checkpoints."""

import copy
import itertools

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
    made = denoiser.training_step(batch, 0)
    loss = made["loss"]
    assert torch.equal(loss, made["value"])
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


class Struck(HSIDenoiser):
    """Its loss is not finite at some steps; it keeps the weights that each step left."""

    def __init__(self, network, steps, **options):
        super().__init__(network, schedule="constant", **options)
        self.steps, self.left = steps, []

    def training_step(self, batch, batch_idx):
        factor = float("inf") if self.global_step in self.steps else 1.0
        batch["clean"] = batch["clean"] * factor
        return super().training_step(batch, batch_idx)

    def on_train_batch_end(self, outputs, batch, batch_idx):
        super().on_train_batch_end(outputs, batch, batch_idx)
        state = self.optimizers().optimizer.state_dict()["state"]
        self.left.append(copy.deepcopy((self.network.state_dict(), state)))

    def validation_step(self, batch, batch_idx):
        self.validated = True


def same(one, other):
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    return len(one) == len(other) and all(map(same, one, other))


@pytest.mark.parametrize("log_every_n_steps", [1, 3, 50])
def test_a_step_whose_loss_is_not_finite_leaves_no_trace(tmp_path, log_every_n_steps):
    denoiser = Struck(RAS2S(channels=2), steps=[2, 5])
    engine = trainer(tmp_path, max_epochs=2, log_every_n_steps=log_every_n_steps)
    with pytest.warns(UserWarning, match=r"skipped a step: the loss is inf at step 5 \(epoch 1"):
        engine.fit(denoiser, data())
    changed = [not same(*pair) for pair in itertools.pairwise(denoiser.left)]
    assert changed == [True, False, True, True, False, True, True]
    assert denoiser.skipped == 2
    assert denoiser.skipped_in_a_row == 0
    if log_every_n_steps < 50:
        assert engine.logged_metrics["train/skipped_steps"] == 2


def test_a_gradient_that_is_not_finite_skips_the_step_too(tmp_path):
    class Explodes(Struck):
        def on_after_backward(self):
            if self.global_step == 1:
                self.network.factor.grad.fill_(float("nan"))

    denoiser = Explodes(Scale(), steps=[])
    with pytest.warns(UserWarning, match="skipped a step: the gradient's norm is nan at step 1"):
        trainer(tmp_path).fit(denoiser, data())
    assert [not same(*pair) for pair in itertools.pairwise(denoiser.left)] == [False, True, True]


@pytest.mark.parametrize("log_every_n_steps", [1, 2, 50])
def test_too_many_skipped_steps_in_a_row_end_the_training(tmp_path, log_every_n_steps):
    denoiser = Struck(Scale(), steps=[0, 2, 3], max_skips=2)
    engine = trainer(tmp_path, num_sanity_val_steps=0, log_every_n_steps=log_every_n_steps)
    message = (
        r"the loss is inf at step 3 \(epoch 0, batch 3\), on patches 6 of train_\w+ \(\w+\), "
        r"7 of train_\w+ \(\w+\), with learning rate 0\.001, the last of 2 .*model.learning_rate"
    )
    with pytest.raises(NonFiniteLossError, match=message):
        engine.fit(denoiser, data())
    assert not hasattr(denoiser, "validated")  # nothing is judged by such weights


def test_skipped_steps_are_counted_on_after_a_restart(tmp_path):
    denoiser = Struck(Scale(), steps=[3], max_skips=2)
    engine = trainer(tmp_path, limit_val_batches=0)
    engine.fit(denoiser, data())
    engine.save_checkpoint(tmp_path / "a.ckpt")
    again = Struck(Scale(), steps=[4], max_skips=2)
    with pytest.raises(NonFiniteLossError, match="at step 4"):
        trainer(tmp_path, max_epochs=2, limit_val_batches=0).fit(
            again, data(), ckpt_path=tmp_path / "a.ckpt"
        )


def test_what_a_network_draws_follows_from_seed_and_step(tmp_path, monkeypatch):
    class Drops(Scale):
        def forward(self, noisy):
            drawn.append(torch.rand(()).item())
            return super().forward(noisy)

    def draws(seed, **options):
        drawn.clear()
        monkeypatch.setenv("PL_GLOBAL_SEED", str(seed))
        torch.manual_seed(len(options))  # whatever happened before
        trainer(tmp_path, limit_val_batches=0, **options).fit(HSIDenoiser(Drops()), data())
        return list(drawn)

    drawn = []
    first, again, other = draws(1, max_epochs=1), draws(1, max_epochs=2), draws(2)
    assert first == again[:4]
    assert len(set(again)) == 8
    assert not set(other) & set(again)


def test_speed_is_an_option_of_networks_that_have_it():
    network = RAS2S(channels=2)
    denoiser = HSIDenoiser(network, compile_steps=True, cuda_graphs=True)
    assert all(part._compiled_call_impl is not None for part in network.children())
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
