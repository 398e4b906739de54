"""Scenes -> files, in the format of the path's ending; `read_scene` reads each of them back."""

import tempfile
from os import PathLike
from pathlib import Path

import numpy as np

from datamodules.formats import find_format, load_module
from datamodules.formats.content import order_by_sizes
from datamodules.scene import DataError, Scene


def write_scene(
    scene: Scene, path: str | PathLike[str], key: str = "data", axes: str | None = None
) -> Path:
    """Writes a scene in the file's units, ``cube * gain + offset``, as float32.

    A path without an ending becomes a folder of 16-bit PNGs, rounded to whole counts. Wavelengths
    are written where the format can hold them: .mat, .h5, .npz, ENVI and .exr. The file appears
    whole or not at all; one that is there already is replaced, a folder is not.

    Args:
        scene: What to write.
        path: Where to; missing folders above it are made.
        key: Name of the cube in a .mat, .h5 or .npz file.
        axes: Order of the axes in a .mat, .h5, .npz or .npy file; by default "HWB" in .mat and
            "BHW" in the others.

    Returns:
        The path.

    Raises:
        DataError: If the format is unknown or cannot hold this scene.
    """
    path = Path(path)
    known = find_format(path)
    free = known.keyed or not known.fixed
    if axes is not None and (not free or sorted(axes) != ["B", "H", "W"]):
        choices = "pass an order of B, H and W" if free else "this format has its own; leave it out"
        raise DataError(f"{path}: axes={axes!r}; {choices}")
    if known.keyed and (not key or key in ("wavelengths", "axes")):
        raise DataError(f"{path}: key={key!r} cannot name the cube; pass another")
    if known.module == "png_folder" and path.exists():
        raise DataError(f"{path}: is there already; remove it or choose another name")
    values = (scene.cube * np.float32(scene.gain) + np.float32(scene.offset)).astype(np.float32)
    if known.module == "npy" and axes is None and order_by_sizes(values.shape) != "BHW":
        raise DataError(
            f"{path}: a .npy file does not say which axis holds the bands, and {len(values)} bands "
            f"of {values.shape[1]} x {values.shape[2]} do not tell; write .npz, or pass axes="
        )
    order = axes or known.axes
    array = np.ascontiguousarray(values.transpose(["BHW".index(axis) for axis in order]))
    module = load_module(path, known.module)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as aside:
        module.write(Path(aside) / path.name, array, scene.wavelengths, key, order)
        # An ENVI header comes last: without it nobody takes the data for whole.
        for part in sorted(Path(aside).iterdir(), key=lambda part: part.suffix.lower() == ".hdr"):
            part.replace(path.with_name(part.name))
    return path
