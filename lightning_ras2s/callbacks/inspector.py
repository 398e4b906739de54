"""A page for each watched scene, to look into it band by band and pixel by pixel."""

from collections.abc import Sequence

import lightning as L
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import nn

from datamodules.atomic_write import atomic_write
from datamodules.samples import EvaluationItem
from lightning_ras2s.callbacks.region_masks import regions_of
from lightning_ras2s.callbacks.scene_callback import SceneCallback, View
from lightning_ras2s.pictures.gallery import Gallery, safe_name


class Inspector(SceneCallback):
    """Writes ``<scene>_<noise case>.html``, a page of up to 25 MB that needs no network to open.

    It acts in tests, such as the one that ends a training, and when weights are validated by
    themselves, but never during a training: the pages are too big to be made again and again.

    Args:
        folder: Where the pages go.
        scenes: Names of the scenes that get a page; by default the first of each dataset.
        noise_cases: Under which noise; by default the last of the test's cases alone, which among
            the paper's five is the mixture of the others.
    """

    topic = "inspector"

    def __init__(
        self, folder: str, scenes: Sequence[str] = (), noise_cases: Sequence[str] = ()
    ) -> None:
        super().__init__(folder, scenes)
        self.noise_cases = list(noise_cases)

    def look(self, view: View, network: nn.Module) -> str:
        """The page, with the regions of a network that has some."""
        from lightning_ras2s.pages.inspector import inspector_page

        masks = {}
        if regions_of(network):
            found = network.region_masks(view.noisy[None])._asdict()  # type: ignore[operator]
            masks = {name: m[0].cpu().numpy() for name, m in found.items() if m is not None}
        item = view.item
        title = f"{item.dataset}: {item.scene}, {item.noise_case} noise"
        return inspector_page(title, view.images, view.wavelengths, masks, regions_of(network))

    def show(self, looks: dict[EvaluationItem, str], gallery: Gallery) -> None:
        """Writes the pages, each whole or not at all."""
        for item, page in looks.items():
            name = f"{item.scene} {item.noise_case}"
            path = self.folder / f"{safe_name(f'{item.scene}_{item.noise_case}')}.html"
            with atomic_write(path) as aside:
                aside.write_text(page, encoding="utf-8")
            gallery.page(name, path)
            rank_zero_info(f"Inspector: {path}")

    def _choose(self, items: Sequence[EvaluationItem], stage: str) -> set[int]:
        last = {(item.dataset, item.scene): item.noise_case for item in items}
        chosen = {number: items[number] for number in super()._choose(items, stage)}
        return {
            number
            for number, item in chosen.items()
            if item.noise_case in (self.noise_cases or [last[item.dataset, item.scene]])
        }

    def _is_due(self, trainer: L.Trainer) -> bool:
        return trainer.state.fn != TrainerFn.FITTING
