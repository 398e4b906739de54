"""Checkpoints on disk: each is written whole or not at all, and the newest whole one is found."""

import io
import os
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from datamodules.atomic_write import atomic_write
from lightning_ras2s.runs.folder import BEST, LAST, PREVIOUS
from lightning_ras2s.weights import read_checkpoint


class WholeCheckpoints(TorchCheckpointIO):
    """Writes each checkpoint aside and renames it: a kill or a full disk leaves the old file.

    It is on the disk, not in a cache of the system, before it has its name.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """Writes it.

        Raises:
            OSError: If it cannot be written; the file that was there is as it was.
        """
        content = io.BytesIO()  # torch.save to a file hides the OSError of a full disk
        torch.save(checkpoint, content)
        with atomic_write(Path(path)) as aside, aside.open("wb") as file:
            file.write(content.getbuffer())
            file.flush()
            os.fsync(file.fileno())


def find_checkpoint(folder: Path) -> Path | None:
    """The newest readable checkpoint of a training; None if there is none.

    Warns of those that cannot be read.

    Args:
        folder: The run's ``checkpoints``.
    """
    for name in (LAST, PREVIOUS, BEST):
        path = folder / name
        try:
            check(path)
        except FileNotFoundError:
            continue
        except ValueError as error:
            warnings.warn(f"{error}. Looks for the one before.", stacklevel=2)
            continue
        return path
    return None


def check(path: Path) -> None:
    """Reads all of a checkpoint that Lightning wrote.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a byte of it is damaged, or it holds no training.
    """
    content = read_checkpoint(path)
    # torch.load does not compare the checksums that torch.save has written.
    damaged = zipfile.ZipFile(path).testzip() if zipfile.is_zipfile(path) else None
    if damaged is not None:
        raise ValueError(f"{path}: its part {damaged} is damaged (wrong checksum)")
    if not isinstance(content, dict) or "pytorch-lightning_version" not in content:
        raise ValueError(
            f"{path}: holds no training to go on with, only weights perhaps; "
            f"evaluate them with make evaluate CKPT={path}"
        )
