"""The LightningDataModule of all datasets: scenes -> patches -> noise on the device."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import lightning as L
import numpy as np
import torch
import torch.distributed
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from datamodules.noise import FIVE_CASES, TRAINING_MIX, corrupt, find_noises
from datamodules.patches import PatchShape, augment, random_crop
from datamodules.random_streams import derive_seed
from datamodules.scene import DataError, Scene

Batch = dict[str, Any]


class EvaluationItem(NamedTuple):
    """One scene under one noise case."""

    dataset: str
    scene: str
    noise_case: str


class RandomPatches(Dataset[Batch]):
    """Random patches of the training scenes, each with its noise case and seed.

    A patch depends on the seed and its number alone, not on the worker, rank or batch.
    """

    def __init__(
        self, scenes: Sequence[Scene], shape: PatchShape, cases: Sequence[str], seed: int
    ) -> None:
        for scene in scenes:
            shape.fit(scene.cube.shape, scene.name)
        self.scenes, self.shape, self.cases, self.seed = scenes, shape, cases, seed

    def __getitem__(self, number: int) -> Batch:
        """The patch of that number, counted on through the epochs."""
        rng = np.random.default_rng([self.seed, number])
        scene = self.scenes[int(rng.integers(len(self.scenes)))]
        patch = augment(random_crop(scene.cube, self.shape, rng), rng)
        return {
            "clean": torch.from_numpy(patch),
            "name": scene.name,
            "index": number,
            "case": self.cases[int(rng.integers(len(self.cases)))],
            "seed": int(rng.integers(2**63)),
        }


class NoisyScenes(Dataset[Batch]):
    """Whole scenes, each once under every noise case, with noise that is the same everywhere.

    The noise depends on (seed, dataset, scene name, case) alone and is drawn on the CPU.
    """

    def __init__(
        self, scenes: Sequence[Scene], cases: Sequence[str], dataset: str, seed: int
    ) -> None:
        self.pairs = [(scene, case) for case in cases for scene in scenes]
        self.items = [EvaluationItem(dataset, scene.name, case) for scene, case in self.pairs]
        self.seed = seed

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Batch:
        """One scene under one case."""
        scene, case = self.pairs[index]
        item = self.items[index]
        clean = torch.from_numpy(scene.cube)
        seed = derive_seed(self.seed, item.dataset, item.scene, case)
        noisy = corrupt(clean[None], [case], torch.tensor([seed]))[0]
        return {"clean": clean, "noisy": noisy, "name": scene.name, "index": index, "case": case}


class ShardedSampler(Sampler[int]):
    """The numbers of an epoch, each on one process only; it counts on through the epochs.

    Args:
        length: Numbers an epoch.
        even: Give every process equally many (a remainder is left out), as training needs.
            Otherwise every number comes, and only a process that would have none repeats one:
            Lightning skips an evaluation without batches, and the others would wait for it.
    """

    def __init__(self, length: int, even: bool) -> None:
        self.length, self.even, self.epoch = length, even, 0

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this before each training epoch."""
        self.epoch = epoch

    def _own(self) -> range:
        distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
        rank = torch.distributed.get_rank() if distributed else 0
        processes = torch.distributed.get_world_size() if distributed else 1
        if self.even:
            return range(rank, self.length - self.length % processes, processes)
        return range(rank % self.length, self.length, processes)

    def __len__(self) -> int:
        return len(self._own())

    def __iter__(self) -> Iterator[int]:
        start = self.epoch * self.length if self.even else 0
        return (start + number for number in self._own())


class HSIDataModule(L.LightningDataModule):
    """Clean scenes -> noisy patches for training, noisy scenes for validation and test.

    A concrete dataset says its ``name`` and gives its ``scenes(split)``.
    Batches are dicts: ``clean`` and ``noisy`` [N, B, H, W] float32, ``name`` and ``case`` (N
    strings each), ``index`` [N].

    Args:
        batch_size: Patches in a training batch, on each device.
        patch_size: Height and width of a training patch, in pixels.
        patch_bands: Consecutive bands of a training patch, at a random place of the spectrum.
        patches_per_epoch: Training patches that make an epoch.
        train_noise: Noise cases of training; each patch gets one of them, in equal shares.
        val_noise: Noise cases of validation; each scene is validated under every one.
        test_noise: Noise cases of the test, likewise.
        num_workers: Processes that cut patches; 0 cuts them in the training process.
        seed: All patches and all noise follow from it.

    Raises:
        ValueError: If a noise case is unknown, or a size is less than 1.
    """

    name: str

    def __init__(
        self,
        batch_size: int = 8,
        patch_size: int = 64,
        patch_bands: int = 31,
        patches_per_epoch: int = 1000,
        train_noise: Sequence[str] = TRAINING_MIX,
        val_noise: Sequence[str] = ("mixture",),
        test_noise: Sequence[str] = FIVE_CASES,
        num_workers: int = 0,
        seed: int = 2018,
    ) -> None:
        super().__init__()
        if not 1 <= batch_size <= patches_per_epoch:
            raise ValueError(
                f"data.batch_size is {batch_size} and data.patches_per_epoch {patches_per_epoch}; "
                "an epoch must have at least one batch of at least one patch"
            )
        for option, cases in {
            "train_noise": train_noise,
            "val_noise": val_noise,
            "test_noise": test_noise,
        }.items():
            if not cases:
                raise ValueError(f"data.{option} is empty; name at least one noise case")
            for case in cases:
                try:
                    find_noises(case)
                except ValueError as error:
                    raise ValueError(f"data.{option}: {error}") from None
        self.batch_size = batch_size
        self.patch_shape = PatchShape(patch_bands, patch_size, patch_size)
        self.patches_per_epoch = patches_per_epoch
        self.train_noise, self.val_noise, self.test_noise = train_noise, val_noise, test_noise
        self.num_workers = num_workers
        self.seed = seed

    def scenes(self, split: str) -> list[Scene]:
        """The clean scenes of ``split``: train, val or test."""
        raise DataError("no dataset is named: set data.class_path, e.g. datamodules.IndianPines")

    def setup(self, stage: str) -> None:
        """Loads the scenes that ``stage`` (fit, validate or test) needs.

        Raises:
            DataError: If a split is empty, a scene is damaged or the patch does not fit a scene.
        """
        if stage == "fit":
            self.train_set = RandomPatches(
                self._split("train"), self.patch_shape, self.train_noise, self.seed
            )
        if stage in ("fit", "validate"):
            self.val_set = NoisyScenes(self._split("val"), self.val_noise, self.name, self.seed)
        if stage == "test":
            self.test_set = NoisyScenes(self._split("test"), self.test_noise, self.name, self.seed)

    def _split(self, split: str) -> list[Scene]:
        scenes = self.scenes(split)
        if not scenes:
            raise DataError(f"{self.name}: the {split} split is empty; there is nothing to {split}")
        return scenes

    def train_dataloader(self) -> DataLoader[Batch]:
        """Batches of random patches.

        Raises:
            DataError: If an epoch has no batch for each process.
        """
        sampler = ShardedSampler(self.patches_per_epoch, even=True)
        if len(sampler) < self.batch_size:
            raise DataError(
                f"data.patches_per_epoch is {self.patches_per_epoch}, which gives each process "
                f"{len(sampler)}, less than data.batch_size, {self.batch_size}; raise the one or "
                "lower the other"
            )
        return self._loader(self.train_set, sampler, self.batch_size)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Whole validation scenes, one at a time."""
        return self._loader(self.val_set, ShardedSampler(len(self.val_set), even=False))

    def test_dataloader(self) -> DataLoader[Batch]:
        """Whole test scenes, one at a time."""
        return self._loader(self.test_set, ShardedSampler(len(self.test_set), even=False))

    def _loader(
        self, dataset: Dataset[Batch], sampler: Sampler[int], batch_size: int = 1
    ) -> DataLoader[Batch]:
        return DataLoader(
            dataset,
            batch_size,
            sampler=sampler,
            drop_last=batch_size > 1,  # of training: all its batches weigh the same
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Makes the noise of patches on the device; scenes come with theirs."""
        if "noisy" not in batch:
            seeds: Tensor = batch.pop("seed")
            batch["noisy"] = corrupt(batch["clean"], batch["case"], seeds)
        return batch
