"""RegionMasks: masks as the network has them, shares of all bands, and what is missing."""

import pickle
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import WandbLogger
from torch import nn

from lightning_ras2s import RAS2S
from lightning_ras2s.callbacks.region_masks import RegionMasks, find_masks, spread_bands
from lightning_ras2s.networks.ras2s.ssra import RegionMasks as Masks
from lightning_ras2s.pictures.gallery import Gallery
from lightning_ras2s.pictures.region_figures import palette
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


class Known(nn.Module):
    """A network whose regions are given: its spatial ones, and region 2 as the only spectral."""

    regions = 4

    def __init__(self, spatial):
        super().__init__()
        self.spatial = spatial

    def region_masks(self, noisy, source):
        mask = self.spatial[None] if source == "encoded" else torch.zeros_like(self.spatial)[None]
        return Masks(mask, torch.full_like(mask, 2))


def cube(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


def shown(view, network, tmp_path, **options):
    callback, wall = RegionMasks(str(tmp_path), **options), Wall()
    callback.show({ITEM: callback.look(view, network)}, wall)
    return wall


def test_a_training_leaves_the_masks_in_wandb_tensorboard_and_the_folder(tmp_path, monkeypatch):
    torch.manual_seed(9)
    network = RAS2S(channels=4, regions=3)
    regions = network.region_aware
    with torch.no_grad():  # brings all regions into use
        for guide in (regions.spatial_guide.base, regions.spectral_guide):
            guide.weight.mul_(10)
            guide.bias.zero_()
    callback = RegionMasks(str(tmp_path / "pictures"), bands=[4, 1])
    data, step = fit(callback, network, tmp_path, monkeypatch)
    batch = data.validation_batch()
    noisy = batch["noisy"]
    wandb_files = WandbFiles(tmp_path)
    labels = wandb_files.config["_wandb"]["mask/class_labels"]
    for source in ("encoded", "embedding"):
        seen = "noisy" if source == "encoded" else "clean"
        key = f"regions/val/field mixture {source} of {seen}"
        logged = wandb_files.logged(key)[-1]
        assert logged["captions"] == ["band 4, 600 nm", "band 1, 500 nm"]
        for kind, expected in network.region_masks(batch[seen], source)._asdict().items():
            assert len(expected.unique()) > 1
            for number, band in enumerate([4, 1]):
                path = wandb_files.files / logged["all_masks"][number][kind]["path"]
                np.testing.assert_array_equal(pixels_of(path)[..., 0], expected[0, band])
            named = labels[f"{key}_wandb_delimeter_{kind}"]["value"]
            assert named == {"0": "region 0", "1": "region 1", "2": "region 2"}
    for name in ("field mixture", "field mixture shares"):
        file = f"regions_{name.replace(' ', '-')}.png"
        picture = pixels_of(tmp_path / "pictures" / "val" / file)
        (_, last) = wandb_files.logged(f"regions/val/{name}")  # each validation
        np.testing.assert_array_equal(pixels_of(wandb_files.files / last["path"]), picture)
        on_board, its_step = tensorboard_image(tmp_path, f"regions/val/{name}")
        np.testing.assert_array_equal(on_board, picture)
        assert its_step == step
    spatial = network.region_masks(noisy).spatial[0]
    largest = np.mean([np.bincount(mask.ravel()).max() / mask.numel() for mask in spatial])
    logged = wandb_files.logged("regions/val/spatial_largest_share")[-1]
    assert logged == pytest.approx(largest, rel=1e-12)


def test_shares_of_all_bands_show_regions_that_are_dead_or_swallow(tmp_path):
    spatial = torch.zeros(5, 2, 4, dtype=torch.int64)
    spatial[0, 0, 0] = 3  # 1 of 8 pixels
    spatial[1, 1, :] = 1  # 4 of 8
    noisy = cube(5, 2, 4)
    view = view_of(noisy, noisy, noisy, UNORDERED)
    callback = RegionMasks(str(tmp_path), bands=[2])
    seen = callback.look(view, Known(spatial))
    expected = np.array(
        [[0.875, 0.5, 1, 1, 1], [0, 0.5, 0, 0, 0], [0, 0, 0, 0, 0], [0.125, 0, 0, 0, 0]]
    )
    np.testing.assert_array_equal(seen.shares["encoded", "noisy", "spatial"], expected)
    assert seen.shares["encoded", "noisy", "spectral"].tolist() == [
        [0] * 5,
        [0] * 5,
        [1] * 5,
        [0] * 5,
    ]
    wall = Wall()
    callback.show({ITEM: seen}, wall)
    assert wall.numbers == {
        "topic/val/spatial_largest_share": pytest.approx((0.875 + 0.5 + 3) / 5),
        "topic/val/spectral_largest_share": 1.0,
    }
    panel = wall.figures["field mixture shares"].axes[0]
    drawn = panel.collections[0].get_array().reshape(4, 5)
    np.testing.assert_array_equal(
        drawn.filled(-1), np.where(expected, 100 * expected, -1)[:, ORDER]
    )
    assert panel.get_title() == "spatial (encoded, noisy scene)"
    rows = [label.get_text() for label in panel.get_yticklabels()]
    assert rows == ["region 0: 87.5 %", "region 1: 10.0 %", "region 2: 0.0 %", "region 3: 2.5 %"]
    edges = panel.collections[0].get_coordinates()[0, :, 0]
    assert edges.tolist() == [375, 425, 475, 525, 575, 625]
    empty = [patch.get_xy() for patch in panel.patches if patch.get_hatch()]
    assert len(empty) == (expected == 0).sum()


def test_the_picture_has_a_row_for_each_band_and_a_column_for_each_kind(tmp_path):
    torch.manual_seed(0)
    spatial = torch.randint(4, (5, 6, 9))
    noisy = cube(5, 6, 9)
    clean = noisy.clone()
    clean[3] = torch.linspace(0, 1, 9)
    wall = shown(view_of(noisy, noisy, clean), Known(spatial), tmp_path, bands=[3, 0])
    figure = wall.figures["field mixture"]
    assert [axis.get_title() for axis in figure.axes[:5]] == [
        "clean",
        "spatial\n(encoded,\nnoisy scene)",
        "spectral\n(encoded,\nnoisy scene)",
        "spatial\n(embedding,\nclean scene)",
        "spectral\n(embedding,\nclean scene)",
    ]
    images = [np.asarray(axis.images[0].get_array()) for axis in figure.axes]
    np.testing.assert_array_equal(images[1], palette(4)[spatial[3]])
    np.testing.assert_array_equal(images[6], palette(4)[spatial[0]])
    assert np.unique(images[2].reshape(-1, 3), axis=0).tolist() == [palette(4)[2].tolist()]
    assert (np.diff(images[0][0].astype(int)) >= 0).all()
    assert images[0].max() == 255
    assert figure.axes[0].get_ylabel() == "band 3"
    entries = [text.get_text() for text in figure.legends[0].get_texts()]
    assert entries == [f"region {number}" for number in (0, 1, 2, 3)]
    image, masks, captions, _ = wall.panels["field mixture encoded of noisy"]
    assert image.shape == (6, 9, 3)
    assert captions == ["band 3", "band 0"]
    np.testing.assert_array_equal(masks[0]["spatial"], spatial[3])
    assert masks[1]["spectral"].dtype == np.uint8


@pytest.mark.parametrize("regions", [2, 3, 5, 20, 60])
def test_regions_are_told_apart_in_colour_in_grey_and_by_any_eye(regions):
    colours = palette(regions).astype(float)
    assert len(colours) == regions
    grey = colours @ [0.299, 0.587, 0.114]
    assert (np.diff(grey) > 60 / (regions - 1)).all()
    # Of eyes without red or green cones: Viénot, Brettel, Mollon, 1999, in linear RGB.
    linear = (colours / 255) ** 2.2
    for blind in ([0.11238, 0.88762, 0], [0.29275, 0.70725, 0]):
        seen = np.stack([linear @ blind, linear[:, 2]], axis=1) ** (1 / 2.2)
        apart = np.linalg.norm(np.diff(seen, axis=0), axis=1)
        assert apart.min() > 0.45 / (regions - 1)
    orange = np.array([0xD5, 0x5E, 0x00])
    assert np.linalg.norm(colours - orange, axis=1).min() > 80


def test_two_bands_of_a_tall_scene_stand_side_by_side(tmp_path):
    noisy = cube(5, 20, 9)
    network = Known(torch.randint(4, (5, 20, 9)))
    wall = shown(view_of(noisy, noisy, noisy), network, tmp_path, bands=[3, 0, 1])
    axes = [axis for axis in wall.figures["field mixture"].axes if axis.images]
    assert [axis.get_title() for axis in axes[::5]] == [f"band {n}\nclean" for n in (3, 0, 1)]
    tops = [axis.get_position().y1 for axis in axes[::5]]
    assert tops[0] == tops[1] > tops[2]
    spatial = network.region_masks(noisy[None], "encoded").spatial[0]
    for axis, band in zip(axes[1::5], (3, 0, 1), strict=True):
        np.testing.assert_array_equal(axis.images[0].get_array(), palette(4)[spatial[band]])


def test_the_pictures_say_what_they_are_of_and_what_a_region_is(tmp_path):
    noisy = cube(5, 6, 7)
    wall = shown(view_of(noisy, noisy), Known(torch.zeros(5, 6, 7, dtype=torch.int64)), tmp_path)
    subject = ("field", "mixture")
    assert wall.subjects == {
        "field mixture": (*subject, ""),
        "field mixture shares": (*subject, "shares"),
    }
    told = [text.get_text() for text in wall.figures["field mixture"].texts]
    assert any(text.startswith("A region is the set of pixels") for text in told)


def test_bands_are_spread_over_the_spectrum():
    assert spread_bands(31) == [3, 11, 19, 27]
    assert spread_bands(210) == [26, 78, 131, 183]
    assert spread_bands(3) == [0, 1, 2]
    assert spread_bands(1) == [0]


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 5, 3), (210, 2, 3), (4, 1, 30)])
@pytest.mark.parametrize("regions", [1, 3])
def test_any_shape_is_shown_without_wavelengths_and_reference(shape, regions, tmp_path):
    torch.manual_seed(0)
    network, noisy = RAS2S(channels=2, regions=regions), cube(*shape)
    wall = shown(view_of(noisy, noisy), network, tmp_path)
    bands = spread_bands(shape[0])
    expected = network.region_masks(noisy[None])
    _, masks, captions, labels = wall.panels["field mixture encoded of noisy"]
    assert captions == [f"band {band}" for band in bands]
    assert len(labels) == regions
    for mask, band in zip(masks, bands, strict=True):
        np.testing.assert_array_equal(mask["spatial"], expected.spatial[0, band])
    assert wall.figures["field mixture"].axes[0].get_title() == "denoised"
    drawn = wall.figures["field mixture shares"].axes[0].collections[0].get_array()
    sums = drawn.reshape(regions, shape[0]).filled(0).sum(axis=0)
    np.testing.assert_allclose(sums, 100)
    if regions == 1:
        assert set(wall.numbers.values()) == {1.0}


def test_a_band_outside_is_told_once_and_the_others_are_shown(tmp_path):
    noisy = cube(5, 6, 7)
    view, wall = view_of(noisy, noisy, noisy), Wall()
    callback = RegionMasks(str(tmp_path), bands=[5, 2, -1, 2])
    network = Known(torch.zeros(5, 6, 7, dtype=torch.int64))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for case in ("mixture", "stripe"):
            callback.show({ITEM._replace(noise_case=case): callback.look(view, network)}, wall)
    (message,) = [str(warning.message) for warning in told]
    assert "scene field has no band 5 nor -1, only 0 to 4" in message
    assert wall.panels["field stripe encoded of noisy"][2] == ["band 2"]


def test_shares_are_shown_where_all_bands_are_outside(tmp_path):
    noisy = cube(5, 6, 7)
    network = Known(torch.zeros(5, 6, 7, dtype=torch.int64))
    with pytest.warns(UserWarning, match="no band 9"):
        wall = shown(view_of(noisy, noisy), network, tmp_path, bands=[9])
    assert list(wall.figures) == ["field mixture shares"]
    assert wall.panels == {}


def test_a_branch_that_is_absent_is_left_out(tmp_path):
    noisy = cube(3, 6, 7)
    wall = shown(view_of(noisy, noisy), RAS2S(channels=2, spatial_regions=False), tmp_path)
    titles = [axis.get_title() for axis in wall.figures["field mixture"].axes[:3]]
    sources = "spectral\n(encoded,\nnoisy scene)", "spectral\n(embedding,\ndenoised scene)"
    assert titles == ["denoised", *sources]
    assert list(wall.numbers) == ["topic/val/spectral_largest_share"]
    assert set(wall.panels["field mixture encoded of noisy"][1][0]) == {"spectral"}


@pytest.mark.parametrize(
    "network",
    [nn.Identity(), RAS2S(channels=2, spatial_regions=False, spectral_regions=False)],
    ids=["without region_masks", "without branches"],
)
def test_a_network_without_regions_is_told_once_and_nothing_is_shown(network, tmp_path):
    callback = RegionMasks(str(tmp_path))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for stage in ("fit", "validate", "test"):
            callback.setup(
                SimpleNamespace(is_global_zero=True), SimpleNamespace(network=network), stage
            )
    (message,) = [str(warning.message) for warning in told]
    assert f"{type(network).__name__} has no regions" in message
    assert callback.look(view_of(cube(3, 6, 7), cube(3, 6, 7)), network) is None


def test_what_is_kept_is_small_and_can_be_sent(tmp_path):
    noisy = cube(31, 40, 50)
    seen = RegionMasks(str(tmp_path)).look(view_of(noisy, noisy), RAS2S(channels=2))
    sent = pickle.dumps(seen)
    assert len(sent) < 40 * 50 * (4 * 4 + 4 + 3) + 20_000
    np.testing.assert_array_equal(pickle.loads(sent).picture, seen.picture)


def test_a_scene_of_one_column_keeps_its_shape_in_wandb(tmp_path, monkeypatch):
    class Recorder(WandbLogger):
        def __init__(self):
            self.rows = []

        @property
        def experiment(self):
            return SimpleNamespace(log=self.rows.append)

    recorder = Recorder()
    trainer = SimpleNamespace(loggers=[recorder], global_step=3)
    gallery = Gallery(trainer, tmp_path, "val", "regions")
    mask = np.zeros((5, 1), np.uint8)
    gallery.overlays("x", np.zeros((5, 1, 3), np.uint8), [{"spatial": mask}], ["a"], {0: "b"})
    assert recorder.rows[0]["regions/val/x"][0].image.size == (1, 5)


def test_an_input_that_is_not_finite_has_no_regions():
    noisy = cube(3, 6, 7)
    view = view_of(noisy, torch.full_like(noisy, torch.nan))
    shown = [("encoded", "noisy"), ("embedding", "denoised")]
    found = find_masks(view, RAS2S(channels=2), shown)
    assert {key[:2] for key in found} == {("encoded", "noisy")}
