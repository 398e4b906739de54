"""The field's way to noisy patches: an LMDB of float32 patches, and noise by numpy in the workers.

Step by step what the code released with QRNN3D, SST, SERT and RAS2S does for training under
complex noise, in words of our own:

* scenes are scaled, cut and turned beforehand; each patch is a record of raw float32;
* a worker reads a record, adds float64 noise from ``numpy.random`` with a sigma per band, then in
  turns nothing, impulses, stripes or dead columns on a third of the bands, and makes float32
  tensors of input and target;
* a DataLoader shuffles and collates, as it does by default.

One thing is better here: a record is copied once on its way to an array, and twice there.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, RandomSampler

SCALES_AND_STRIDES = ((1.0, 64), (0.5, 32), (0.25, 32))
SIGMAS = np.array([10, 30, 50, 70]) / 255
AMOUNTS = np.array([0.1, 0.3, 0.5, 0.7])  # of impulses
LEAST, MOST = 0.05, 0.15  # share of stripes or dead columns
AMPLITUDE = 0.25  # of stripes

Change = Callable[[np.ndarray], np.ndarray]  # of a patch [B, H, W]
ChangeBands = Callable[[np.ndarray, np.ndarray], None]  # in place, of the bands of these numbers


def add_band_noise(patch: np.ndarray) -> np.ndarray:
    """Adds Gaussian noise whose sigma differs by band; float64."""
    sigmas = SIGMAS[np.random.randint(0, len(SIGMAS), len(patch))]
    return patch + np.random.randn(*patch.shape) * sigmas[:, None, None]


def add_impulses(patch: np.ndarray, bands: np.ndarray) -> None:
    """Salt and pepper."""
    amounts = AMOUNTS[np.random.randint(0, len(AMOUNTS), len(bands))]
    for band, amount in zip(bands, amounts, strict=True):
        image = patch[band]
        hit = np.random.choice((True, False), size=image.shape, p=(amount, 1 - amount))
        salt = np.random.choice((True, False), size=image.shape, p=(0.5, 0.5))
        image[hit & salt] = 1
        image[hit & ~salt] = 0


def add_stripes(patch: np.ndarray, bands: np.ndarray) -> None:
    """Some columns lose a constant each."""
    width = patch.shape[2]
    numbers = np.random.randint(np.floor(LEAST * width), np.floor(MOST * width), len(bands))
    for band, number in zip(bands, numbers, strict=True):
        columns = np.random.permutation(width)[:number]
        patch[band][:, columns] -= np.random.uniform(-AMPLITUDE, AMPLITUDE, number)


def kill_columns(patch: np.ndarray, bands: np.ndarray) -> None:
    """Some columns become 0."""
    width = patch.shape[2]
    numbers = np.random.randint(np.ceil(LEAST * width), np.ceil(MOST * width), len(bands))
    for band, number in zip(bands, numbers, strict=True):
        patch[band][:, np.random.permutation(width)[:number]] = 0


class TrainingNoise:
    """The training mix: its four cases come in turns."""

    def __init__(self, kinds: Sequence[ChangeBands | None] | None = None) -> None:
        self.kinds = cycle(kinds or (None, add_impulses, add_stripes, kill_columns))

    def __call__(self, patch: np.ndarray) -> np.ndarray:
        """A noisy copy of a patch."""
        noisy = add_band_noise(patch)
        change = next(self.kinds)
        if change is not None:
            change(noisy, np.random.permutation(len(noisy))[: len(noisy) // 3])
        return noisy


def open_lmdb(path: Path, map_size: int = 0) -> Any:
    """An LMDB environment: to read it, or to write up to ``map_size`` bytes.

    Raises:
        ModuleNotFoundError: With the remedy, if lmdb is not installed.
    """
    try:
        import lmdb
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "the field's way needs lmdb: pip install -e '.[benchmark]'"
        ) from error
    if map_size:
        return lmdb.open(str(path), map_size=map_size)
    return lmdb.open(str(path), readonly=True, lock=False, readahead=False, meminit=False)


def scene_patches(cube: np.ndarray, size: int = 64) -> Iterator[np.ndarray]:
    """The patches of a scene [B, H, W], scaled as a whole, at scales 1, 1/2 and 1/4."""
    unit = (cube - cube.min()) / (cube.max() - cube.min())
    for scale, stride in SCALES_AND_STRIDES:
        level = unit if scale == 1 else np.stack([ndimage.zoom(band, scale) for band in unit])
        _, height, width = level.shape
        for top in range(0, height - size + 1, stride):
            for left in range(0, width - size + 1, stride):
                yield level[:, top : top + size, left : left + size]


def write_patches(path: Path, patches: Iterable[np.ndarray]) -> None:
    """Writes patches, numbered through, as float32."""
    environment = open_lmdb(path, map_size=1 << 40)
    with environment.begin(write=True) as transaction:
        for number, patch in enumerate(patches):
            transaction.put(_key(number), patch.astype(np.float32).tobytes())
    environment.close()


def _key(number: int) -> bytes:
    return f"{number:08}".encode()


class Patches(Dataset[tuple[Tensor, ...]]):
    """The patches of an LMDB, [B, H, W] float32: input and target, or without noise the target.

    Args:
        environment: As `open_lmdb` gives it for reading; a process may open one once.
        shape: Of a patch.
        add_noise: Makes an input of a target.
    """

    def __init__(self, environment: Any, shape: Sequence[int], add_noise: Change | None) -> None:
        self.environment, self.shape, self.add_noise = environment, tuple(shape), add_noise

    def __len__(self) -> int:
        return self.environment.stat()["entries"]

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        """The patch of that number."""
        with self.environment.begin(buffers=True) as transaction:
            patch = np.array(np.frombuffer(transaction.get(_key(index)), np.float32))
        target = patch.reshape(self.shape)
        images = [target] if self.add_noise is None else [self.add_noise(target), target]
        return tuple(torch.from_numpy(image).float() for image in images)


def _seed_numpy(worker: int) -> None:
    np.random.seed((torch.initial_seed() + worker) % 2**32)


def loader(
    dataset: Patches, epoch: int, batch_size: int, num_workers: int
) -> DataLoader[tuple[Tensor, ...]]:
    """Shuffled batches of ``epoch`` patches in all."""
    return DataLoader(
        dataset,
        batch_size,
        sampler=RandomSampler(dataset, num_samples=epoch),
        drop_last=True,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=_seed_numpy,
    )
