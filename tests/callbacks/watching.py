"""What the tests of callbacks that watch scenes share."""

from dataclasses import replace
from io import BytesIO

import lightning as L
import numpy as np
import torch
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from PIL import Image

from datamodules.base import HSIDataModule
from datamodules.samples import EvaluationItem
from datamodules.scene import Scene
from lightning_ras2s import HSIDenoiser
from lightning_ras2s.callbacks.scene_callback import View

torch.set_num_threads(1)
UNORDERED = np.array([400.0, 500.0, 450.0, 550.0, 600.0])  # nm
ITEM = EvaluationItem("toy", "field", "mixture")


class Field(HSIDataModule):
    """One scene, [5, 12, 15], in every split."""

    name = "toy"

    def __init__(self):
        super().__init__(batch_size=2, patch_size=6, patch_bands=4, patches_per_epoch=4)

    def scenes(self, split):
        cube = np.random.default_rng(0).random((5, 12, 15)).astype(np.float32)
        return [replace(Scene("field", cube), wavelengths=UNORDERED)]

    def validation_batch(self):
        """The noisy scene and what belongs to it."""
        return self.on_after_batch_transfer(next(iter(self.val_dataloader())), 0)


def fit(callback, network, folder, monkeypatch):
    """Trains for two epochs with W&B, offline, and TensorBoard; gives the data and the step."""
    for variable in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_ARTIFACT_DIR"):
        monkeypatch.setenv(variable, str(folder / "wandb_data"))
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=2,
        logger=[
            WandbLogger(offline=True, save_dir=folder),
            TensorBoardLogger(folder, name="", version="tensorboard"),
        ],
        callbacks=[callback],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    data = Field()
    import wandb

    try:
        trainer.fit(HSIDenoiser(network), data)
    finally:
        wandb.finish()
        wandb.teardown()  # writes what is left
    network.eval()
    return data, trainer.global_step - 1  # that of the metrics of the last validation


def tensorboard_image(folder, key):
    """The last image of a key, and its step."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"), size_guidance={"images": 0})
    image = events.Reload().Images(key)[-1]
    return pixels_of(BytesIO(image.encoded_image_string)), image.step


def pixels_of(file):
    """An image as numbers, RGB."""
    return np.asarray(Image.open(file).convert("RGB"))


def view_of(noisy, denoised, clean=None, wavelengths=None):
    """What a callback looks at."""
    return View(ITEM, noisy, denoised, clean, wavelengths)


class Wall:
    """A gallery that keeps what it is given, and draws it."""

    prefix = "topic/val"

    def __init__(self):
        self.figures, self.charts, self.panels, self.numbers = {}, {}, {}, {}
        self.subjects = {}

    def picture(self, name, figure, subject):
        figure.savefig(BytesIO(), format="png", dpi=20)
        self.figures[name] = figure
        self.subjects[name] = tuple(subject)

    def curves(self, name, x, ys, x_title, title):
        self.charts[name] = (x, ys, x_title)

    def overlays(self, name, image, masks, captions, labels):
        self.panels[name] = (image, masks, captions, labels)

    def scalars(self, values):
        self.numbers |= values
