"""KAIST as its page offers it, but small: EXR files of half floats, bands and an RGB rendering."""

from pathlib import Path

import numpy as np

HEIGHT, WIDTH = 96, 80
SCENES = ("scene01_reflectance", "scene27_reflectance")


def write(raw: Path) -> dict[str, np.ndarray]:
    """Writes two scenes and returns their reflectances [31, 96, 80], from below 0 to above 1."""
    raw.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(27)
    cubes = {}
    for scene in SCENES:
        blocks = rng.uniform(-0.1, 1.6, (31, HEIGHT // 8, WIDTH // 8)).astype(np.float16)
        cubes[scene] = blocks.repeat(8, 1).repeat(8, 2)
        bands = {f"w{420 + 10 * i}nm": band for i, band in enumerate(cubes[scene])}
        rendering = np.full((HEIGHT, WIDTH), 3.5, np.float16)
        write_exr(raw / f"{scene}.exr", bands | dict.fromkeys("RGB", rendering))
    return {scene: cube.astype(np.float32) for scene, cube in cubes.items()}


def write_exr(path: Path, channels: dict[str, np.ndarray]) -> None:
    """Writes channels [H, W] by name."""
    import OpenEXR

    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    whole = {name: np.ascontiguousarray(channel) for name, channel in channels.items()}
    OpenEXR.File(header, whole).write(str(path))
