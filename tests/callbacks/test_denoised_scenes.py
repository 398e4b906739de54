"""The pictures of scenes: what is in them, in which proportions, and what they tell."""

import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from datamodules.samples import EvaluationItem
from lightning_ras2s.callbacks.denoised_scenes import DenoisedScenes, draw_scene
from lightning_ras2s.callbacks.scene_callback import View
from lightning_ras2s.metrics import mpsnr, sam
from lightning_ras2s.pictures.colour import Display
from lightning_ras2s.pictures.gallery import Gallery

torch.set_num_threads(1)
VISIBLE = np.arange(400.0, 701.0, 10.0)


def view(
    height=20, width=33, bands=31, case="mixture", clean=True, wavelengths=VISIBLE, scene="jelly"
):
    """A scene that gets brighter to the right; the upper left quarter keeps an error of 0.25."""
    rng = torch.Generator().manual_seed(0)
    cube = torch.linspace(0.2, 0.6, width).expand(bands, height, width).contiguous()
    noisy = cube + 0.1 * torch.randn(cube.shape, generator=rng)
    denoised = cube.clone()
    denoised[:, : height // 2, : width // 2] -= 0.25
    item = EvaluationItem("field", scene, case)
    return View(item, noisy, denoised, cube if clean else None, wavelengths)


def look(*args, **kwargs):
    return DenoisedScenes("unused").look(view(*args, **kwargs), None)


def test_a_look_has_the_pictures_of_one_display_and_the_quality():
    scene, found = view(), look()
    display = Display(scene.clean.numpy(), VISIBLE)
    assert list(found.pictures) == ["noisy", "denoised", "clean"]
    for name, picture in found.pictures.items():
        np.testing.assert_array_equal(picture, display(getattr(scene, name).numpy()))
    assert found.caption == "true colour"
    for name in ("noisy", "denoised"):
        image = getattr(scene, name)[None]
        expected = (mpsnr(image, scene.clean[None]).item(), sam(image, scene.clean[None]).item())
        assert found.quality[name] == expected
    assert set(found.quality) == {"noisy", "denoised"}


def test_the_error_is_the_mean_over_bands_where_it_is():
    error = look().change
    assert error.shape == (20, 33)
    np.testing.assert_allclose(error[:10, :16], 0.25, atol=1e-3)
    assert not error[10:].any()
    assert not error[:, 16:].any()


def test_without_a_clean_scene_what_was_removed_is_shown_with_its_sign():
    found = look(clean=False, bands=301, wavelengths=None)
    assert list(found.pictures) == ["noisy", "denoised"]
    assert found.quality == {}
    expected = np.zeros((20, 33))
    expected[:10, :16] = 0.25  # what is left of the scene; the noise is gone in the median
    np.testing.assert_allclose(found.change, expected, atol=0.04)
    display = Display(view(bands=301).denoised.numpy(), None)
    np.testing.assert_array_equal(found.pictures["noisy"], display(view(bands=301).noisy.numpy()))


def test_a_look_is_small_and_travels_between_processes():
    found = look(1000, 100, bands=3, wavelengths=None)
    assert found.change.shape == (334, 34)
    assert found.caption.endswith("every 3rd pixel")
    travelled = pickle.loads(pickle.dumps(found))
    np.testing.assert_array_equal(travelled.pictures["clean"], found.pictures["clean"])
    assert len(pickle.dumps(found)) < 2e5
    whole = view(1000, 100, bands=3)
    assert found.quality["noisy"][0] == mpsnr(whole.noisy[None], whole.clean[None]).item()


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_an_output_that_is_no_number_is_a_full_error():
    scene = view()
    scene.denoised[:, 0, 0], scene.denoised[:, 0, 20] = torch.nan, torch.inf
    found = DenoisedScenes("unused").look(scene, None)
    assert found.change[0, 0] == found.change[0, 20] == 1
    draw_scene("jelly", {"mixture": found})


def drawn(folder, *views):
    """What a picture in the folder looks like, [H, W, 3]."""
    callback = DenoisedScenes(str(folder))
    looks = {scene.item: callback.look(scene, None) for scene in views}
    trainer = SimpleNamespace(loggers=[], global_step=0)
    callback.show(looks, Gallery(trainer, callback.folder, "val", callback.topic))
    (path,) = folder.rglob("*.png")
    assert path.name == "scenes_jelly.png"
    return np.asarray(Image.open(path))


def places(sheet, picture):
    """Rows and columns of the places where ``sheet`` holds ``picture`` to the last bit."""
    height, width, _ = picture.shape
    first = (sheet == picture[0, 0]).all(2)
    return [
        (int(top), int(left))
        for top, left in np.argwhere(first)
        if np.array_equal(sheet[top : top + height, left : left + width], picture)
    ]


@pytest.mark.parametrize(
    ("height", "width", "zoom"), [(145, 33, 2), (33, 145, 2), (30, 20, 10), (200, 800, 1)]
)
def test_pictures_keep_their_pixels_and_proportions(tmp_path, height, width, zoom):
    views = [view(height, width, bands=3, case=case, wavelengths=None) for case in ("a", "b")]
    sheet = drawn(tmp_path, *views)
    looks = [DenoisedScenes("unused").look(scene, None) for scene in views]
    larger = looks[0].pictures["clean"].repeat(zoom, axis=0).repeat(zoom, axis=1)
    (top, left), (below, same) = places(sheet, larger)
    assert left == same
    assert below - top > larger.shape[0]
    noisy = looks[0].pictures["noisy"].repeat(zoom, axis=0).repeat(zoom, axis=1)
    ((noisy_top, noisy_left),) = places(sheet, noisy)[:1]
    assert noisy_top == top
    assert noisy_left < left
    assert sheet.shape[0] < 2 * larger.shape[0] + 250
    assert sheet.shape[1] < 4 * max(larger.shape[1], 120) + 250


def test_each_scene_has_a_picture_of_its_own_with_its_cases(tmp_path):
    views = [view(case=case) for case in "ab"] + [view(50, 40, case="a", scene="beads")]
    callback = DenoisedScenes(str(tmp_path))
    shown = {}
    gallery = SimpleNamespace(picture=lambda name, figure: shown.update({name: texts(figure)}))
    callback.show({scene.item: callback.look(scene, None) for scene in views}, gallery)
    assert list(shown) == ["jelly", "beads"]
    assert {"a", "b"} <= set(shown["jelly"])
    assert "b" not in shown["beads"]


def maps(figure):
    """The pictures that have a colour bar."""
    return [i for axes in figure.axes for i in axes.images if i.get_array().ndim == 2]


def test_the_errors_of_all_rows_have_one_scale():
    weak, strong = look(case="weak"), look(case="strong")
    weak = weak._replace(change=weak.change * np.float16(0.25))
    shown = maps(draw_scene("jelly", {"weak": weak, "strong": strong}))
    assert [m.get_clim() for m in shown] == [(0, pytest.approx(0.25, abs=1e-3))] * 2
    assert shown[1].get_array().max() == pytest.approx(4 * shown[0].get_array().max(), rel=0.01)


def test_a_few_huge_errors_do_not_darken_the_others():
    found = look(100, 100, bands=3, wavelengths=None)
    found.change[0, :20] = 1
    (shown,) = maps(draw_scene("jelly", {"mixture": found}))
    assert shown.get_clim()[1] == pytest.approx(0.25, abs=1e-3)


def test_what_was_removed_is_shown_around_zero():
    (shown,) = maps(draw_scene("jelly", {"real": look(clean=False)}))
    low, high = shown.get_clim()
    assert low == -high < 0
    neutral = np.array(shown.cmap(0.5)[:3])
    assert neutral.min() > 0.9


def texts(figure):
    return [text.get_text() for text in figure.texts]


def test_the_picture_tells_scene_colours_cases_quality_and_unit():
    found = look()._replace(quality={"noisy": (13.731, 0.8149), "denoised": (38.958, 0.0771)})
    shown = texts(draw_scene("jelly", {"stripe": found, "mixture": found}))
    assert "jelly (true colour)" in shown
    assert {"noisy", "denoised", "clean", "error", "stripe", "mixture"} <= set(shown)
    assert shown.count("13.73 dB, 0.815 rad") == 2
    assert shown.count("38.96 dB, 0.077 rad") == 2
    assert "mean absolute error over bands, data scaled to [0, 1]" in shown
    alone = texts(draw_scene("jelly", {"real": look(clean=False)}))
    assert "removed" in alone
    assert not any("dB" in text for text in alone)


@pytest.mark.parametrize("shape", [(145, 33), (20, 33), (40, 400)])
def test_nothing_overlaps_or_leaves_the_picture(shape):
    cases = {case: look(*shape, case=case) for case in ("gaussian50", "correlated")}
    for dense in (cases, {"real": look(*shape, clean=False)}):
        figure = draw_scene("a_scene_with_a_long_name_1640", dense)
        renderer = FigureCanvasAgg(figure).get_renderer()
        boxes = [text.get_window_extent(renderer) for text in figure.texts if text.get_text()]
        boxes += [axes.bbox for axes in figure.axes]
        edge = figure.bbox
        assert all(edge.x0 <= b.x0 and b.x1 <= edge.x1 for b in boxes)
        assert all(edge.y0 <= b.y0 and b.y1 <= edge.y1 for b in boxes)
        for number, box in enumerate(boxes):
            assert not box.count_overlaps(boxes[number + 1 :])
