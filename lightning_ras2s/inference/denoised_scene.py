"""What became of a file's scene, read by windows as the file has them."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lightning_ras2s.inference.prepared_scene import PreparedScene
from lightning_ras2s.inference.subspace import Learned


@dataclass(frozen=True)
class DenoisedScene:
    """A denoised scene on the scale on which it was denoised; its windows are [U, h, w].

    Attributes:
        scene: The noisy scene.
        result: What the method made of it, as it lies in ``scene.noisy``.
        learned: What its refinement has learned; None without one.
        method: What was done to a cube [B, H, W], as it lies in ``scene.noisy``.
        strength: Share of what was taken for noise that is taken.
    """

    scene: PreparedScene
    result: np.ndarray
    learned: Learned | None
    method: Callable[[Tensor], Tensor]
    strength: float

    def read(self, rows: slice, columns: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """The noisy scene, the denoised one, and where the noisy one holds measurements."""
        both = self.scene.noisy, self.result
        noisy, result = (self.scene.window(each, rows, columns) for each in both)
        valid = self.scene.valid()
        there = None if valid is None else self.scene.window(valid, rows, columns)
        return noisy, noisy - self.strength * (noisy - result), there

    def denoise(self, cube: Tensor) -> Tensor:
        """What the method makes of a cube [B, H, W] that lies as the file has it."""
        if self.scene.turned:
            return self.method(cube.transpose(1, 2)).transpose(1, 2)
        return self.method(cube)

    def standard_error(self, rows: slice, columns: slice) -> np.ndarray:
        """Predicted, of each value; what is left of the noise at a strength below 1 is in it."""
        assert self.learned is not None
        _, height, width = self.scene.noisy.shape
        place = torch.arange(height * width).view(height, width)
        part = place[columns, rows].T if self.scene.turned else place[rows, columns]
        whole = part.numel() == height * width and not self.scene.turned
        error = self.learned.uncertainty.standard_error(
            slice(None) if whole else part.flatten().to(self.learned.sigma.device)
        )
        return self._at_strength(error.cpu().numpy()).reshape(-1, *part.shape)

    def error_of_bands(self) -> np.ndarray:
        """The same, RMS over each band, [U]."""
        assert self.learned is not None
        return self._at_strength(self.learned.uncertainty.of_bands().cpu().numpy()[:, None])[:, 0]

    def _at_strength(self, error: np.ndarray) -> np.ndarray:
        assert self.learned is not None
        noise = self.learned.sigma.cpu().numpy()[:, None]
        return np.hypot(self.strength * error, (1 - self.strength) * noise)
