"""HSIDenoiser: its step, metrics, optimizer, schedules, guard and checkpoints."""

import copy
import dataclasses
import itertools
from functools import partial

import lightning as L
import numpy as np
import pytest
import torch
from torch import nn

from datamodules.base import HSIDataModule
from datamodules.samples import REAL
from datamodules.scene import DataError, Measured, Scene
from lightning_ras2s import RAS2S, HSIDenoiser, load_network
from lightning_ras2s.inference.subspace import refine
from lightning_ras2s.methods import Method, method_of, select
from lightning_ras2s.metrics import METRICS, mpsnr
from lightning_ras2s.module import NonFiniteLossError
from lightning_ras2s.scene_checks import check_bands

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
    denoiser = HSIDenoiser(Scale(0.5), methods=["scale", "median", "median+s"])
    (logged,) = trainer(tmp_path).test(denoiser, module, verbose=False)
    rows = denoiser.evaluation
    assert len(rows) == 2 * 2 * 4
    assert [row["method"] for row in rows[:4]] == ["Noisy", "Scale", "Median", "Median+S"]
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
    assert len(denoiser.evaluation) == 2 * 3


@pytest.mark.parametrize("stage", ["validate", "test"])
def test_a_network_of_fixed_bands_sees_windows(tmp_path, monkeypatch, stage):
    class Two(nn.Module):
        def forward(self, noisy):
            assert noisy.shape[1] == 2
            return noisy

    own = Method("two", "Two", "network", "", "of two bands", bands=2)
    monkeypatch.setattr("lightning_ras2s.module.method_of", lambda network: own)
    denoiser = HSIDenoiser(Two(), methods=[])
    (logged,) = getattr(trainer(tmp_path), stage)(denoiser, data(), verbose=False)
    assert logged[f"{'val' if stage == 'validate' else 'test'}/psnr_db"] > 0


def test_by_default_a_test_has_the_network_and_the_network_refined(tmp_path):
    denoiser = HSIDenoiser(Scale(1.0))
    assert [method.label for method in denoiser.methods] == ["Noisy", "Scale", "Scale+S"]
    assert [method.label for method in HSIDenoiser(RAS2S()).methods][1:] == ["RAS2S", "RAS2S+S"]
    trainer(tmp_path).test(denoiser, data(test_noise=["noniid"]), verbose=False)
    rows = {row["method"]: row["psnr_db"] for row in denoiser.evaluation}
    assert rows["Scale"] == rows["Noisy"]
    assert rows["Scale+S"] != rows["Scale"]


def test_a_refined_row_is_the_refinement_of_the_networks_result(tmp_path):
    denoiser, module = HSIDenoiser(Scale(0.9)), data(test_noise=["noniid"])
    trainer(tmp_path).test(denoiser, module, verbose=False)
    for item in module.test_set:
        refined, _ = refine(item["noisy"], 0.9 * item["noisy"])
        (row,) = [
            row
            for row in denoiser.evaluation
            if (row["method"], row["scene"]) == ("Scale+S", item["name"])
        ]
        psnr = METRICS["psnr_db"](refined[None], item["clean"][None]).item()
        assert row["psnr_db"] == pytest.approx(psnr, abs=1e-3)


def test_a_network_that_is_not_named_has_its_row_all_the_same():
    labels = [method.label for method in HSIDenoiser(Scale(), methods=["median"]).methods]
    assert labels == ["Noisy", "Median", "Scale"]
    groups = HSIDenoiser(Scale(), methods=["classical", "Scale+S"]).methods
    classical = [method.label for method in select(["classical"])]
    assert classical[:2] == ["Noisy", "Median"]
    assert [method.label for method in groups] == [*classical, "Scale+S", "Scale"]


def test_graphs_of_what_cannot_be_captured_are_refused(monkeypatch):
    own = Method("restless", "Restless", "network", "", "tosses a coin", capturable=False)
    monkeypatch.setattr("lightning_ras2s.module.method_of", lambda network: own)
    with pytest.raises(ValueError, match="cuda_graphs: Restless does not compute the same"):
        HSIDenoiser(Scale(), cuda_graphs=True)


@pytest.mark.parametrize(
    ("optimizer", "kind"),
    [
        (partial(torch.optim.SGD, momentum=0.9), torch.optim.SGD),
        (partial(torch.optim.AdamW, weight_decay=0.1, foreach=True), torch.optim.AdamW),
        (torch.optim.RMSprop, torch.optim.RMSprop),
    ],
)
def test_any_optimizer_trains_and_skips_what_is_not_finite(tmp_path, optimizer, kind):
    denoiser = Struck(RAS2S(channels=2), {1}, learning_rate=0.01, optimizer=optimizer)
    trainer(tmp_path, max_steps=3, limit_val_batches=0).fit(denoiser, data())
    used = denoiser.trainer.optimizers[0]
    assert type(used) is kind
    assert used.param_groups[0]["lr"] == 0.01
    before, struck, after = (weights for weights, _ in denoiser.left)
    assert same(before, struck)
    assert not same(struck, after)
    assert denoiser.skipped == 1


def test_a_checkpoint_says_what_it_holds(tmp_path):
    network = RAS2S(channels=4, regions=2, zero_start=True)
    run = trainer(tmp_path, max_steps=1, limit_val_batches=0)
    run.fit(HSIDenoiser(network), data())
    path = tmp_path / "said.ckpt"
    run.save_checkpoint(path)
    said = torch.load(path, weights_only=True)["network"]
    assert said["class"] == "lightning_ras2s.networks.ras2s.network.RAS2S"
    assert said["method"] == "ras2s"
    assert said["arguments"] == network.arguments
    assert (
        said["arguments"] | {"channels": 4, "regions": 2, "zero_start": True} == said["arguments"]
    )
    assert "git_commit" in said
    again = load_network(path)
    assert again.arguments == network.arguments
    assert same(again.state_dict(), network.state_dict())


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
            if self.training:  # it was tried for the numbers of bands before
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
    [
        ({"loss": "l3"}, "unknown loss 'l3'"),
        ({"methods": ["BM3D"]}, "BM3D.*median"),
        ({"methods": ["ras2s"]}, "RAS2S needs weights"),
    ],
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


@pytest.mark.parametrize("schedule", ["constant", "paper"])
def test_groups_of_parameters_keep_options_of_their_own(schedule, tmp_path):
    class Two(Scale):
        def __init__(self):
            super().__init__()
            self.other = torch.nn.Parameter(torch.zeros(()))

        def forward(self, noisy):
            return super().forward(noisy) + self.other

    def two_groups(decay):
        def make(parameters, learning_rate):
            first, second = parameters
            slower = {"params": [second], "lr": learning_rate / 2, "weight_decay": decay}
            return torch.optim.SGD([{"params": [first]}, slower], learning_rate, fused=False)

        return make

    def options_after(rate, decay, **of_fit):
        denoiser = HSIDenoiser(
            Two(), learning_rate=rate, schedule=schedule, optimizer=two_groups(decay)
        )
        engine = trainer(tmp_path, max_epochs=of_fit.pop("epochs"), limit_val_batches=0)
        engine.fit(denoiser, data(), **of_fit)
        engine.save_checkpoint(tmp_path / "two.ckpt")
        groups = engine.optimizers[0].param_groups
        return [(group["lr"], group["weight_decay"]) for group in groups]

    assert options_after(0.1, 0.25, epochs=1) == [(0.1, 0), (0.05, 0.25)]
    again = {"ckpt_path": tmp_path / "two.ckpt"}
    assert options_after(0.2, 0.5, epochs=2, **again) == [(0.2, 0), (0.1, 0.5)]


class OwnOfFewBands(torch.nn.Module):
    """A network of one's own that takes the patches' number of bands alone."""

    def __init__(self, bands):
        super().__init__()
        self.mix = torch.nn.Conv2d(bands, bands, 1)

    def forward(self, noisy):
        return self.mix(noisy)


def test_a_network_that_takes_no_scene_to_come_is_told_before_training():
    module = data()
    module.setup("fit")
    bands = module.val_set.cubes[0].shape[0]
    few = bands - 1
    module.patch_shape = module.patch_shape._replace(bands=few)
    network = OwnOfFewBands(few)
    network.mix.eval()  # as somebody has frozen it
    with pytest.raises(DataError, match=rf"val scene .* takes {few} bands, but not its {bands}"):
        check_bands(network, method_of(network), module)
    assert network.training
    assert not network.mix.training
    check_bands(Scale(), method_of(Scale()), module)


class Holed(Ramps):
    """Scenes of which the upper rows hold nothing."""

    def scenes(self, split):
        valid = np.ones((16, 16), bool)
        valid[:4] = False
        return [dataclasses.replace(scene, valid=valid) for scene in super().scenes(split)[:1]]


def test_only_valid_pixels_are_measured(tmp_path):
    module = Holed(test_noise=["mixture"])
    denoiser = HSIDenoiser(Scale(0.5), methods=[])
    trainer(tmp_path).test(denoiser, module, verbose=False)
    (item,) = module.test_set
    clean, noisy = item["clean"][None], item["noisy"][None]
    expected = {"Noisy": noisy, "Scale": 0.5 * noisy}
    rows = {row["method"]: row for row in denoiser.evaluation if row["scene"] != "mean"}
    for name, image in expected.items():
        there = mpsnr(image[:, :, 4:], clean[:, :, 4:]).item()
        assert rows[name]["psnr_db"] == pytest.approx(there, abs=1e-4)
        assert rows[name]["psnr_db"] != pytest.approx(mpsnr(image, clean).item(), abs=1e-3)
