"""What every network in METHODS can do, at its published size: the next one by being registered."""

import csv

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.strategies import DDPStrategy
from torch import nn

from lightning_ras2s import HSIDenoiser, cli, denoise, load_network
from lightning_ras2s.export import export_network
from lightning_ras2s.methods import METHODS, method_of
from tests.test_module import Ramps

pytestmark = pytest.mark.methods
torch.set_num_threads(1)

NETWORKS = [key for key, method in METHODS.items() if method.kind == "network"]
BANDS = 5
STEPS = 4


def bands_of(key):
    """The argument of networks that are built for a number of bands."""
    return {"bands": BANDS} if METHODS[key].bands else {}


class Watched(HSIDenoiser):
    """Notes its losses, and can end early."""

    stops_at = None

    def training_step(self, batch, batch_idx):
        made = super().training_step(batch, batch_idx)
        self.losses = [*getattr(self, "losses", []), made["loss"].item()]
        return made

    def on_train_batch_end(self, outputs, batch, batch_idx):
        super().on_train_batch_end(outputs, batch, batch_idx)
        if self.global_step == self.stops_at:
            self.trainer.save_checkpoint("stopped.ckpt")
            raise KeyboardInterrupt

    def on_fit_end(self):
        folder = self.trainer.default_root_dir
        kept = {"losses": self.losses, "weights": self.network.state_dict()}
        torch.save(kept, f"{folder}/{self.trainer.world_size}_{self.global_rank}.pt")


def built(key):
    torch.manual_seed(2)
    return Watched(METHODS[key].build(**bands_of(key)), learning_rate=1e-4, schedule="constant")


def fit(folder, denoiser, checkpoint=None, processes=1, **options):
    strategy = "auto"
    if processes > 1:
        graph = "static_graph" if denoiser.method.static_graph else "find_unused_parameters"
        strategy = DDPStrategy(
            start_method="fork", **{graph: True, "gradient_as_bucket_view": True}
        )
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
        **options,
    )
    data = Ramps(batch_size=2, patch_size=8, patch_bands=BANDS, patches_per_epoch=6)
    engine.fit(denoiser, data, ckpt_path=checkpoint)
    return denoiser


@pytest.mark.parametrize("key", NETWORKS)
def test_five_steps_of_the_quickstart_give_weights_for_all_that_follows(key, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    method = METHODS[key]
    small = ["--data.patch_size=16", f"--data.patch_bands={BANDS}", "--data.batch_size=2"]
    short = ["--trainer.max_steps=5", "--trainer.limit_val_batches=0"]
    untested = ["--trainer.limit_test_batches=0", "--run_dir=run", "--trainer.accelerator=cpu"]
    network = method.options(**bands_of(key))
    assert cli.main(["fit", "quickstart", *network, *small, *short, *untested]) == 0

    (tmp_path / "cubes" / "test").mkdir(parents=True)
    cube = np.random.default_rng(0).random((7, 16, 16), dtype=np.float32)
    np.save(tmp_path / "cubes" / "test" / "scene.npy", cube)
    data = ["--data.path=cubes", "--data.axes=BHW", "--data.num_workers=0"]
    place = ["--run_dir=tested", "--trainer.accelerator=cpu"]
    assert cli.main(["test", "folder", "--weights=run", *data, *place]) == 0
    rows = list(csv.DictReader((tmp_path / "tested" / "evaluation.csv").open()))
    means = {row["method"]: float(row["psnr_db"]) for row in rows if row["scene"] == "mean"}
    assert list(means) == ["Noisy", method.label, f"{method.label}+S"]
    assert all(np.isfinite(value) for value in means.values())

    trained = load_network("run")
    assert method_of(trained).key == key
    assert trained.arguments["bands" if method.bands else next(iter(trained.arguments))]
    noisy = np.random.default_rng(1).random((200, 16, 16), dtype=np.float32)
    for name in (key, f"{key}+s"):
        denoised = denoise(noisy, name, "run")
        assert denoised.shape == noisy.shape
        assert np.isfinite(denoised).all()
        assert not np.array_equal(denoised, noisy)


@pytest.mark.parametrize("key", NETWORKS)
def test_what_was_stopped_goes_on_as_if_it_had_not_been(key, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    whole = fit(tmp_path, built(key))
    first = built(key)
    first.stops_at = STEPS // 2
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        fit(tmp_path, first)
    second = fit(tmp_path, built(key), "stopped.ckpt")
    assert first.losses + second.losses == whole.losses
    for name, weight in whole.network.state_dict().items():
        assert torch.equal(second.network.state_dict()[name], weight), name


@pytest.mark.parametrize("key", NETWORKS)
def test_two_processes_train_as_one(key, tmp_path):
    fit(tmp_path, built(key))
    fit(tmp_path, built(key), processes=2)
    one, two, other = (
        torch.load(tmp_path / f"{name}.pt", weights_only=True) for name in ("1_0", "2_0", "2_1")
    )
    trained = [name for name, _ in built(key).network.named_parameters()]
    for name in trained:
        assert torch.equal(two["weights"][name], other["weights"][name]), name
    losses = torch.tensor([two["losses"], other["losses"]]).mean(0)
    assert torch.isfinite(losses).all()
    norms = any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in built(key).modules())
    if not norms:  # which on CPUs are those of each process
        torch.testing.assert_close(losses, torch.tensor(one["losses"]), rtol=0.01, atol=1e-6)


@pytest.mark.parametrize("key", NETWORKS)
def test_half_precision_trains_as_single_does(key, tmp_path):
    single = fit(tmp_path, built(key))
    half = fit(tmp_path, built(key), precision="bf16-mixed")
    assert half.losses[0] == pytest.approx(single.losses[0], rel=0.02)
    assert half.losses == pytest.approx(single.losses, rel=0.3)  # GRNet's start is a wild one
    before, after = built(key).network.state_dict(), half.network.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert {name for name, _ in half.network.named_parameters() if name in moved}
    assert all(torch.isfinite(weight).all() for weight in after.values())


@pytest.mark.parametrize("key", NETWORKS)
def test_it_is_written_for_others_or_says_why_not(key, tmp_path):
    network = METHODS[key].build(**bands_of(key))
    if METHODS[key].capturable:
        assert export_network(network, BANDS, tmp_path / "network.pt2", "torch") < 1e-4
        assert (tmp_path / "network.pt2").stat().st_size > 1000
    else:
        with pytest.raises(ValueError, match="cannot be written: what it computes hangs on"):
            export_network(network, BANDS, tmp_path / "network.pt2", "torch")
        assert not (tmp_path / "network.pt2").exists()
