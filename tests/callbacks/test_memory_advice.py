"""What is said when a training does not fit into the memory."""

import re

import lightning as L
import pytest
import torch
from rich.filesize import decimal

from lightning_ras2s import RAS2S, HSIDenoiser
from lightning_ras2s.callbacks import MemoryAdvice
from lightning_ras2s.callbacks.memory_advice import TrainingBatch, is_out_of_memory
from tests.test_module import Ramps, Scale

torch.set_num_threads(1)

BATCH = TrainingBatch(8, 31, 64, channels=14, checkpointing=False, device="cpu")


def test_the_estimate_is_what_was_measured():
    # Peak resident sets of one patch of 64 x 64, less that before: 382 MiB and 2589 MiB.
    one = TrainingBatch(1, 31, 64, 14, False, "cpu")
    assert one.bytes / 2**20 == pytest.approx(382, rel=0.02)
    many = TrainingBatch(1, 210, 64, 14, False, "cpu")
    assert many.bytes / 2**20 == pytest.approx(2589, rel=0.02)
    again = TrainingBatch(1, 210, 64, 14, True, "cpu")
    assert again.bytes / 2**20 == pytest.approx(391, rel=0.02)


def test_the_advice_names_what_each_choice_takes():
    said = BATCH.advice(2_000_000_000)
    assert "8 patches of 31 x 64 x 64 on this device takes about 3.2 GB; it has 2.0 GB" in said
    for option in (
        r"data.batch_size (1.6 GB with half of it)",
        r"data.patch_size (802.5 MB with half of it)",
        r"data.patch_bands (1.6 GB with half of it)",
        r"model.network.gradient_checkpointing=true (1.2 GB)",
    ):
        assert option in said
    checkpointed = TrainingBatch(8, 31, 64, 14, True, "cpu")
    assert "gradient_checkpointing" not in checkpointed.advice(1)


class Hungry(HSIDenoiser):
    """Needs more than there is, in its first step."""

    def training_step(self, batch, batch_idx):
        return torch.empty(10**15)


class HungryLater(HSIDenoiser):
    """Needs more than there is, for a whole scene."""

    def validation_step(self, batch, batch_idx):
        return torch.empty(10**15)

    test_step = validation_step


@pytest.mark.parametrize("stage", ["validate", "test"])
def test_a_scene_that_does_not_fit_is_named_with_what_it_takes(stage, tmp_path):
    engine = trainer(tmp_path)
    data = Ramps(batch_size=4, patch_size=12, patch_bands=5, val_noise=["stripe"])
    with pytest.raises(RuntimeError, match="can't allocate memory") as error:
        getattr(engine, stage)(HungryLater(RAS2S(channels=14)), data)
    (note,) = error.value.__notes__
    bands, height, width = (
        data.val_set.cubes[0].shape if stage == "validate" else (data.test_set.cubes[0].shape)
    )
    assert f"has {bands} x {height} x {width} values" in note
    assert f"takes about {decimal(4 * 34 * bands * height * width)} on this device" in note
    assert "trainer.accelerator=cpu" in note


def trainer(tmp_path):
    return L.Trainer(
        default_root_dir=tmp_path,
        accelerator="cpu",
        logger=False,
        callbacks=[MemoryAdvice()],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )


def error_of(tmp_path, network, **options):
    engine = trainer(tmp_path)
    with pytest.raises(RuntimeError, match="can't allocate memory") as error:
        engine.fit(Hungry(network), Ramps(batch_size=4, patch_size=12, patch_bands=5, **options))
    return error.value


def test_a_training_that_does_not_fit_says_what_to_lower(tmp_path):
    error = error_of(tmp_path, RAS2S(channels=2))
    (note,) = error.__notes__
    assert re.search(r"4 patches of 5 x 12 x 12 .*Lower data\.batch_size", note)
    (note,) = error_of(tmp_path, Scale()).__notes__
    assert note == "Lower data.batch_size, data.patch_size or data.patch_bands."


@pytest.mark.parametrize(
    ("error", "is_it"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: ...)"), True),
        (RuntimeError("shapes do not match"), False),
        (KeyError("out of memory"), False),
    ],
)
def test_errors_for_want_of_memory_are_known(error, is_it):
    assert is_out_of_memory(error) is is_it
