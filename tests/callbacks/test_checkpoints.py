"""The checkpoints of a training: when they are written, and that all of them go on exactly."""

import errno
import os
import random
import signal

import lightning as L
import pytest
import torch
from torch import nn

from lightning_ras2s import HSIDenoiser
from lightning_ras2s.callbacks import Checkpoints
from lightning_ras2s.runs.checkpoints import WholeCheckpoints, check, find_checkpoint
from lightning_ras2s.runs.signals import Stopped
from tests.test_module import Ramps

torch.set_num_threads(1)

BATCHES, EPOCHS = 6, 3
STEPS = BATCHES * EPOCHS


class Drops(nn.Module):
    """A small network whose random numbers matter."""

    def __init__(self):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(0.5))
        self.offset = nn.Parameter(torch.tensor(0.1))

    def forward(self, noisy):
        kept = torch.rand_like(noisy) < 0.9 if self.training else 1
        return self.factor * noisy * kept + self.offset


class Killed(BaseException):
    """Ends a training as abruptly as an exception can."""


class Watched(HSIDenoiser):
    """Notes the loss and the rate of each step, and what was validated; it can be killed."""

    def __init__(self, killed_at=None, schedule="cosine"):
        torch.manual_seed(3)
        super().__init__(Drops(), learning_rate=0.05, schedule=schedule)
        self.killed_at, self.losses, self.validations = killed_at, [], []

    def on_train_batch_start(self, batch, batch_idx):
        super().on_train_batch_start(batch, batch_idx)
        if self.trainer.fit_loop.total_batch_idx == self.killed_at:
            raise Killed

    def training_step(self, batch, batch_idx):
        made = super().training_step(batch, batch_idx)
        rate = self.optimizers().param_groups[0]["lr"]
        self.losses.append((self.trainer.fit_loop.total_batch_idx, made["loss"].item(), rate))
        return made

    def on_validation_epoch_end(self):
        super().on_validation_epoch_end()
        if not self.trainer.sanity_checking:
            score = self.trainer.callback_metrics["val/psnr_db"].item()
            self.validations.append((self.global_step, score))


def fit(folder, denoiser, checkpoint=None, num_workers=0, **options):
    """Trains and gives the trainer; options are the trainer's and those of Checkpoints."""
    kept = Checkpoints(
        str(folder),
        every_n_steps=options.pop("every_n_steps", 1),
        every_n_minutes=options.pop("every_n_minutes", 10),
    )
    engine = L.Trainer(
        **{
            "default_root_dir": folder,
            "accelerator": "cpu",
            "max_epochs": EPOCHS,
            "logger": False,
            "callbacks": [kept],
            "plugins": [WholeCheckpoints()],
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "use_distributed_sampler": False,
        }
        | options
    )
    data = Ramps(
        batch_size=2,
        patch_size=12,
        patch_bands=4,
        patches_per_epoch=2 * BATCHES + 1,
        num_workers=num_workers,
    )
    engine.fit(denoiser, data, ckpt_path=checkpoint)
    return engine


def assert_goes_on(folder, reference, engine, killed_at, **options):
    """Kills a training before a batch, lets it go on and compares all with the reference."""
    first = Watched(killed_at, reference.schedule)
    with pytest.raises(Killed):
        fit(folder, first, **options)
    second = Watched(schedule=reference.schedule)
    again = fit(folder, second, find_checkpoint(folder), **options)
    began = second.losses[0][0] if second.losses else STEPS
    losses = [loss for loss in first.losses if loss[0] < began] + second.losses
    assert losses == reference.losses
    kept = len(reference.validations) - len(second.validations)
    assert second.validations == reference.validations[kept:]
    assert first.validations[:kept] == reference.validations[:kept]
    assert len(first.validations) <= kept + 1
    for name, weight in reference.state_dict().items():
        assert torch.equal(second.state_dict()[name], weight), name
    scores = [e.checkpoint_callback.best_model_score for e in (engine, again)]
    assert scores[0] == scores[1]
    assert again.global_step == engine.global_step


LOOPS = {
    "plain": {},
    "by epoch": {"schedule": "paper"},
    "workers": {"num_workers": 2},
    "validation twice an epoch": {"val_check_interval": 0.5},
    "validation by steps": {"val_check_interval": 4, "check_val_every_n_epoch": None},
    "validation every other epoch": {"check_val_every_n_epoch": 2},
    "no validation": {"limit_val_batches": 0},
    "accumulated gradients": {"accumulate_grad_batches": 2},
    "part of an epoch": {"limit_train_batches": 4},
    "rarely saved": {"every_n_steps": 5},
}


OFTEN = ("plain", "workers", "validation twice an epoch")


@pytest.mark.parametrize(
    "loop", [pytest.param(k, marks=() if k in OFTEN else pytest.mark.faults) for k in LOOPS]
)
def test_a_killed_training_goes_on_exactly_wherever_it_was(tmp_path, loop):
    options = dict(LOOPS[loop])
    reference = Watched(schedule=options.pop("schedule", "cosine"))
    engine = fit(tmp_path / "reference", reference, **options)
    last = len(reference.losses)
    moments = range(1, last) if not options.get("num_workers") else (1, 4, 6, 7, 12, 17)
    for killed_at in moments:
        assert_goes_on(tmp_path / str(killed_at), reference, engine, killed_at, **options)


class KilledAnywhere(Watched):
    """Is killed at the n-th of all its training and validation steps."""

    def __init__(self, left, **options):
        super().__init__(**options)
        self.left = left

    def count(self):
        self.left -= 1
        if self.left < 0:
            raise Killed

    def training_step(self, batch, batch_idx):
        self.count()
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch, batch_idx):
        if not self.trainer.sanity_checking:
            self.count()
        return super().validation_step(batch, batch_idx)


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(n, marks=pytest.mark.faults) for n in range(1, 8))]
)
@pytest.mark.parametrize("loop", ["validation twice an epoch", "accumulated gradients"])
def test_a_training_may_be_killed_again_and_again(tmp_path, loop, seed):
    reference, options = Watched(), dict(LOOPS[loop])
    fit(tmp_path / "reference", reference, **options)
    rng = random.Random(seed)
    scores, weights = dict(reference.validations), reference.state_dict()
    for _ in range(30):
        killed = KilledAnywhere(rng.randint(1, 7))
        try:
            fit(tmp_path / "killed", killed, find_checkpoint(tmp_path / "killed"), **options)
        except Killed:
            assert all(scores[step] == score for step, score in killed.validations)
            continue
        break
    assert all(torch.equal(weights[name], w) for name, w in killed.state_dict().items())
    kept = torch.load(tmp_path / "killed/best.ckpt", weights_only=True)
    assert kept["global_step"] == max(scores, key=scores.get)


def test_a_training_of_so_many_steps_goes_on_too(tmp_path):
    reference = Watched()
    engine = fit(tmp_path / "reference", reference, max_steps=9, max_epochs=-1)
    assert [step for step, _ in reference.validations] == [6, 9]
    for killed_at in range(1, 9):
        folder = tmp_path / str(killed_at)
        assert_goes_on(folder, reference, engine, killed_at, max_steps=9, max_epochs=-1)


def test_a_finished_training_is_prolonged(tmp_path):
    whole, short, longer = (
        Watched(schedule="paper"),
        Watched(schedule="paper"),
        Watched(None, "paper"),
    )
    fit(tmp_path / "whole", whole, max_epochs=3)
    fit(tmp_path / "short", short, max_epochs=2)
    fit(tmp_path / "short", longer, find_checkpoint(tmp_path / "short"), max_epochs=3)
    assert short.losses + longer.losses == whole.losses
    assert torch.equal(longer.network.factor, whole.network.factor)


class Signalled(Watched):
    """Gets a signal in a training step, or in the validation after a step."""

    def __init__(self, signum, step=None, validation=None):
        super().__init__()
        self.signum, self.step, self.validation = signum, step, validation

    def training_step(self, batch, batch_idx):
        if self.global_step == self.step:
            os.kill(os.getpid(), self.signum)
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch, batch_idx):
        if self.global_step == self.validation:
            os.kill(os.getpid(), self.signum)
        return super().validation_step(batch, batch_idx)


@pytest.mark.parametrize("signum", [15, 2], ids=["SIGTERM", "Ctrl-C"])
@pytest.mark.parametrize("place", [{"step": 2}, {"step": 5}, {"step": 8}, {"validation": 6}])
def test_a_signal_ends_the_step_and_leaves_a_checkpoint_of_it(tmp_path, signum, place):
    handlers = [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)]
    reference, told, again = Watched(), Signalled(signum, **place), Watched()
    fit(tmp_path / "reference", reference)
    with pytest.raises(Stopped) as stop:
        fit(tmp_path / "told", told, every_n_steps=0)
    assert stop.value.code == 128 + signum
    done = place["step"] + 1 if "step" in place else place["validation"]
    assert len(told.losses) == done
    fit(tmp_path / "told", again, find_checkpoint(tmp_path / "told"))
    assert told.losses + again.losses == reference.losses
    assert told.validations + again.validations == reference.validations
    assert handlers == [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)]


def test_a_second_ctrl_c_ends_it_within_the_step(tmp_path):
    class Impatient(Signalled):
        def training_step(self, batch, batch_idx):
            if self.global_step == self.step:
                os.kill(os.getpid(), signal.SIGINT)
            return super().training_step(batch, batch_idx)

    with pytest.raises(Stopped):
        fit(tmp_path, impatient := Impatient(2, step=2))
    assert len(impatient.losses) == 2


def test_the_minutes_are_those_that_pass_not_those_of_the_clock(tmp_path, monkeypatch):
    saved = []

    class Clocks(Watched):
        def training_step(self, batch, batch_idx):
            now[0] += 60
            monkeypatch.setattr("time.time", lambda: 1e9 - 1e6 * now[0])  # set back again and again
            return super().training_step(batch, batch_idx)

        def on_save_checkpoint(self, checkpoint):
            super().on_save_checkpoint(checkpoint)
            saved.append(self.global_step)

    now = [0.0]
    monkeypatch.setattr("lightning_ras2s.callbacks.checkpoints.time.monotonic", lambda: now[0])
    options = {"every_n_steps": 0, "every_n_minutes": 2, "limit_val_batches": 0, "max_epochs": 1}
    fit(tmp_path, Clocks(), **options)
    assert saved == [2, 4, 6]


def test_the_best_is_kept_by_its_score(tmp_path):
    denoiser = Watched()
    engine = fit(tmp_path, denoiser)
    best = max(denoiser.validations, key=lambda pair: pair[1])
    kept = torch.load(tmp_path / "best.ckpt", weights_only=True)
    assert (kept["global_step"], engine.checkpoint_callback.best_model_score) == best
    assert engine.checkpoint_callback.best_model_path == str(tmp_path / "best.ckpt")
    assert {p.name for p in tmp_path.iterdir()} == {"best.ckpt", "last.ckpt", "previous.ckpt"}


@pytest.mark.parametrize(
    ("mode", "scores", "best"),
    [
        ("max", [1.0, 3.0, 2.0], 3.0),
        ("min", [2.0, 1.0, 3.0], 1.0),
        ("max", [float("nan"), 1.0, float("nan")], 1.0),
        ("min", [float("nan"), float("nan")], None),
    ],
)
def test_a_score_that_is_not_a_number_is_the_worst(tmp_path, mode, scores, best):
    kept = Checkpoints(str(tmp_path), mode=mode)
    better = None
    for score in scores:
        if better is None or kept._is_better(score, better):
            better = score
    assert better == best if best is not None else better != better


def full_disk(*args):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_does_not_end_the_training_and_leaves_the_last_whole_one(tmp_path, monkeypatch):
    class Fills(Watched):
        def training_step(self, batch, batch_idx):
            if self.global_step == 4:
                monkeypatch.setattr("lightning_ras2s.runs.checkpoints.os.fsync", full_disk)
            return super().training_step(batch, batch_idx)

    reference, full, again = Watched(), Fills(), Watched()
    fit(tmp_path / "reference", reference)
    with pytest.warns(UserWarning, match=r"last.ckpt cannot be written .*No space left.*goes on"):
        fit(tmp_path / "full", full)
    assert full.losses == reference.losses
    monkeypatch.undo()
    (left,) = (tmp_path / "full").iterdir()
    check(left)
    fit(tmp_path / "full", again, find_checkpoint(tmp_path / "full"))
    assert again.losses == reference.losses[4:]
    assert again.validations == reference.validations


def test_what_a_kill_left_half_written_is_removed(tmp_path):
    (tmp_path / "best.ckpt.part").write_bytes(b"half")
    fit(tmp_path, Watched(), max_epochs=1)
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("damage", ["one byte", "half", "empty"])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path, damage):
    fit(tmp_path, Watched(), max_epochs=1)
    last = tmp_path / "last.ckpt"
    content = bytearray(last.read_bytes())
    if damage == "one byte":
        tensor = torch.load(last, weights_only=True)["state_dict"]["network.factor"]
        place = content.find(tensor.numpy().tobytes())  # which torch.load reads as another number
        content[place] ^= 0xFF
        last.write_bytes(content)
        assert torch.load(last, weights_only=True)["state_dict"]["network.factor"] != tensor
    else:
        last.write_bytes(content[: len(content) // 2 if damage == "half" else 0])
    with pytest.warns(UserWarning, match="last.ckpt.*Looks for the one before"):
        assert find_checkpoint(tmp_path) == tmp_path / "previous.ckpt"
    again = Watched()
    fit(tmp_path, again, tmp_path / "previous.ckpt", max_epochs=2)
    check(last)
    check(tmp_path / "previous.ckpt")  # the damaged one has not taken its place


def test_there_may_be_nothing_to_go_on_with(tmp_path):
    assert find_checkpoint(tmp_path) is None
    (tmp_path / "last.ckpt").write_bytes(b"")
    with pytest.warns(UserWarning, match="last.ckpt"):
        assert find_checkpoint(tmp_path) is None


def test_an_unknown_metric_is_named(tmp_path):
    kept = Checkpoints(str(tmp_path), monitor="val/typo")
    with pytest.raises(ValueError, match=r"no metric 'val/typo'.*val/psnr_db"):
        fit(tmp_path, Watched(), callbacks=[kept])


@pytest.mark.parametrize("options", [{"every_n_minutes": -1}, {"every_n_steps": -1}])
def test_negative_times_are_refused(tmp_path, options):
    with pytest.raises(ValueError, match="give positive numbers"):
        Checkpoints(str(tmp_path), **options)
