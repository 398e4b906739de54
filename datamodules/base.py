"""The LightningDataModule of all datasets: scenes -> patches -> noise on the device."""

import os
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import lightning as L
import torch
import torch.distributed
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, SequentialSampler, default_collate

from datamodules.noise import FIVE_CASES, TRAINING_MIX, corrupt
from datamodules.patches import PatchShape
from datamodules.random_streams import compile_draws
from datamodules.reading import Notes
from datamodules.samples import (
    WHOLE,
    AnyScene,
    Batch,
    EvaluationSet,
    GridPatches,
    NoisyScenes,
    RandomPatches,
    Tile,
    TrainingPatches,
    check_case,
)
from datamodules.scene import DataError, Measured
from datamodules.shared_memory import shared_collate, short_of_shared_memory, shortage

EVALUATION_SEED = 2018  # of the noise of validation and test
ON_DEVICE = ("clean", "noisy", "seed", "valid")  # of a batch


class ShardedSampler(SequentialSampler):
    """The numbers of an epoch, each on one process only; it counts on through the epochs.

    Args:
        length: Numbers an epoch.
        even: Give every process equally many (a remainder is left out), as training needs.
            Otherwise every number comes, and only a process that would have none repeats one:
            Lightning skips an evaluation without batches, and the others would wait for it.
    """

    def __init__(self, length: int, even: bool) -> None:
        super().__init__(range(length))  # so that Lightning lets it be where nothing shall change
        self.length, self.even, self.epoch = length, even, 0
        self.repeats = False  # each epoch has the numbers of the first
        self.skip = 0  # so many of the process's first numbers, the next time only

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this before each training epoch."""
        self.epoch = epoch

    def _own(self) -> range:
        rank, processes = rank_and_processes()
        if self.even:
            return range(rank, self.length - self.length % processes, processes)
        return range(rank % self.length, self.length, processes)

    def __len__(self) -> int:
        return len(self._own())

    def __iter__(self) -> Iterator[int]:
        start = self.epoch * self.length if self.even and not self.repeats else 0
        own, self.skip = self._own()[self.skip :], 0
        return (start + number for number in own)


def rank_and_processes() -> tuple[int, int]:
    """This process's number among those that work together, and how many they are."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1


class ResumableLoader(DataLoader[Batch]):
    """A loader that goes on within an epoch; its workers note what they are reading.

    Lightning keeps its state in checkpoints: how many batches it has given in this epoch. A batch
    follows from its number, so that is all there is to know, for any number of workers, and of
    processes: those share the same batches out.

    Args:
        dataset: As for DataLoader.
        batch_size: Likewise.
        sampler: Skips what the batches before had.
        num_workers: As for DataLoader.
        kwargs: Further arguments of DataLoader.
    """

    sampler: ShardedSampler
    batches = 0
    used: int | None = None  # batches of an epoch, where not all are
    _skipped = 0

    def __init__(
        self,
        dataset: Dataset[Batch],
        batch_size: int,
        sampler: Sampler[int],
        num_workers: int = 0,
        **kwargs: Any,
    ) -> None:
        with short_of_shared_memory():
            self.notes = Notes(num_workers)
        kwargs |= {"num_workers": num_workers, "worker_init_fn": self.notes.start}
        super().__init__(dataset, batch_size, sampler=sampler, **kwargs)

    def state_dict(self) -> dict[str, int]:
        """How far the epoch is."""
        return {"batches": self.batches}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Goes on there next time; from the beginning where the epoch was at its end."""
        self._skipped = self.batches = state.get("batches", 0) % (self.used or len(self))

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        """The batches; a generator, so that nothing is read before the epoch has its number."""
        self.batches, self._skipped = self._skipped, 0
        self.sampler.skip = self.batches * (self.batch_size or 1)
        with short_of_shared_memory():
            batches = super().__iter__()  # starts the workers
        for batch in batches:
            self.batches += 1
            yield batch


def _as_it_is(batch: Any) -> Any:
    return batch


class HSIDataModule(L.LightningDataModule):
    """Clean scenes -> noisy patches for training, noisy scenes for validation and test.

    A concrete dataset says its ``name`` and gives its ``scenes(split)``.
    Batches are dicts: ``clean`` and ``noisy`` [N, B, H, W] float32, ``dataset``, ``name`` and
    ``case`` (N strings each), ``index`` [N]. Whole scenes also have ``offset`` and ``gain`` [N],
    which lead to the file's units, ``reflectance`` [N], whether they are known to be that (released
    files have none of the three), ``wavelengths`` [N, B] in nm where they are known, ``valid``
    [N, H, W] or [N, B, H, W] where not all pixels are, and no
    ``clean`` where nobody knows it. Cubes alone go to the device: numbers of double precision,
    which not every device has, and what only names a scene stay on the CPU.

    Args:
        batch_size: Patches in a training batch, on all devices together: a training takes the same
            batches, whatever the number of devices.
        patch_size: Height and width of a training patch, in pixels.
        patch_bands: Consecutive bands of a training patch, at a random place of the spectrum.
        sampling: ``random`` draws scene, scale and place of each patch; ``grid`` takes the places
            of regular grids, all of them in a random order before any comes again.
        patches_per_epoch: Training patches that make an epoch; by default as many as the grids
            have.
        train_noise: Noise cases of training; each patch gets one of them, in equal shares. Or those
            from an epoch on, as {0: [gaussian50], 30: [blind]}.
        val_noise: Noise cases of validation; each scene is validated under every one.
        test_noise: Noise cases of the test, likewise.
        num_workers: Processes that cut patches, for each device, at most one a core; 0 cuts them in
            the training process.
        compile_noise: Compile the drawing of noise for the CPU: it takes some seconds at the start,
            and is then two to three times as fast, with the same bits. Without effect on the GPU.
        seed: All patches and the noise of training follow from it.
        evaluation_seed: The noise of validation and test follows from it, so that trainings of any
            seed are judged on the same scenes.

    Raises:
        ValueError: If a noise case is unknown, a size is less than 1 or ``evaluation_seed`` less
            than 0.
    """

    name: str
    train_set: TrainingPatches
    val_set: EvaluationSet
    test_set: EvaluationSet
    strides: Sequence[int] = (64, 32, 32)  # of the grids, at scales 1, 1/2 and 1/4
    test_tiles: Sequence[Tile] = WHOLE
    reflectance = False  # whether the scenes are, whatever their files say: for their colours

    def __init__(
        self,
        batch_size: int = 8,
        patch_size: int = 64,
        patch_bands: int = 31,
        sampling: Literal["random", "grid"] = "random",
        patches_per_epoch: int | None = None,
        train_noise: Sequence[str] | dict[int, Sequence[str]] = TRAINING_MIX,
        val_noise: Sequence[str] = ("mixture",),
        test_noise: Sequence[str] = FIVE_CASES,
        num_workers: int = 0,
        compile_noise: bool = False,
        seed: int = 2018,
        evaluation_seed: int = EVALUATION_SEED,
    ) -> None:
        super().__init__()
        if evaluation_seed < 0:
            raise ValueError(f"data.evaluation_seed is {evaluation_seed}; give at least 0")
        if batch_size < 1:
            raise ValueError(f"data.batch_size is {batch_size}; give at least 1")
        if patches_per_epoch is not None and patches_per_epoch < batch_size:
            raise ValueError(
                f"data.batch_size is {batch_size} and data.patches_per_epoch {patches_per_epoch}; "
                "an epoch must have at least one batch"
            )
        stages = train_noise if isinstance(train_noise, dict) else {0: train_noise}
        if 0 not in stages or min(stages) < 0:
            raise ValueError(
                f"data.train_noise begins at the epochs {', '.join(map(str, sorted(stages)))}; "
                "say what there is from epoch 0 on"
            )
        for option, cases in (
            *(("train_noise", cases) for cases in stages.values()),
            ("val_noise", val_noise),
            ("test_noise", test_noise),
        ):
            if not cases:
                raise ValueError(f"data.{option} is empty; name at least one noise case")
            for case in cases:
                try:
                    check_case(case)
                except ValueError as error:
                    raise ValueError(f"data.{option}: {error}") from None
        self.batch_size = batch_size
        self.patch_shape = PatchShape(patch_bands, patch_size, patch_size)
        self.sampling = sampling
        self.patches_per_epoch = patches_per_epoch
        self.train_noise, self.val_noise, self.test_noise = train_noise, val_noise, test_noise
        self.num_workers = num_workers
        self.compile_noise = compile_noise
        self.seed = seed
        self.evaluation_seed = evaluation_seed
        self._notes: list[Notes] = []
        self._train_loader: ResumableLoader | None = None
        self._train_state: dict[str, int] = {}

    def scenes(self, split: str) -> Sequence[AnyScene]:
        """The scenes of ``split``: train, val or test."""
        raise DataError("no dataset is named: set data.class_path, e.g. datamodules.IndianPines")

    def setup(self, stage: str) -> None:
        """Opens the scenes that ``stage`` (fit, validate or test) needs; a test follows a fit.

        Raises:
            DataError: If a split is empty, a scene is damaged or the patch does not fit a scene.
        """
        if stage == "fit":
            if self.compile_noise:
                compile_draws()
            self.train_set = self._training_set()
        if stage in ("fit", "validate"):
            scenes = self._split("val")
            self.val_set = NoisyScenes(
                scenes,
                self.val_noise,
                self.name,
                self.evaluation_seed,
                draw=False,
                reflectance=self.reflectance,
            )
        if stage == "test" or (stage == "fit" and self._is_tested):
            scenes = self._split("test")
            self.test_set = NoisyScenes(
                scenes,
                self.test_noise,
                self.name,
                self.evaluation_seed,
                self.test_tiles,
                reflectance=self.reflectance,
            )

    @property
    def _is_tested(self) -> bool:
        return self.trainer is None or self.trainer.limit_test_batches != 0

    def _training_set(self) -> TrainingPatches:
        scenes = self._split("train")
        if any(isinstance(scene, Measured) and scene.clean is None for scene in scenes):
            raise DataError(f"{self.name}: has noisy scenes only; training needs clean ones")
        patches = RandomPatches if self.sampling == "random" else GridPatches
        return patches(
            scenes, self.patch_shape, self.train_noise, self.seed, self.strides, self.name
        )

    def _split(self, split: str) -> Sequence[AnyScene]:
        scenes = self.scenes(split)
        if not scenes:
            instead = "" if split == "test" else ", or only test on this one (make evaluate)"
            raise DataError(
                f"{self.name}: the {split} split is empty; choose a dataset or protocol that has "
                f"one{instead}"
            )
        return scenes

    def train_dataloader(self) -> DataLoader[Batch]:
        """Batches of patches, of which each process gets an equal share.

        Raises:
            DataError: If a batch cannot be divided by the number of processes.
        """
        _, processes = rank_and_processes()
        share, rest = divmod(self.batch_size, processes)
        if rest:
            sizes = [n * processes for n in (share, share + 1) if n]
            raise DataError(
                f"data.batch_size is {self.batch_size}, of all {processes} devices together, which "
                f"cannot share it equally; give {' or '.join(map(str, sizes))}"
            )
        length = self.patches_per_epoch or max(self.train_set.in_an_epoch, self.batch_size)
        self.train_set.epoch_length = length
        sampler = ShardedSampler(length, even=True)
        sampler.repeats = getattr(self.trainer, "overfit_batches", 0) > 0
        self._train_loader = self._loader(self.train_set, sampler, share, drop_last=True)
        limit = 1.0 if self.trainer is None else self.trainer.limit_train_batches
        batches = len(self._train_loader)
        self._train_loader.used = limit if isinstance(limit, int) else int(limit * batches)
        self._train_loader.load_state_dict(self._train_state)
        self._train_state = {}
        return self._train_loader

    def state_dict(self) -> dict[str, Any]:
        """How far the training loader is, for a checkpoint.

        Lightning keeps and loads the state of loaders too, but not of one that was asked for its
        length before, as a schedule by steps does.
        """
        return self._train_loader.state_dict() if self._train_loader else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Lets the next training loader go on there."""
        self._train_state = state_dict

    def val_dataloader(self) -> DataLoader[Batch]:
        """Whole validation scenes, one at a time."""
        return self._loader(self.val_set, ShardedSampler(len(self.val_set), even=False))

    def test_dataloader(self) -> DataLoader[Batch]:
        """Whole test scenes, one at a time."""
        return self._loader(self.test_set, ShardedSampler(len(self.test_set), even=False))

    def _loader(
        self,
        dataset: Dataset[Batch],
        sampler: ShardedSampler,
        batch_size: int = 1,
        drop_last: bool = False,  # in training: all its batches weigh the same
    ) -> ResumableLoader:
        workers = min(self.num_workers, os.cpu_count() or 1)
        loader = ResumableLoader(
            dataset,
            batch_size,
            sampler,
            workers,
            drop_last=drop_last,
            collate_fn=shared_collate(
                _as_it_is if hasattr(dataset, "__getitems__") else default_collate
            ),
            persistent_workers=workers > 0,
            pin_memory=torch.cuda.is_available(),
        )
        self._notes.append(loader.notes)
        return loader

    def on_exception(self, exception: BaseException) -> None:
        """Adds to the death of a worker what it was reading."""
        if "Bus error" in str(exception):  # memory that was promised to a worker and is not there
            exception.add_note(shortage())
            return
        for notes in self._notes:
            if (reading := notes.reading(exception)) is not None:
                exception.add_note(
                    f"It was reading {reading}. Is that file damaged? If it ran out of memory, "
                    "lower data.num_workers."
                )

    def transfer_batch_to_device(
        self, batch: Batch, device: torch.device, dataloader_idx: int
    ) -> Batch:
        """Moves the cubes, and the seeds of their noise."""
        moved = {key: batch[key] for key in ON_DEVICE if key in batch}
        return batch | super().transfer_batch_to_device(moved, device, dataloader_idx)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Makes the noise on the device, but for the test and for measured scenes."""
        if "noisy" not in batch:
            seeds: Tensor = batch.pop("seed")
            batch["noisy"] = corrupt(batch["clean"], batch["case"], seeds)
        return batch
