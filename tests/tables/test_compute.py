"""Cells are computed once, whatever happens between; what cannot be is blank, with its reason."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from datamodules import add_noise, read_scene
from lightning_ras2s import denoise
from lightning_ras2s.classical import median
from lightning_ras2s.memory import PeakMemory
from lightning_ras2s.methods import METHODS, find
from lightning_ras2s.metrics import mpsnr
from lightning_ras2s.tables import compute as module
from lightning_ras2s.tables.cells import Cache
from lightning_ras2s.tables.compute import Loaded, Plan, Progress, compute
from lightning_ras2s.tables.measure import View
from lightning_ras2s.tables.summary import summarize
from lightning_ras2s.tables.test_sets import check_dataset, scenes_of
from tests.tables.toy import cell, put_scenes

torch.set_num_threads(1)


def plan_of(dataset, *methods, cases=("noniid",), seeds=(1,)):
    return Plan([find(name) for name in methods], [dataset], cases, seeds)


@pytest.fixture
def dataset(tmp_path):
    return put_scenes(tmp_path / "scenes")


def figures(tables):
    return {(c.method, c.noise_case, c.scene, c.seed): c.metrics for c in tables.cells}


def test_the_figures_are_those_of_the_method_on_the_noise_of_the_seed(dataset, tmp_path):
    made = compute(plan_of(dataset, "identity", "median", "median+s"), Cache(tmp_path / "cache"))
    assert made.computed == len(made.cells) == 6
    item = scenes_of(dataset, ["noniid"], 1)[1]
    assert item["name"] == "beta"
    for key in ("identity", "median", "median+s"):
        expected = mpsnr(denoise(item["noisy"], key, scale=None)[None], item["clean"][None]).item()
        found = figures(made)[key, "noniid", "beta", 1]["psnr_db"]
        assert found == pytest.approx(expected, abs=1e-4)
    assert all(c.seconds >= 0 and c.threads == 1 and c.device for c in made.cells)


def test_every_method_sees_the_same_bits(dataset, tmp_path, monkeypatch):
    seen = []
    true = module.denoise
    monkeypatch.setattr(
        module, "denoise", lambda item, of: (seen.append(item["noisy"].clone()), true(item, of))[1]
    )
    compute(plan_of(dataset, "identity", "median", "mnf"), Cache(tmp_path / "cache"))
    assert len(seen) == 6
    for three in (seen[:3], seen[3:]):
        assert all(torch.equal(noisy, three[0]) for noisy in three)
    clean = torch.from_numpy(read_scene(tmp_path / "scenes" / "alpha.npy").cube)
    assert not torch.equal(seen[0], clean)


def test_killed_and_begun_again_nothing_is_computed_twice(dataset, tmp_path, monkeypatch):
    plan = plan_of(dataset, "identity", "median", "median+s", cases=("noniid", "stripe"))
    whole = compute(plan, Cache(tmp_path / "whole"))
    calls = []
    true = module.denoise
    monkeypatch.setattr(module, "denoise", lambda *a: (calls.append(1), true(*a))[1])

    def kill(cell, done, *_):
        if done == 5:
            raise KeyboardInterrupt

    cache = Cache(tmp_path / "cache")
    with pytest.raises(KeyboardInterrupt):
        compute(plan, cache, kill)
    again = compute(plan, cache)
    assert len(calls) == 2 * 2 * 2  # methods without +S, cases, scenes
    assert again.computed < len(again.cells) == 12
    assert figures(again) == figures(whole)
    third = compute(plan, cache)
    assert third.computed == 0
    assert third.cells == again.cells
    assert len(calls) == 8


def test_more_of_a_plan_computes_only_what_is_new(dataset, tmp_path):
    cache = Cache(tmp_path / "cache")
    assert compute(plan_of(dataset, "median"), cache).computed == 2
    assert compute(plan_of(dataset, "median", "identity"), cache).computed == 2
    assert compute(plan_of(dataset, "median", "identity", seeds=(1, 2)), cache).computed == 4
    moved = put_scenes(tmp_path / "elsewhere" / "scenes")
    assert compute(plan_of(moved, "median", "identity"), cache).computed == 0


def test_what_fails_or_is_not_finite_is_blank_and_the_others_go_on(dataset, tmp_path, monkeypatch):
    def broken(noisy):
        raise RuntimeError("no convergence\nat all")

    monkeypatch.setattr(median, "median_filter", broken)
    plan = plan_of(dataset, "median", "median+s", "identity")
    monkeypatch.setattr(module, "warm_up", lambda *_: None)
    made = compute(plan, Cache(tmp_path / "cache"))
    assert {c.method for c in made.cells} == {"identity"}
    why = made.blank["median+s", dataset]
    assert why.endswith(": no convergence")
    assert "beta (noniid)" in why
    monkeypatch.setattr(median, "median_filter", lambda noisy: noisy * math.nan)
    made = compute(plan, Cache(tmp_path / "cache"))
    assert made.blank["median", dataset].endswith("its result is not finite")


def test_what_is_not_there_is_told(tmp_path):
    plan = Plan([find("identity")], [f"scenes:{tmp_path}/none", "icvl"], ["noniid"], [1])
    made = compute(plan, Cache(tmp_path / "cache"))
    assert made.cells == []
    assert "no such folder" in made.absent[f"scenes:{tmp_path}/none"]
    assert "not prepared" in made.absent["icvl"]


def test_weights_that_are_not_there_leave_a_method_blank(dataset, tmp_path):
    plan = plan_of(dataset, "identity", "ras2s", "ras2s+s")
    missing = {"ras2s": tmp_path / "none.ckpt"}
    made = compute(Plan(**vars(plan) | {"weights": missing}), Cache(tmp_path / "cache"))
    assert {c.method for c in made.cells} == {"identity"}
    assert set(made.blank) == {("ras2s", ""), ("ras2s+s", "")}
    assert "none.ckpt" in made.blank["ras2s", ""]


def test_a_method_of_more_bands_than_a_scene_has_says_so(dataset, tmp_path, monkeypatch):
    monkeypatch.setitem(METHODS, "median", replace(METHODS["median"], bands=10))
    plan = plan_of(dataset, "identity", "median+s")
    made = compute(plan, Cache(tmp_path / "cache"))
    told = "takes 10 bands; beta has 8, mirrored up to them"
    assert made.told == {("median+s", dataset): told}
    (table,) = summarize(plan, made)
    assert [row.note for row in table.rows] == ["", told]
    assert table.rows[1].entries["noniid"].means["psnr_db"] > 10
    assert compute(plan, Cache(tmp_path / "cache")).told == made.told  # also where it is kept


def test_a_network_is_known_by_its_weights_and_counted():
    loaded = Loaded(find("ras2s"), None, torch.device("cpu"))
    assert loaded.parameters == 84_105
    assert len(loaded.identity) == 20
    # The count grows by bands and by pixels: no part of the network is of a fixed size.
    one, more = loaded.gflops((4, 16, 16)), loaded.gflops((8, 32, 32))
    assert more / one == pytest.approx(8, rel=0.05)
    assert Loaded(find("median"), None, torch.device("cpu")).gflops((4, 16, 16)) is None


def test_the_time_left_follows_from_the_methods_that_wait():
    slow, fast = find("lrtdtv"), find("median")
    progress = Progress([slow, fast], [("toy", 1, [None] * 3)])
    assert progress.total == 6
    progress.add(slow, cell("lrtdtv", seconds=1000.0))
    assert progress.left() is None  # nobody knows the other
    progress.add(fast, cell("median", seconds=10.0))
    assert progress.left() == pytest.approx(2 * 1010, rel=0.01)
    progress.skip(2)
    assert progress.left() == pytest.approx(1010, rel=0.01)
    both = Progress([slow, find("lrtdtv+s")], [("toy", 1, [None] * 2)])
    plain = cell("lrtdtv", seconds=1000.0)
    both.add(slow, plain)
    both.add(find("lrtdtv+s"), cell("lrtdtv+s", seconds=1001.0), plain)  # of both steps
    assert both.left() == pytest.approx(1001, rel=0.01)


def test_the_view_is_of_a_noisy_band_that_shows_something():
    clean = torch.zeros(6, 20, 120)
    clean[4] = torch.linspace(0, 1, 120)
    clean[1] = 2 * clean[4]
    noisy = clean.clone()
    noisy[3:] += 1
    view = View.of({"clean": clean, "noisy": noisy})
    assert view.band == 4
    shown = view(clean)
    np.testing.assert_allclose(shown["crop"], clean[4, :, 12:108].numpy(), atol=1e-3)
    np.testing.assert_allclose(shown["spectrum"], clean[:, 10, 60].numpy(), atol=1e-3)


def test_memory_is_what_was_taken_at_most():
    memory = PeakMemory(torch.device("cpu"))
    if memory.before is None:
        pytest.skip("the system does not tell")
    held = np.ones(40_000_000)
    del held
    assert 300e6 < memory.taken() < 400e6


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("icvll", "there are indian_pines, cave"),
        ("scenes:", "unknown dataset"),
        ("icvl:ours", "icvl has no protocol 'ours'; it has ras2s, mp_hsir, t3sc"),
        ("kaist:t3sc", "it has only one"),
    ],
)
def test_unknown_datasets_and_protocols_are_told(name, said):
    with pytest.raises(ValueError, match=said):
        check_dataset(name)


def test_a_dataset_is_as_its_data_module_tests_it():
    for name in ("indian_pines", "indian_pines:as_published", "wdc_mall:t3sc"):
        check_dataset(name)
    items = scenes_of("indian_pines", ["stripe"], 2018)
    item = items[0]
    assert item["clean"].shape == (200, 145, 32)
    published = scenes_of("indian_pines:as_published", ["stripe"], 2018)[0]
    assert not torch.equal(published["clean"], item["clean"])
    other = scenes_of("indian_pines", ["stripe"], 2019)[0]
    assert torch.equal(other["clean"], item["clean"])
    assert not torch.equal(other["noisy"], item["noisy"])
    assert add_noise(item["clean"], "stripe", 0).shape == other["noisy"].shape


def test_files_that_are_no_cubes_are_told_and_two_of_one_name_refused(tmp_path):
    dataset = put_scenes(tmp_path / "scenes")
    (tmp_path / "scenes" / "map.npy").write_bytes(b"")
    np.save(tmp_path / "scenes" / "map.npy", np.zeros((5, 5)))
    with pytest.warns(UserWarning, match="map.npy: no scene"):
        assert [item.scene for item in scenes_of(dataset, ["noniid"]).items] == ["alpha", "beta"]
    np.savez(tmp_path / "scenes" / "alpha.npz", cube=np.random.rand(4, 5, 6))
    with pytest.raises(ValueError, match="two files for one scene"):
        scenes_of(dataset, ["noniid"])
