"""CAVE as Columbia offers it: folders of PNGs in a folder of the same name, in one zip."""

import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

SCENES = {  # of each split, in 16 bits grey; the last in 8 bits with colour and transparency
    "superballs_ms": 65535,
    "balloons_ms": 65535,
    "glass_tiles_ms": 40000,
    "watercolors_ms": 255,
}


def write(raw: Path, archive: bool = True) -> dict[str, np.ndarray]:
    """Writes four scenes and returns their counts [31, 512, 512].

    Args:
        raw: The folder for the publisher's files.
        archive: All in ``complete_ms_data.zip``; otherwise in folders, one of them flattened, as
            the mirror at Hugging Face has them.
    """
    raw.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(7)
    cubes, files = {}, {}
    for scene, highest in SCENES.items():
        blocks = rng.integers(0, highest, (31, 8, 8), endpoint=True)
        cubes[scene] = blocks.repeat(64, 1).repeat(64, 2).astype(np.uint16)
        flat = scene == "watercolors_ms" and not archive
        folder = scene if flat else f"{scene}/{scene}"
        for number, band in enumerate(cubes[scene], start=1):
            files[f"{folder}/{scene}_{number:02d}.png"] = _png(band, colour=highest == 255)
        if scene == "balloons_ms":
            files[f"{folder}/balloons_RGB.bmp"] = _encode(Image.new("RGB", (512, 512)), "BMP")
            files[f"{folder}/Thumbs.db"] = bytes.fromhex("d0cf11e0a1b11ae1") + bytes(504)
    if archive:
        with zipfile.ZipFile(raw / "complete_ms_data.zip", "w", zipfile.ZIP_DEFLATED) as out:
            for name, data in files.items():
                out.writestr(name, data)
    else:
        for name, data in files.items():
            (raw / name).parent.mkdir(parents=True, exist_ok=True)
            (raw / name).write_bytes(data)
    return cubes


def _png(band: np.ndarray, colour: bool) -> bytes:
    if not colour:
        return _encode(Image.fromarray(band), "PNG")
    grey = Image.fromarray(band.astype(np.uint8))
    return _encode(Image.merge("RGBA", [grey, grey, grey, Image.new("L", grey.size, 255)]), "PNG")


def _encode(image: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()
