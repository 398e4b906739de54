"""What was found about a scene, in five lines of plain words, and whether to trust the result."""

from typing import Literal, NamedTuple

import numpy as np

from lightning_ras2s.pages.template import digits
from lightning_ras2s.quality.assessment import Quality, Subject
from lightning_ras2s.quality.noise import NoiseReport
from lightning_ras2s.quality.removed import EDGES

Trust = Literal["yes", "with care", "no", "not denoised"]
NOISY = 100  # SNR below which denoising is worth while
SHARED, GROWS = 0.2, 1.5  # noise that bands share; sigma of bright pixels over that of dark ones
FOUND = 0.7  # of the area under the ROC curve, below which a search is no use
TOO_MUCH, HARDLY = 1.3, 0.2  # times the noise was taken
LITTLE = 0.01  # of the signal


class Findings(NamedTuple):
    """A verdict, and five lines: it, the noise, what was taken, what is left, how sure it is."""

    trust: Trust
    lines: list[str]


def findings(quality: Quality) -> Findings:
    """Says what was found."""
    trust, verdict = _verdict(quality)
    return Findings(
        trust,
        [verdict, _noise(quality), _removed(quality), _kept(quality), _sure(quality)],
    )


def name_of_band(subject: Subject, place: int) -> str:
    """A band as people call it."""
    name = f"band {subject.bands[place]}"
    if subject.wavelengths is None or not np.isfinite(subject.wavelengths[place]):
        return name
    return f"{name} ({subject.wavelengths[place]:.0f} nm)"


def _verdict(quality: Quality) -> tuple[Trust, str]:
    removed, kept = quality.removed, quality.signal_kept
    if removed is None:
        snr = float(np.median(quality.snr))
        if not np.isfinite(snr):
            return "not denoised", "Not denoised yet, and too small to tell its noise."
        worth = "denoising is worth while" if snr < NOISY else "there is little to denoise"
        return "not denoised", f"Not denoised yet: {worth}, by the noise that was found."
    if not np.isfinite(quality.snr).all():
        return "with care", "The scene is too small to tell whether to trust it."
    if float(np.median(removed.of_noise)) < HARDLY:
        if float(np.median(quality.snr)) < NOISY:
            return "with care", "It is noisy still: hardly anything was taken."
        return "yes", "Trust it: there was little noise, and hardly anything was taken."
    error = quality.subject.error
    worse = 0 if error is None else int((error > quality.before.sigma).sum())
    if worse > len(quality.snr) / 2:
        return "with care", (
            f"Better take the scene as it was: in {worse} of {len(quality.snr)} bands its noise is "
            "less than what denoising may err by."
        )
    too_much = float(np.median(removed.of_noise)) > TOO_MUCH
    share = _of_signal(quality)
    lost = kept is not None and bool(kept.is_lost.any())
    if (removed.holds_scene or too_much) and share < LITTLE:
        return "with care", (
            f"Trust it, but there was little to take ({_percent(share)} of the signal), and some "
            "of that was the scene."
        )
    if removed.holds_scene and (too_much or not removed.is_white_in_space):
        return "no", "Do not trust it: part of the scene went with the noise."
    if removed.holds_scene or too_much:
        return "with care", "Trust it with care: some of the scene went with the noise."
    if lost:
        return "with care", (
            "Trust it for maps and spectra, but search for rare signals in the noisy scene."
        )
    if kept is not None and kept.found_before.max() < FOUND:
        return "yes", "Trust it for maps and spectra; rare signals are lost in the noise anyway."
    if kept is None:
        return "yes", "Trust it as far as the noise tells; weak signals were not tested."
    return "yes", "Trust it: noise was taken, and weak signals are found as before."


def _noise(quality: Quality) -> str:
    before, subject = quality.before, quality.subject
    snr, after = quality.snr, quality.snr_after
    if not np.isfinite(snr).all():
        return "Noise: the scene is too small to tell."
    worst = int(np.argmin(snr))
    text = (
        f"Noise: half of the bands have a signal-to-noise ratio of {digits(np.median(snr))} or "
        f"more; the worst is {name_of_band(subject, worst)} with {digits(snr[worst])}"
    )
    if after is not None:
        text += f", after denoising half have {digits(np.median(after))} or more"
    return f"{text}.{_kinds(before)}"


def _kinds(noise: NoiseReport) -> str:
    said = []
    for name, lines in (("columns", noise.striped_columns), ("rows", noise.striped_rows)):
        if (lines > 0).any():
            said.append(f"{_bands(lines > 0)} striped {name}")
    for name, lines in (("columns", noise.dead_columns), ("rows", noise.dead_rows)):
        if (lines > 0).any():
            said.append(f"{_bands(lines > 0)} dead {name}")
    if (share := float(noise.dead_share.mean())) > 1e-4:
        said.append(f"{100 * share:.2g} % of the values are dead or hot")
    if noise.shared > SHARED:
        said.append("neighbouring bands share noise, so that it is underestimated")
    if noise.growth > GROWS:
        said.append(f"bright pixels have {noise.growth:.1f} times the noise of dark ones")
    text = "; ".join(said)
    return f" {text[0].upper()}{text[1:]}." if said else ""


def _of_signal(quality: Quality) -> float:
    """How large what was removed is, of the signal; median over the bands."""
    assert quality.removed is not None
    subject = quality.subject
    signal = np.abs(quality.before.signal + subject.low / subject.size)
    return float(np.median(quality.removed.sigma / np.maximum(signal, 1e-6)))


def _percent(share: float) -> str:
    return f"{digits(100 * share)} %"


def _bands(some: np.ndarray) -> str:
    count = int(some.sum())
    return f"{count} bands have" if count > 1 else "one band has"


def _removed(quality: Quality) -> str:
    removed = quality.removed
    if removed is None:
        return "Taken: nothing yet."
    share = f"as strong as {_percent(_of_signal(quality))} of the signal"
    if float(np.median(removed.of_noise)) < HARDLY:
        return f"Taken: hardly anything, {share}."
    of_noise = f"{share} and {100 * float(np.median(removed.of_noise)):.0f} % of the noise"
    if removed.holds_scene:
        signs = []
        if removed.edges > EDGES:
            signs.append(f"it is stronger at edges (correlation {removed.edges:.2f})")
        if removed.is_pictured:
            signs.append("a picture is left of it when the bands are averaged")
        return f"Taken: {of_noise}, and some of the scene: {', and '.join(signs)}."
    if not (removed.is_white_in_space and removed.is_white_in_spectrum):
        where = "pixels" if not removed.is_white_in_space else "bands"
        return f"Taken: {of_noise}; neighbouring {where} of it are alike, as some noise is, too."
    return (
        f"Taken: {of_noise}, and it looks like noise: neighbouring pixels and bands of it are "
        "hardly alike, and no edge of the scene shows in it."
    )


def _kept(quality: Quality) -> str:
    kept = quality.signal_kept
    if kept is None:
        why = "nothing is denoised" if quality.removed is None else "the method is not known"
        return f"Weak signals: not tested, as {why}."
    lost = np.flatnonzero(kept.is_lost)
    place = int(lost[-1]) if lost.size else len(kept.depths) // 2
    text = (
        f"Weak signals: {kept.name}, {100 * kept.depths[place]:.0f} % deep in one pixel, keeps "
        f"{100 * max(0.0, kept.share[place]):.0f} % of its depth; a search finds it with "
        f"{kept.found_after[place]:.2f}, in the noisy scene with {kept.found_before[place]:.2f} "
        "(always: 1, by chance: 0.5)"
    )
    if not lost.size:
        return f"{text}: no worse."
    if kept.strength:
        return f"{text}. Denoised with --strength={kept.strength:g} it is found as before."
    return f"{text}. No strength keeps it."


def _sure(quality: Quality) -> str:
    error, subject = quality.subject.error, quality.subject
    if quality.removed is None:
        return "How sure: nothing is denoised."
    if error is None:
        return "How sure: not known; +S alone predicts its error."
    worst = int(np.argmax(error))
    usual = float(np.median(error))
    return (
        f"How sure: two of three values are within {digits(usual * subject.size)} of the truth "
        f"({100 * usual:.2g} % of the range), in {name_of_band(subject, worst)} within "
        f"{digits(error[worst] * subject.size)}."
    )
