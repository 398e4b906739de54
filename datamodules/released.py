"""The field's released test files: noisy and clean scenes together in .mat files."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_warn

from datamodules.base import HSIDataModule
from datamodules.formats.axes import Order, guess_order, is_order
from datamodules.readers import describe, read_variable
from datamodules.samples import AnyScene, Batch, EvaluationItem, EvaluationSet
from datamodules.scene import DataError

GREY_LEVELS = 255


class Sigma(NamedTuple):
    """The noise level that a file states.

    Attributes:
        grey_levels: Of each band [B], in 1/255 of the range [0, 1].
        unit: How the file has it: ``0-255`` or ``0-1``.
    """

    grey_levels: np.ndarray
    unit: str


def read_sigma(path: Path, noisy: np.ndarray, clean: np.ndarray) -> Sigma | None:
    """The ``sigma`` of a file, its unit told by the noise itself.

    In the band of the median ratio, the standard deviation of ``noisy - clean`` [B, H, W] is
    closer to sigma in the one unit than in the other.

    Returns:
        None where the file has none, or only a word such as "blind".
    """
    try:
        stated = read_variable(path, "sigma").astype(np.float64).ravel()
    except DataError:
        return None
    if stated.size not in (1, len(noisy)) or not (stated > 0).all():
        return None
    sigma = np.broadcast_to(stated, len(noisy))
    ratio = float(np.median((noisy - clean).std(axis=(1, 2)) / sigma))
    if ratio > GREY_LEVELS**-0.5:  # half the way, on a scale of ratios, from 1 to 1/255
        return Sigma(sigma * GREY_LEVELS, "0-1")
    return Sigma(sigma.copy(), "0-255")


class ReleasedScenes(EvaluationSet):
    """The files of one or several folders; a folder is a noise case."""

    def __init__(self, files: Sequence[Path], dataset: str, axes: str | None = None) -> None:
        self.files, self.axes = files, axes
        self.items = [EvaluationItem(dataset, file.stem, file.parent.name) for file in files]

    def __getitem__(self, index: int) -> Batch:
        """One file: ``noisy`` and ``clean`` [B, H, W], and ``sigma`` [B] in grey levels if known.

        Raises:
            DataError: If the file is damaged, or its scenes are not alike or not in [0, 1].
        """
        path = self.files[index]
        noisy, clean = _read_pair(path, self.axes)
        if noisy.shape != clean.shape:
            raise DataError(f"{path}: input is {noisy.shape} and gt {clean.shape} [B, H, W]")
        if not (clean.min() >= -0.5 and clean.max() <= 1.5):
            raise DataError(
                f"{path}: gt runs from {clean.min():g} to {clean.max():g}, expected [0, 1]; "
                "scale gt and input alike"
            )
        sample: Batch = {
            "noisy": torch.from_numpy(noisy),
            "clean": torch.from_numpy(clean),
            "dataset": self.items[index].dataset,
            "name": path.stem,
            "case": path.parent.name,
            "index": index,
        }
        sigma = read_sigma(path, noisy, clean)
        return sample if sigma is None else sample | {"sigma": torch.from_numpy(sigma.grey_levels)}


def find_order(path: Path, axes: str | None = None) -> Order:
    """The order of the axes of a file: ``axes``, or what its lists and sizes tell of ``gt``.

    A sigma for each band names their number, as wavelengths do.
    """
    if axes is not None:
        return Order(axes, "as asked")
    content = describe(path, "gt")
    sizes = [len(lengths.values) for lengths in content.wavelengths]
    with suppress(DataError):  # there is none, or only a word
        sizes += [size] if (size := read_variable(path, "sigma").size) > 1 else []
    order = guess_order(content.shape, sizes, "HWB")
    assert order is not None  # there is a usual one
    return order


def _read_pair(path: Path, axes: str | None) -> list[np.ndarray]:
    order = find_order(path, axes).axes
    return [_read(path, key, order) for key in ("input", "gt")]


def _read(path: Path, key: str, order: str) -> np.ndarray:
    values = read_variable(path, key)
    if values.ndim != 3:
        raise DataError(
            f"{path}: {key} has the shape {values.shape}, expected rows, columns, bands"
        )
    turned = values.transpose([order.index(axis) for axis in "BHW"])
    cube = np.ascontiguousarray(turned, np.float32)
    if not np.isfinite(cube).all():
        raise DataError(f"{path}: {key} holds NaN or Inf; fetch or copy the file again")
    return cube


class ReleasedFiles(HSIDataModule):
    """Test files of QRNN3D, HSIR, SERT, SST and others: ``input`` and ``gt`` [H, W, B] in .mat.

    Files with the bands first, as Python saves them, are told from their sizes. Their ``sigma`` is
    in grey levels (0-255) in some families and in 0-1 in others; the unit is found from the noise,
    and told. There is nothing to train on.

    Args:
        path: A folder of .mat files, or a folder of such folders, one per noise case.
        dataset: Name in the table; that of the folder by default.
        num_workers: Processes that read; 0 reads in the main process.
        seed: Nothing follows from it here: the files have their noise.
        axes: Order of the files' axes such as "BHW", where it is not what is found.

    Raises:
        DataError: If ``axes`` is no order; on setup, if there are no such files.
    """

    def __init__(
        self,
        path: str,
        dataset: str | None = None,
        num_workers: int = 0,
        seed: int = 2018,
        axes: str | None = None,
    ) -> None:
        super().__init__(num_workers=num_workers, seed=seed)
        if axes is not None and not is_order(axes):
            raise DataError(f"data.axes is {axes!r}; give an order of B, H and W such as 'BHW'")
        self.path, self.axes = Path(path), axes
        self.name = dataset or self.path.name

    def scenes(self, split: str) -> Sequence[AnyScene]:
        """None: the files hold noisy scenes, for the test only."""
        raise DataError(f"{self.path}: released test files are no scenes to {split} on")

    def setup(self, stage: str) -> None:
        """Lists the files, and tells the unit of sigma in each folder by its first file."""
        if stage != "test":
            self.scenes(stage)
        files = sorted((*self.path.glob("*.mat"), *self.path.glob("*/*.mat")))
        if not files:
            raise DataError(
                f"{self.path}: no .mat file there or one folder below; let data.path name a "
                "folder of files with the variables input and gt"
            )
        self.test_set = ReleasedScenes(files, self.name, self.axes)
        for folder in dict.fromkeys(file.parent for file in files):
            members = [file for file in files if file.parent == folder]
            if note := find_order(members[0], self.axes).note:
                rank_zero_warn(f"{members[0]}: {note}")
            noisy, clean = _read_pair(members[0], self.axes)
            sigma = read_sigma(members[0], noisy, clean)
            said = "no sigma in numbers"
            if sigma is not None:
                low, high = sigma.grey_levels.min(), sigma.grey_levels.max()
                levels = f"{low:g}" if low == high else f"{low:g} to {high:g}"
                said = f"sigma taken as {sigma.unit}, which is {levels} grey levels"
            rank_zero_info(f"{folder.name}: {len(members)} files, {said}")
