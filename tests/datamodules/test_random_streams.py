import hashlib
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from datamodules import random_streams
from datamodules.random_streams import RandomStreams, derive_seed, sample_seeds


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def streams(*seeds):
    return RandomStreams(torch.tensor(seeds, dtype=torch.int64))


def sha256(*tensors):
    return hashlib.sha256(b"".join(tensor.numpy().tobytes() for tensor in tensors)).hexdigest()


def pinned_draws():
    source = streams(0, 1, -5, 2**63 - 1)
    return sha256(source.uniform(3, 7), source.normal(5, 9), source.permutation(2, 16))


PINNED = "2f1ebaea7a08f2e2f3c730c925755db7b0648044a144e93fb66890b519b528b3"


def test_the_hash_is_splitmix64():
    """The first outputs of the reference implementation seeded with 1234567."""
    expected = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    steps = torch.arange(1, 6) * random_streams._GAMMA
    hashes = random_streams._mix(torch.tensor([1234567]) + steps).tolist()
    assert [value % 2**64 for value in hashes] == expected


def test_bits_are_pinned():
    assert pinned_draws() == PINNED


@pytest.mark.parametrize(("capability", "mkl"), [("default", "COMPATIBLE"), ("avx2", "AVX2")])
def test_bits_do_not_depend_on_the_instruction_set(capability, mkl):
    script = "from tests.datamodules.test_random_streams import pinned_draws as p; print(p())"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ
        | {"ATEN_CPU_CAPABILITY": capability, "MKL_CBWR": mkl, "OMP_NUM_THREADS": "1"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == PINNED


def test_bits_do_not_depend_on_the_block_size_and_threads(monkeypatch):
    whole = streams(3, 4).normal(2, 1000), streams(3, 4).uniform(1999)
    monkeypatch.setattr(random_streams, "_CPU_BLOCK", 64)
    torch.set_num_threads(2)
    assert torch.equal(streams(3, 4).normal(2, 1000), whole[0])
    assert torch.equal(streams(3, 4).uniform(1999), whole[1])


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    if shutil.which(os.environ.get("CXX", "g++")) is None:
        pytest.skip("needs a C++ compiler")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path_factory.mktemp("compiled")))
        patch.setattr(random_streams, "_compiled", None)
        assert random_streams.compile_draws()
        yield random_streams._compiled
    assert random_streams._compiled is None


@pytest.fixture
def compiled_draws(compiled, monkeypatch):
    monkeypatch.setattr(random_streams, "_compiled", compiled)


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("shape", [(), (0,), (1,), (2,), (7, 3), (31, 64, 64), (2, 300_001)])
def test_compiled_draws_have_the_same_bits(monkeypatch, compiled, shape, threads):
    def draw():
        few = [streams(-(2**63)), streams(), streams(*range(5), 2**63 - 1)]
        return [source.normal(*shape) for source in few for _ in range(2)]

    expected = draw()
    monkeypatch.setattr(random_streams, "_compiled", compiled)
    torch.set_num_threads(threads)
    recompiled = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    for drawn, eager in zip(draw(), expected, strict=True):
        assert drawn.shape == eager.shape
        assert torch.equal(drawn, eager)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == recompiled


@pytest.mark.slow
@pytest.mark.usefixtures("compiled_draws")
def test_compiled_draws_have_the_pinned_bits():
    assert pinned_draws() == PINNED


@pytest.mark.slow
@pytest.mark.usefixtures("compiled_draws")
def test_compiling_again_does_nothing(compiled):
    assert random_streams.compile_draws()
    assert random_streams._compiled is compiled


class OneDraw(torch.utils.data.Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        return streams(index).normal(31, 64, 64)


@pytest.mark.slow
@pytest.mark.usefixtures("compiled_draws")
def test_compiled_draws_work_in_workers():
    torch.set_num_threads(2)
    expected = streams(*range(4)).normal(31, 64, 64)
    loader = torch.utils.data.DataLoader(OneDraw(), batch_size=4, num_workers=2, timeout=30)
    assert torch.equal(next(iter(loader)).flatten(0, 1), expected)


def no_compiler(*args, **options):
    raise RuntimeError("no C++ compiler\nand a long story")


@pytest.mark.parametrize(
    ("compiler", "reason"),
    [
        (no_compiler, "no C++ compiler"),
        (
            lambda draw, **options: lambda *args: tuple(part.neg() for part in draw(*args)),
            "other bits",
        ),
    ],
)
def test_without_right_compiled_code_the_numbers_stay(monkeypatch, caplog, compiler, reason):
    monkeypatch.setattr(random_streams, "_compiled", None)
    monkeypatch.setattr(torch, "compile", compiler)
    with caplog.at_level(logging.WARNING, random_streams.__name__):
        assert not random_streams.compile_draws()
    (record,) = caplog.records
    assert reason in record.message
    assert "\n" not in record.message
    assert pinned_draws() == PINNED


@pytest.mark.parametrize("name", ["uniform", "normal"])
@pytest.mark.parametrize("block", [4, 20, 1 << 16])  # less than a sample, two samples, all
def test_drawing_sample_by_sample_gives_the_same_bits(monkeypatch, name, block):
    monkeypatch.setattr(random_streams, "_CPU_BLOCK", block)
    together, one_by_one = streams(3, 4, 5), streams(3, 4, 5)
    first = getattr(one_by_one, name + "s")(5, 3)
    second = getattr(one_by_one, name + "s")(7)
    for drawn, shape in ((first, (5, 3)), (second, (7,))):
        assert torch.equal(torch.stack(list(drawn)), getattr(together, name)(*shape))


def test_bits_do_not_depend_on_the_default_dtype():
    torch.set_default_dtype(torch.float64)
    try:
        assert pinned_draws() == PINNED
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_bits_do_not_depend_on_the_device():
    for name in ("uniform", "normal", "permutation"):
        cpu = getattr(streams(1, 2, 3), name)(31, 500)
        cuda = getattr(RandomStreams(torch.tensor([1, 2, 3], device="cuda")), name)(31, 500)
        assert torch.equal(cpu, cuda.cpu())


@pytest.mark.parametrize("name", ["uniform", "normal"])
def test_a_sample_depends_on_its_seed_call_and_position_only(name):
    together = streams(5, 6, 7)
    alone = streams(6)
    other_order = streams(7, 6)
    for _ in range(3):
        expected = getattr(together, name)(4, 9)[1]
        assert torch.equal(getattr(alone, name)(4, 9)[0], expected)
        assert torch.equal(getattr(other_order, name)(4, 9)[1], expected)
    larger, smaller = streams(5), streams(5)
    larger.normal(100)
    smaller.uniform(3)
    assert torch.equal(getattr(larger, name)(11, 3).flatten()[:17], getattr(smaller, name)(17)[0])


def test_uniform_is_inside_the_unit_interval_and_uniform():
    drawn = streams(1, 2).uniform(500_000)
    assert drawn.dtype == torch.float32
    assert 0 < drawn.min() < 1e-5
    assert 1 - 1e-5 < drawn.max() < 1
    odd = drawn.double() * 2**24
    assert torch.equal(odd % 2, torch.ones_like(odd))
    assert stats.kstest(drawn.flatten().numpy(), "uniform").pvalue > 0.01


def test_uniform_extremes_stay_inside_the_interval():
    words = torch.tensor([[0, -1, -(2**31), 2**31 - 1]], dtype=torch.int32)
    out = torch.empty(1, 4)
    random_streams._uniforms(words.view(torch.int64), out)
    assert out[0].tolist() == [2.0**-24, 1 - 2.0**-24, 2.0**-24, 1 - 2.0**-24]


def test_normal_has_the_moments_and_tails_of_the_normal_distribution():
    drawn = streams(11).normal(1_000_000)
    assert drawn.dtype == torch.float32
    values = drawn.flatten().double().numpy()
    assert abs(values.mean()) < 0.004
    assert values.var() == pytest.approx(1, abs=0.006)
    assert abs(stats.skew(values)) < 0.01
    assert stats.kurtosis(values, fisher=False) == pytest.approx(3, abs=0.02)
    assert 4.3 < values.max() < 6
    assert -6 < values.min() < -4.3
    for half in (values, values[0::2], values[1::2]):
        assert stats.kstest(half, "norm").pvalue > 0.01


def test_both_numbers_of_a_pair_are_independent():
    first, second = streams(21).normal(500_000, 2)[0].double().numpy().T
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.006
    assert abs(np.corrcoef(first**2, second**2)[0, 1]) < 0.006
    quadrants = np.bincount(2 * (first > 0) + (second > 0), minlength=4) / len(first)
    np.testing.assert_allclose(quadrants, 0.25, atol=0.003)


def test_normal_agrees_with_library_functions():
    random = np.random.default_rng(0)
    words = random.integers(-(2**31), 2**31, size=(1, 200_000)).astype(np.int32)
    words[0, :8] = [1, -1, 2**31 - 1, -(2**31), 0, 0, -1, 2**31 - 1]
    out = torch.empty(1, 200_000)
    random_streams._normals(torch.from_numpy(words.copy()).view(torch.int64), out)
    low, high = (words[0, 0::2] | 1).astype(np.float64), words[0, 1::2].astype(np.float64)
    radius = np.sign(low) * np.sqrt(-2 * np.log(np.abs(low).astype(np.float32) / 2**31, dtype="f8"))
    angle = np.pi * high / 2**32
    np.testing.assert_allclose(out[0, 0::2], radius * np.cos(angle), rtol=0, atol=2e-6)
    np.testing.assert_allclose(out[0, 1::2], radius * np.sin(angle), rtol=0, atol=2e-6)


def test_logarithm_is_accurate_to_a_few_units_in_the_last_place():
    words = torch.cat([torch.arange(1, 100_000), 2**31 - torch.arange(1, 100_000)])
    exact = -2 * np.log(words.to(torch.float32).double().numpy() / 2**31)
    computed = random_streams._minus_two_log(words.to(torch.int32)).numpy()
    units = np.spacing(exact.astype(np.float32)).astype(np.float64)
    assert np.abs((computed - exact) / units)[exact > 0].max() < 4
    assert (computed[exact == 0] == 0).all()


@pytest.mark.parametrize("name", ["uniform", "normal"])
def test_calls_and_neighbouring_seeds_and_positions_are_uncorrelated(name):
    source = streams(100, 101, 102)
    first = getattr(source, name)(200_000).double()
    second = getattr(source, name)(200_000).double()
    correlations = torch.corrcoef(torch.cat([first, second])) - torch.eye(6)
    assert correlations.abs().max() < 0.012
    lagged = torch.corrcoef(torch.stack([first[0, :-1], first[0, 1:]]))[0, 1]
    assert abs(lagged) < 0.012


def test_first_numbers_of_consecutive_seeds_are_uniform():
    drawn = RandomStreams(torch.arange(100_000)).uniform(2).numpy()
    assert stats.kstest(drawn[:, 0], "uniform").pvalue > 0.01
    assert abs(np.corrcoef(drawn.T)[0, 1]) < 0.015
    assert abs(np.corrcoef(drawn[:-1, 0], drawn[1:, 0])[0, 1]) < 0.015


def test_no_seed_is_degenerate():
    drawn = streams(0, -1, -(2**63), 2**63 - 1, -random_streams._GAMMA).normal(10_000)
    assert (drawn.mean(dim=1).abs() < 0.05).all()
    assert ((drawn.var(dim=1) - 1).abs() < 0.06).all()


def test_integers_are_in_range_with_equal_shares():
    drawn = streams(1).integers(-2, 3, 100_000)
    assert drawn.dtype == torch.int64
    shares = torch.bincount(drawn[0] + 2, minlength=5) / 100_000
    assert len(shares) == 5
    torch.testing.assert_close(shares, torch.full((5,), 0.2), rtol=0, atol=0.006)
    assert streams(1).integers(4, 5, 10).unique().tolist() == [4]


def test_the_largest_uniform_never_rounds_up_to_the_end_of_a_range():
    widths = torch.arange(1, (1 << 20) + 1)
    largest = torch.tensor(1 - 2.0**-24)
    assert torch.equal((largest * widths).to(torch.int64), widths - 1)


@pytest.mark.parametrize(("low", "high"), [(3, 3), (3, 2), (0, (1 << 20) + 1)])
def test_integers_reject_a_bad_range(low, high):
    with pytest.raises(ValueError, match=f"low {low} and high {high}"):
        streams(1).integers(low, high, 2)


def test_choice_takes_every_value_equally_often():
    drawn = streams(1).choice((0.1, 0.3, 0.5, 0.7), 40_000)
    values, counts = drawn.unique(return_counts=True)
    assert torch.equal(values, torch.tensor([0.1, 0.3, 0.5, 0.7]))
    assert (counts / 40_000 - 0.25).abs().max() < 0.01


def test_permutation_holds_every_number_once_and_is_fair():
    drawn = streams(1, 2).permutation(10_000, 5)
    assert drawn.shape == (2, 10_000, 5)
    assert torch.equal(drawn.sort(dim=-1).values, torch.arange(5).expand(2, 10_000, 5))
    for position in range(5):
        shares = torch.bincount(drawn[..., position].flatten()) / 20_000
        assert (shares - 0.2).abs().max() < 0.015


def test_generators_follow_the_sample_and_the_call():
    first, second = streams(1, 2).generators()
    again = streams(2).generators()[0]
    assert second.initial_seed() == again.initial_seed() != first.initial_seed()
    source = streams(1)
    assert source.generators()[0].initial_seed() != source.generators()[0].initial_seed()


def test_scalar_and_empty_shapes():
    assert streams(1, 2).uniform().shape == (2,)
    assert streams(1, 2).normal(0, 3).shape == (2, 0, 3)
    assert streams(1, 2).normal(3).shape == (2, 3)
    assert streams().normal(3).shape == (0, 3)


@pytest.mark.parametrize("seeds", [torch.zeros(2), torch.zeros(2, dtype=torch.int32)])
def test_seeds_of_another_dtype_are_rejected(seeds):
    with pytest.raises(TypeError, match="int64"):
        RandomStreams(seeds)


def test_seeds_of_another_shape_are_rejected():
    with pytest.raises(TypeError, match=r"\[2, 2\]"):
        RandomStreams(torch.zeros(2, 2, dtype=torch.int64))


def test_seeds_and_global_state_stay_as_they_are():
    seeds = torch.tensor([1, 2, 3])
    before = torch.get_rng_state()
    source = RandomStreams(seeds)
    source.normal(10)
    source.permutation(10)
    source.generators()
    assert seeds.tolist() == [1, 2, 3]
    assert torch.equal(torch.get_rng_state(), before)


def test_derived_seeds_are_pinned_and_distinct():
    assert derive_seed(0, "icvl", "scene", "mixture") == 6468788370474738600
    parts = [("ab", "c"), ("a", "bc"), ("abc",), ("1",), (1,), (1, 1), (11,), (), ("",), (-1,)]
    seeds = {derive_seed(*part) for part in parts}
    assert len(seeds) == len(parts)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert derive_seed(np.int64(7), "é") == derive_seed(7, "é")


def test_derive_seed_rejects_floats():
    with pytest.raises(TypeError):
        derive_seed(0.5)


def test_sample_seeds_depend_on_the_seed_and_the_index():
    assert torch.equal(sample_seeds(3, 10)[:4], sample_seeds(3, 4))
    assert len({*sample_seeds(3, 10).tolist(), *sample_seeds(4, 10).tolist()}) == 20
    assert sample_seeds(3, 0).shape == (0,)
