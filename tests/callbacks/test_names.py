"""Scenes are named by users: a name is text, never a formula, a path or markup."""

from types import SimpleNamespace

import pytest
import torch

from lightning_ras2s import RAS2S
from lightning_ras2s.callbacks import BandwiseQuality, DenoisedScenes, RegionMasks, SpectralCurves
from lightning_ras2s.pictures.gallery import Gallery
from tests.callbacks.watching import view_of

NAME = r"cost $\frac$ <x> ../a"


@pytest.mark.parametrize("callback", [BandwiseQuality, DenoisedScenes, RegionMasks, SpectralCurves])
def test_any_name_is_drawn_as_it_is(callback, tmp_path):
    cube = torch.rand(4, 16, 20, generator=torch.Generator().manual_seed(0))
    watcher = callback(str(tmp_path / "pictures"))
    look = watcher.look(view_of(cube, 0.9 * cube, cube), RAS2S(channels=2))
    item = view_of(cube, cube).item._replace(scene=NAME)
    trainer = SimpleNamespace(loggers=[], global_step=0)
    watcher.show({item: look}, Gallery(trainer, watcher.folder, "val", watcher.topic))
    pictures = list(tmp_path.rglob("*.png"))
    assert pictures
    assert all(path.parent == tmp_path / "pictures" / "val" for path in pictures)
