"""The pictures of scenes: what is in them, in which proportions, and what they tell."""

import pickle
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from datamodules.samples import EvaluationItem
from lightning_ras2s.callbacks.denoised_scenes import DenoisedScenes, draw_scene, largest_change
from lightning_ras2s.callbacks.scene_callback import View
from lightning_ras2s.metrics import mpsnr, sam
from lightning_ras2s.pictures.colour import Display
from lightning_ras2s.pictures.gallery import Gallery
from tests.callbacks.watching import Wall

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
    assert found.caption == "20 x 33 pixels, radiance colour"
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
    draw_scene("jelly", found, 1.0)


def drawn(folder, *views):
    """What the pictures in the folder look like, each [H, W, 3]."""
    callback = DenoisedScenes(str(folder))
    looks = {scene.item: callback.look(scene, None) for scene in views}
    trainer = SimpleNamespace(loggers=[], global_step=0)
    callback.show(looks, Gallery(trainer, callback.folder, "val", callback.topic))
    paths = sorted(folder.rglob("*.png"))
    assert [p.name for p in paths] == [f"scenes_jelly-{v.item.noise_case}.png" for v in views]
    return [np.asarray(Image.open(path)) for path in paths]


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
    scene = view(height, width, bands=3, wavelengths=None)
    (sheet,) = drawn(tmp_path, scene)
    found = DenoisedScenes("unused").look(scene, None)
    larger = {n: p.repeat(zoom, axis=0).repeat(zoom, axis=1) for n, p in found.pictures.items()}
    at = {name: places(sheet, picture)[0] for name, picture in larger.items()}
    assert at["noisy"][0] == at["denoised"][0] == at["clean"][0]
    assert at["noisy"][1] < at["denoised"][1] < at["clean"][1]
    assert sheet.shape[0] < larger["clean"].shape[0] + 250
    assert sheet.shape[1] < 4 * max(larger["clean"].shape[1], 120) + 250


def test_each_scene_and_case_has_a_picture_of_its_own(tmp_path):
    views = [view(case=case) for case in "ab"] + [view(50, 40, case="a", scene="beads")]
    callback, wall = DenoisedScenes(str(tmp_path)), Wall()
    callback.show({scene.item: callback.look(scene, None) for scene in views}, wall)
    assert wall.subjects == {
        "jelly a": ("jelly", "a", ""),
        "jelly b": ("jelly", "b", ""),
        "beads a": ("beads", "a", ""),
    }
    assert "jelly b (20 x 33 pixels, radiance colour)" in texts(wall.figures["jelly b"])


def test_there_is_a_column_for_each_method_and_the_error_is_that_of_the_last(tmp_path):
    scene = view()
    scene = replace(scene, methods={"RAS2S": scene.denoised, "RAS2S+S": scene.clean + 0.125})
    found = DenoisedScenes("unused").look(scene, None)
    assert list(found.pictures) == ["noisy", "RAS2S", "RAS2S+S", "clean"]
    np.testing.assert_allclose(found.change, 0.125, atol=1e-3)
    assert found.quality["RAS2S+S"][0] == pytest.approx(18.06, abs=0.01)
    assert any("of RAS2S+S over bands" in text for text in texts(draw_scene("a", found, 1.0)))


def maps(figure):
    """The pictures that have a colour bar."""
    return [i for axes in figure.axes for i in axes.images if i.get_array().ndim == 2]


def test_the_errors_of_all_cases_have_one_scale(tmp_path):
    weak, strong = view(case="weak"), view(case="strong")
    weak = replace(weak, denoised=weak.clean + (weak.denoised - weak.clean) / 4)
    callback, wall = DenoisedScenes(str(tmp_path)), Wall()
    callback.show({scene.item: callback.look(scene, None) for scene in (weak, strong)}, wall)
    shown = [maps(wall.figures[f"jelly {case}"])[0] for case in ("weak", "strong")]
    assert [m.get_clim() for m in shown] == [(0, pytest.approx(0.25, abs=1e-3))] * 2
    assert shown[1].get_array().max() == pytest.approx(4 * shown[0].get_array().max(), rel=0.01)


def test_a_few_huge_errors_do_not_darken_the_others():
    found = look(100, 100, bands=3, wavelengths=None)
    found.change[0, :20] = 1
    assert largest_change([found]) == pytest.approx(0.25, abs=1e-3)


def test_what_was_removed_is_shown_around_zero():
    (shown,) = maps(draw_scene("jelly", look(clean=False), 0.5))
    assert shown.get_clim() == (-0.5, 0.5)
    neutral = np.array(shown.cmap(0.5)[:3])
    assert neutral.min() > 0.9


def texts(figure):
    return [text.get_text() for text in figure.texts]


def test_the_picture_tells_scene_colours_cases_quality_and_unit():
    found = look()._replace(quality={"noisy": (13.731, 0.8149), "denoised": (38.958, 0.0771)})
    shown = texts(draw_scene("jelly stripe", found, 1.0))
    assert "jelly stripe (20 x 33 pixels, radiance colour)" in shown
    assert {"noisy", "denoised", "clean", "error"} <= set(shown)
    assert shown.count("13.73 dB, 0.815 rad") == 1
    assert shown.count("38.96 dB, 0.077 rad") == 1
    assert "mean absolute error of denoised over bands, data scaled to [0, 1]" in shown
    alone = texts(draw_scene("jelly", look(clean=False), 1.0))
    assert "removed" in alone
    assert not any("dB" in text for text in alone)


@pytest.mark.parametrize("shape", [(145, 33), (20, 33), (40, 400)])
def test_nothing_overlaps_or_leaves_the_picture(shape):
    for dense in (look(*shape), look(*shape, clean=False)):
        figure = draw_scene("a_scene_with_a_long_name_1640 correlated", dense, 1.0)
        renderer = FigureCanvasAgg(figure).get_renderer()
        boxes = [text.get_window_extent(renderer) for text in figure.texts if text.get_text()]
        boxes += [axes.bbox for axes in figure.axes]
        edge = figure.bbox
        assert all(edge.x0 <= b.x0 and b.x1 <= edge.x1 for b in boxes)
        assert all(edge.y0 <= b.y0 and b.y1 <= edge.y1 for b in boxes)
        for number, box in enumerate(boxes):
            assert not box.count_overlaps(boxes[number + 1 :])
