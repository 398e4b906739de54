"""KAIST: from the publisher's EXR, or RAS2S's .mat, to four noisy tiles."""

from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch

from datamodules import KAIST, DataError
from datamodules.noise import corrupt
from datamodules.prepare import prepare
from datamodules.random_streams import derive_seed
from tests.miniatures import kaist

pytest.importorskip("OpenEXR", reason="the extra [exr] is not installed")
pytestmark = pytest.mark.filterwarnings("ignore:.*split are prepared; figures")
SCENE, OTHER = kaist.SCENES


@pytest.fixture
def raw(tmp_path, monkeypatch):
    monkeypatch.setenv("DATA_ROOT", str(tmp_path))
    return KAIST.collection.raw_folder


def prepare_all():
    """Scenes that are ready, and why the others that have a file are not."""
    outcome = prepare(KAIST.collection, offline=True, any_size=True)
    assert not outcome.notes
    told = {p.scene: p.message for p in outcome.problems if "no file of this name" not in p.message}
    return outcome.ready, told


def write_mat(path, cube):
    """As MATLAB writes [H, W, B] in v7.3: HDF5 has the axes reversed."""
    with h5py.File(path, "w") as file:
        file["data"] = cube.transpose(1, 2, 0).T
        file["rgb"] = np.zeros((3, *cube.shape[1:][::-1]))
        for variable in file.values():
            variable.attrs["MATLAB_class"] = np.bytes_("double")


def check(cube, scene):
    """The prepared scene is the cube by its own range, to half a step of 16 bits."""
    span = np.ptp(cube)
    assert scene.scene_range == (cube.min(), cube.max())
    np.testing.assert_allclose(scene.load().cube, (cube - cube.min()) / span, atol=0.6 / 65535)


def test_pixels_are_where_the_exr_has_them_from_below_0_to_above_1(raw):
    import OpenEXR

    cubes = kaist.write(raw)
    assert prepare_all() == ([SCENE, OTHER], {})
    scenes = KAIST().scenes("test")
    assert [scene.name for scene in scenes] == [SCENE, OTHER]
    for scene in scenes:
        check(cubes[scene.name], scene)
        assert scene.kept_range[0] < 0
        assert scene.kept_range[1] > 1.5
        assert scene.wavelengths.tolist() == list(range(420, 721, 10))
    with OpenEXR.File(str(raw / f"{SCENE}.exr"), separate_channels=True) as file:
        value = file.channels()["w450nm"].pixels[90, 3]
    assert value == cubes[SCENE][3, 90, 3] != cubes[SCENE][27, 90, 3]


def test_tiles_are_cut_from_the_noisy_scene(raw):
    kaist.write(raw)
    prepare_all()
    module = KAIST(test_noise=["mixture"], evaluation_seed=3)
    module.setup("test")
    clean = torch.from_numpy(module.scenes("test")[0].load().cube)
    seed = torch.tensor([derive_seed(3, "kaist", SCENE, "mixture")])
    noisy = corrupt(clean[None], ["mixture"], seed)[0]
    top, bottom, left, right = slice(48), slice(48, 96), slice(40), slice(40, 80)
    expected = {"NW": (top, left), "NE": (top, right), "SW": (bottom, left), "SE": (bottom, right)}
    items = [module.test_set[index] for index in range(4)]
    assert [item["name"] for item in items] == [SCENE + suffix for suffix in expected]
    assert len(module.test_set) == 8
    for item, (rows, columns) in zip(items, expected.values(), strict=True):
        assert torch.equal(item["clean"], clean[:, rows, columns])
        assert torch.equal(item["noisy"], noisy[:, rows, columns])
    (batch, *_) = module.test_dataloader()
    assert batch["noisy"].shape == (1, 31, 48, 40)


def test_the_centre_of_2048_pixels_is_kept():
    (excerpt,) = set(KAIST.collection.scenes.values())
    rows, columns = excerpt.box(2704, 3376)
    assert (rows, columns) == (slice(328, 2376), slice(664, 2712))
    assert len(KAIST.collection.scenes) == 30


@pytest.mark.parametrize(("stage", "split"), [("fit", "train"), ("validate", "val")])
def test_there_is_nothing_to_train_or_validate_on(stage, split):
    with pytest.raises(DataError, match=f"kaist: the {split} split is empty; .*make evaluate"):
        KAIST().setup(stage)


def test_a_mat_file_reads_as_the_exr(raw):
    cube = kaist.write(raw)[SCENE]
    (raw / f"{SCENE}.exr").unlink()
    write_mat(raw / f"{SCENE}.mat", cube)
    assert prepare_all() == ([SCENE, OTHER], {})
    (scene, _) = KAIST().scenes("test")
    check(cube, scene)
    assert scene.wavelengths.tolist() == list(range(420, 721, 10))


def test_a_transposed_mat_file_is_refused(raw):
    cube = kaist.write(raw)[SCENE]
    (raw / f"{SCENE}.exr").unlink()
    write_mat(raw / f"{SCENE}.mat", cube.transpose(0, 2, 1))
    outcome = prepare(replace(KAIST.collection, shape=cube.shape), offline=True)
    assert outcome.ready == [OTHER]
    assert "expected 31 x 96 x 80" in outcome.problems[0].message
    assert "found 31 x 80 x 96" in outcome.problems[0].message


def test_scenes_of_another_size_are_refused_unless_asked_for(raw):
    kaist.write(raw)
    outcome = prepare(KAIST.collection, offline=True)
    assert not outcome.ready
    assert "expected 31 x 2704 x 3376" in outcome.problems[0].message
    assert "ARGS=--any-size" in outcome.problems[0].message


def test_exr_files_without_bands_or_cut_off_are_told(raw):
    cubes = kaist.write(raw)
    kaist.write_exr(raw / f"{SCENE}.exr", dict.fromkeys("RGB", cubes[SCENE][0]))
    whole = (raw / f"{OTHER}.exr").read_bytes()
    (raw / f"{OTHER}.exr").write_bytes(whole[: len(whole) // 2])
    ready, problems = prepare_all()
    assert not ready
    assert "no channel is named like w420nm; it holds B, G, R" in problems[SCENE]
    assert f"{OTHER}.exr: cannot be read as OpenEXR" in problems[OTHER]


def test_an_exr_file_without_one_band_is_told(raw):
    cubes = kaist.write(raw)
    bands = {f"w{420 + 10 * i}nm": band for i, band in enumerate(cubes[SCENE])}
    del bands["w500nm"]
    kaist.write_exr(raw / f"{SCENE}.exr", bands)
    ready, problems = prepare_all()
    assert ready == [OTHER]
    assert "found 30 x 96 x 80" in problems[SCENE]
