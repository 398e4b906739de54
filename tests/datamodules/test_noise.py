import dataclasses
import hashlib
import math

import numpy as np
import pytest
import torch
from scipy import stats

from datamodules.noise import (
    FIVE_CASES,
    NOISE_CASES,
    TRAINING_MIX,
    Deadline,
    Impulse,
    Stripe,
    add_noise,
    corrupt,
)
from datamodules.random_streams import RandomStreams, sample_seeds

ALL_CASES = [
    "noniid",
    "stripe",
    "deadline",
    "impulse",
    "mixture",
    "gaussian",
    "blind",
    "uniform",
    "speckle",
    "poisson",
    "correlated",
    "little",
    "signal",
    "clipped",
    "clipped_mixture",
    "gaussian12.5",
]

CLIPPED = ("clipped", "clipped_mixture")

# sha256 of the bytes of add_noise(pinned_cube(), case, 7): a change here changes every test set.
PINNED = {
    "noniid": "0d640cda3d4a8fe233b22d3cde27cb5164c7be5e8753286fbe3565acf6d3a6c9",
    "stripe": "a81da2bd442327e3949992532e0cb61f8657919875251c2d631e9740508c7578",
    "deadline": "4c1a01627719f698aa70b681b6bc4cf972fff540474af522e5aaff6269ad831f",
    "impulse": "78ca482dc2fd1b985e2ed6fcdfbf2aedf2da19ddacbff0d5b3b7f4f2305c46de",
    "mixture": "0096fad10628aa12595d14668d8a34b79cb1266193423360bb94d5666bf46e6b",
    "gaussian": "57cf4a5c486b7bb1242a8baf1d2f3b35c3129f90800dfbb0d19d4203354bfc7b",
    "blind": "c6b5ca784e35c5d85bd597adb9b3dc8cefa34dbde1f0040a846e2a2a0e23ee43",
    "uniform": "5f8cfc13ade5b9c9af54ad16fee15fff79786eb6f8a13565f5c3eabd31d526f1",
    "speckle": "a56d10cd6806735ab41614162aebf4ed44018d2a698c80610e225be3ba8ee021",
    "correlated": "c3c3dc402d225857864e5c8f0b7eb6757d4494ef69939cdd8f2aa2c5de26b2b4",
    "little": "d46548e651c114fbbfb227ec2b963e1914e57ee10396556a8e66cd17c4e466eb",
    "signal": "02704504f4c865baa6cb522a15c4be160302974755118b46f63516c34f466c06",
    "clipped": "a918af00579be8192db3352187496ead99120ced56e071a0d8df77b26634b377",
    "clipped_mixture": "446537339ed251e8f3c75a6d99cb712580e3a554805b1207116bd51767f14c88",
    "gaussian12.5": "1fe398ed8a7a2f5925b2017476665000c3b6758a933b79854ea26ca4fc01a0e6",
}


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def pinned_cube():
    return (torch.arange(8 * 12 * 40, dtype=torch.float32) / 3840).reshape(8, 12, 40)


def pinned_hash(case, device="cpu"):
    noisy = add_noise(pinned_cube().to(device), case, 7)
    return hashlib.sha256(noisy.cpu().numpy().tobytes()).hexdigest()


def grey(samples=1, bands=31, height=64, width=64, level=0.5):
    return torch.full((samples, bands, height, width), level)


def apply(single, clean, seed=0):
    """One elementary noise on every band."""
    return single(clean, RandomStreams(sample_seeds(seed, len(clean))))


def sigmas(residual):
    """Standard deviation per band in grey levels, [N, B]."""
    return residual.double().flatten(2).std(dim=2) * 255


def nearest(values, allowed, within=0.1):
    """Which of ``allowed`` each value is near, having checked that it is within 10 % of it."""
    allowed = torch.tensor(allowed, dtype=torch.float64)
    index = (values[..., None] - allowed).abs().argmin(dim=-1)
    assert ((values - allowed[index]).abs() <= within * allowed[index]).all()
    return index


def split(case, samples, bands, height=32, width=64, level=0.5):
    """The clean cube after the non-i.i.d. noise alone, and after the whole case."""
    clean, seeds = grey(samples, bands, height, width, level), sample_seeds(1, samples)
    streams = RandomStreams(seeds)
    first, *rest = NOISE_CASES[case]
    before = first(clean, streams)
    after = before
    for single in rest:
        after = single(after, streams)
    assert torch.equal(after, corrupt(clean, [case] * samples, seeds))
    return before, after


def test_little_noise_has_one_level_per_sample_and_mostly_a_low_one():
    clean = grey(200, 8, 32, 32)
    sigma = sigmas(corrupt(clean, ["little"] * 200, sample_seeds(0, 200)) - clean)
    levels = sigma.mean(1)
    assert sigma.max() < 15.5
    assert (levels < 2.5).double().mean() == pytest.approx(0.5, abs=0.1)  # 10 u^2 with u < 1/2
    assert ((sigma / levels[:, None]).std(1) / 0.29).mean() == pytest.approx(1, abs=0.2)


def test_noise_that_depends_on_the_signal_has_a_variance_linear_in_it():
    clean = torch.cat([grey(40, level=level) for level in (0.0, 0.5, 1.0)])
    residual = corrupt(clean, ["signal"] * 120, sample_seeds(0, 40).repeat(3)) - clean
    dark, grey_, bright = sigmas(residual).split(40)
    nearest(bright, [10, 30, 50, 70], 0.06)
    torch.testing.assert_close(dark / bright, torch.full_like(dark, 0.1**0.5), rtol=0, atol=0.03)
    torch.testing.assert_close(grey_ / bright, torch.full_like(dark, 0.55**0.5), rtol=0, atol=0.05)


def test_clipped_noise_is_the_unclipped_one_cut_to_the_range():
    clean = pinned_cube()
    for clipped, whole in (("clipped", "noniid"), ("clipped_mixture", "mixture")):
        expected = add_noise(clean, whole, 3).clamp(0, 1)
        assert torch.equal(add_noise(clean, clipped, 3), expected)


def test_the_names_are_those_of_the_specification():
    assert list(NOISE_CASES) == ALL_CASES[:-1]
    assert FIVE_CASES == ("noniid", "stripe", "deadline", "impulse", "mixture")
    assert sorted(TRAINING_MIX) == ["deadline", "impulse", "noniid", "stripe"]


# Gaussian noises


def test_noniid_draws_the_sigma_of_each_band_from_four_in_equal_shares():
    clean = grey(40, 31)
    residual = corrupt(clean, ["noniid"] * 40, sample_seeds(0, 40)) - clean
    shares = torch.bincount(nearest(sigmas(residual), [10, 30, 50, 70], 0.05).flatten()) / (40 * 31)
    torch.testing.assert_close(shares, torch.full((4,), 0.25), rtol=0, atol=0.04)
    assert residual.mean().abs() < 0.001
    scaled = residual / residual.flatten(2).std(dim=2)[..., None, None]
    assert stats.kstest(scaled[0].flatten().numpy(), "norm").pvalue > 0.01


@pytest.mark.parametrize(
    ("case", "sigma", "psnr"),
    [
        ("gaussian30", 30, 18.588),
        ("gaussian50", 50, 14.151),
        ("gaussian70", 70, 11.229),
        ("gaussian", 50, 14.151),
        ("gaussian12.5", 12.5, 26.193),
    ],
)
def test_gaussian_has_one_sigma_for_all_bands(case, sigma, psnr):
    clean = grey(1, 31, 128, 128)
    residual = add_noise(clean, case, 0) - clean
    assert -10 * math.log10(residual.double().square().mean()) == pytest.approx(psnr, abs=0.05)
    assert ((sigmas(residual) - sigma).abs() < 0.04 * sigma).all()


def test_blind_draws_one_sigma_per_sample_between_10_and_70():
    clean = grey(300, 4, 24, 24)
    measured = sigmas(corrupt(clean, ["blind"] * 300, sample_seeds(0, 300)) - clean)
    sigma = measured.mean(dim=1)
    assert (measured / sigma[:, None] - 1).abs().max() < 0.15
    assert 9.5 < sigma.min() < 12
    assert 68 < sigma.max() < 73
    assert stats.kstest(sigma.numpy(), stats.uniform(10, 60).cdf).pvalue > 0.01


def test_uniform_draws_the_sigma_of_each_band_between_0_and_55():
    clean = grey(40, 31, 32, 32)
    sigma = sigmas(corrupt(clean, ["uniform"] * 40, sample_seeds(0, 40)) - clean).flatten()
    assert sigma.min() < 1
    assert 53 < sigma.max() < 58
    assert stats.kstest(sigma.numpy(), stats.uniform(0, 55).cdf).pvalue > 0.01


def test_correlated_is_noisiest_in_the_middle_of_the_spectrum():
    clean = grey(1, 31, 256, 256)
    measured = sigmas(add_noise(clean, "correlated", 0) - clean)[0].numpy()
    bands = np.arange(31)
    expected = 23.08 * np.exp(-((bands / 31 - 0.5) ** 2) / (4 * 0.157**2))
    np.testing.assert_allclose(measured, expected, rtol=0.02)
    assert measured.argmax() in (15, 16)
    assert measured[[0, 15]] == pytest.approx([1.825, 23.02], rel=0.02)


# Noises that depend on the signal


@pytest.mark.parametrize("level", [0.25, 1.0])
def test_speckle_grows_with_the_signal(level):
    clean = grey(40, 31, 64, 64, level)
    residual = corrupt(clean, ["speckle"] * 40, sample_seeds(0, 40)) - clean
    variance = (residual / level).double().flatten(2).var(dim=2)
    shares = torch.bincount(nearest(variance, [0.01, 0.05, 0.1, 0.2]).flatten()) / (40 * 31)
    torch.testing.assert_close(shares, torch.full((4,), 0.25), rtol=0, atol=0.04)
    assert residual.mean().abs() < 0.001 * level + 0.0005


def test_speckle_leaves_black_alone():
    clean = grey(level=0.0)
    assert torch.equal(add_noise(clean, "speckle", 0), clean)


def test_poisson_has_the_mean_and_variance_of_photon_counts():
    clean = grey(20, 31, 64, 64, 0.4)
    noisy = corrupt(clean, ["poisson"] * 20, sample_seeds(0, 20)).double()
    torch.testing.assert_close(
        noisy.mean(dim=(2, 3)), torch.full((20, 31), 0.4).double(), rtol=0, atol=0.01
    )
    peak = 0.4 / noisy.flatten(2).var(dim=2)
    index = nearest(peak, [30, 60, 120, 240])
    shares = torch.bincount(index.flatten()) / (20 * 31)
    torch.testing.assert_close(shares, torch.full((4,), 0.25), rtol=0, atol=0.06)
    counts = noisy * torch.tensor([30, 60, 120, 240])[index][..., None, None]
    torch.testing.assert_close(counts, counts.round(), rtol=0, atol=1e-4)


def test_poisson_takes_negative_values_as_dark():
    assert torch.equal(add_noise(grey(level=-0.1), "poisson", 0), grey(level=0.0))


# Stripes, dead lines and impulses


@pytest.mark.parametrize(
    ("bands", "third"), [(1, 1), (2, 1), (3, 1), (5, 1), (6, 2), (31, 10), (200, 66)]
)
@pytest.mark.parametrize("case", ["stripe", "deadline", "impulse"])
def test_a_third_of_the_bands_is_hit(case, bands, third):
    before, after = split(case, samples=4, bands=bands)
    hit = (before != after).flatten(2).any(dim=2)
    assert hit.sum(dim=1).tolist() == [third] * 4


def test_every_band_is_hit_equally_often():
    before, after = split("deadline", samples=3000, bands=6, height=1, width=20)
    share = (before != after).flatten(2).any(dim=2).float().mean(dim=0)
    torch.testing.assert_close(share, torch.full((6,), 1 / 3), rtol=0, atol=0.04)


@pytest.mark.parametrize("case", ["stripe", "deadline", "impulse", "mixture"])
def test_unaffected_bands_carry_noniid_noise(case):
    before, after = split(case, samples=20, bands=12, height=64)
    kept = (before == after).flatten(2).all(dim=2)
    assert kept.sum() == 20 * (0 if case == "mixture" else 8)
    nearest(sigmas(before - 0.5), [10, 30, 50, 70])


@pytest.mark.parametrize(
    ("width", "fewest", "most"),
    [
        *[(1, 0, 0), (6, 0, 0), (7, 0, 0), (13, 0, 0), (14, 0, 1), (19, 0, 1), (20, 1, 2)],
        *[(64, 3, 8), (100, 5, 14), (128, 6, 18), (512, 25, 75)],
    ],
)
def test_number_of_striped_columns(width, fewest, most):
    clean = grey(2000 if width < 200 else 400, 3, 1, width)
    hit = (apply(Stripe(), clean) != clean).sum(dim=(2, 3))
    if most > fewest:
        counts = torch.bincount(hit.flatten(), minlength=most + 1)[fewest:]
        assert counts.sum() == hit.numel()
        assert len(counts) == most - fewest + 1
        assert stats.chisquare(counts).pvalue > 0.01
    else:
        assert hit.unique().tolist() == [fewest]


@pytest.mark.parametrize(
    ("width", "fewest", "most"),
    [
        *[(1, 1, 1), (6, 1, 1), (7, 1, 1), (13, 1, 1), (14, 1, 2), (20, 1, 2), (21, 2, 3)],
        *[(64, 4, 9), (100, 5, 14), (128, 7, 19), (512, 26, 76)],
    ],
)
def test_number_of_dead_columns(width, fewest, most):
    clean = grey(2000 if width < 200 else 400, 3, 1, width)
    hit = (apply(Deadline(), clean) != clean).sum(dim=(2, 3))
    counts = torch.bincount(hit.flatten(), minlength=most + 1)[fewest:]
    assert counts.sum() == hit.numel()
    assert len(counts) == most - fewest + 1
    assert most == fewest or stats.chisquare(counts).pvalue > 0.01


def test_a_stripe_is_one_constant_down_its_column():
    before, after = split("stripe", samples=50, bands=31, width=100)
    lost = (before - after).double()
    spread = lost.amax(dim=2) - lost.amin(dim=2)
    assert spread.max() < 1e-6
    constants = lost.mean(dim=2)
    constants = constants[constants.abs() > 1e-6].numpy()
    assert -0.25 < constants.min() < -0.245
    assert 0.245 < constants.max() < 0.25
    assert stats.kstest(constants, stats.uniform(-0.25, 0.5).cdf).pvalue > 0.01


@pytest.mark.parametrize("single", [Stripe(), Deadline()])
def test_every_column_is_hit_equally_often(single):
    clean = grey(500, 8, 1, 20)
    share = (
        (single(clean, RandomStreams(sample_seeds(0, 500))) != clean).float().mean(dim=(0, 1, 2))
    )
    torch.testing.assert_close(share, torch.full((20,), 1.5 / 20), rtol=0, atol=0.02)


def test_dead_columns_are_exactly_zero_from_top_to_bottom():
    before, after = split("deadline", samples=20, bands=9)
    changed = before != after
    assert (after[changed] == 0).all()
    assert torch.equal(changed.any(dim=2), changed.all(dim=2))


def test_impulses_share_per_band_and_salt_to_pepper_ratio():
    before, after = split("impulse", samples=60, bands=9, height=64, width=64)
    salt, pepper = after == 1, after == 0
    assert torch.equal(salt | pepper, before != after)
    hit = (salt | pepper).flatten(2).double().mean(dim=2)
    shares = torch.bincount(nearest(hit[hit > 0], [0.1, 0.3, 0.5, 0.7])) / (60 * 3)
    torch.testing.assert_close(shares, torch.full((4,), 0.25), rtol=0, atol=0.1)
    surplus = salt.flatten(2).sum(dim=2) - pepper.flatten(2).sum(dim=2)
    assert (surplus / (hit * 64 * 64).sqrt())[hit > 0].abs().max() < 4  # standard deviations
    assert salt.sum() / pepper.sum() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("value", [math.inf, math.nan, -0.0])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_impulses_replace_any_value_and_keep_its_bits_elsewhere(value, dtype):
    clean = torch.full((2, 3, 16, 16), value, dtype=dtype)
    expected = apply(Impulse(), grey(2, 3, 16, 16)).to(dtype)
    noisy = apply(Impulse(), clean)
    kept = expected == 0.5
    assert torch.equal(noisy[~kept], expected[~kept])
    assert not noisy[~kept].signbit().any()
    torch.testing.assert_close(noisy[kept], clean[kept], rtol=0, atol=0, equal_nan=True)
    assert torch.equal(noisy[kept].signbit(), clean[kept].signbit())


def test_impulses_fall_anywhere():
    hit = (apply(Impulse(), grey(64, 8, 16, 16)) != 0.5).float().mean(dim=(0, 1))
    torch.testing.assert_close(hit, torch.full((16, 16), 0.4), rtol=0, atol=0.1)


@pytest.mark.parametrize(
    ("bands", "expected"),
    [(1, (1, 0, 0)), (2, (1, 1, 0)), (3, (1, 1, 1)), (31, (10, 10, 10)), (200, (66, 66, 66))],
)
def test_mixture_hits_three_disjoint_sets_of_bands(bands, expected):
    before, after = split("mixture", samples=6, bands=bands, height=32, width=64)
    changed = before != after
    whole_columns = torch.equal(changed.all(dim=2), changed.any(dim=2))
    impulse = (after == 1).flatten(2).any(dim=2)
    dead = (after == 0).all(dim=2).any(dim=2) & ~impulse
    striped = changed.flatten(2).any(dim=2) & ~impulse & ~dead
    for kind, number in zip((striped, dead, impulse), expected, strict=True):
        assert kind.sum(dim=1).tolist() == [number] * 6
    assert whole_columns is (expected[2] == 0)
    lost = (before - after)[striped]
    assert (lost.amax(dim=1) - lost.amin(dim=1)).max() < 1e-6
    nearest((after == before).flatten(2).double().mean(dim=2)[impulse], [0.9, 0.7, 0.5, 0.3])


def test_the_sets_of_bands_of_a_mixture_are_drawn_anew_for_each_sample():
    _, after = split("mixture", samples=50, bands=31)
    impulse = (after == 1).flatten(2).any(dim=2)
    assert len({tuple(row) for row in impulse.tolist()}) == 50


def test_real_noisy_inputs_have_about_the_psnr_seen_in_practice():
    clean = grey(8, 200, 64, 64, 0.3)
    expected = {"noniid": 17.8, "stripe": 17.5, "deadline": 17.5, "impulse": 14.6, "mixture": 13.9}
    for case, psnr in expected.items():
        error = corrupt(clean, [case] * 8, sample_seeds(0, 8)) - clean
        measured = -10 * error.square().mean(dim=(2, 3)).log10().mean()
        assert measured == pytest.approx(psnr, abs=0.8), case


# Seeds, batches, inputs


@pytest.mark.parametrize("case", [case for case in ALL_CASES if case != "poisson"])
def test_bits_are_pinned(case):
    assert pinned_hash(case) == PINNED[case]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("case", [case for case in ALL_CASES if case != "poisson"])
def test_bits_do_not_depend_on_the_device(case):
    assert pinned_hash(case, "cuda") == PINNED[case]


@pytest.mark.parametrize("case", ALL_CASES)
def test_a_case_acts_and_leaves_its_input_and_the_global_state_alone(case):
    clean = pinned_cube()[None].repeat(3, 1, 1, 1)
    untouched, torch_state, numpy_state = (
        clean.clone(),
        torch.get_rng_state(),
        np.random.get_state(),
    )
    noisy = add_noise(clean, case, 1)
    assert torch.equal(clean, untouched)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert (np.random.get_state()[1] == numpy_state[1]).all()
    assert noisy.data_ptr() != clean.data_ptr()
    assert noisy.shape == clean.shape
    assert (noisy != clean).flatten(1).float().mean(dim=1).min() > 0.5


@pytest.mark.parametrize(
    "single", [single for singles in NOISE_CASES.values() for single in singles] + [Stripe()]
)
def test_an_elementary_noise_never_writes_into_its_input(single):
    clean = pinned_cube()[None]
    noisy = apply(single, clean)
    assert torch.equal(clean[0], pinned_cube())
    assert noisy.data_ptr() != clean.data_ptr()
    with pytest.raises(dataclasses.FrozenInstanceError):
        single.sigma = 3


@pytest.mark.parametrize(
    "case", [case for case in ALL_CASES if case not in ("poisson", "little", *CLIPPED)]
)
def test_nothing_is_clipped(case):
    noisy = add_noise(torch.cat([grey(level=0.0), grey(level=1.0)]), case, 0)
    assert noisy.max() > 1.05
    assert case == "speckle" or noisy.min() < -0.05


@pytest.mark.parametrize("case", ALL_CASES)
def test_the_same_seed_gives_the_same_bits_and_another_seed_others(case):
    clean = pinned_cube()
    assert torch.equal(add_noise(clean, case, 5), add_noise(clean, case, 5))
    assert not torch.equal(add_noise(clean, case, 5), add_noise(clean, case, 6))


@pytest.mark.parametrize("case", ALL_CASES)
def test_a_cube_is_the_first_of_a_batch_and_samples_differ(case):
    batch = pinned_cube().repeat(3, 1, 1, 1)
    noisy = add_noise(batch, case, 5)
    assert torch.equal(noisy[0], add_noise(batch[0], case, 5))
    assert torch.equal(noisy[:2], add_noise(batch[:2], case, 5))
    assert not torch.equal(noisy[0], noisy[1])


def test_a_sample_does_not_depend_on_the_rest_of_the_batch():
    samples = len(ALL_CASES) * 2
    clean = torch.stack([pinned_cube() * (1 + index) / samples for index in range(samples)])
    cases, seeds = ALL_CASES * 2, sample_seeds(9, samples)
    noisy = corrupt(clean, cases, seeds)
    order = torch.arange(samples).flip(0)
    flipped = corrupt(clean[order], cases[::-1], seeds[order])
    assert torch.equal(flipped[order], noisy)
    for index, case in enumerate(cases):
        alone = corrupt(clean[index : index + 1], [case], seeds[index : index + 1])
        assert torch.equal(alone[0], noisy[index])


@pytest.mark.parametrize("case", ALL_CASES)
def test_arrays_and_tensors_agree(case):
    clean = pinned_cube()
    array = clean.numpy()
    array.flags.writeable = False
    noisy = add_noise(array, case, 5)
    assert type(noisy) is np.ndarray
    assert noisy.dtype == np.float32
    assert (noisy == add_noise(clean, case, 5).numpy()).all()


@pytest.mark.parametrize("dtype", [">f4", "<f8", ">f8", "<f2"])
def test_array_dtypes_are_kept(dtype):
    clean = pinned_cube().numpy().astype(dtype)
    noisy = add_noise(clean, "mixture", 5)
    assert noisy.dtype == np.dtype(dtype)
    expected = add_noise(pinned_cube(), "mixture", 5).numpy()
    np.testing.assert_allclose(noisy.astype("f4"), expected, rtol=0, atol=2e-3)


def test_arrays_with_any_strides_are_taken():
    array = np.moveaxis(np.ascontiguousarray(np.moveaxis(pinned_cube().numpy(), 0, 2)), 2, 0)
    expected = add_noise(pinned_cube(), "mixture", 5).numpy()
    assert (add_noise(array, "mixture", 5) == expected).all()
    assert (add_noise(array[::-1, ::-1][::-1, ::-1], "mixture", 5) == expected).all()
    strided = torch.from_numpy(array)
    assert not strided.is_contiguous()
    assert (add_noise(strided, "mixture", 5).numpy() == expected).all()


@pytest.mark.parametrize("case", ALL_CASES)
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-6), (torch.float16, 4e-3), (torch.bfloat16, 3e-2)]
)
def test_other_precisions_see_the_same_noise(case, dtype, tolerance):
    clean = (pinned_cube() * 256).round() / 256
    if case == "poisson" and dtype != torch.float64:
        clean = torch.full_like(clean, 0.5)
    noisy = add_noise(clean.to(dtype), case, 5)
    assert noisy.dtype == dtype
    expected = add_noise(clean, case, 5)
    torch.testing.assert_close(noisy.float(), expected, rtol=0, atol=tolerance)


def test_bits_do_not_depend_on_the_default_dtype():
    torch.set_default_dtype(torch.float64)
    try:
        assert {case: pinned_hash(case) for case in PINNED} == PINNED
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("case", ALL_CASES)
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 3, 5), (4, 1, 7), (0, 3, 3, 3)])
def test_tiny_and_empty_cubes(case, shape):
    noisy = add_noise(torch.full(shape, 0.5), case, 0)
    assert noisy.shape == shape
    assert noisy.isfinite().all()


# Errors


@pytest.mark.parametrize("case", ["mixtur", "Mixture", "gaussian-3", "gaussian1e3", "gaussian.5"])
def test_an_unknown_case_names_the_known_ones(case):
    with pytest.raises(ValueError, match=r"noniid, stripe.*gaussian<sigma>"):
        add_noise(pinned_cube(), case, 0)


def test_an_unknown_case_suggests_a_close_one():
    with pytest.raises(ValueError, match="Did you mean 'mixture'"):
        add_noise(pinned_cube(), "mixtures", 0)


@pytest.mark.parametrize("shape", [(4,), (4, 4), (1, 1, 4, 4, 4)])
def test_another_number_of_dimensions_is_rejected(shape):
    with pytest.raises(ValueError, match=rf"\[{', '.join(map(str, shape))}\]"):
        add_noise(torch.zeros(shape), "noniid", 0)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32])
def test_integers_are_rejected(dtype):
    with pytest.raises(TypeError, match="scale it"):
        add_noise(np.zeros((2, 3, 4), dtype), "noniid", 0)


def test_other_kinds_are_rejected():
    with pytest.raises(TypeError, match="list"):
        add_noise([[[0.5]]], "noniid", 0)


@pytest.mark.parametrize(("cases", "seeds"), [(1, 2), (2, 1), (3, 3)])
def test_corrupt_rejects_a_wrong_number_of_cases_or_seeds(cases, seeds):
    with pytest.raises(ValueError, match=f"{cases} cases and {seeds} seeds"):
        corrupt(grey(2, 3, 4, 4), ["noniid"] * cases, sample_seeds(0, seeds))


def test_corrupt_rejects_seeds_that_are_not_int64():
    with pytest.raises(TypeError, match="int64"):
        corrupt(grey(2, 3, 4, 4), ["noniid"] * 2, torch.zeros(2))
