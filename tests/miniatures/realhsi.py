"""RealHSI as unpacked: folders gt and input50 of TIFF files, a page a band, named by numbers."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tifffile

NAMES = ("1", "2", "10", "11", "12", "51")  # by the alphabet 10 comes before 2
SHAPE = (34, 696, 520)


def write(
    raw: Path, names: Sequence[str] = NAMES, shape: tuple[int, int, int] = SHAPE
) -> dict[str, np.ndarray]:
    """Writes pairs and returns their counts, under names such as gt_1 and input50_1."""
    bands, height, width = shape
    cubes = {}
    for name in names:
        rng = np.random.default_rng(int(name))
        blocks = rng.integers(0, 4063, (bands, 12, 13), endpoint=True)
        noise = rng.integers(0, 9, (bands, 6, 4))
        cubes[f"gt_{name}"] = _spread(blocks, height, width)
        cubes[f"input50_{name}"] = cubes[f"gt_{name}"] // 50 + _spread(noise, height, width)
    for name, cube in cubes.items():
        path = raw / "real_dataset" / name.replace("_", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(
            path.with_suffix(".tif"), cube, photometric="minisblack", compression="zlib"
        )
    return cubes


def _spread(blocks: np.ndarray, height: int, width: int) -> np.ndarray:
    """Blocks [B, h, w] as an image of that size."""
    rows = np.arange(height) * blocks.shape[1] // height
    columns = np.arange(width) * blocks.shape[2] // width
    return blocks.astype(np.uint16)[:, rows][:, :, columns]
