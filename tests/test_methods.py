"""METHODS: what the registry promises, of every method in it."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from lightning_ras2s import RAS2S, denoise, load_network
from lightning_ras2s.methods import METHODS, find, main, method_of, select
from lightning_ras2s.weights import NETWORK, facts_of

torch.set_num_threads(1)

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
ALL = list(METHODS)
NETWORKS = [key for key, method in METHODS.items() if method.kind == "network"]


def cube(*shape, seed=0):
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


@pytest.mark.parametrize("key", ALL)
def test_a_descriptor_is_complete(key):
    method = METHODS[key]
    assert method.key == key == key.lower().replace("-", "_").replace(" ", "_")
    assert method.label
    assert method.summary
    assert bool(method.paper) == (method.year is not None)
    assert method.kind in ("network", "model-based")
    assert not method.refined
    if method.recipe:
        recipe = yaml.safe_load((EXPERIMENTS / f"{method.recipe}.yaml").read_text())
        named = recipe.get("model", {}).get("network", {"class_path": "lightning_ras2s.RAS2S"})
        assert named["class_path"].rpartition(".")[2] == method.source.rpartition(":")[2]
        assert method.arguments.items() <= named.get("init_args", {}).items()


@pytest.mark.parametrize("key", NETWORKS)
def test_a_network_has_its_weights_its_name_and_a_training_step_as_promised(key, tmp_path):
    method = METHODS[key]
    torch.manual_seed(0)
    network = method.build()
    assert sum(p.numel() for p in network.parameters()) == method.parameters
    assert method_of(network) == method
    noisy = torch.rand(1, method.bands or 5, 16, 16)
    network(noisy).sum().backward()
    used = {name for name, p in network.named_parameters() if p.grad is not None}
    if method.static_graph:
        for _ in range(3):  # the same weights take part in each step
            network.zero_grad()
            network(noisy).sum().backward()
            assert used == {n for n, p in network.named_parameters() if p.grad is not None}
    path = tmp_path / "bare.pth"
    facts = {} if method.marks else {"state_dict": network.state_dict(), NETWORK: facts_of(network)}
    torch.save(facts or network.state_dict(), path)
    again = load_network(path)
    assert method_of(again).key == key
    assert facts_of(network)["arguments"] is not None
    with torch.no_grad():
        assert torch.equal(again(noisy), network.eval()(noisy))


@pytest.mark.parametrize("name", [name for key in ALL for name in (key, f"{key}+s")])
def test_a_cube_in_is_a_cube_out(name):
    method = find(name)
    if method.missing:
        pytest.skip(f"{' and '.join(method.missing)} not installed")
    weights = None
    if method.kind == "network" and not method.weights:
        pytest.skip("no weights come with the package")
    for shape in ((9, 16, 16), (1, 16, 16), (4, 9, 11), (3, 1, 2)):
        noisy = cube(*shape)
        noisy[0, 0, 0] = np.nan
        denoised = denoise(noisy, name, weights)
        assert denoised.shape == shape
        assert denoised.dtype == np.float32
        assert np.isnan(denoised[0, 0, 0])
        assert np.isfinite(denoised).sum() == denoised.size - 1
    once, twice = (denoise(cube(9, 16, 16), name, weights) for _ in range(2))
    assert np.array_equal(once, twice)


def test_listing_them_imports_none_of_them():
    code = (
        "import sys; from lightning_ras2s.methods import METHODS; "
        "print([m.source for m in METHODS.values() "
        "if m.source.partition(':')[0] in sys.modules and 'networks' not in m.source])"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert printed.stdout.strip() == "[]", printed.stderr


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("RAS2S", "ras2s"),
        ("ras2s+s", "ras2s+s"),
        ("RAS2S+S", "ras2s+s"),
        (" Ras2s +S ", "ras2s+s"),
        ("ras2s-+s", "ras2s+s"),
        ("MEDIAN+s", "median+s"),
    ],
)
def test_names_are_read_as_people_write_them(name, key):
    method = find(name)
    assert method.key == key
    assert method.refined == key.endswith("+s")
    assert method.label == METHODS[method.base].label + ("+S" if method.refined else "")


def test_blanks_and_hyphens_are_underscores(monkeypatch):
    monkeypatch.setitem(METHODS, "hsdt_s", METHODS["ras2s"])
    for name in ("hsdt_s", "HSDT-S", "hsdt s", "Hsdt - s"):
        assert find(name) is METHODS["ras2s"]


@pytest.mark.parametrize(
    ("name", "message"),
    [("ras2", "unknown method 'ras2'; did you mean ras2s"), ("zzz", "there are .*median")],
)
def test_unknown_names_are_refused(name, message):
    with pytest.raises(ValueError, match=message):
        find(name)


def test_groups_hold_what_their_names_say():
    assert {method.kind for method in select(["classical"])} == {"model-based"}
    assert [method.key for method in select(["learned"])] == NETWORKS
    assert [method.key for method in select(["all"])] == ALL
    assert select(["median", "fast"])[0].key == "median"
    keys = [method.key for method in select(["Learned+S", "ras2s", "ras2s+s"])]
    assert keys == [*(f"{key}+s" for key in NETWORKS), "ras2s"]


def test_a_network_of_ones_own_has_its_classs_name():
    class MyNet(RAS2S):
        pass

    method = method_of(MyNet(channels=2))
    assert (method.key, method.label, method.static_graph) == ("mynet", "MyNet", False)


def test_make_methods_lists_them_with_their_groups_and_papers():
    command = [sys.executable, "-m", "lightning_ras2s", "methods"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "Warning" not in printed.stderr
    for key, method in METHODS.items():
        assert f"│ {key} " in printed.stdout
        assert method.paper in printed.stdout
    assert f"all: {', '.join(METHODS)}" in printed.stdout


def test_a_method_whose_package_is_missing_says_how_to_have_it(monkeypatch, capsys):
    absent = replace(METHODS["mnf"], needs={"json": "json", "no_such_package": "Not-There"})
    monkeypatch.setitem(METHODS, "mnf", absent)
    with pytest.raises(ValueError, match=r"MNF.S needs Not-There: pip install Not-There$"):
        denoise(cube(3, 8, 8), "mnf+s")
    main([])
    assert "MNF needs Not-There: pip install Not-There\n" in capsys.readouterr().out
