"""The viewer of a scene, which pages contain: what it shows, as JSON and packed arrays.

Band by band and pixel by pixel: pictures by every method, maps of the error, the regions of the
network, spectra of pinned pixels, and how well each band was denoised.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from lightning_ras2s.evaluation import NOISY
from lightning_ras2s.pages.packed import Blobs, Quantised
from lightning_ras2s.pictures.colour import Display
from lightning_ras2s.pictures.drawing import SpectralAxis
from lightning_ras2s.pictures.region_figures import RegionKey, palette

LIMIT = 25e6  # bytes of a page
FRAME = 150e3  # bytes of a page without a scene
BASE64 = 4 / 3
DEFLATED = 0.65, 0.1  # bytes that a value of a cube and of a mask takes, about
PERCENTILES = (1, 99)  # of a band: its black and white
SAMPLE = 64  # rows and columns from which the first band is chosen


class Measure(NamedTuple):
    """How well, or how noisy, each band is.

    Attributes:
        title: With its unit.
        values: [B] by what is shown: a method, or Noisy; what is not finite is a gap.
        log: Whether its axis is logarithmic.
    """

    title: str
    values: Mapping[str, np.ndarray]
    log: bool = False


@dataclass(frozen=True)
class SceneCase:
    """A scene under one noise case, as whole numbers.

    Attributes:
        name: Of the noise case.
        cubes: [B, H, W] by method, the noisy one first, the best last.
        masks: Regions from 0, uint8 [B, H, W].
        measures: Of each band, by a short name.
        means: A row for each method: its name and its measures, as they are to be read.
        error: Predicted standard error of the last cube; None where nobody knows it.
    """

    name: str
    cubes: dict[str, Quantised]
    masks: dict[RegionKey, np.ndarray] = field(default_factory=dict)
    measures: dict[str, Measure] = field(default_factory=dict)
    means: list[dict[str, str]] = field(default_factory=list)
    error: Quantised | None = None

    def cut(self, rows: slice, columns: slice) -> "SceneCase":
        """The same of some rows and columns."""
        return replace(
            self,
            cubes={name: cube.cut(rows, columns) for name, cube in self.cubes.items()},
            masks={key: mask[:, rows, columns] for key, mask in self.masks.items()},
            error=None if self.error is None else self.error.cut(rows, columns),
        )


@dataclass(frozen=True)
class ViewedScene:
    """A scene as a page shows it.

    Attributes:
        shape: [B, H, W] of the whole scene.
        rows: Those of the whole scene that are shown.
        columns: Likewise.
        cases: At least one.
        clean: Of these rows and columns; None where nobody knows it.
        wavelengths: Band centres in nm, [B]; None where unknown.
        regions: How many there are; 0 for none.
        is_reflectance: Whether its colours are those of its surface; else they are of its light.
        numbers: Of the bands in their file, [B]; None for 0, 1, ...
        units: What the values are.
    """

    shape: tuple[int, ...]
    rows: range
    columns: range
    cases: list[SceneCase]
    clean: Quantised | None
    wavelengths: np.ndarray | None
    regions: int = 0
    is_reflectance: bool = False
    numbers: np.ndarray | None = None
    units: str = "data scaled to [0, 1]"

    @property
    def is_whole(self) -> bool:
        """Whether all of its pixels are shown."""
        return (len(self.rows), len(self.columns)) == self.shape[1:]

    @property
    def has_unknown(self) -> bool:
        """Whether a value that is shown is not a number."""
        cubes = [cube for case in self.cases for cube in case.cubes.values()]
        cubes += [] if self.clean is None else [self.clean]
        return any((cube.codes == np.iinfo(cube.codes.dtype).max).any() for cube in cubes)

    def cropped(self, share: float) -> "ViewedScene":
        """The middle of what is shown, of that share of its pixels."""
        rows, columns = shrunk(self.rows, self.columns, share)
        part = (
            slice(rows.start - self.rows.start, rows.stop - self.rows.start),
            slice(columns.start - self.columns.start, columns.stop - self.columns.start),
        )
        return replace(
            self,
            rows=rows,
            columns=columns,
            clean=None if self.clean is None else self.clean.cut(*part),
            cases=[case.cut(*part) for case in self.cases],
        )

    @property
    def reference(self) -> np.ndarray:
        """The cube that greys and colours are fitted to: the clean one or, without it, the best."""
        best = self.clean or list(self.cases[0].cubes.values())[-1]
        return best.decode()


def what_fits(
    shape: Sequence[int], cubes: int, masks: int = 0
) -> tuple[type[np.unsignedinteger], range, range]:
    """The finest codes, and about how many rows and columns about the centre a page has room for.

    Args:
        shape: [B, H, W] of the scene.
        cubes: How many cubes there are.
        masks: How many masks; they deflate well.
    """
    bands, height, width = shape
    room = (LIMIT - FRAME) / BASE64
    if height * width * bands * (2 * cubes + masks) <= room:
        return np.uint16, range(height), range(width)
    share = room / (height * width * bands * (cubes * DEFLATED[0] + masks * DEFLATED[1]))
    return np.uint8, *shrunk(range(height), range(width), share)


def shrunk(rows: range, columns: range, share: float) -> tuple[range, range]:
    """The middle of a window, of that share of its pixels."""
    if share >= 1:
        return rows, columns
    height = max(1, int(len(rows) * share**0.5))
    width = min(len(columns), max(1, int(len(rows) * len(columns) * share / height)))
    return _centre(height, rows), _centre(width, columns)


def _centre(kept: int, whole: range) -> range:
    start = whole.start + (len(whole) - kept) // 2
    return range(start, start + kept)


def page_that_fits(scene: ViewedScene, make: Callable[..., str]) -> str:
    """A page below LIMIT, of a scene that is cropped to its centre where it must be.

    Args:
        scene: What is shown.
        make: The page of a scene: ``make(scene, viewer=..., blobs=...)``, as viewer.html has them.
    """
    while True:
        data, blobs = viewer_data(scene)
        page = make(scene, viewer=data, blobs=blobs)
        size = len(page.encode())
        if size < LIMIT or len(scene.rows) == len(scene.columns) == 1:
            return page
        scene = scene.cropped(0.97 * LIMIT / size)


def viewer_data(scene: ViewedScene) -> tuple[dict[str, Any], list[str]]:
    """What the page's script reads, and the packed arrays that it unpacks when it needs them."""
    blobs, reference = Blobs(), scene.reference
    axis = SpectralAxis.of(len(reference), _known(scene.wavelengths))
    limits = np.transpose([_percentiles(band, PERCENTILES) for band in reference])
    data = {
        "shape": scene.shape,
        "top": scene.rows.start,
        "left": scene.columns.start,
        "size": [len(scene.rows), len(scene.columns)],
        "bits": 8 * scene.cases[0].cubes[NOISY].codes.itemsize,
        "units": scene.units,
        "band": band_with_signal(reference),
        "names": _names(scene, axis),
        "axis": {
            "order": axis.order.tolist(),
            "x": np.asarray(axis.values, float).tolist(),
            "edges": axis.edges.tolist(),
            "starts": [part.start for part in axis.parts],
            "title": axis.title,
        },
        "limits": limits.tolist(),
        "clean": None if scene.clean is None else blobs.cube(scene.clean),
        "cases": [_case(case, blobs) for case in scene.cases],
        "colours": ["#{:02x}{:02x}{:02x}".format(*c) for c in palette(scene.regions)],
        "rgb": _rgb(scene, reference),
    }
    return data, blobs.texts


def _names(scene: ViewedScene, axis: SpectralAxis) -> list[str]:
    numbers = range(scene.shape[0]) if scene.numbers is None else scene.numbers
    if axis.title == "band":
        return [f"Band {number}" for number in numbers]
    assert scene.wavelengths is not None
    return [f"Band {n}, {nm:.1f} nm" for n, nm in zip(numbers, scene.wavelengths, strict=True)]


def _case(case: SceneCase, blobs: Blobs) -> dict[str, Any]:
    return {
        "name": case.name,
        "cubes": {name: blobs.cube(cube) for name, cube in case.cubes.items()},
        "error": None if case.error is None else blobs.cube(case.error),
        "masks": {" ".join(key): blobs.put(mask) for key, mask in case.masks.items()},
        "measures": {
            name: {
                "title": measure.title,
                "log": measure.log,
                "values": {key: _listed(values) for key, values in measure.values.items()},
            }
            for name, measure in case.measures.items()
        },
        "means": case.means,
    }


def _listed(values: np.ndarray) -> list[float | None]:
    return [float(f"{value:.6g}") if np.isfinite(value) else None for value in values]


def _rgb(scene: ViewedScene, reference: np.ndarray) -> dict[str, Any]:
    display = Display(
        np.nan_to_num(reference), _known(scene.wavelengths), is_reflectance=scene.is_reflectance
    )
    return {
        "weights": display.weights.round(6).tolist(),
        "low": display.low.ravel().tolist(),
        "high": display.high.ravel().tolist(),
        "curved": display.true_colour,
        "caption": display.caption,
    }


def band_with_signal(reference: np.ndarray) -> int:
    """The band [B, H, W] -> number with the most structure that its neighbours share.

    Of a band of noise alone, nothing is seen in its neighbours.
    """
    bands, height, width = reference.shape
    sample = reference[:, :: -(-height // SAMPLE), :: -(-width // SAMPLE)].reshape(bands, -1)
    sample = np.nan_to_num(sample)
    low, high = np.percentile(sample, PERCENTILES, axis=1, keepdims=True)
    sample = sample.clip(low, high)  # a few outliers are no structure
    sample = sample - sample.mean(axis=1, keepdims=True)
    if bands == 1:
        return 0
    deviation = np.sqrt((sample**2).mean(axis=1)) + 1e-12
    alike = (sample[1:] * sample[:-1]).mean(axis=1) / (deviation[1:] * deviation[:-1])
    shared = np.minimum(np.append(alike, alike[-1]), np.insert(alike, 0, alike[0]))
    return int(np.argmax(shared * deviation))


def _known(wavelengths: np.ndarray | None) -> np.ndarray | None:
    return wavelengths if wavelengths is not None and np.isfinite(wavelengths).all() else None


def _percentiles(values: np.ndarray, ranks: float | tuple[float, ...]) -> np.ndarray:
    """Of those values that are numbers; 0 if none is."""
    known = values[np.isfinite(values)]
    return np.percentile(known if known.size else 0.0, ranks)
