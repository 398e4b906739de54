"""Endless synthetic scenes, beside a real one, for weights that anyone may use."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from datamodules.base import HSIDataModule
from datamodules.indian_pines import IndianPines
from datamodules.patches import PatchShape, random_window
from datamodules.samples import AnyScene, Cases, TrainingPatches
from datamodules.scene import DataError, Scene, Window
from datamodules.synthetic_scene import make_scene

AT_A_TIME = 16  # scenes that patches are cut from before the next ones are made
PATCHES = 48  # of each
AN_EPOCH = AT_A_TIME * PATCHES  # unless the user says how many
HELD_OUT = (1, 2)  # seeds of scenes that are validated on; those of training are far larger
FIRST = 1000  # number of the first scene of training


@dataclass(frozen=True)
class Stage:
    """A part of a training, and the shape of its patches.

    Attributes:
        share: Of all patches of the training; the shares of all stages add up to 1.
        bands: Of a patch.
        size: Its height and width in pixels.
    """

    share: float
    bands: int
    size: int


class Synthetic(HSIDataModule):
    """Scenes mixed of measured spectra (`synthetic_scene`), each seen for a short while.

    A share of the patches is of the repaired Indian Pines, of its training columns. Validation is
    on its validation columns and on synthetic scenes that are kept apart; the test on its test
    columns.

    Args:
        stages: The shapes of patches, one stage after the other, in place of ``patch_bands`` and
            ``patch_size``. How many patches a stage has follows from the trainer's ``max_steps``
            (or ``max_epochs``).
        real_share: Share of the patches that are real, 0 to 1.
        **options: Those of HSIDataModule; there is no grid to sample.

    Raises:
        ValueError: If the shares do not add up to 1, a number is out of its range, or a grid is
            asked for.
    """

    name = "synthetic"

    def __init__(
        self, stages: Sequence[Stage] | None = None, real_share: float = 0.2, **options: object
    ) -> None:
        super().__init__(**options)  # type: ignore[arg-type]
        if self.sampling != "random":
            raise ValueError(
                f"data.sampling is {self.sampling!r}: scenes without an end have no grid; leave it "
                "out"
            )
        if not 0 <= real_share <= 1:
            raise ValueError(f"data.real_share is {real_share}; give 0 to 1")
        if stages is None:
            stages = [Stage(1, self.patch_shape.bands, self.patch_shape.height)]
        if abs(sum(stage.share for stage in stages) - 1) > 1e-6:
            shares = " + ".join(f"{stage.share:g}" for stage in stages)
            raise ValueError(f"data.stages: the shares {shares} do not add up to 1")
        self.stages, self.real_share = stages, real_share
        self.patch_shape = _shape(stages[-1])

    def scenes(self, split: str) -> Sequence[Scene]:
        """The block of Indian Pines; in validation, scenes that are held out, too."""
        scenes = IndianPines().scenes(split)
        return scenes + [make_scene(s, size=64) for s in HELD_OUT] if split == "val" else scenes

    def _training_set(self) -> TrainingPatches:
        steps = self._steps()
        ends = np.cumsum([stage.share for stage in self.stages])
        batches = [round(steps * end) for end in ends[:-1]]
        return SyntheticPatches(
            self.scenes("train")[0],
            [_shape(stage) for stage in self.stages],
            [number * self.batch_size for number in (*batches, steps)],
            self.real_share,
            self.name,
            self.train_noise,
            self.seed,
        )

    def _steps(self) -> int:
        """Batches of the whole training."""
        an_epoch = (self.patches_per_epoch or AN_EPOCH) // self.batch_size
        if self.trainer is None:
            return an_epoch
        if self.trainer.max_steps > 0:
            return self.trainer.max_steps * self.trainer.accumulate_grad_batches
        if len(self.stages) > 1 and not (self.trainer.max_epochs or 0) > 0:
            raise DataError(
                "synthetic: data.stages are shares of a training that has an end; set "
                "trainer.max_steps or trainer.max_epochs"
            )
        return (self.trainer.max_epochs or 1) * an_epoch


def _shape(stage: Stage) -> PatchShape:
    return PatchShape(stage.bands, stage.size, stage.size)


class SyntheticPatches(TrainingPatches):
    """Patches of scenes that are made for them, and of one that is there.

    Patches that follow each other come from ``AT_A_TIME`` scenes, in turn; then come the next ones.

    Args:
        real: The scene that is there.
        shapes: Of the patches of each stage.
        ends: Of each stage, the number of the first patch behind it.
        real_share: Share of the patches that come from ``real``.
        dataset: As for TrainingPatches.
        cases: Likewise.
        seed: Likewise.

    Raises:
        DataError: If a patch does not fit a scene.
    """

    def __init__(
        self,
        real: Scene,
        shapes: Sequence[PatchShape],
        ends: Sequence[int],
        real_share: float,
        dataset: str,
        cases: Cases,
        seed: int,
    ) -> None:
        super().__init__(dataset, cases, seed)
        for shape in shapes:
            shape.require_fit(real.shape, real.name)
        self.real, self.shapes, self.ends, self.real_share = real, shapes, ends, real_share
        self.scene_count = 1 + AT_A_TIME * -(-ends[-1] // AN_EPOCH)
        self.in_an_epoch = AN_EPOCH
        self._size = max(96, *(shape.height for shape in shapes))
        # One more than a batch may need, and some: the patches of a batch may lie in two groups.
        self._made = lru_cache(AT_A_TIME + 4)(self._make)

    def _make(self, number: int) -> Scene:
        least = max(31, *(shape.bands for shape in self.shapes))
        return make_scene(FIRST + number, (least, 224), self._size)

    def _place(self, number: int, rng: np.random.Generator) -> tuple[AnyScene, Window]:
        # Numbers behind the last stage, of a training that goes on after all, are of that one.
        shape = self.shapes[int(np.searchsorted(self.ends[:-1], number, side="right"))]
        group = number // AN_EPOCH
        chosen = group * AT_A_TIME + int(rng.integers(AT_A_TIME))
        scene = self.real if rng.random() < self.real_share else self._made(chosen)
        return scene, random_window(scene.shape, shape, rng)
