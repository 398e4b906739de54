"""What a hyperspectral cube looks like: its colours as the eye sees them, or three of its bands."""

import numpy as np

# sRGB's primaries and white, IEC 61966-2-1: linear RGB of CIE XYZ.
RGB_OF_XYZ = np.array(
    [[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]]
)
# The CIE 1931 2-degree observer as sums of lobes: Wyman, Sloan, Shirley, "Simple analytic
# approximations to the CIE XYZ color matching functions", JCGT 2013, table 1. A lobe is its height,
# its peak in nm, and its widths below and above the peak.
LOBES = (
    ((1.056, 599.8, 37.9, 31.0), (0.362, 442.0, 16.0, 26.7), (-0.065, 501.1, 20.4, 26.2)),
    ((0.821, 568.8, 46.9, 40.5), (0.286, 530.9, 16.3, 31.1)),
    ((1.217, 437.0, 11.8, 36.0), (0.681, 459.0, 26.0, 13.8)),
)
PRIMARY_RANGES = ((600, 660), (520, 570), (440, 490))  # nm; true colour needs a band in each
MOST_BALANCED = 3  # times that a channel is made brighter than the strongest
FALSE_COLOUR = (5 / 6, 1 / 2, 1 / 6)  # places in the spectrum shown as red, green and blue


def colour_matching(wavelengths: np.ndarray) -> np.ndarray:
    """The CIE 1931 colour matching functions x, y, z at wavelengths in nm: [B] -> [3, B]."""

    def lobe(height: float, peak: float, below: float, above: float) -> np.ndarray:
        width = np.where(wavelengths < peak, below, above)
        return height * np.exp(-0.5 * ((wavelengths - peak) / width) ** 2)

    return np.stack([sum(lobe(*parts) for parts in lobes) for lobes in LOBES])


def true_colour_weights(wavelengths: np.ndarray) -> np.ndarray:
    """Weights of the bands in linear red, green and blue; an even spectrum is grey.

    Args:
        wavelengths: Band centres in nm, [B], in any order.

    Returns:
        [3, B]; each row sums to 1.
    """
    order = np.argsort(wavelengths)
    widths = np.empty(len(wavelengths))
    widths[order] = np.gradient(wavelengths[order])
    weights = RGB_OF_XYZ @ (colour_matching(wavelengths) * widths)
    return weights / weights.sum(axis=1, keepdims=True)


def has_true_colour(wavelengths: np.ndarray | None) -> bool:
    """Whether there are bands in the red, the green and the blue."""
    return wavelengths is not None and all(
        ((wavelengths >= low) & (wavelengths <= high)).any() for low, high in PRIMARY_RANGES
    )


class Display:
    """Turns cubes of one scene into pictures that can be compared: all get the same stretch.

    Of reflectance, the colours are true: red, green and blue have one stretch. Radiance also has
    the colours of the light and of the air; each of the three is stretched by itself, so that what
    is dark in all is black and what is bright in all is white, and it is called radiance colour.

    Args:
        reference: [B, H, W], the cube that the stretch is fitted to: its 1st and 99th percentiles.
        wavelengths: Band centres in nm, [B]. Colour needs some in red, green and blue; without
            them three bands are shown, the longest waves in red, and of fewer than three bands one.
        is_reflectance: Whether the cube is known to be reflectance.
    """

    def __init__(
        self,
        reference: np.ndarray,
        wavelengths: np.ndarray | None,
        *,
        is_reflectance: bool = False,
    ) -> None:
        bands = len(reference)
        self.true_colour = has_true_colour(wavelengths)
        if self.true_colour:
            assert wavelengths is not None
            self.weights = true_colour_weights(np.asarray(wavelengths, np.float64))
            self.caption = "true colour" if is_reflectance else "radiance colour"
        else:
            places = FALSE_COLOUR if bands >= 3 else (0.5,) * 3
            order = np.arange(bands) if wavelengths is None else np.argsort(wavelengths)
            chosen = [int(order[round(place * (bands - 1))]) for place in places]
            self.weights = np.eye(bands)[chosen]
            shown = ", ".join(map(str, dict.fromkeys(chosen)))
            self.caption = f"bands {shown}" if bands >= 3 else f"band {shown}"
        channels = self._channels(reference)
        known = channels[:, np.isfinite(channels).all(0)] if channels.size else channels
        known = known if known.size else np.zeros((3, 1))
        self.low, self.high = np.percentile(known, (1, 99), axis=1)[..., None, None]
        if self.true_colour and is_reflectance:  # one stretch for all three keeps the hues
            self.low[...], self.high[...] = self.low.min(), self.high.max()
        elif self.true_colour:  # a channel that the scene hardly has stays weak
            span = self.high - self.low
            self.high = self.low + np.maximum(span, span.max() / MOST_BALANCED)

    def __call__(self, cube: np.ndarray) -> np.ndarray:
        """A picture, [B, H, W] -> [H, W, 3] uint8."""
        span = np.maximum(self.high - self.low, 1e-6)
        linear = np.nan_to_num((self._channels(cube) - self.low) / span).clip(0, 1)
        shown = _srgb_curve(linear) if self.true_colour else linear
        return (shown * 255).round().astype(np.uint8).transpose(1, 2, 0)

    def _channels(self, cube: np.ndarray) -> np.ndarray:
        used = np.abs(self.weights).max(axis=0) > 1e-9
        return np.tensordot(self.weights[:, used], np.asarray(cube, np.float64)[used], axes=1)


def _srgb_curve(linear: np.ndarray) -> np.ndarray:
    """SRGB's transfer function on [0, 1], IEC 61966-2-1."""
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
