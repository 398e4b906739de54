"""+S on real scenes with the released weights: the figures that are promised, never worse, and what
becomes of weak signals.

``make test-slow ARGS="-k real_scenes -s"`` prints the tables.
"""

import re
from functools import cache

import numpy as np
import pytest
import torch

from datamodules import add_noise
from datamodules.noise import FIVE_CASES
from lightning_ras2s import denoise, load_network
from lightning_ras2s.inference.subspace import refine
from lightning_ras2s.quality.noise import measure_noise
from tests.golden import GOLDEN, OFFICIAL_WEIGHTS

torch.set_num_threads(2)

SHARED = GOLDEN.parent
SCENES = ("sandiego", "samson", "gator_vi", "muufl_casi72", "jasper_ridge")
PART = 64
CASES = (
    *FIVE_CASES,
    "gaussian0.51",
    "gaussian1.275",
    "gaussian2.55",
    "gaussian7.65",
    "gaussian25.5",
    "clean",
    "noniid, clipped",
    "gaussian30, clipped",
    "correlated",
    "shared by bands",
    "poisson",
    "poisson, dark",
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (SHARED / "scenes").is_dir() or not OFFICIAL_WEIGHTS.exists(),
        reason="the scenes and the released weights are not here",
    ),
]


@cache
def network():
    return load_network(OFFICIAL_WEIGHTS)


@cache
def scene(name, size=None):
    """The scene with its values in 0 to 1, or a part of ``size`` x ``size`` pixels."""
    cube = np.load(SHARED / f"scenes/{name}.npz")["cube"].astype(np.float32)
    return torch.from_numpy((cube - cube.min()) / (cube.max() - cube.min()))[:, :size, :size]


def darker(clean):
    """A scene whose range one bright pixel sets."""
    dark, brightest = 0.15 * clean, clean.mean(0).argmax()
    dark.flatten(1)[:, brightest] = clean.flatten(1)[:, brightest]
    return dark


def shared_by_bands(clean):
    """Noise of .03 that neighbouring bands have in common, as resampled ones do."""
    white = torch.randn(clean.shape, generator=torch.Generator().manual_seed(7))
    padded = torch.cat([white[:1], white, white[-1:]])
    return clean + 0.05 * (padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4


def noisy_and_clean(name, case):
    clean = scene(name)
    if case == "clean":
        return clean, clean
    if case == "shared by bands":
        return shared_by_bands(clean), clean
    clean = darker(clean) if case.endswith("dark") else clean
    noisy = add_noise(clean, case.partition(",")[0], 7)
    return (noisy.clamp(0, 1) if case.endswith("clipped") else noisy), clean


def denoised_by_network(noisy):
    with torch.inference_mode():
        return network()(noisy[None])[0]


def psnr(image, clean):
    """Mean over the bands, dB; a clean one has 200."""
    return -10 * ((image - clean).double().square().mean((1, 2)) + 1e-20).log10().mean().item()


def reference_figures():
    """(scene, case) -> dB of the noisy scene, the network and +S."""
    text = (SHARED / "spec/subspace.md").read_text()
    found = {}
    for line in re.findall(r"^\| (\w+) \| \d+ \| ([^|]+) \| (.+) \|$", text, re.MULTILINE):
        case = line[1]
        if case.startswith("i.i.d."):
            case = f"gaussian{255 * float(case.split()[1]):g}"
        found[line[0], case] = [float(value) for value in line[2].split("|")]
    assert len(found) == 45
    return found


@pytest.mark.parametrize("name", SCENES)
def test_refined_is_never_worse_and_as_good_as_promised(name):
    promised, failures = reference_figures(), []
    for case in CASES:
        noisy, clean = noisy_and_clean(name, case)
        result = denoised_by_network(noisy)
        before, alone = psnr(noisy, clean), psnr(result, clean)
        once, refined = (
            psnr(refine(noisy, result, repeats=1)[0], clean),
            psnr(refine(noisy, result)[0], clean),
        )
        print(f"{name:13} {case:20} {before:6.2f} {alone:6.2f} {once:6.2f} {refined:6.2f}")  # noqa: T201
        if min(once, refined) < alone:
            failures.append((case, "worse than the network", alone, once, refined))
        if case.startswith("gaussian") and case != "gaussian0.51" and refined < before - 0.15:
            failures.append((case, "worse than the noisy scene", before, refined))
        expected = promised.get((name, case), [0, 0, 0])
        if refined < expected[2] - 0.05:
            failures.append((case, "less than promised", expected, once, refined))
    assert not failures


def test_the_weights_of_the_package_are_better_than_the_released_ones_and_lose_nowhere():
    """Refined: by the mean over the scenes; for each scene than a median and no denoising."""
    gains = {"noniid": [], "mixture": []}
    for name in SCENES:
        for case in (*FIVE_CASES, "gaussian1"):
            noisy, clean = noisy_and_clean(name, case)
            ours, median = (
                psnr(denoise(noisy, method, scale=None), clean) for method in ("ras2s+s", "median")
            )
            print(f"{name:13} {case:10} {psnr(noisy, clean):6.2f} {median:6.2f} {ours:6.2f}")  # noqa: T201
            assert ours > median
            # The noise of muufl itself is about as strong as gaussian1, and is taken as well.
            loss = 1.1 if (name, case) == ("muufl_casi72", "gaussian1") else 0.1
            assert ours > psnr(noisy, clean) - loss
            if case in gains:
                gains[case].append(ours - psnr(denoised_by_network(noisy), clean))
    assert np.mean(gains["noniid"]) >= 1
    assert np.mean(gains["mixture"]) >= 1


def test_a_median_refined_is_a_rival():
    means = {}
    for case in ("noniid", "mixture"):
        pairs = [noisy_and_clean(name, case) for name in SCENES]
        values = [psnr(denoise(y, "median+s", scale=None), clean) for y, clean in pairs]
        means[case] = sum(values) / len(values)
    print(means)  # noqa: T201
    assert means["noniid"] >= 39.9
    assert means["mixture"] >= 38.4


@pytest.mark.parametrize("name", SCENES)
def test_the_range_that_is_found_costs_little(name):
    losses = {}
    for case in ("noniid", "poisson"):
        noisy, clean = noisy_and_clean(name, case)
        true, found = (
            psnr(denoise(noisy, "ras2s+s", OFFICIAL_WEIGHTS, scale), clean)
            for scale in (None, "auto")
        )
        counts = denoise((5000 * noisy).round().to(torch.int16), "ras2s+s", OFFICIAL_WEIGHTS)
        losses[case] = (true - found, true - psnr(counts / 5000, clean))
    print(name, losses)  # noqa: T201
    assert all(max(pair) <= 0.5 for pair in losses.values())


# ------------------------------------------------------------------------------------ signal kept


def with_features(clean, depth):
    """Forty pixels get a narrow absorption; where, and its shape along the bands."""
    draw = np.random.default_rng(1)
    bands = len(clean)
    pixels = draw.choice(clean[0].numel(), 40, replace=False)
    centre, width = draw.integers(bands // 6, bands - bands // 6), max(1.5, bands / 80)
    shape = torch.exp(-0.5 * ((torch.arange(bands) - centre) / width) ** 2)
    changed = clean.clone().flatten(1)
    changed[:, pixels] *= 1 - depth * shape[:, None]
    return changed.view_as(clean), pixels, shape


def found_by_a_matched_filter(cube, pixels, target):
    """The area under its ROC curve; the covariance is loaded by 1e-3 of its mean variance."""
    values = cube.flatten(1).double()
    values = values - values.mean(1, keepdim=True)
    covariance = values @ values.T / values.shape[1]
    load = 1e-3 * covariance.diagonal().mean() * torch.eye(len(values))
    ranks = (torch.linalg.solve(covariance + load, target.double()) @ values).argsort().argsort()
    positive = len(pixels)
    above = ranks[pixels].sum() - positive * (positive - 1) / 2
    return (above / (positive * (values.shape[1] - positive))).item()


def share_kept(with_them, without, features, pixels):
    """Of the features in the clean scene, what is in the difference of two results."""
    kept, whole = ((cube).flatten(1)[:, pixels] for cube in (with_them - without, features))
    return ((kept * whole).sum() / whole.square().sum()).item()


def test_refined_weak_signals_are_found_no_less_and_kept_nearly_as_well():
    """Alone, the network keeps .28 of them on the mean of these, and +S .01 more."""
    table = {}
    for case in ("gaussian2.55", "noniid"):
        for depth in (0.05, 0.15):
            rows = []
            for name in SCENES:
                clean = scene(name, PART)
                changed, pixels, shape = with_features(clean, depth)
                target = -clean.mean((1, 2)) * shape
                results = []
                for cube in (changed, clean):
                    noisy = add_noise(cube, case, 7)
                    alone = denoised_by_network(noisy)
                    results.append((noisy, alone, refine(noisy, alone)[0]))
                found = [found_by_a_matched_filter(cube, pixels, target) for cube in results[0]]
                kept = [
                    share_kept(*pair, changed - clean, pixels)
                    for pair in list(zip(*results, strict=True))[1:]
                ]
                rows.append(found + kept)
            table[case, depth] = np.mean(rows, 0)
            print(case, depth, np.round(table[case, depth], 2))  # noqa: T201
    _, found_alone, found_refined, kept_alone, kept_refined = np.mean(list(table.values()), 0)
    assert found_refined >= found_alone
    assert kept_refined >= kept_alone - 0.02


# ---------------------------------------------------------------------------------------- quality


@pytest.mark.parametrize("case", ["noniid", "mixture", "gaussian2.55", "gaussian7.65"])
def test_two_of_three_errors_lie_within_the_predicted_standard_error(case):
    """Over the five scenes 68 %, give or take 8; with a seed that no factor was measured with."""
    shares = []
    for name in SCENES:
        clean = scene(name, PART)
        noisy = add_noise(clean, case, 8)
        refined, learned = refine(noisy, denoised_by_network(noisy))
        error = learned.uncertainty.standard_error().view_as(clean)
        used = noisy.flatten(1).std(1) > 0
        shares.append(((refined - clean).abs() <= error)[used].float().mean().item())
    print(case, np.round(shares, 2), np.mean(shares).round(3))  # noqa: T201
    assert 0.60 <= np.mean(shares) <= 0.76


@pytest.mark.parametrize("name", SCENES)
def test_sigma_is_right_for_every_band(name):
    """To 10 % under noniid noise, to 20 % where it is light; the scene's own noise counts."""
    clean = scene(name).numpy()
    own = measure_noise(clean)
    for case, tolerance in (("noniid", 0.1), ("gaussian0.51", 0.2), ("gaussian0.765", 0.2)):
        noisy = add_noise(clean, case, 7)
        added = (noisy - clean).std((1, 2))
        found = measure_noise(noisy).spectral
        least, most = added, np.hypot(added, own.spectral)
        wrong = (found < (1 - tolerance) * least) | (found > (1 + tolerance) * most)
        print(name, case, np.round([(found / least).min(), (found / most).max()], 3), wrong.sum())  # noqa: T201
        if case == "noniid":
            assert not wrong.any()
        assert wrong.mean() < 0.03  # the own noise is an estimate itself


@pytest.mark.parametrize("name", SCENES)
def test_no_stripe_is_reported_on_a_clean_scene_and_more_on_a_more_striped_one(name):
    clean = scene(name).numpy()
    none = measure_noise(clean)
    assert none.striped_columns.sum() == none.striped_rows.sum() == 0
    noisy = add_noise(clean, "gaussian2.55", 7)
    stripes = add_noise(clean, "stripe", 7) - add_noise(clean, "noniid", 7)
    indices, counts = [], []
    for strength in (0.05, 0.1, 0.2, 0.4, 0.8):
        found = measure_noise((noisy + strength * stripes).astype(np.float32))
        indices.append(found.column_stripes.mean())
        counts.append(found.striped_columns.sum())
    print(name, np.round(indices, 3), counts)  # noqa: T201
    assert (np.diff(indices) > 0).all()
    assert counts[0] < counts[-1]
