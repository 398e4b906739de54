"""Scenes that nobody knows the clean version of: all that can be done is to look at them."""

from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from PIL import Image
from torch import Tensor

from datamodules import Scene, write_scene

LARGEST_MAT = 2**31  # bytes


class DenoisedFiles(L.Callback):
    """Writes the denoised scenes of a test that have no reference, each with a picture.

    ``<scene>.mat`` (or .h5, beyond 2 GiB) is in the units of the publisher's file; ``<scene>.png``
    shows three bands of it, noisy beside denoised.

    Args:
        folder: Where they go.
    """

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def on_test_batch_end(  # type: ignore[override]
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Tensor,
        batch: dict[str, Any],
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Writes what the network made of the batch."""
        if "clean" in batch:
            return
        wavelengths = batch.get("wavelengths")
        for number, name in enumerate(batch["name"]):
            scene = Scene(
                name,
                outputs[number].float().cpu().numpy(),
                None if wavelengths is None else wavelengths[number].cpu().numpy(),
                float(batch["offset"][number]),
                float(batch["gain"][number]),
            )
            ending = ".mat" if scene.cube.nbytes < LARGEST_MAT else ".h5"
            path = write_scene(scene, self.folder / f"{name}{ending}")
            noisy = batch["noisy"][number].float().cpu().numpy()
            draw_pair(noisy, scene.cube).save(path.with_suffix(".png"))
            rank_zero_info(f"Denoised: {path}")


def draw_pair(noisy: np.ndarray, denoised: np.ndarray) -> Image.Image:
    """Three bands of two cubes [B, H, W], side by side with the same stretch."""
    bands = [round(share * (len(noisy) - 1)) for share in (5 / 6, 1 / 2, 1 / 6)]  # long waves red
    left, right = (cube[bands].transpose(1, 2, 0) for cube in (noisy, denoised))
    low, high = np.percentile(right, (1, 99), axis=(0, 1))
    pair = (np.concatenate([left, right], axis=1) - low) / np.maximum(high - low, 1e-6)
    return Image.fromarray((pair.clip(0, 1) * 255).round().astype(np.uint8))
