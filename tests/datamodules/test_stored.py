"""Prepared scenes: what 16 bits keep, which pixels come, and what a stopped run leaves."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from datamodules import stored
from datamodules.scene import DataError, Scene
from datamodules.source import Source
from datamodules.stored import Excerpt, StoredScene, open_scene, store_scene

SOURCE = Source("a.mat", 1, 2, "3")
EVERYTHING = (slice(None), slice(None), slice(None))
LEVELS = Excerpt(rows=16, columns=12, scales=(1.0, 0.5, 0.25))


class Killed(BaseException):
    pass


@pytest.fixture
def keep(tmp_path):
    """Stores a cube and opens its levels."""

    def keep(cube, excerpt=Excerpt(), wavelengths=None, name="a"):  # noqa: B008
        folder = tmp_path / name
        store_scene(folder, name, np.asarray(cube, np.float32), wavelengths, excerpt, SOURCE)
        return open_scene(folder)

    return keep


def counts(*shape, low=0, high=4096, seed=0):
    return np.random.default_rng(seed).integers(low, high, shape).astype(np.float32)


def floats(*shape, seed=0):
    """A smooth scene that is no whole number anywhere, as a radiance is."""
    values = ndimage.gaussian_filter(np.random.default_rng(seed).random(shape), (1, 2, 2))
    return (0.37 + 11.3 * values).astype(np.float32)


def values_of(scene):
    """The publisher's values, as they can be had from what is stored."""
    return scene.scaled(0.0, 1.0).read(EVERYTHING)


def known(bands, height, width):
    """Every value tells its band, row and column."""
    return (
        4096 * np.arange(bands)[:, None, None]
        + 64 * np.arange(height)[:, None]
        + (np.arange(width))
    )


# Values


@pytest.mark.parametrize(("low", "high"), [(0, 4096), (-32768, 32768), (1_000_000, 1_065_536)])
def test_whole_numbers_that_span_16_bits_are_kept_exactly(keep, low, high):
    cube = counts(3, 7, 5, low=low, high=high)
    cube[0, 0, :2] = low, high - 1
    (scene,) = keep(cube)
    assert scene.gain == 1
    assert np.array_equal(values_of(scene), cube)


@pytest.mark.parametrize(
    "cube",
    [
        floats(4, 9, 8),
        counts(3, 7, 5, low=0, high=1_000_000),
        np.array([[[0, 1, 40_000, 65_536]]], np.float32),
        np.float32(1e-9) * counts(3, 7, 5),
        counts(3, 7, 5) - np.float32(0.5),
    ],
    ids=["floats", "too many counts", "one too many", "tiny", "half counts"],
)
def test_other_numbers_are_off_by_half_a_step_at_most(keep, cube):
    (scene,) = keep(cube)
    step = (float(cube.max()) - float(cube.min())) / 65535
    assert scene.gain == pytest.approx(step)
    stored_counts = np.load(scene.path).transpose(2, 0, 1)
    restored = scene.offset + scene.gain * stored_counts.astype(np.float64)
    assert np.abs(restored - cube).max() <= step * (0.5 + 1e-6)
    rounding = np.spacing(np.abs(cube).max())
    assert np.abs(values_of(scene) - cube).max() <= step / 2 + 2 * rounding
    assert {stored_counts.min(), stored_counts.max()} == {0, 65535}


@pytest.mark.parametrize("cube", [floats(3, 40, 30), counts(3, 40, 30)], ids=["floats", "counts"])
def test_smaller_scales_are_zooms_of_the_box(keep, cube):
    levels = keep(cube, LEVELS)
    assert [level.level for level in levels] == [0, 1, 2]
    assert [level.shape for level in levels] == [(3, 16, 12), (3, 8, 6), (3, 4, 3)]
    box = cube[:, 12:28, 9:21]
    for level, scale in zip(levels, LEVELS.scales, strict=True):
        expected = np.stack([ndimage.zoom(band, scale, order=3) for band in box])
        span = float(expected.max()) - float(expected.min())
        half = 0.5 * span / 65535 if level.gain != 1 else 0
        rounding = 4 * np.spacing(np.abs(expected).max())
        assert np.abs(values_of(level) - expected).max() <= half + rounding
        assert level.kept_range == (box.min(), box.max())
        assert level.scene_range == (cube.min(), cube.max())


def test_16_bits_lose_nothing_of_12_bit_counts(keep):
    cube = counts(5, 20, 16, low=3, high=4000)
    (scene,) = keep(cube)
    low, high = cube.min(), cube.max()
    expected = (cube - low) / (high - low)
    assert expected.dtype == np.float32
    trained = scene.scaled(*scene.scene_range)
    assert trained.read(EVERYTHING).tobytes() == expected.tobytes()
    assert trained.load().cube.tobytes() == expected.tobytes()
    tested = scene.crop(slice(3, 19), slice(2, 10))
    assert tested.load().cube.tobytes() == Scene.from_raw("a", cube[:, 3:19, 2:10]).cube.tobytes()


@pytest.mark.parametrize("part", [slice(None), slice(10, 22)], ids=["whole", "crop"])
def test_16_bits_lose_nothing_that_matters_of_other_values(keep, part):
    cube = floats(8, 32, 32)
    (scene,) = keep(cube)
    expected = Scene.from_raw("a", cube[:, part, part])
    ours = scene.crop(part, part).load()
    error = np.mean((ours.cube.astype(np.float64) - expected.cube) ** 2)
    assert -10 * math.log10(error) > 90
    assert ours.offset == pytest.approx(expected.offset, abs=scene.gain)
    assert ours.gain == pytest.approx(expected.gain, abs=2 * scene.gain)


# Pixels


def test_a_window_is_what_slicing_the_scene_gives(keep):
    cube = known(4, 30, 25)
    (scene,) = keep(cube)
    scene = scene.scaled(0, 1)
    window = (slice(1, 3), slice(4, 20), slice(7, 18))
    assert scene.read(window).dtype == np.float32
    assert scene.read(window).flags.c_contiguous
    assert np.array_equal(scene.read(window), cube[window])
    box = scene.crop(slice(5, 25), slice(3, 23))
    assert box.shape == (4, 20, 20)
    assert np.array_equal(box.read(window), cube[:, 5:25, 3:23][window])
    inner = box.crop(slice(2, 12), slice(None))
    assert np.array_equal(inner.load().cube, cube[:, 7:17, 3:23])


@pytest.mark.parametrize(("size", "rows", "columns"), [(8, (11, 19), (8, 16)), (26, (2, 28), None)])
def test_the_centre_is_cut_where_there_is_more(keep, size, rows, columns):
    cube = known(2, 30, 25)
    (scene,) = keep(cube)
    expected = cube[:, slice(*rows), slice(*columns) if columns else slice(None)]
    assert np.array_equal(scene.centre(size).scaled(0, 1).load().cube, expected)
    (stored_box,) = keep(cube, Excerpt(size, size), name="b")
    assert np.array_equal(values_of(stored_box), expected)


def test_a_stored_box_has_the_rows_and_columns_that_it_names(keep):
    cube = known(2, 30, 25)
    (scene,) = keep(cube, Excerpt(rows=(4, 9), columns=(0, 25)))
    assert np.array_equal(values_of(scene), cube[:, 4:9])


def test_a_box_beyond_the_scene_is_refused_before_anything_is_written(keep, tmp_path):
    with pytest.raises(DataError, match="has 25 columns, and those from 20 to 26 are needed"):
        keep(known(2, 30, 25), Excerpt(columns=(20, 26)))
    assert not list(tmp_path.iterdir())


def test_a_box_scaled_by_itself_differs_from_one_scaled_by_the_scene(keep):
    cube = counts(3, 30, 25)
    cube[:, 0, :2] = 0, 4095
    cube[:, 5:25, 8:18] = counts(3, 20, 10, low=100, high=2000)
    box = cube[:, 5:25, 8:18]
    (scene,) = keep(cube)
    ours = scene.crop(slice(5, 25), slice(8, 18))
    loaded = ours.load()
    assert (loaded.cube.min(), loaded.cube.max()) == (0, 1)
    assert (loaded.offset, loaded.gain) == (box.min(), box.max() - box.min())
    scaled = ours.scaled(*ours.scene_range).load()
    assert np.array_equal(scaled.cube, box / np.float32(4095))
    assert (scaled.offset, scaled.gain) == (0, 4095)
    with pytest.raises(DataError, match="scene a: is scaled by its own values"):
        ours.read(EVERYTHING)


def test_clipping_cuts_what_lies_beyond_the_bounds(keep):
    cube = counts(2, 6, 5)
    (scene,) = keep(cube)
    window = (slice(0, 1), slice(2, 5), slice(1, 4))
    expected = (cube - 1000) / np.float32(2000)
    assert np.array_equal(scene.scaled(1000, 3000).read(window), expected[window])
    loaded = scene.scaled(1000, 3000).load()
    assert (loaded.offset, loaded.gain) == (1000, 2000)
    clipped = scene.scaled(1000, 3000, clip=True)
    assert np.array_equal(clipped.read(window), expected[window].clip(0, 1))
    assert np.array_equal(clipped.load().cube, expected.clip(0, 1))
    assert {clipped.load().cube.min(), clipped.load().cube.max()} == {0, 1}


def test_a_constant_box_is_told(keep):
    cube = counts(2, 8, 8)
    cube[:, 2:6, 2:6] = 7
    (scene,) = keep(cube)
    with pytest.raises(DataError, match="scene a: every value is 7"):
        scene.centre(4).load()


def test_wavelengths_come_back(keep):
    (scene,) = keep(counts(3, 4, 5), wavelengths=np.array([400.0, 550.5, 700.0]))
    assert scene.load().wavelengths.tolist() == [400, 550.5, 700]
    assert scene.scaled(0, 1).load().wavelengths.tolist() == [400, 550.5, 700]
    (other,) = keep(counts(3, 4, 5), name="b")
    assert other.load().wavelengths is None


def test_patches_are_no_views_of_the_file(keep):
    (scene,) = keep(counts(3, 8, 8))
    patch = scene.scaled(0, 1).read(EVERYTHING)
    before = patch.copy()
    patch += 1
    assert np.array_equal(scene.scaled(0, 1).read(EVERYTHING), before)


# Whole or absent


def names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_scene_is_arrays_of_16_bits_and_a_manifest(keep, tmp_path):
    keep(counts(3, 30, 25), LEVELS)
    files = ["a/scale_0.25.npy", "a/scale_0.5.npy", "a/scale_1.npy", "a/scene.json"]
    assert names(tmp_path) == ["a", *files]
    array = np.load(tmp_path / "a" / "scale_1.npy")
    assert (array.shape, array.dtype) == ((16, 12, 3), np.uint16)
    manifest = json.loads((tmp_path / "a" / "scene.json").read_text())
    assert manifest["source"] == {"path": "a.mat", "size": 1, "mtime_ns": 2, "sha256": "3"}


def test_what_a_kill_leaves_is_no_scene_and_the_next_run_replaces_it(keep, tmp_path, monkeypatch):
    save = np.save

    def save_half(path, array):
        save(path, array[:1])
        raise Killed

    monkeypatch.setattr(np, "save", save_half)
    monkeypatch.setattr(stored.shutil, "rmtree", lambda *args, **kwargs: None)  # a kill tidies not
    with pytest.raises(Killed):
        keep(counts(3, 8, 8))
    assert names(tmp_path) == ["a.part", "a.part/scale_1.npy"]
    with pytest.raises(DataError, match=f"{tmp_path / 'a'}: no prepared scene.*run make data"):
        open_scene(tmp_path / "a")
    monkeypatch.undo()
    (tmp_path / "a.part" / "of_an_older_version.npy").write_bytes(b"")
    (scene,) = keep(counts(3, 8, 8))
    assert np.array_equal(values_of(scene), counts(3, 8, 8))
    assert names(tmp_path) == ["a", "a/scale_1.npy", "a/scene.json"]


def test_an_error_leaves_nothing_and_the_scene_that_was_there(keep, tmp_path, monkeypatch):
    (scene,) = keep(counts(3, 8, 8))
    before = names(tmp_path)
    monkeypatch.setattr(np, "save", lambda *args: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(OSError, match="full"):
        keep(counts(3, 8, 8, seed=1))
    assert names(tmp_path) == before
    assert np.array_equal(values_of(scene), counts(3, 8, 8))


def test_a_kill_while_a_scene_is_replaced_leaves_no_half_of_it(keep, tmp_path, monkeypatch):
    keep(counts(3, 30, 25), LEVELS)
    rmtree = stored.shutil.rmtree

    def remove_one(folder, ignore_errors):
        if folder.name == "a":
            (folder / "scale_0.5.npy").unlink()
            raise Killed
        if folder.name == "a.part" and not (folder / "scene.json").exists():
            rmtree(folder, ignore_errors)

    monkeypatch.setattr(stored.shutil, "rmtree", remove_one)
    with pytest.raises(Killed):
        keep(counts(3, 30, 25, seed=1), LEVELS)
    with pytest.raises(DataError, match="no prepared scene"):
        open_scene(tmp_path / "a")


def test_a_scene_that_is_replaced_is_read_anew(keep):
    for seed in (0, 1):
        (scene,) = keep(counts(3, 8, 8, seed=seed))
        assert np.array_equal(values_of(scene), counts(3, 8, 8, seed=seed))


def test_a_scene_of_another_converter_is_refused(keep, tmp_path, monkeypatch):
    keep(counts(3, 8, 8))
    monkeypatch.setattr(stored, "CONVERTER", stored.CONVERTER + 1)
    with pytest.raises(DataError, match=f"{tmp_path / 'a'}: .* run make data again"):
        open_scene(tmp_path / "a")


@pytest.mark.parametrize(
    "text", [b"", b'{"converter": 1, "na', b"\xff\x00\x00", bytes(100), b"{}", b"[]", b"7"]
)
def test_a_torn_manifest_is_no_scene(keep, tmp_path, text):
    keep(counts(3, 8, 8))
    (tmp_path / "a" / "scene.json").write_bytes(text)
    with pytest.raises(DataError, match=f"{tmp_path / 'a'}: no prepared scene"):
        open_scene(tmp_path / "a")


@pytest.mark.parametrize("size", [0, 5, 60, 200, None])
def test_a_damaged_array_is_named_with_the_remedy(keep, tmp_path, size):
    (scene,) = keep(counts(3, 8, 8))
    whole = scene.path.read_bytes()
    scene.path.unlink()
    if size is not None:
        scene.path.write_bytes(whole[:size])
    for use in (scene.load, lambda: scene.scaled(0, 1).read(EVERYTHING)):
        with pytest.raises(DataError, match=rf"{scene.path}: cannot be read .*run make data again"):
            use()


def test_a_scene_may_be_moved_to_another_process(keep):
    import pickle

    (scene,) = keep(counts(3, 8, 8))
    copy = pickle.loads(pickle.dumps(scene))
    assert isinstance(copy, StoredScene)
    assert copy == replace(scene)
    assert np.array_equal(values_of(copy), counts(3, 8, 8))


def test_a_folder_of_files_is_told_by_all_of_them(tmp_path):
    for name in ("a/1.png", "b/1.png"):
        (tmp_path / "s" / name).parent.mkdir(parents=True)
        (tmp_path / "s" / name).write_bytes(b"1")
    before = Source.of(tmp_path / "s", tmp_path)
    assert (before.path, before.size) == ("s", 2)
    assert before.untouched(tmp_path / "s")
    (tmp_path / "s" / ".DS_Store").write_bytes(b"what a file manager leaves")
    assert before.untouched(tmp_path / "s")
    (tmp_path / "s" / "a" / "1.png").write_bytes(b"2")
    assert not before.untouched(tmp_path / "s")
    assert Source.of(tmp_path / "s", tmp_path).sha256 != before.sha256


@pytest.mark.parametrize(("header", "data"), [("s.hdr", "s.img"), ("s.raw.hdr", "s.raw")])
def test_the_data_of_an_envi_header_count_as_its_own(tmp_path, header, data):
    for name in (header, data, "s2.img"):
        (tmp_path / name).write_bytes(b"1")
    (tmp_path / "s").mkdir()
    before = Source.of(tmp_path / header, tmp_path)
    (tmp_path / "s2.img").write_bytes(b"22")
    assert before.untouched(tmp_path / header)
    (tmp_path / data).write_bytes(b"2")
    assert not before.untouched(tmp_path / header)
    assert Source.of(tmp_path / header, tmp_path).sha256 != before.sha256
