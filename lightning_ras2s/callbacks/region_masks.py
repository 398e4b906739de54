"""The regions into which the network divides a scene: masks of some bands, shares in all."""

from collections.abc import Sequence

import lightning as L
import numpy as np
import torch
from torch import Tensor, nn

from datamodules.samples import EvaluationItem
from lightning_ras2s.callbacks.scene_callback import SceneCallback, View
from lightning_ras2s.pictures.colour import Display
from lightning_ras2s.pictures.gallery import Gallery, Subject
from lightning_ras2s.pictures.region_figures import (
    RegionKey,
    SceneRegions,
    draw_masks,
    draw_shares,
)

BANDS = 4  # shown, where none are named
SOURCES = ("encoded", "embedding")


class RegionMasks(SceneCallback):
    """Shows the regions of a network that has ``region_masks`` and ``regions``, as RAS2S does.

    Also logs how uneven they are, as the network itself uses them (source ``encoded``):
    ``regions/val/spatial_largest_share``, the share of the largest region, mean over bands and
    scenes. It is between 1/r and 1, where one region has swallowed the others.

    Args:
        folder: Of the pictures.
        scenes: As of SceneCallback.
        every_n_epochs: As of SceneCallback.
        bands: Numbers, from 0, of the bands whose masks are shown; by default four that are spread
            over the spectrum.

    Raises:
        ValueError: If ``every_n_epochs`` is less than 1.
    """

    topic = "regions"

    def __init__(
        self,
        folder: str,
        scenes: Sequence[str] = (),
        every_n_epochs: int = 1,
        bands: Sequence[int] = (),
    ) -> None:
        super().__init__(folder, scenes, every_n_epochs)
        self.bands = list(dict.fromkeys(bands))

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Warns of a network without regions; the first process may have no scene to look at."""
        network = pl_module.network
        if trainer.is_global_zero and not regions_of(network):  # type: ignore[arg-type]
            self.warn_once(f"{type(network).__name__} has no regions; there is nothing to show")

    def look(self, view: View, network: nn.Module) -> SceneRegions | None:
        """The masks of some bands, and the shares of the regions in all."""
        if not regions_of(network):
            return None
        images = view.images
        reference = "clean" if "clean" in images else "denoised"
        cube = images["clean"] if "clean" in images else list(images.values())[-1]
        bands = [band for band in self.bands or spread_bands(len(cube)) if 0 <= band < len(cube)]
        shown = [("encoded", "noisy"), ("embedding", reference)]
        masks = find_masks(view, network, shown)
        return SceneRegions(
            bands,
            {key: mask[bands].to(torch.uint8).cpu().numpy() for key, mask in masks.items()},
            {key: _shares(mask, regions_of(network)) for key, mask in masks.items()},
            np.array([Display(cube[[band]], None)(cube[[band]])[..., 0] for band in bands]),
            reference,
            Display(cube, view.wavelengths, is_reflectance=view.is_reflectance)(cube),
            view.wavelengths,
        )

    def show(self, looks: dict[EvaluationItem, SceneRegions], gallery: Gallery) -> None:
        """Masks over each scene in W&B, two pictures of each, and how uneven the regions are."""
        for item, found in looks.items():
            name = f"{item.scene} {item.noise_case}"
            self._tell_outside(item.scene, found)
            if found.bands:
                show_overlays(name, found, gallery)
                gallery.picture(name, draw_masks(found, name), Subject.of(item))
            gallery.picture(f"{name} shares", draw_shares(found, name), Subject.of(item, "shares"))
        largest = largest_shares(list(looks.values()))
        gallery.scalars(
            {f"{gallery.prefix}/{kind}_largest_share": share for kind, share in largest.items()}
        )

    def _tell_outside(self, scene: str, found: SceneRegions) -> None:
        outside = [str(band) for band in self.bands if band not in found.bands]
        if outside:
            self.warn_once(
                f"scene {scene} has no band {' nor '.join(outside)}, only 0 to "
                f"{found.size[1] - 1}; left out"
            )


def regions_of(network: nn.Module) -> int:
    """How many regions a network makes; 0 if it makes none."""
    return getattr(network, "regions", 0) if hasattr(network, "region_masks") else 0


def spread_bands(count: int) -> list[int]:
    """The middles of four equal parts of the spectrum; all bands if there are fewer."""
    parts = min(BANDS, count)
    return [(2 * part + 1) * count // (2 * parts) for part in range(parts)]


def find_masks(
    view: View, network: nn.Module, shown: Sequence[tuple[str, str]]
) -> dict[RegionKey, Tensor]:
    """The regions [B, H, W] that a network makes; empty for a network that makes none.

    Those of an input that is not finite are left out.

    Args:
        view: The scene.
        network: Any.
        shown: Sources, encoded or embedding, and inputs: noisy, denoised or clean.
    """
    if not regions_of(network):
        return {}
    inputs = {"noisy": view.noisy, "denoised": view.best}
    if view.clean is not None:
        inputs["clean"] = view.clean
    found = {}
    for source, name in shown:
        cube = inputs[name][None].to(view.noisy)
        if not cube.isfinite().all():  # of a network that has diverged
            continue
        masks = network.region_masks(cube, source=source)  # type: ignore[operator]
        for kind, mask in masks._asdict().items():
            if mask is not None:
                found[RegionKey(source, name, kind)] = mask[0]
    return found


def _shares(mask: Tensor, regions: int) -> np.ndarray:
    """The share of the pixels [B, H, W] that is in each region, [r, B]."""
    counts = torch.stack([(mask == region).sum((1, 2)) for region in range(regions)])
    return counts.cpu().numpy() / mask[0].numel()


def show_overlays(name: str, found: SceneRegions, gallery: Gallery) -> None:
    """An image for each band, with its masks; a panel for each source."""
    for source, seen in dict.fromkeys(key[:2] for key in found.masks):
        masks = {key.kind: mask for key, mask in found.masks.items() if key[:2] == (source, seen)}
        gallery.overlays(
            f"{name} {source} of {seen}",
            found.picture,
            [{kind: mask[n] for kind, mask in masks.items()} for n in range(len(found.bands))],
            [found.name_of(band) for band in found.bands],
            {region: f"region {region}" for region in range(found.size[0])},
        )


def largest_shares(looks: Sequence[SceneRegions]) -> dict[str, float]:
    """The share of the largest region by kind, of source ``encoded``; mean over bands, scenes."""
    keys = [key for key in looks[0].shares if key.source == "encoded"]
    return {
        key.kind: float(np.mean([found.shares[key].max(axis=0).mean() for found in looks]))
        for key in keys
    }
