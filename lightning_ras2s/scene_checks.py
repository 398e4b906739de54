"""What would fail hours later, at the first validation or in the test, told before training."""

from collections.abc import Iterator

import torch
from torch import nn

from datamodules.base import HSIDataModule
from datamodules.patches import PatchShape
from datamodules.samples import Cube
from datamodules.scene import DataError
from lightning_ras2s.methods import METHODS, Method
from lightning_ras2s.metrics import SSIM_WINDOW
from lightning_ras2s.runs.errors import UserError


def check_sizes(data: HSIDataModule) -> None:
    """Checks that the scenes to come can be measured.

    Raises:
        DataError: If one of them is smaller than SSIM's window.
    """
    for name, cube in _scenes(data):
        height, width = cube.shape[1:]
        if cube.has_reference and min(height, width) < SSIM_WINDOW:
            raise DataError(
                f"{name}: {height} x {width} pixels, and SSIM needs {SSIM_WINDOW} x {SSIM_WINDOW} "
                "at least, the size of its window; leave it out"
            )


def check_bands(network: nn.Module, method: Method, data: HSIDataModule) -> None:
    """Tries a network that is no method of ours on each number of bands that is to come.

    Raises:
        UserError: If the patches of training have not the method's number of bands.
        DataError: If the network takes the patches, but not the bands of a scene.
    """
    patch = data.patch_shape
    if method.bands not in (None, patch.bands):
        raise UserError(
            f"data.patch_bands is {patch.bands}, and {method.label} takes {method.bands}"
        )
    if method.key in METHODS or _problem(network, patch) is not None:
        return  # any number, by windows if need be; or it fails at the first step
    first = {cube.shape[0]: name for name, cube in reversed(list(_scenes(data)))}
    for bands, name in first.items():
        if problem := _problem(network, patch._replace(bands=bands)):
            raise DataError(
                f"{name}: {method.label} takes {patch.bands} bands, but not its {bands} "
                f"({problem}); choose other scenes, or a network for any number of bands"
            )


def _scenes(data: HSIDataModule) -> Iterator[tuple[str, Cube]]:
    """What to call the scenes of validation and test, and their sizes, where those are known."""
    for split in ("val", "test"):
        scenes = getattr(data, f"{split}_set", None)
        if scenes is not None:
            for item, cube in zip(scenes.items, scenes.cubes, strict=False):
                yield f"{split} scene {item.scene} of {item.dataset}", cube


def _problem(network: nn.Module, shape: PatchShape) -> str | None:
    """What the network says to an empty cube of this shape; None if it takes it."""
    modes = {module: module.training for module in network.modules()}
    device = next(network.parameters()).device
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        try:
            network.eval()(torch.zeros(1, *shape, device=device))
        except Exception as error:
            return next(iter(str(error).splitlines()), type(error).__name__)
        finally:
            for module, training in modes.items():
                module.training = training
    return None
