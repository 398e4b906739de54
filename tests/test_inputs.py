"""What a user may hand over by mistake, and the one line that says so."""

import subprocess
import sys
import warnings
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import datamodules
import lightning_ras2s
from datamodules import DataNote, IndianPines, add_noise, read_scene, write_scene
from lightning_ras2s import RAS2S, denoise
from lightning_ras2s.methods import find
from lightning_ras2s.networks.checked import check_batch

HOUSE = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def network():
    return RAS2S(channels=2).eval()


@pytest.fixture
def cube():
    return np.random.default_rng(0).random((6, 12, 16), dtype=np.float32)


@pytest.mark.parametrize(
    ("wrong", "error", "said"),
    [
        (np.zeros((1, 3, 4, 5), np.float32), TypeError, r"numpy.ndarray.*torch.from_numpy\(cube\)"),
        (torch.zeros(3, 4, 5), ValueError, r"\[3, 4, 5\]: a single cube needs noisy\[None\]"),
        (torch.zeros(1, 0, 4, 5), ValueError, r"non-empty.*\[1, 0, 4, 5\]"),
        (torch.zeros(1, 3, 4, 5, dtype=torch.uint16), TypeError, r"torch.uint16.*noisy.float\(\)"),
        (torch.zeros(1, 3, 4, 5).double(), TypeError, r"torch.float64.*noisy.to\(torch.float32\)"),
        (torch.zeros(1, 3, 4, 5, device="meta"), ValueError, r"on meta.*noisy.to\('cpu'\)"),
    ],
)
def test_a_network_says_what_it_cannot_take(network, wrong, error, said):
    with pytest.raises(error, match=said) as told:
        network(wrong)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("key", ["ras2s", "hsdt_s", "grnet"])
def test_every_network_tells_of_a_value_that_is_not_finite(key):
    network = find(key).build().eval()
    noisy = torch.rand(1, 31, 8, 8)
    noisy[0, 3, 4, 5] = torch.nan
    with pytest.raises(ValueError, match=r"^1 of 1984 values.*first at \[0, 3, 4, 5\]"):
        network(noisy)
    noisy[0, 3, 4, 5] = torch.inf
    with pytest.raises(ValueError, match="not finite"), torch.inference_mode():
        network(noisy)


def test_a_step_of_training_is_not_ended_by_such_a_value():
    noisy = torch.full((1, 3, 8, 8), torch.nan)
    with pytest.warns(UserWarning, match="192 of 192 values of noisy are not finite"):
        assert RAS2S(channels=2)(noisy).isnan().all()  # skipped and counted by the module


@pytest.mark.parametrize("training", [False, True])
def test_a_network_tells_of_another_range(network, training):
    network = deepcopy(network).train(training)
    counts = 4095 * torch.rand(1, 3, 8, 8)
    with pytest.warns(UserWarning, match=r"noisy goes from .* to 40\d\d.* about \[0, 1\]") as told:
        network(counts)
    assert [note.filename for note in told] == [__file__]  # the line that called it


@pytest.mark.parametrize("shape", [(1, 64, 64, 31), (1, 145, 145, 200), (2, 610, 340, 103)])
def test_a_network_tells_of_rows_in_the_place_of_bands(shape):
    with pytest.warns(UserWarning, match=r"last axis holds the bands: .*permute\(0, 3, 1"):
        check_batch(nn.Identity().eval(), torch.zeros(shape))


@pytest.mark.parametrize(
    "shape", [(1, 31, 64, 64), (1, 200, 145, 32), (1, 16, 16, 16), (1, 580, 12, 12), (1, 1, 1, 1)]
)
def test_a_network_is_silent_about_what_is_right(shape):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_batch(nn.Identity().eval(), 3 * torch.rand(shape) - 1)


def test_a_network_of_fixed_bands_tells_where_they_may_be():
    hsdt = find("hsdt_s").build()
    with pytest.raises(ValueError, match=r"31 bands and got 8; its last axis holds as many"):
        hsdt(torch.zeros(1, 8, 9, 31))
    with pytest.raises(ValueError, match=r"31 bands and got 8; build it with bands=8"):
        hsdt(torch.zeros(1, 8, 9, 10))


def test_looking_at_the_values_is_left_to_those_that_have_them(network):
    def run(noisy):
        return network(noisy)

    batch = torch.rand(2, 1, 2, 6, 6)
    each = torch.stack([network(noisy) for noisy in batch])
    torch.testing.assert_close(torch.func.vmap(run)(batch), each, atol=1e-5, rtol=1e-4)
    with torch._subclasses.FakeTensorMode(allow_non_fake_inputs=True) as mode:
        assert network(mode.from_tensor(batch[0])).shape == batch[0].shape


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        (lambda cube: cube.tolist(), TypeError, "got list"),
        (lambda cube: cube[0], ValueError, r"\[B, H, W\] or \[N, B, H, W\].*\[12, 16\]"),
        (lambda cube: (255 * cube).astype(np.uint8), TypeError, "uint8.*scale it first"),
        (
            lambda cube: 4095 * cube,
            ValueError,
            r"goes from .* is made for \[0, 1\]: take",
        ),
    ],
)
@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
def test_noise_is_for_clean_cubes(cube, change, error, said, kind):
    wrong = change(cube)
    wrong = kind(wrong) if isinstance(wrong, np.ndarray) else wrong
    with pytest.raises(error, match=said) as told:
        add_noise(wrong, "noniid", 0)
    assert "\n" not in str(told.value)


def test_the_remedy_for_another_range_is_one(cube):
    counts = 4095 * cube + 50
    with pytest.raises(ValueError, match="take ") as told:
        add_noise(counts, "noniid", 0)
    scaled = eval(str(told.value).split("take ")[1], {"clean": counts})
    assert abs(scaled.min()) < 1e-4
    assert abs(scaled.max() - 1) < 1e-4


def test_noise_tells_of_values_that_are_not_finite(cube):
    cube[2, 3, 4] = np.nan
    with pytest.warns(DataNote, match="^1 of 1152 values of clean are not finite"):
        noisy = add_noise(cube, "mixture", 0)
    assert np.argwhere(np.isnan(noisy)).tolist() == [[2, 3, 4]]


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
@pytest.mark.parametrize("shape", [(12, 16, 6), (16, 16, 31)])
def test_noise_and_denoise_tell_of_bands_in_the_last_axis(shape, kind):
    wrong = kind(np.random.default_rng(0).random(shape, dtype=np.float32))
    for name, call in (
        ("clean", lambda: add_noise(wrong, "noniid", 0)),
        ("cube", lambda: denoise(wrong, "median")),
    ):
        with pytest.warns(DataNote, match=f"^{name} .* last axis holds the bands: {name}.") as told:
            call()
        assert told[0].filename == __file__
        remedy = str(told[0].message).split("bands: ")[1]
        assert eval(remedy, {name: wrong}).shape == (shape[2], *shape[:2])


def test_a_scene_whose_axes_are_known_is_not_doubted(tmp_path, recwarn):
    write_scene(IndianPines().scenes("test")[0], tmp_path / "block.hdr")  # 200 x 145 x 32
    recwarn.clear()
    denoise(read_scene(tmp_path / "block.hdr"), "median")
    assert not [note for note in recwarn if "last axis" in str(note.message)]


def test_denoise_takes_what_it_can_and_refuses_the_rest(cube):
    counts = (4095 * cube).astype(np.uint16)
    for fine in (cube, cube.astype(np.float64), counts, torch.from_numpy(cube)):
        made = denoise(fine, "median")
        assert made.dtype == fine.dtype
    cube[2, 3, 4] = np.nan
    assert np.argwhere(np.isnan(denoise(cube, "ras2s"))).tolist() == [[2, 3, 4]]
    with pytest.raises(ValueError, match=r"\(1, 6, 12, 16\): denoise each cube\[i\] of a batch"):
        denoise(cube[None])
    with pytest.raises(ValueError, match="not a list"):
        denoise(cube.tolist())


def test_import_costs_torch_and_nothing_else():
    """Counted, as seconds differ: what is imported beside torch is ours or Python's."""
    code = """
import sys, torch
before = set(sys.modules)
import lightning_ras2s
print(*sorted(set(sys.modules) - before))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=HOUSE, capture_output=True, text=True, check=True
    )
    new = done.stdout.split()
    foreign = {name.partition(".")[0] for name in new} - set(sys.stdlib_module_names)
    assert foreign - {"torch"} == {"lightning_ras2s"}
    assert len(new) < 60


def test_dir_shows_what_there_is():
    assert {"RAS2S", "HSIDenoiser", "denoise", "load_network"} <= set(dir(lightning_ras2s))
    assert {"add_noise", "read_scene", "write_scene", "Folder"} <= set(dir(datamodules))
    for package in (lightning_ras2s, datamodules):
        assert all(hasattr(package, name) for name in dir(package))
        assert (Path(package.__file__).parent / "py.typed").exists()


def test_no_module_needs_fcntl(tmp_path):
    code = """
import sys
sys.modules["fcntl"] = None
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
import datamodules, lightning_ras2s
for package in (datamodules, lightning_ras2s):
    for module in walk_packages(package.__path__, package.__name__ + "."):
        if not module.name.endswith("__main__"):
            import_module(module.name)
from datamodules.prepare import _alone
with _alone(Path(sys.argv[1])):
    print("held")
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=HOUSE, capture_output=True, text=True
    )
    assert done.stdout == "held\n", done.stderr
