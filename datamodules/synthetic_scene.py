"""Scenes that nobody measured: spectra of materials over structures, as a sensor would see them.

Mixing a few spectra of a library is too simple: real scenes have 6 to 31 principal components for
99.9 % of their energy. So materials vary from region to region and from pixel to pixel, light comes
from neighbours too, and there are shadows, small bright targets and the atmosphere.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image
from scipy import fft, ndimage
from scipy.spatial import cKDTree

from datamodules.scene import Scene
from datamodules.spectra import WAVELENGTHS, Spectra, load_spectra, package_file

PHOTOGRAPHS = ("camera.png", "grass.png", "gravel.png", "brick.png", "coffee.png", "moon.png")
"""Of scikit-image, of those that it states to be free (CC0 or public domain); structure only."""

RANGES = ((400, 700), (400, 900), (400, 1000), (450, 950), (400, 2500), (400, 2500), (1000, 2500))
"""Of sensors, nm: the visible, silicon, the whole, the short-wave infrared."""

WATER_VAPOUR = ((1340, 1450), (1790, 1960))  # bands that data products leave out, nm
# Absorption by the air: centre and width in nm, depth of a usual one. Rough: what counts is that
# neighbouring bands are of unlike brightness.
_LINES = (
    (687, 4, 0.3),
    (718, 10, 0.25),
    (762, 5, 0.6),
    (820, 12, 0.25),
    (940, 25, 0.6),
    (1135, 28, 0.7),
    (1268, 10, 0.2),
    (1395, 45, 0.97),
    (1470, 30, 0.4),
    (1875, 55, 0.97),
    (2010, 18, 0.5),
    (2060, 14, 0.3),
    (2480, 60, 0.5),
)
VARIATIONS = 12  # smooth spectral shapes by which the pixels of one material differ

Field = np.ndarray  # [H, W] float32


@dataclass(frozen=True)
class Light:
    """How a reflectance becomes a radiance, by wavelength [B] each."""

    sun: np.ndarray
    sky: np.ndarray  # what shadows get
    path: np.ndarray  # what comes from the air alone


def make_scene(seed: int, bands: tuple[int, int] = (31, 224), size: int = 96) -> Scene:
    """A scene that follows from a seed.

    Args:
        seed: At least 0.
        bands: Least and largest number of bands B.
        size: Height and width in pixels.

    Returns:
        [B, size, size], float32, scaled to [0, 1] as all scenes are, with wavelengths and FWHM in
        nm, ascending.

    Raises:
        DataError: If a package with spectra or photographs is not there.
    """
    draw = np.random.default_rng([seed, 20])
    wavelengths, width = _sensor(draw, *bands)
    spectra = _materials(draw, wavelengths, width)
    cube = _reflectance(draw, spectra, size)
    cube = _vary(draw, cube)
    light = _light(draw, wavelengths)
    cube = _illuminate(draw, cube, light)
    bright = float(np.quantile(cube[:, ::3, ::3], 0.999))
    _bright_targets(draw, cube)
    cube = _blur(cube, draw.uniform(0.3, 0.75))
    sigma = np.float32(draw.uniform(0.02, 0.3) / 255 * bright)
    cube += draw.standard_normal(cube.shape, np.float32) * sigma
    fwhm = np.full(len(wavelengths), width)
    return Scene.from_raw(f"synthetic_{seed}", cube, wavelengths, fwhm=fwhm)


def _blur(cube: np.ndarray, sigma: float) -> np.ndarray:
    """The optics: a Gaussian of ``sigma`` pixels, cut at its neighbours."""
    beside = np.exp(-0.5 / sigma**2)
    kernel = np.array([beside, 1, beside], np.float32) / np.float32(1 + 2 * beside)
    for axis in (1, 2):
        cube = ndimage.correlate1d(cube, kernel, axis)
    return cube


# ------------------------------------------------------------------------------------ the spectrum


def _sensor(draw: np.random.Generator, least: int, most: int) -> tuple[np.ndarray, float]:
    """Wavelengths [B] and FWHM of a sensor, nm; some leave out the bands of water vapour."""
    least_nm, most_nm = RANGES[draw.integers(len(RANGES))]
    low, high = least_nm + draw.uniform(0, 40), most_nm - draw.uniform(0, 40)
    step = draw.uniform(3, 12)
    bands = int(np.clip((high - low) / step, least, most))
    grid = np.linspace(low, high, bands)
    if draw.random() < 0.7:
        kept = np.ones(bands, bool)
        for start, stop in WATER_VAPOUR:
            kept &= (grid < start) | (grid > stop)
        if kept.sum() >= least:
            grid = grid[kept]
    return grid, float(np.clip(1.1 * (high - low) / bands, 5, 15))


def _materials(draw: np.random.Generator, wavelengths: np.ndarray, width: float) -> np.ndarray:
    """15 to 30 spectra [E, B] of some classes, as the sensor sees them."""
    library = load_spectra()
    count = int(draw.integers(15, 31))
    kinds = np.unique(library.kinds)
    shares = draw.dirichlet(np.full(len(kinds), 0.7))
    chosen = [
        draw.choice(_of_kind(library, kinds[kind]))
        for kind in draw.choice(len(kinds), count, p=shares)
    ]
    step = WAVELENGTHS[1] - WAVELENGTHS[0]
    seen = ndimage.gaussian_filter1d(library.values[chosen], width / 2.355 / step, axis=1)
    return np.stack([np.interp(wavelengths, WAVELENGTHS, row) for row in seen]).astype(np.float32)


def _of_kind(library: Spectra, kind: str) -> np.ndarray:
    return np.flatnonzero(library.kinds == kind)


def _light(draw: np.random.Generator, wavelengths: np.ndarray) -> Light:
    """Of a product in reflectance, or in radiance: sun, air and what the air scatters."""
    blue = (wavelengths / 450) ** -draw.uniform(1.5, 4)
    if draw.random() < 0.4:
        flat = np.ones(len(wavelengths))
        return Light(flat, draw.uniform(0.1, 0.35) * (0.5 + blue), 0 * flat)
    microns = wavelengths / 1000
    sun = microns**-5 / np.expm1(14.388 / (5.8 * microns))
    depth = draw.uniform(0.3, 1.2)
    for centre, width, deep in _LINES:
        line = deep * np.exp(-0.5 * ((wavelengths - centre) / width) ** 2)
        sun = sun * (1 - line) ** (depth * draw.uniform(0.7, 1.3))
    sun = sun / sun.max()
    return Light(
        sun, sun * draw.uniform(0.1, 0.3) * (0.5 + blue), sun * draw.uniform(0, 0.06) * blue
    )


# --------------------------------------------------------------------------------------- the plane


def fractal(draw: np.random.Generator, size: int, slope: float, count: int = 1) -> np.ndarray:
    """Fields [count, size, size] of mean 0 and deviation 1, whose amplitudes fall as f^-slope."""
    across = fft.rfftfreq(size)[None, :]
    down = fft.fftfreq(size)[:, None]
    frequency = np.hypot(down, across)
    frequency[0, 0] = np.inf
    white = draw.standard_normal((count, size, size), np.float32)
    falling = (frequency**-slope).astype(np.float32)
    fields = fft.irfft2(fft.rfft2(white) * falling, s=(size, size))
    return (fields / fields.std(axis=(1, 2), keepdims=True)).astype(np.float32)


@cache
def _photographs() -> list[Field]:
    images = []
    for name in PHOTOGRAPHS:
        with Image.open(package_file("scikit-image", f"skimage/data/{name}")) as image:
            images.append(np.asarray(image.convert("L"), np.float32))
    return images


def photograph(draw: np.random.Generator, size: int) -> Field:
    """A part of a photograph at some scale, turned, as ranks of its brightness in [0, 1]."""
    images = _photographs()
    image = images[draw.integers(len(images))]
    side = int(draw.uniform(size, min(image.shape)))
    top, left = (int(draw.integers(length - side + 1)) for length in image.shape)
    part = image[top : top + side, left : left + side]
    zoom = ndimage.zoom(part, size / side, order=1, grid_mode=True, mode="nearest")
    part = np.rot90(zoom[:size, :size], int(draw.integers(4)))
    return (part.argsort(axis=None).argsort().reshape(size, size) / size**2).astype(np.float32)


def fields_of_farmers(draw: np.random.Generator, size: int) -> Field:
    """Straight plots, each of one value in [0, 1]."""
    angle = draw.uniform(0, np.pi)
    rows, columns = np.mgrid[:size, :size]
    along = rows * np.cos(angle) + columns * np.sin(angle)
    across = columns * np.cos(angle) - rows * np.sin(angle)
    strip = np.floor(along / draw.uniform(size / 8, size / 2) + 97).astype(int)
    start = draw.uniform(0, size, 256)[strip]
    plot = np.floor((across + start) / draw.uniform(size / 12, size / 3) + 97).astype(int)
    return draw.random((256, 256)).astype(np.float32)[strip, plot]


def cells(draw: np.random.Generator, size: int) -> Field:
    """The regions that are nearest to random points, with ragged borders; values in [0, 1]."""
    count = int(draw.integers(6, 60))
    points = draw.uniform(0, size, (count, 2))
    ragged = draw.uniform(0, 3) * fractal(draw, size, 1.2, 2)
    rows, columns = np.mgrid[:size, :size] + ragged
    nearest = cKDTree(points).query(np.stack([rows, columns], -1))[1]
    return draw.random(count).astype(np.float32)[nearest]


def patches_of_ground(draw: np.random.Generator, size: int) -> Field:
    """A fractal in steps."""
    field = fractal(draw, size, draw.uniform(1.2, 2))[0]
    ranks = field.argsort(axis=None).argsort().reshape(size, size) / size**2
    steps = int(draw.integers(3, 12))
    return (np.floor(ranks * steps) / steps).astype(np.float32)


def roads(draw: np.random.Generator, size: int) -> Field:
    """Winding lines a few pixels wide, over plots."""
    ground = fields_of_farmers(draw, size)
    for course in fractal(draw, size, draw.uniform(2, 3), int(draw.integers(1, 4))):
        slope = np.hypot(*np.gradient(course)) + 1e-3
        ground[np.abs(course / slope) < draw.uniform(0.5, 2)] = draw.random()
    return ground


STRUCTURES: tuple[Callable[[np.random.Generator, int], Field], ...] = (
    photograph,
    fields_of_farmers,
    cells,
    patches_of_ground,
    roads,
)


def _reflectance(draw: np.random.Generator, spectra: np.ndarray, size: int) -> np.ndarray:
    """Mixes spectra [E, B] over structures: [B, size, size]."""
    count = len(spectra)
    # What a place is made of follows from two structures, in sharp steps, and from fractals.
    logits = draw.uniform(0.1, 1.2) * fractal(draw, size, draw.uniform(1, 2), count)
    for _ in range(2):
        structure = STRUCTURES[draw.integers(len(STRUCTURES))](draw, size)
        centres = draw.uniform(-0.1, 1.1, count).astype(np.float32)[:, None, None]
        sharp = np.float32(draw.uniform(3, 14))
        logits -= sharp * np.abs(structure - centres)
    logits += draw.normal(0, 1, (count, 1, 1)).astype(np.float32)  # some materials are rare
    abundances = np.exp(logits - logits.max(axis=0))
    abundances /= abundances.sum(axis=0)
    cube = np.tensordot(spectra.T, abundances, axes=1)
    # Light that came by a neighbour first (bilinear mixing).
    around = ndimage.uniform_filter(cube, (0, 7, 7))
    return cube + np.float32(draw.uniform(0, 0.3)) * cube * around


def _vary(draw: np.random.Generator, cube: np.ndarray) -> np.ndarray:
    """Pixels of one material differ: in brightness, in slope and in smooth shapes."""
    bands, size, _ = cube.shape
    place = np.linspace(0, 1, bands, dtype=np.float32)
    waves = np.sort(draw.choice(35, VARIATIONS, replace=False)) + 1
    shapes = np.cos(np.pi * waves * place[:, None] + draw.uniform(0, 2 * np.pi, VARIATIONS))
    strength = draw.uniform(0.005, 0.04) / np.sqrt(waves / waves[0])
    fields = fractal(draw, size, draw.uniform(0.7, 1.6), VARIATIONS + 2)
    change = np.tensordot((shapes * strength).astype(np.float32), fields[2:], axes=1)
    change += np.float32(draw.uniform(0, 0.06)) * (place - 0.5)[:, None, None] * fields[0]
    texture = fields[1] + draw.uniform(0, 3) * (photograph(draw, size) - 0.5)
    gain = np.exp(draw.uniform(0.01, 0.2) * texture).astype(np.float32)
    return np.maximum(cube * (1 + change) * gain, 0)


def _illuminate(draw: np.random.Generator, cube: np.ndarray, light: Light) -> np.ndarray:
    """Sun and sky, shadows with sharp borders, and the light of the air."""
    size = cube.shape[1]
    depth = fractal(draw, size, draw.uniform(0.8, 1.6))[0]
    depth += 2 * STRUCTURES[draw.integers(len(STRUCTURES))](draw, size)
    share = draw.uniform(0, 0.2)
    lit = ndimage.gaussian_filter((depth > np.quantile(depth, share)).astype(np.float32), 0.5)
    sun, sky, path = (
        part.astype(np.float32)[:, None, None] for part in (light.sun, light.sky, light.path)
    )
    return cube * (sky + (sun - sky) * lit) + path


def _bright_targets(draw: np.random.Generator, cube: np.ndarray) -> None:
    """Roofs, cars, glints: a few small ones, some brighter than the rest, which set the range."""
    size = cube.shape[1]
    brightest = np.quantile(cube[:, ::3, ::3], 0.995, axis=(1, 2))
    for _ in range(int(draw.integers(0, 10))):
        height, width = draw.integers(1, 6, 2)
        top, left = draw.integers(0, size - 6, 2)
        here = cube[:, top : top + height, left : left + width]
        gain = draw.uniform(0.7, 1) * min(np.exp(draw.exponential(0.4)), 3.5)
        own = draw.uniform(0, 0.6)
        here[...] = gain * (own * here + (1 - own) * brightest[:, None, None])
