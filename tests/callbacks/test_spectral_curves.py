"""SpectralCurves: which pixels, and that what is shown is what the tensors hold."""

import itertools
import pickle
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

from lightning_ras2s import RAS2S
from lightning_ras2s.callbacks.spectral_curves import SpectralCurves, spread_pixels
from tests.callbacks.watching import (
    ITEM,
    UNORDERED,
    Wall,
    fit,
    pixels_of,
    tensorboard_image,
    view_of,
)
from tests.wandb_files import WandbFiles

ORDER = [0, 2, 1, 3, 4]  # of UNORDERED


def cube(bands, height, width, seed=0):
    return torch.rand(bands, height, width, generator=torch.Generator().manual_seed(seed))


def shown(view, tmp_path, **options):
    callback, wall = SpectralCurves(str(tmp_path), **options), Wall()
    callback.show({ITEM: callback.look(view, None)}, wall)
    return wall


def lines(figure):
    """The curves of each panel, by name; the last axes have the scene."""
    *panels, _ = figure.axes
    return [{line.get_label(): line for line in panel.lines} for panel in panels]


def test_a_training_leaves_the_spectra_in_wandb_tensorboard_and_the_folder(tmp_path, monkeypatch):
    torch.manual_seed(0)
    network = RAS2S(channels=2)
    callback = SpectralCurves(str(tmp_path / "pictures"), pixels=[(3, 14), (11, 0)])
    data, step = fit(callback, network, tmp_path, monkeypatch)
    batch = data.validation_batch()
    with torch.no_grad():
        images = {"noisy": batch["noisy"], "RAS2S": network(batch["noisy"])}
    images["clean"] = batch["clean"]
    wandb_files = WandbFiles(tmp_path)
    for row, column in ((3, 14), (11, 0)):
        chart = f"spectra/val/field mixture pixel {row},{column}"
        table = wandb_files.table(f"Custom Chart Tables/{chart}_table")
        assert table["data"] == [
            [wavelength, name, value]
            for name, image in images.items()
            for wavelength, value in zip(
                UNORDERED[ORDER].tolist(), image[0, ORDER, row, column].tolist(), strict=True
            )
        ]
        spec = wandb_files.config["_wandb"]["visualize"][chart]["panel_config"]
        assert spec["panelDefId"] == "wandb/lineseries/v0"
        assert spec["stringSettings"]["xname"] == "wavelength (nm)"
        columns = [spec["fieldSettings"][role] for role in ("step", "lineKey", "lineVal")]
        assert columns == table["columns"]
    picture = pixels_of(tmp_path / "pictures" / "val" / "spectra_field-mixture.png")
    logged = wandb_files.logged("spectra/val/field mixture")
    assert len(logged) == 2  # each validation
    np.testing.assert_array_equal(pixels_of(wandb_files.files / logged[-1]["path"]), picture)
    on_board, its_step = tensorboard_image(tmp_path, "spectra/val/field mixture")
    np.testing.assert_array_equal(on_board, picture)
    assert its_step == step


@pytest.mark.parametrize("size", [(100, 60), (60, 100), (145, 32), (17, 1000)])
@pytest.mark.parametrize("points", [1, 4, 5, 12])
def test_pixels_are_spread_over_a_scene(size, points):
    height, width = size
    pixels = spread_pixels(height, width, points, seed=3)
    assert len(pixels) == points
    assert all(0 <= row < height and 0 <= column < width for row, column in pixels)
    apart = 0.4 * (height * width / (2 * points)) ** 0.5
    for (r1, c1), (r2, c2) in itertools.combinations(pixels, 2):
        assert np.hypot(r1 - r2, c1 - c2) > min(apart, height, width)
    assert pixels == spread_pixels(height, width, points, seed=3)
    assert pixels != spread_pixels(height, width, points, seed=4)


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 1), (3, 2), (1, 50), (5, 5)])
@pytest.mark.parametrize("points", [1, 4, 9, 40])
def test_small_scenes_have_fewer_pixels_and_none_twice(size, points):
    height, width = size
    pixels = spread_pixels(height, width, points, seed=0)
    assert len(set(pixels)) == len(pixels) == min(points, height * width)
    assert all(0 <= row < height and 0 <= column < width for row, column in pixels)


def test_curves_are_in_order_of_wavelength_in_a_scene_that_is_not_square(tmp_path):
    place = torch.arange(7)[:, None] * 10 + torch.arange(4)
    noisy = torch.arange(5)[:, None, None] * 100.0 + place
    view = view_of(noisy, noisy + 0.25, noisy + 0.5, UNORDERED)
    wall = shown(view, tmp_path, pixels=[(6, 1), (0, 3)])
    for (row, column), panel in zip(
        [(6, 1), (0, 3)], lines(wall.figures["field mixture"]), strict=True
    ):
        expected = 100.0 * np.array(ORDER) + 10 * row + column
        x, ys, title = wall.charts[f"field mixture pixel {row},{column}"]
        assert title == "wavelength (nm)"
        assert x.tolist() == [400, 450, 500, 550, 600]
        for name, more in {"noisy": 0, "denoised": 0.25, "clean": 0.5}.items():
            assert ys[name].tolist() == (expected + more).tolist()
            assert panel[name].get_xdata().tolist() == x.tolist()
            assert panel[name].get_ydata().tolist() == (expected + more).tolist()
    *panels, scene = wall.figures["field mixture"].axes
    assert panels[0].get_title() == "1: row 6, column 1"
    marks = [(line.get_xdata()[0], line.get_ydata()[0]) for line in scene.lines]
    assert marks == [(1, 6), (3, 0)]
    assert [text.get_text() for text in scene.texts] == ["1", "2"]
    assert scene.images[0].get_extent() == [-0.5, 3.5, 6.5, -0.5]


def test_lines_break_where_the_spectrum_has_a_gap(tmp_path):
    wavelengths = np.array([400.0, 410.0, 420.0, 900.0, 910.0])
    noisy = torch.arange(5.0)[:, None, None].expand(5, 2, 2)
    view = view_of(noisy, noisy, noisy, wavelengths)
    line = lines(shown(view, tmp_path, pixels=[(0, 0)]).figures["field mixture"])[0]["denoised"]
    np.testing.assert_array_equal(line.get_xdata(), [400, 410, 420, np.nan, 900, 910])
    np.testing.assert_array_equal(line.get_ydata(), [0, 1, 2, np.nan, 3, 4])


def test_the_best_method_is_orange_and_nothing_else_is(tmp_path):
    noisy = cube(5, 4, 4)
    methods = {"Median": noisy, "RAS2S": noisy + 1, "RAS2S+S": noisy + 2}
    view = replace(view_of(noisy, noisy + 1, noisy), methods=methods)
    drawn = lines(shown(view, tmp_path).figures["field mixture"])[0]
    assert set(drawn) == {"noisy", "clean", *methods}
    orange = {name for name, line in drawn.items() if line.get_color() == "#d55e00"}
    assert orange == {"RAS2S", "RAS2S+S"}
    assert drawn["RAS2S+S"].get_linestyle() == "-"
    assert drawn["RAS2S"].get_linestyle() == "--"


def test_a_large_scene_has_a_small_picture_with_marks_at_their_places(tmp_path):
    clean = torch.zeros(1, 2, 1300)
    clean[:, :, 1299:] = 1  # the last column of every third
    callback = SpectralCurves(str(tmp_path), pixels=[(0, 1299)])
    seen = callback.look(view_of(clean, clean, clean), None)
    assert seen.picture.shape == (1, 434, 3)
    wall = Wall()
    callback.show({ITEM: seen}, wall)
    scene = wall.figures["field mixture"].axes[-1]
    assert scene.images[0].get_extent() == [-0.5, 1299.5, 1.5, -0.5]


def test_noise_does_not_squash_the_panels(tmp_path):
    clean = 0.2 + 0.4 * cube(50, 6, 6)
    noisy = clean + 30 * torch.randn(50, 6, 6, generator=torch.Generator().manual_seed(1))
    denoised = clean.clone()
    denoised[0, 0, 0] = 90.0  # one outlier that was left
    wall = shown(view_of(noisy, denoised, clean), tmp_path, pixels=[(0, 0), (4, 4)])
    limits = {panel.get_ylim() for panel in wall.figures["field mixture"].axes[:-1]}
    ((low, high),) = limits
    assert 0.1 < low < clean[:, [0, 4], [0, 4]].min()
    assert clean[:, [0, 4], [0, 4]].max() < high < 0.7


def test_a_pixel_outside_is_told_once_and_the_others_are_shown(tmp_path):
    noisy = cube(5, 7, 4)
    view = view_of(noisy, noisy, noisy)
    callback = SpectralCurves(str(tmp_path), pixels=[(4, 7), (6, 3), (-1, 0)])
    wall = Wall()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for case in ("mixture", "stripe"):
            callback.show({ITEM._replace(noise_case=case): callback.look(view, None)}, wall)
    (message,) = [str(warning.message) for warning in told]
    assert "field is 7 x 4 (H x W)" in message
    assert "no pixel 4,7 nor -1,0" in message
    assert list(wall.charts) == ["field mixture pixel 6,3", "field stripe pixel 6,3"]


def test_nothing_is_drawn_where_all_pixels_are_outside(tmp_path):
    noisy = cube(2, 3, 3)
    with pytest.warns(UserWarning, match="no pixel 5,5"):
        wall = shown(view_of(noisy, noisy), tmp_path, pixels=[(5, 5)])
    assert wall.figures == wall.charts == {}


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 3, 5), (210, 2, 3), (2, 1, 40)])
def test_any_shape_is_shown_without_wavelengths_and_reference(shape, tmp_path):
    noisy, denoised = cube(*shape), cube(*shape, seed=1)
    wall = shown(view_of(noisy, denoised), tmp_path)
    pixels = spread_pixels(*shape[1:], points=4, seed=2018)
    assert len(wall.charts) == len(pixels) > 0
    for row, column in pixels:
        x, ys, title = wall.charts[f"field mixture pixel {row},{column}"]
        assert title == "band"
        assert x.tolist() == list(range(shape[0]))
        assert list(ys) == ["noisy", "denoised"]
        np.testing.assert_array_equal(ys["denoised"], denoised[:, row, column])
    assert "clean" not in lines(wall.figures["field mixture"])[0]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
@pytest.mark.parametrize("reference", [True, False])
def test_a_network_that_has_diverged_is_shown_too(value, reference, tmp_path):
    clean = cube(5, 6, 6)
    denoised = torch.full_like(clean, value)
    view = view_of(clean, denoised, clean if reference else None)
    assert set(shown(view, tmp_path).figures) == {"field mixture"}


def test_what_is_kept_is_small_and_can_be_sent(tmp_path):
    clean = cube(31, 256, 300)
    view = view_of(clean, clean, clean, np.linspace(400, 700, 31))
    sent = pickle.dumps(SpectralCurves(str(tmp_path)).look(view, None))
    assert len(sent) < 256 * 300 * 3 + 10_000
    seen = pickle.loads(sent)
    rows, columns = np.array(seen.pixels).T
    np.testing.assert_array_equal(seen.spectra["clean"], clean[:, rows, columns].T)


def test_no_points_are_refused():
    with pytest.raises(ValueError, match="points is 0"):
        SpectralCurves("pictures", points=0)
