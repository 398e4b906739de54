"""A page for each watched scene, to look into it band by band and pixel by pixel."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import lightning as L
import numpy as np
import torch
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import Tensor, nn

from datamodules.atomic_write import atomic_write
from datamodules.samples import EvaluationItem
from lightning_ras2s.callbacks.region_masks import SOURCES, find_masks, regions_of
from lightning_ras2s.callbacks.scene_callback import SceneCallback, View
from lightning_ras2s.classical.median import median_filter
from lightning_ras2s.evaluation import DIGITS, HEADERS, NOISY
from lightning_ras2s.metrics import METRICS, SSIM_WINDOW, band_psnr, band_sam, band_ssim
from lightning_ras2s.pictures.gallery import Gallery, safe_name
from lightning_ras2s.pictures.region_figures import RegionKey

if TYPE_CHECKING:
    from lightning_ras2s.pages.viewer import Measure, SceneCase, ViewedScene

MEDIAN = "Median"  # what a filter of three lines makes of it: shown beside every network
BANDWISE = {
    "psnr": ("PSNR (dB)", band_psnr),
    "ssim": ("SSIM", band_ssim),
    "sam": ("SAM of nine adjacent bands (rad)", band_sam),
}


class Look(NamedTuple):
    """A scene under one noise case, and what belongs to the scene itself."""

    case: "SceneCase"
    scene: "ViewedScene"


class Inspector(SceneCallback):
    """Writes ``<scene>.html``, a page of up to 25 MB that needs no network to open.

    It shows the scene under its noise cases, by every method of the test and a median filter.
    It acts in tests, such as the one that ends a training, and when weights are validated by
    themselves, but never during a training: the pages are too big to be made again and again.

    Args:
        folder: Where the pages go.
        scenes: Names of the scenes that get a page; by default the first of each dataset.
        noise_cases: Under which noise; by default all of the test. Of fewer cases a page has room
            for more pixels of a large scene.
    """

    topic = "inspector"

    def __init__(
        self, folder: str, scenes: Sequence[str] = (), noise_cases: Sequence[str] = ()
    ) -> None:
        super().__init__(folder, scenes)
        self.noise_cases = list(noise_cases)
        self._cases = 1
        self._clean_masks: dict[tuple[str, str], dict[RegionKey, Tensor]] = {}

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The weights may have changed."""
        self._clean_masks = {}

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Likewise."""
        self._clean_masks = {}

    def look(self, view: View, network: nn.Module) -> Look:
        """What the page holds of the scene under this noise."""
        from lightning_ras2s.pages.packed import Quantised
        from lightning_ras2s.pages.viewer import SceneCase, ViewedScene, what_fits

        images = view.by_method
        if MEDIAN not in images:
            images = {MEDIAN: median_filter(view.noisy[None])[0]} | images
        images = {NOISY: view.noisy} | images
        known = view.clean is not None
        masks = self._masks(view, network)
        of_clean = sum(key.input == "clean" for key in masks)  # the same in all cases
        dtype, rows, columns = what_fits(
            view.noisy.shape,
            self._cases * len(images) + known,
            self._cases * (len(masks) - of_clean) + of_clean,
        )
        part = np.s_[:, rows.start : rows.stop, columns.start : columns.stop]

        def quantised(image: Tensor) -> Quantised:
            return Quantised.of(image[part].float().cpu().numpy(), dtype)

        clean = None if view.clean is None else quantised(view.clean)
        case = SceneCase(
            view.item.noise_case,
            {name: quantised(image) for name, image in images.items()},
            {key: mask[part].to(torch.uint8).cpu().numpy() for key, mask in masks.items()},
            _bandwise(view, images),
            _means(view, images),
        )
        scene = ViewedScene(
            tuple(view.noisy.shape), rows, columns, [], clean, view.wavelengths,
            regions_of(network), view.is_reflectance,
        )  # fmt: skip
        return Look(case, scene)

    def _masks(self, view: View, network: nn.Module) -> dict[RegionKey, Tensor]:
        """All regions; those of the clean scene are the same under every noise."""
        inputs = ("noisy", "denoised")
        masks = find_masks(view, network, [(s, i) for s in SOURCES for i in inputs])
        if view.clean is None:
            return masks
        scene = view.item.dataset, view.item.scene
        if scene not in self._clean_masks:
            found = find_masks(view, network, [(source, "clean") for source in SOURCES])
            self._clean_masks = {scene: found}
        return masks | self._clean_masks[scene]

    def show(self, looks: dict[EvaluationItem, Look], gallery: Gallery) -> None:
        """Writes the pages, each whole or not at all."""
        from lightning_ras2s.pages.inspector import inspector_page

        for name in dict.fromkeys(item.scene for item in looks):
            found = {item: look for item, look in looks.items() if item.scene == name}
            item, look = next(iter(found.items()))
            scene = replace(look.scene, cases=[each.case for each in found.values()])
            page = inspector_page(f"{item.dataset}: {name}", scene)
            path = self.folder / f"{safe_name(name)}.html"
            with atomic_write(path) as aside:
                aside.write_text(page, encoding="utf-8")
            gallery.page(name, path)
            rank_zero_info(f"Inspector: {path}")

    def _choose(self, items: Sequence[EvaluationItem], stage: str) -> set[int]:
        chosen = {
            number
            for number in super()._choose(items, stage)
            if not self.noise_cases or items[number].noise_case in self.noise_cases
        }
        self._cases = max(1, len({items[number].noise_case for number in chosen}))
        return chosen

    def _is_due(self, trainer: L.Trainer) -> bool:
        return trainer.state.fn != TrainerFn.FITTING


def _bandwise(view: View, images: dict[str, Tensor]) -> "dict[str, Measure]":
    from lightning_ras2s.pages.viewer import Measure

    if view.clean is None:
        return {}
    clean, valid = view.clean[None], None if view.valid is None else view.valid[None]
    small = min(view.clean.shape[1:]) < SSIM_WINDOW
    return {
        key: Measure(
            title,
            {name: measure(i[None], clean, valid)[0].cpu().numpy() for name, i in images.items()},
        )
        for key, (title, measure) in BANDWISE.items()
        if not (key == "ssim" and small)
    }


def _means(view: View, images: dict[str, Tensor]) -> list[dict[str, str]]:
    """A row for each method, as the test's table has it."""
    if view.clean is None:
        return []
    clean, valid = view.clean[None], None if view.valid is None else view.valid[None]
    small = min(view.clean.shape[1:]) < SSIM_WINDOW
    measures = {key: measure for key, measure in METRICS.items() if not (key == "ssim" and small)}
    return [
        {HEADERS["method"]: name}
        | {
            HEADERS[key]: f"{measure(image[None], clean, valid).item():.{DIGITS[key]}f}"
            for key, measure in measures.items()
        }
        for name, image in images.items()
    ]
