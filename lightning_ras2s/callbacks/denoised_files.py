"""Scenes that nobody knows the clean version of: all that can be done is to look at them."""

from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from PIL import Image
from torch import Tensor

from datamodules import Scene, write_scene
from lightning_ras2s.pictures.colour import Display

LARGEST_MAT = 2**31  # bytes


class DenoisedFiles(L.Callback):
    """Writes the denoised scenes of a test that have no reference, each with a picture.

    ``<scene>.mat`` (or .h5, beyond 2 GiB) is in the units of the publisher's file; ``<scene>.png``
    shows it in true colour, or three of its bands, noisy beside denoised.

    Args:
        folder: Where they go.
    """

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def on_test_batch_end(  # type: ignore[override]
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: dict[str, Tensor],
        batch: dict[str, Any],
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Writes what the network made of the batch."""
        if "clean" in batch:
            return
        denoised = outputs[pl_module.method.label]  # type: ignore[union-attr,index]
        wavelengths = batch.get("wavelengths")
        for number, name in enumerate(batch["name"]):
            if int(batch["index"][number]) % trainer.world_size != trainer.global_rank:
                continue  # a process that would have had none repeats another's
            scene = Scene(
                name,
                denoised[number].float().cpu().numpy(),
                None if wavelengths is None else wavelengths[number].cpu().numpy(),
                float(batch["offset"][number]),
                float(batch["gain"][number]),
                batch["valid"][number].cpu().numpy() if "valid" in batch else None,
            )
            ending = ".mat" if scene.cube.nbytes < LARGEST_MAT else ".h5"
            path = write_scene(scene, self.folder / f"{name}{ending}")
            noisy = batch["noisy"][number].float().cpu().numpy()
            draw_pair(noisy, scene).save(path.with_suffix(".png"))
            rank_zero_info(f"Denoised: {path}")


def draw_pair(noisy: np.ndarray, denoised: Scene) -> Image.Image:
    """A cube [B, H, W] and the scene that it became, side by side with the same stretch."""
    display = Display(denoised.cube, denoised.wavelengths)
    return Image.fromarray(np.concatenate([display(noisy), display(denoised.cube)], axis=1))
