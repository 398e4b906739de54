"""Trainings that are killed, stopped, starved and lied to go on to the very same result."""

import random
import shutil
import signal
import subprocess
import sys
from subprocess import TimeoutExpired

import pytest

from lightning_ras2s.runs.checkpoints import check
from tests.faults.training import Training, kill

KEPT = {"best.ckpt", "last.ckpt", "previous.ckpt"}
pytestmark = pytest.mark.faults


def assert_whole(training):
    """No checkpoint is unreadable; what was being written has another name."""
    for name in training.checkpoints:
        if not name.endswith(".part"):
            check(training.run / "checkpoints" / name)


def assert_goes_on(training, expected, **options):
    assert training.go_on(**options) == 0, training.output
    assert training.result() == expected
    assert training.checkpoints == KEPT
    assert_whole(training)


# Kills


@pytest.mark.parametrize(
    ("fault", "num_workers"),
    [
        ("SIGKILL training_step 14", 0),
        ("SIGKILL training_step 25", 2),
        ("SIGKILL validation_step 4", 0),
        ("SIGKILL test_step 2", 0),
        ("SIGKILL written 3", 0),
        ("half written 6", 0),
        ("SIGKILL renaming 12", 0),
    ],
)
def test_a_kill_costs_nothing_but_the_steps_since_the_last_checkpoint(
    folder, untouched, fault, num_workers
):
    training = Training(folder, f"kill_{fault.replace(' ', '_')}", num_workers)
    assert training.fit(fault=fault) == -signal.SIGKILL
    assert_whole(training)
    assert_goes_on(training, untouched)


@pytest.mark.parametrize("number", range(4))
def test_kills_at_random_moments(folder, untouched, number):
    training = Training(folder, f"random_kill_{number}")
    process = training.begin("--checkpoints.every_n_steps=3")
    seconds = random.Random(number).uniform(3, 12)
    try:
        process.wait(timeout=seconds)
    except TimeoutExpired:
        kill(process)
    training.end(process)
    if list(training.run.glob("checkpoints/*.ckpt")):
        assert_whole(training)
        assert_goes_on(training, untouched)
    else:  # it was killed before its first checkpoint
        assert training.fit() == 0
        assert training.result() == untouched


def test_one_training_killed_ten_times(folder, untouched):
    training, rng = Training(folder, "ten_kills"), random.Random(0)
    assert training.fit(fault="SIGKILL training_step 3") == -signal.SIGKILL
    assert training.go_on() == 2  # there is nothing yet to go on from
    assert training.fit(fault="SIGKILL training_step 13") == -signal.SIGKILL
    for _ in range(8):
        place, most = rng.choice([("training_step", 9), ("validation_step", 2), ("written", 3)])
        fault = f"SIGKILL {place} {rng.randint(1, most)}"
        assert training.go_on(fault=fault) in (-signal.SIGKILL, 0)
        assert_whole(training)
    assert_goes_on(training, untouched)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_process_of_two(folder, untouched_pair, rank):
    training = Training(folder, f"killed_rank_{rank}", devices=2)
    assert training.fit(fault="SIGKILL training_step 14", rank=rank) != 0
    assert_goes_on(training, untouched_pair)


def test_a_killed_worker_names_its_file(folder, untouched):
    training = Training(folder, "killed_worker", num_workers=2)
    assert training.fit(fault="SIGKILL reading 60") == 1
    error = next(line for line in training.output.splitlines() if "error:" in line)
    assert "is killed by signal: Killed. It was reading" in error
    assert "/prepared/train/train" in error
    assert_goes_on(training, untouched)


# Signals


@pytest.mark.parametrize(
    ("fault", "num_workers", "code"),
    [
        ("SIGTERM training_step 13", 2, 143),
        ("SIGINT training_step 13", 0, 130),
        ("SIGTERM training_step 20", 0, 143),
        ("SIGTERM validation_step 4", 0, 143),
        ("SIGTERM training_step 30", 0, 143),
        ("SIGTERM test_step 2", 0, 143),
    ],
)
def test_a_signal_loses_nothing(folder, untouched, fault, num_workers, code):
    training = Training(folder, f"stop_{fault.replace(' ', '_')}", num_workers)
    assert training.fit(fault=fault) == code, training.output
    _, place, number = fault.split()
    if place == "training_step":
        assert f"Stopped after step {number};" in training.output
    assert_goes_on(training, untouched)


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("fault", ["SIGTERM training_step 13", "SIGTERM validation_step 2"])
def test_a_signal_to_one_process_of_two(folder, untouched_pair, fault, rank):
    if (rank, fault) == (1, "SIGTERM validation_step 2"):
        pytest.skip("a validation is left by the process that has the signal, or by all")
    training = Training(folder, f"stop_{rank}_{fault.replace(' ', '_')}", devices=2)
    assert training.fit(fault=fault, rank=rank) == 143, training.output
    assert_goes_on(training, untouched_pair)


# The disk, the clock, W&B


def test_a_damaged_last_checkpoint(folder, untouched):
    training = Training(folder, "damaged")
    assert training.fit(fault="SIGKILL training_step 25") == -signal.SIGKILL
    last = training.run / "checkpoints/last.ckpt"
    content = bytearray(last.read_bytes())
    for place in range(0, len(content) // 2, 100):
        content[place] ^= 0xFF
    last.write_bytes(content)
    assert_goes_on(training, untouched)
    assert "Looks for the one before" in training.output


MOUNT = ("unshare", "-rm", sys.executable, "-m", "tests.faults.small_disk")


def may_mount():
    """Whether a small file system can be mounted, in a namespace of its own."""
    if shutil.which("unshare") is None:
        return False
    return not subprocess.run(
        ["unshare", "-rm", "true"], check=False, capture_output=True
    ).returncode


@pytest.mark.skipif(not may_mount(), reason="nothing can be mounted here")
def test_a_full_disk(folder, untouched):
    """The disk fills in one epoch; two epochs later the training is killed, and room is made."""
    training = Training(folder, "full")
    training.run.mkdir()
    wrapper = (*MOUNT, str(training.run), "4")
    code = training.fit(fault="full training_step 13", wrapper=wrapper)
    assert "cannot be written" in training.output
    assert "No space left on device" in training.output
    assert code == 1  # the results do not fit either
    assert_whole(training)
    assert training.go_on() == 0, training.output
    assert training.result()["weights"] == untouched["weights"]
    assert training.result()["adam"] == untouched["adam"]
    assert_whole(training)


def test_a_clock_that_is_set_back(folder, untouched):
    training = Training(folder, "clock")
    assert training.fit(fault="clock training_step 13") == 0, training.output
    assert training.result() == untouched


def test_wandb_dies(folder, untouched, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    training = Training(folder, "wandb")
    assert training.fit(fault="wandb training_step 13") == 0, training.output
    assert "W&B takes no numbers" in training.output
    assert training.result() == untouched
