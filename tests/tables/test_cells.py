"""The cache: what a cell was computed of tells it apart, and two machines' caches merge."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from lightning_ras2s.methods import METHODS, find
from lightning_ras2s.tables import source
from lightning_ras2s.tables.cells import Cache, code_version, hash_of
from lightning_ras2s.tables.source import code_of, files_of
from tests.tables.toy import cell

SHOWN = {"crop": np.eye(3, dtype=np.float16), "spectrum": np.arange(4, dtype=np.float16)}


def test_a_cell_comes_back_under_todays_names(tmp_path):
    cache = Cache(tmp_path)
    kept = cell(psnr=31.25, gflops=1.5, parameters=7)
    cache.keep(kept, SHOWN)
    assert cache.find(kept) == kept
    renamed = replace(kept, dataset="another", scene="b", metrics={}, seconds=0.0)
    assert cache.find(renamed) == replace(kept, dataset="another", scene="b")
    assert all(np.array_equal(cache.shown(kept)[name], SHOWN[name]) for name in SHOWN)


@pytest.mark.parametrize("fact", ["method", "weights", "code", "cubes"])
def test_what_was_computed_of_something_else_is_not_found(tmp_path, fact):
    cache = Cache(tmp_path)
    cache.keep(cell(), SHOWN)
    assert cache.find(replace(cell(), **{fact: "other"})) is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 0}', '{"version": 1, "new": 2}'])
def test_a_damaged_file_is_computed_again(tmp_path, text):
    cache = Cache(tmp_path)
    cache.keep(cell(), SHOWN)
    (file,) = tmp_path.rglob("*.json")
    file.write_text(text)
    assert cache.find(cell()) is None
    file.with_suffix(".npz").write_bytes(b"PK\3\4")
    assert cache.shown(cell()) is None


def test_caches_merge_and_nothing_is_overwritten(tmp_path):
    here, there = Cache(tmp_path / "here"), Cache(tmp_path / "there")
    both, only_there = cell(scene="both"), cell(scene="there")
    here.keep(both, SHOWN)
    there.keep(replace(both, seconds=99.0), SHOWN)
    there.keep(only_there, SHOWN)
    there.keep_clean(only_there, SHOWN)
    assert here.merge(tmp_path / "there") == 1
    assert here.find(both).seconds == both.seconds
    assert here.find(only_there) == only_there
    assert here.shown(only_there) is not None
    assert here.shown_clean(only_there) is not None
    assert here.merge(tmp_path / "there") == 0


def test_a_hash_is_of_numbers_and_shapes():
    x = torch.arange(6.0)
    assert hash_of(x) == hash_of(x.clone())
    assert hash_of(x) != hash_of(x.view(2, 3)) != hash_of(x.view(2, 3).double())
    y = x.clone()
    y[3] = torch.nextafter(y[3], torch.tensor(9.0))
    assert hash_of(x) != hash_of(y)


def test_the_code_of_a_method_is_all_that_it_imports_and_no_other_method():
    names = {path.name for path in files_of(["lightning_ras2s.networks.ras2s"])}
    assert {"network.py", "ssra.py", "scan.py", "kernels.cpp"} <= names
    names = {path.name for path in files_of(["lightning_ras2s.classical.ngmeet"])}
    assert names == {"ngmeet.py", "similar.py", "noise_level.py"}
    versions = {key: code_version(method) for key, method in METHODS.items()}
    sources = {method.source for method in METHODS.values()}  # sizes of one class share theirs
    assert len(set(versions.values())) == len(sources)
    assert code_version(find("median+s")) != versions["median"]


def test_a_changed_line_is_another_version(tmp_path, monkeypatch):
    package = tmp_path / "toy_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "one.py").write_text("import json\nfrom toy_package import two\n")
    (package / "two.py").write_text("X = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(source, "OURS", ("toy_package",))
    before = code_of(["toy_package.one"])
    assert code_of(["toy_package.one"]) == before
    (package / "two.py").write_text("X = 2\n")
    assert code_of(["toy_package.one"]) != before


def test_a_file_says_what_it_is(tmp_path):
    Cache(tmp_path).keep(cell(psnr=31.25), SHOWN)
    (file,) = tmp_path.rglob("*.json")
    content = json.loads(file.read_text())
    assert file.parent.name == "ras2s"
    assert content["metrics"]["psnr_db"] == 31.25
    assert (content["dataset"], content["noise_case"], content["seed"]) == ("kaist", "noniid", 1)
