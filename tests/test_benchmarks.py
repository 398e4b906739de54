"""The benchmark of loading: that it compares like with like. No figure of speed is asserted."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from rich.console import Console

from benchmarks import lmdb_way, loading, methods, network, refinement, training
from datamodules import random_streams
from datamodules.stored import bytes_kept
from lightning_ras2s.methods import METHODS

TINY = loading.Plan(scenes=2, pixels=128, patches=32, rounds=2, trials=1)
PLACES = 2 * (4 + 1)  # 128 pixels: 4 places at the full scale, one at half, none at a quarter


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("benchmark")
    loading.write_both(folder, TINY)
    return folder


@pytest.fixture(scope="module")
def environment(folder):
    with lmdb_way.open_lmdb(folder / "lmdb") as environment:
        yield environment


@pytest.fixture
def patch():
    return np.full((31, 64, 64), 0.5, np.float32)


def test_both_ways_have_the_same_patches(folder, environment):
    theirs = lmdb_way.Patches(environment, (31, 64, 64), None)
    module = loading.StoredScenes(folder / "ours")
    module.setup("fit")
    ours = module.train_set
    assert len(theirs) == len(ours.grid) == PLACES
    for place in range(PLACES):
        (their_patch,) = theirs[place]
        scene, window = ours.grid.window(place, np.random.default_rng(0))
        patch = ours.scenes[scene].read(window)
        # Counts come back exactly; smaller scales within half of one of 65536 steps.
        step = 0 if ours.scenes[scene].level == 0 else 0.6 / 65535
        np.testing.assert_allclose(patch, their_patch, rtol=0, atol=2e-7 + step)
        assert their_patch.std() > 0.05


def test_12_bit_counts_come_back_exactly(folder):
    module = loading.StoredScenes(folder / "ours")
    for seed, stored in enumerate(s for s in module.scenes("train") if s.level == 0):
        counts = loading.make_scene(seed, TINY.pixels)
        assert counts.max() == 4095
        assert counts.min() >= 0
        in_units = stored.scaled(0.0, 1.0)
        assert np.array_equal(in_units.read((slice(None),) * 3), counts)


def test_scenes_of_icvls_size_take_at_most_a_third_of_the_disk():
    ours = bytes_kept((31, 1024, 1024), loading.TRAINING)
    theirs = 530 * 31 * 64 * 64 * 4  # without LMDB's own pages
    assert ours <= theirs / 3


@pytest.mark.parametrize("compiled", [True, False])
def test_the_result_is_whole(tmp_path, monkeypatch, compiled):
    monkeypatch.setattr(random_streams, "compile_draws", lambda: compiled)
    result = json.loads(json.dumps(loading.measure(tmp_path, TINY)))
    for kind in ("clean", "noisy"):
        for figures in result[kind].values():
            assert 0 < figures["least"] <= figures["median"] <= figures["most"] < math.inf
        assert result[kind]["ours"]["workers"] in loading.WORKERS
    compiled = compiled and not torch.cuda.is_available()
    assert ("compiled" in result["noisy"]) == ("compiled_ratio" in result["noisy"]) == compiled
    disk = result["disk"]
    assert disk["lmdb"] >= PLACES * 31 * 64 * 64 * 4
    assert disk["ratio"] == disk["ours"] / disk["lmdb"]
    console = Console(width=200, record=True)
    loading.show(result, console)
    text = console.export_text()
    assert "noisy patches/s" in text
    assert ("noise compiled" in text) == compiled


@pytest.mark.parametrize("noisy", [False, True])
@pytest.mark.parametrize("workers", [0, 1])
def test_both_ways_deliver_as_many_patches(folder, environment, noisy, workers):
    for batches in (
        loading.their_batches(environment, 32, noisy, workers),
        loading.our_batches(folder / "ours", 32, noisy, workers),
    ):
        assert [tuple(batch.shape) for batch in batches()] == [(16, 31, 64, 64)] * 2


# The field's noise


def test_each_band_has_one_of_four_sigmas(patch):
    np.random.seed(0)
    noise = lmdb_way.add_band_noise(patch) - patch
    levels = noise.std(axis=(1, 2)) * 255
    nearest = np.array([10, 30, 50, 70])
    distance = abs(levels[:, None] / nearest - 1).min(axis=1)
    assert distance.max() < 0.06
    assert set(nearest[abs(levels[:, None] - nearest).argmin(axis=1)]) == set(nearest)


@pytest.mark.parametrize(
    ("change", "least", "most"),
    [
        (lmdb_way.add_impulses, 0.08, 0.72),
        (lmdb_way.add_stripes, 3 / 64, 8 / 64),
        (lmdb_way.kill_columns, 4 / 64, 9 / 64),
    ],
)
def test_bands_are_hit_as_the_papers_say(patch, change, least, most):
    np.random.seed(0)
    hit, bands = patch.copy(), np.arange(3, 13)
    change(hit, bands)
    share = (hit != patch).mean(axis=(1, 2))
    assert np.flatnonzero(share).tolist() == bands.tolist()
    assert share[bands].min() >= least
    assert share[bands].max() <= most
    values = hit[hit != patch]
    if change is lmdb_way.add_impulses:
        assert set(values) == {0, 1}
        assert abs(values.mean() - 0.5) < 0.02
    elif change is lmdb_way.kill_columns:
        assert set(values) == {0}
    else:
        assert abs(values - 0.5).max() <= 0.25


def test_the_cases_come_in_turns_on_a_third_of_the_bands(patch):
    np.random.seed(0)
    add_noise = lmdb_way.TrainingNoise()
    dead = [(add_noise(patch) == 0).all(axis=1).any(axis=1).sum() for _ in range(8)]
    assert dead == [0, 0, 0, 10] * 2
    assert patch.min() == patch.max() == 0.5


# The network


@pytest.mark.slow
def test_the_networks_are_compared_on_the_same_weights(tmp_path):
    plan = network.Plan(
        forward=((1, 3, 16, 16),),
        memory=((1, 3, 16, 16),),
        training=((1, 2, 8, 8),),
        rounds=2,
        bands=(2, 3),
        pixels=(8, 16),
    )
    result = json.loads(json.dumps(network.measure(plan, torch.device("cpu"))))
    for row in (*result["forward"], *result["training"]):
        assert row["literal"]["speedup"] == {"median": 1, "least": 1, "most": 1}
        fast = row["ours"]["speedup"]
        assert 0 < fast["least"] <= fast["median"] <= fast["most"] < math.inf
    (forward,) = result["forward"]
    assert forward["ours"]["difference"] < 1e-5
    work = result["work_per_pixel_and_band"]
    assert work["operations"] / 2 == pytest.approx(89_800, rel=0.01)
    assert work["bytes"] > 4 * 14 * 30
    assert [point["bands"] for point in result["growth"]["bands"]] == [2, 3]
    assert [point["pixels"] for point in result["growth"]["pixels"]] == [64, 256]
    assert len(result["layers"]) == len(network.LAYERS)
    network.draw(result, tmp_path / "network.png")
    assert (tmp_path / "network.png").stat().st_size > 10_000
    console = Console(width=200, record=True)
    network.show(result, console)
    text = console.export_text()
    assert "1x3x16x16" in text
    assert "89,8" in text
    network.show(result | {"is_cuda": True}, console)
    assert "share of a copy" in console.export_text()


@pytest.mark.slow
def test_the_loop_is_compared_with_its_step():
    result = json.loads(json.dumps(training.measure(training.Plan(1, steps=3, rounds=1))))
    for key in ("bare_seconds", "loop_seconds", "ratio"):
        assert 0 < result[key]["least"] <= result[key]["median"] < math.inf
    console = Console(width=200, record=True)
    training.show(result, console)
    assert "1x31x64x64" in console.export_text()


def test_the_cost_of_the_refinement_is_told_beside_the_network():
    ways = refinement.compare((12, 24, 24), "noniid", rounds=2)
    assert list(ways) == ["RAS2S", refinement.ONCE, refinement.AGAIN]
    assert ways["RAS2S"]["share"] == {"median": 1, "least": 1, "most": 1}
    once, least = ways[refinement.ONCE], ways["RAS2S"]["seconds"]["most"]
    assert once["share"]["most"] >= once["seconds"]["least"] / least > 0


@pytest.mark.methods  # a process for each
def test_methods_are_measured_beside_ras2s(tmp_path, monkeypatch):
    absent = replace(METHODS["mnf"], needs={"no_such_package": "no_such_package"})
    monkeypatch.setitem(METHODS, "mnf", absent)
    plan = methods.Plan(((1, 31, 32, 32),), rounds=1, methods=("ras2s", "mst", "median", "mnf"))
    result = json.loads(json.dumps(methods.measure(plan)))
    assert [row["method"] for row in result["rows"]] == ["ras2s", "mst", "median"]
    ours, *others = result["rows"]
    assert 0.2 < ours["times_ras2s"]["median"] < 5  # the same twice
    assert all(row["seconds"]["median"] > 0 for row in others)
    assert "no_such_package" in result["absent"]["mnf"]
    console = Console(record=True, width=120)
    methods.show(result, console)
    text = console.export_text()
    assert "1 x 31 x 32 x 32" in text
    assert "1,436,049" in text
    methods.draw(result, tmp_path / "methods.png")
    assert (tmp_path / "methods.png").stat().st_size > 5000


def test_the_scene_of_the_methods_is_of_few_spectra_and_noise():
    noisy = methods.noisy_scene((1, 31, 48, 48))[0].flatten(1).double()
    powers = torch.linalg.svdvals(noisy).square() / noisy.shape[1]
    assert powers[4] < 0.02 < powers[0]  # four spectra; then noise of 0.1
    assert powers[-1] == pytest.approx(0.01, rel=0.3)
