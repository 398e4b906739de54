"""What the callbacks that look at scenes share: which scenes, when, and on which process."""

import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
import torch.distributed
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch import Tensor, nn

from datamodules.samples import EvaluationItem
from lightning_ras2s.evaluation import NOISY
from lightning_ras2s.methods import refined
from lightning_ras2s.pictures.gallery import Gallery
from lightning_ras2s.runs.best_effort import best_effort, warn_once


@dataclass(frozen=True)
class View:
    """One scene under one noise case, before and after denoising.

    Attributes:
        item: Dataset, scene and noise case.
        noisy: [B, H, W] on the network's device.
        denoised: [B, H, W], by the network alone.
        clean: [B, H, W]; None where nobody knows it.
        wavelengths: Band centres in nm, [B]; None where unknown.
        valid: Which pixels count, [H, W] or [B, H, W]; None for all.
        methods: [B, H, W] by every method of the table but the noisy one; last that of the run, and
            at the very end with +S.
        is_reflectance: Whether the scene is known to be reflectance.
    """

    item: EvaluationItem
    noisy: Tensor
    denoised: Tensor
    clean: Tensor | None
    wavelengths: np.ndarray | None
    valid: Tensor | None = None
    methods: dict[str, Tensor] = field(default_factory=dict)
    is_reflectance: bool = False

    @property
    def images(self) -> dict[str, np.ndarray]:
        """noisy, by each method and, where there is one, clean: [B, H, W] float32."""
        images = {"noisy": self.noisy, **self.by_method, "clean": self.clean}
        return {
            name: image.detach().float().cpu().numpy()
            for name, image in images.items()
            if image is not None
        }

    @property
    def by_method(self) -> dict[str, Tensor]:
        """[B, H, W] by every method, that of the run last: at least by the network."""
        return self.methods or {"denoised": self.denoised}

    @property
    def best(self) -> Tensor:
        """By the last of them."""
        return list(self.by_method.values())[-1]


class SceneCallback(L.Callback, ABC):
    """Looks at the same scenes again and again, and shows what it has seen.

    The process that has a scene looks at it and keeps only what will be shown; the first process
    shows what all have seen. The seconds that this takes on the first process are logged as
    ``cost/<topic>_s``, and as the share of the time since the last showing, ``cost/<topic>_share``.

    Args:
        folder: Of the pictures.
        scenes: Names of the scenes to look at, under all their noise cases; by default the first
            of each dataset.
        every_n_epochs: Looks at the validations of every n-th epoch of a training, and of the last
            of ``max_epochs``. Tests are always looked at.

    Raises:
        ValueError: If ``every_n_epochs`` is less than 1.
    """

    topic: str

    def __init__(self, folder: str, scenes: Sequence[str] = (), every_n_epochs: int = 1) -> None:
        if every_n_epochs < 1:
            raise ValueError(f"every_n_epochs is {every_n_epochs}; give at least 1")
        self.folder, self.scenes, self.every_n_epochs = Path(folder), list(scenes), every_n_epochs
        self._seen: dict[int, tuple[EvaluationItem, Any]] = {}
        self._watched: dict[str, set[int]] = {}
        self._seconds, self._since = 0.0, time.perf_counter()

    @abstractmethod
    def look(self, view: View, network: nn.Module) -> Any:
        """Takes from a scene what will be shown, small and without tensors; None for nothing."""

    @abstractmethod
    def show(self, looks: dict[EvaluationItem, Any], gallery: Gallery) -> None:
        """Shows what ``look`` gave for each scene and noise case."""

    def warn_once(self, message: str) -> None:
        """Warns, and never again with the same message."""
        warn_once(f"{type(self).__name__}: {message}")

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Starts the clock."""
        self._seconds, self._since = 0.0, time.perf_counter()

    def on_validation_batch_end(  # type: ignore[override]
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: dict[str, Tensor],
        batch: dict[str, Any],
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Looks at the scenes of the batch."""
        if self._is_due(trainer):
            self._look(trainer.val_dataloaders, "val", outputs, batch, pl_module)

    def on_test_batch_end(  # type: ignore[override]
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: dict[str, Tensor],
        batch: dict[str, Any],
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Looks at the scenes of the batch."""
        self._look(trainer.test_dataloaders, "test", outputs, batch, pl_module)

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Shows what was seen."""
        if self._is_due(trainer):
            self._show(trainer, "val")

    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Shows what was seen."""
        self._show(trainer, "test")

    def _is_due(self, trainer: L.Trainer) -> bool:
        if trainer.sanity_checking:
            return False
        epochs = trainer.current_epoch + 1
        last = trainer.should_stop or epochs == trainer.max_epochs
        return trainer.state.fn != TrainerFn.FITTING or last or epochs % self.every_n_epochs == 0

    def _look(
        self,
        loader: Any,
        stage: str,
        outputs: dict[str, Tensor],
        batch: dict[str, Any],
        pl_module: L.LightningModule,
    ) -> None:
        items: Sequence[EvaluationItem] = loader.dataset.items
        if stage not in self._watched:
            self._watched[stage] = self._choose(items, stage)
        indices = batch["index"].tolist()
        if not self._watched[stage].intersection(indices):
            return
        own: str = pl_module.method.label  # type: ignore[union-attr,assignment]
        if outputs[own].is_cuda:
            torch.cuda.synchronize()  # the network's time is not ours
        start = time.perf_counter()
        with_s = refined(pl_module.method).label  # type: ignore[arg-type]
        order = sorted(outputs, key=lambda name: (name in (own, with_s), name == with_s))
        for number, index in enumerate(indices):
            if index in self._watched[stage]:
                view = View(
                    EvaluationItem(*(batch[key][number] for key in ("dataset", "name", "case"))),
                    batch["noisy"][number],
                    outputs[own][number],
                    batch["clean"][number] if "clean" in batch else None,
                    _known(batch.get("wavelengths"), number),
                    batch["valid"][number] if "valid" in batch else None,
                    {name: outputs[name][number] for name in order if name != NOISY},
                    bool(batch["reflectance"][number]) if "reflectance" in batch else False,
                )
                seen = self.look(view, pl_module.network)  # type: ignore[arg-type]
                if seen is not None:
                    self._seen[index] = (view.item, seen)
        self._seconds += time.perf_counter() - start

    def _choose(self, items: Sequence[EvaluationItem], stage: str) -> set[int]:
        """The numbers of the items to look at."""
        first = {item.dataset: item.scene for item in reversed(items)}
        there = list(dict.fromkeys(item.scene for item in items))
        missing = [scene for scene in self.scenes if scene not in there]
        chosen = [scene for scene in self.scenes if scene in there]
        if missing:
            shown = f"{', '.join(there[:8])}{', ...' if len(there) > 8 else ''}"
            instead = "" if chosen else f"; looks at {', '.join(first.values())} in its place"
            rank_zero_warn(
                f"{type(self).__name__}: no scene {', '.join(missing)} in {stage}, "
                f"which has {shown}{instead}"
            )
        return {
            number
            for number, item in enumerate(items)
            if (item.scene in chosen if chosen else first[item.dataset] == item.scene)
        }

    def _show(self, trainer: L.Trainer, stage: str) -> None:
        seen = _gather(self._seen)
        self._seen = {}
        if not trainer.is_global_zero or not seen:
            return
        start = time.perf_counter()
        gallery = Gallery(trainer, self.folder, stage, self.topic)
        if trainer.state.fn == TrainerFn.FITTING:
            gallery.step -= 1  # Lightning's own step of the metrics of this validation
        with best_effort(f"{self.folder}: no {self.topic}"):
            self.show(_told_apart([seen[index] for index in sorted(seen)]), gallery)
        now = time.perf_counter()
        self._seconds += now - start
        if trainer.state.fn == TrainerFn.FITTING:
            share = self._seconds / (now - self._since)
            gallery.scalars(
                {f"cost/{self.topic}_s": self._seconds, f"cost/{self.topic}_share": share}
            )
        self._seconds, self._since = 0.0, now


def _told_apart(seen: Sequence[tuple[EvaluationItem, Any]]) -> dict[EvaluationItem, Any]:
    """Puts the dataset before the name of a scene that another dataset has too."""
    owners = {(item.scene, item.dataset) for item, _ in seen}
    common = {scene for scene, count in Counter(scene for scene, _ in owners).items() if count > 1}
    return {
        item._replace(scene=f"{item.dataset} {item.scene}") if item.scene in common else item: look
        for item, look in seen
    }


def _known(wavelengths: Tensor | None, number: int) -> np.ndarray | None:
    """The wavelengths of a scene, [B]; None if one of them is not a number."""
    if wavelengths is None or not wavelengths[number].isfinite().all():
        return None
    return wavelengths[number].cpu().double().numpy()


def _gather(seen: dict[int, Any]) -> dict[int, Any]:
    """What all processes have seen, on the first one."""
    if not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return seen
    first = torch.distributed.get_rank() == 0
    parts: list[Any] | None = [None] * torch.distributed.get_world_size() if first else None
    torch.distributed.gather_object(seen, parts)
    return {index: part for every in parts or () for index, part in every.items()}
