"""Whether stripes and dead lines of a scene run along its columns or its rows.

The weights know them in columns; a pushbroom scanner's file has them either way.
"""

from collections.abc import Iterable

import numpy as np

FAR = 6.0  # standard errors by which the median of a line stands out of its neighbours'
OFTEN = 2.0  # times as many rows as columns must stand out, for the cube to be turned
FEWEST = 0.3  # lines a band that must


def lines_run_along_rows(bands: Iterable[np.ndarray]) -> bool:
    """Whether the cube should be turned for a network that knows lines in columns.

    A line of a scanner stands out of both its neighbours over its whole length; edges of the scene
    seldom do.

    Args:
        bands: Of a noisy cube, [H, W] each, without NaN.
    """
    rows, columns, count = 0, 0, 0
    for band in bands:
        columns += _standing_out(band)
        rows += _standing_out(band.T)
        count += 1
    return rows > max(OFTEN * columns, FEWEST * count)


def _standing_out(band: np.ndarray) -> int:
    """How many columns differ from the mean of their neighbours by more than chance."""
    height, width = band.shape
    if width < 3 or height < 8:
        return 0
    values = band.astype(np.float32)
    difference = values[:, 1:-1] - 0.5 * (values[:, :-2] + values[:, 2:])
    middle = np.median(difference, axis=0)
    spread = 1.4826 * np.median(np.abs(difference - middle), axis=0)
    error = 1.2533 * np.maximum(spread, 1e-12) / np.sqrt(height)
    return int(np.count_nonzero(np.abs(middle - np.median(middle)) > FAR * error))
