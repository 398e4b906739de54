"""Which scenes are looked at, when, on which process, and what that costs."""

import csv
import json
import warnings
from types import SimpleNamespace

import lightning as L
import numpy as np
import pytest
import torch
import torch.distributed
from lightning.pytorch.loggers import CSVLogger
from scipy.io import savemat
from torch import nn

from datamodules import ReleasedFiles, Scene, TestSets
from datamodules.base import HSIDataModule
from datamodules.samples import REAL
from datamodules.scene import Measured
from lightning_ras2s import HSIDenoiser
from lightning_ras2s.callbacks import scene_callback
from lightning_ras2s.callbacks.scene_callback import SceneCallback
from lightning_ras2s.inference.subspace import refine

torch.set_num_threads(1)
WAVELENGTHS = np.linspace(400, 700, 4)


class Plots(HSIDataModule):
    """Small scenes, the same in every split."""

    name = "plots"

    def __init__(self, scenes="abc", **options):
        small = {"batch_size": 2, "patch_size": 8, "patch_bands": 4, "patches_per_epoch": 2}
        cases = {"val_noise": ["noniid"], "test_noise": ["noniid", "stripe"]}
        super().__init__(**(small | cases | options))
        self.names = scenes

    def scenes(self, split):
        cubes = np.random.default_rng(0).random((len(self.names), 4, 12, 14), np.float32)
        return [Scene(n, cube, WAVELENGTHS) for n, cube in zip(self.names, cubes, strict=True)]


class Half(nn.Module):
    """A network whose output is known, and which can be trained."""

    def __init__(self):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(0.5))

    def forward(self, noisy):
        return self.factor * noisy


class Note(SceneCallback):
    """Notes in a file what it is given; it is told apart by process and step."""

    topic = "note"

    def look(self, view, network):
        return _rank()

    def show(self, looks, gallery):
        self.folder.mkdir(exist_ok=True)
        with (self.folder / f"shown_by_{_rank()}.jsonl").open("a") as file:
            stage, shown = gallery.folder.name, [[*item, rank] for item, rank in looks.items()]
            file.write(json.dumps([stage, gallery.step, shown]) + "\n")


def _rank():
    return torch.distributed.get_rank() if torch.distributed.is_initialized() else 0


def shown(folder, rank=0):
    """What a process has shown: stage, step, and its scenes, each with the process that looked."""
    path = folder / f"shown_by_{rank}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def trainer(callback, **options):
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    own = {"enable_checkpointing": False, "use_distributed_sampler": False, "accelerator": "cpu"}
    return L.Trainer(**(quiet | own | {"callbacks": [callback]} | options))


def test_the_first_scene_of_each_dataset_is_looked_at_under_all_its_cases(tmp_path):
    data = TestSets({"left": Plots("abc"), "right": Plots("de", test_noise=["mixture"])})
    trainer(Note(str(tmp_path))).test(HSIDenoiser(Half()), data, verbose=False)
    ((stage, step, looks),) = shown(tmp_path)
    assert (stage, step) == ("test", 0)
    assert looks == [
        ["left", "a", "noniid", 0],
        ["left", "a", "stripe", 0],
        ["right", "d", "mixture", 0],
    ]


def test_scenes_can_be_chosen(tmp_path):
    callback = Note(str(tmp_path), scenes=["c", "b"])
    trainer(callback).test(HSIDenoiser(Half()), Plots(), verbose=False)
    ((_, _, looks),) = shown(tmp_path)
    cases = [("noniid", "b"), ("noniid", "c"), ("stripe", "b"), ("stripe", "c")]
    assert looks == [["plots", scene, case, 0] for case, scene in cases]


def test_scenes_of_one_name_in_two_datasets_are_told_apart(tmp_path):
    data = TestSets({"left": Plots("ab"), "right": Plots("ac")}, test_noise=["noniid"])
    trainer(Note(str(tmp_path), scenes="abc")).test(HSIDenoiser(Half()), data, verbose=False)
    ((_, _, looks),) = shown(tmp_path)
    assert [look[1] for look in looks] == ["left a", "b", "right a", "c"]


@pytest.mark.parametrize(
    ("scenes", "instead", "looked_at"),
    [(["x"], "; looks at a in its place", ["a"]), (["x", "b"], "", ["b"])],
)
def test_a_scene_that_is_not_there_is_told_in_one_line(tmp_path, scenes, instead, looked_at):
    callback = Note(str(tmp_path), scenes)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        trainer(callback, max_epochs=2).fit(HSIDenoiser(Half()), Plots())
    lines = [str(warning.message) for warning in told if "Note" in str(warning.message)]
    assert lines == [f"Note: no scene x in val, which has a, b, c{instead}"]
    assert [[look[1] for look in looks] for _, _, looks in shown(tmp_path)] == [looked_at] * 2


def test_every_nth_validation_and_the_last_are_looked_at_but_not_the_sanity_check(tmp_path):
    callback = Note(str(tmp_path), every_n_epochs=2)
    trainer(callback, max_epochs=5, num_sanity_val_steps=3).fit(HSIDenoiser(Half()), Plots())
    assert [(stage, step) for stage, step, _ in shown(tmp_path)] == [("val", s) for s in (1, 3, 4)]


def test_a_training_that_ends_by_its_steps_is_looked_at(tmp_path):
    engine = trainer(Note(str(tmp_path), every_n_epochs=9), max_steps=3, max_epochs=-1)
    engine.fit(HSIDenoiser(Half()), Plots())
    assert [step for _, step, _ in shown(tmp_path)] == [2]


def test_validations_and_tests_by_themselves_are_always_looked_at(tmp_path):
    engine = trainer(Note(str(tmp_path), every_n_epochs=100))
    for run in (engine.test, engine.validate, engine.validate):
        run(HSIDenoiser(Half()), Plots(), verbose=False)
    stages = [(stage, [look[2] for look in looks]) for stage, _, looks in shown(tmp_path)]
    assert stages == [("test", ["noniid", "stripe"]), ("val", ["noniid"]), ("val", ["noniid"])]


def test_every_n_epochs_is_at_least_1(tmp_path):
    with pytest.raises(ValueError, match="every_n_epochs is 0"):
        Note(str(tmp_path), every_n_epochs=0)


class Keep(Note):
    """Keeps the views themselves."""

    def look(self, view, network):
        return view, network

    def show(self, looks, gallery):
        self.kept = looks


def test_a_view_has_the_scene_before_and_after(tmp_path):
    callback, data, denoiser = Keep(str(tmp_path), scenes=["b"]), Plots(), HSIDenoiser(Half())
    trainer(callback).test(denoiser, data, verbose=False)
    for item, (view, network) in callback.kept.items():
        sample = data.test_set[data.test_set.items.index(item)]
        images = view.images
        assert list(images) == ["noisy", "Half", "Half+S", "clean"]
        for name, factor in {"noisy": 1, "Half": 0.5}.items():
            np.testing.assert_array_equal(images[name], factor * sample["noisy"].numpy())
        refined = refine(sample["noisy"], sample["noisy"] / 2)[0]
        np.testing.assert_array_equal(images["Half+S"], refined)
        np.testing.assert_array_equal(view.best, refined)
        np.testing.assert_array_equal(view.denoised, images["Half"])
        assert not view.is_reflectance
        np.testing.assert_array_equal(images["clean"], sample["clean"].numpy())
        np.testing.assert_array_equal(view.wavelengths, WAVELENGTHS)
        assert view.item == item
        assert network is denoiser.network


class Field(Plots):
    """Scenes that were measured with their noise, of bands that nobody knows."""

    def __init__(self):
        super().__init__("a", test_noise=[REAL])

    def scenes(self, split):
        return [Measured(Scene(s.name, s.cube)) for s in super().scenes(split)]


def test_a_view_says_what_is_not_known(tmp_path):
    callback = Keep(str(tmp_path))
    trainer(callback).test(HSIDenoiser(Half()), Field(), verbose=False)
    ((view, _),) = callback.kept.values()
    assert view.clean is None
    assert view.wavelengths is None
    assert list(view.images) == ["noisy", "Half", "Half+S"]


def test_released_files_say_less_and_are_looked_at_all_the_same(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "icvl_512_stripe").mkdir()
    gt = rng.random((12, 14, 4))
    savemat(tmp_path / "icvl_512_stripe" / "a.mat", {"gt": gt, "input": gt + 0.1})
    callback, data = Keep(str(tmp_path)), ReleasedFiles(path=str(tmp_path / "icvl_512_stripe"))
    trainer(callback).test(HSIDenoiser(Half()), data, verbose=False)
    ((view, _),) = callback.kept.values()
    np.testing.assert_allclose(view.images["clean"], gt.transpose(2, 0, 1), rtol=1e-6)
    assert (view.is_reflectance, view.wavelengths) == (False, None)


def test_the_cost_of_looking_is_logged(tmp_path, monkeypatch):
    now = iter(range(1000))  # each question for the time takes a second
    monkeypatch.setattr(scene_callback, "time", SimpleNamespace(perf_counter=now.__next__))
    logger = CSVLogger(tmp_path, name="", version="")
    engine = trainer(Note(str(tmp_path)), max_epochs=2, logger=logger)
    engine.fit(HSIDenoiser(Half()), Plots())
    engine.test(HSIDenoiser(Half()), Plots(), verbose=False)
    with (tmp_path / "metrics.csv").open() as file:
        costs = [row for row in csv.DictReader(file) if row["cost/note_s"]]
    # since 0, looks from 1 to 2, shows from 3 to 4; since then the same again
    assert [float(row["cost/note_s"]) for row in costs] == [2, 2]
    assert [float(row["cost/note_share"]) for row in costs] == [0.5, 0.5]
    assert [row["step"] for row in costs] == ["0", "1"]


def distributed(callback):
    return trainer(callback, strategy="ddp_fork", devices=2)


def test_the_first_process_shows_what_another_has_seen(tmp_path):
    callback = Note(str(tmp_path), scenes=["b"])
    data = Plots("abc", test_noise=["noniid"])  # a and c are on process 0, b on process 1
    distributed(callback).test(HSIDenoiser(Half()), data, verbose=False)
    assert shown(tmp_path) == [["test", 0, [["plots", "b", "noniid", 1]]]]
    assert shown(tmp_path, rank=1) == []


def test_a_scene_that_two_processes_have_is_shown_once(tmp_path):
    data = Plots("a", test_noise=["noniid"])  # process 1 would have none, and repeats it
    distributed(Note(str(tmp_path))).test(HSIDenoiser(Half()), data, verbose=False)
    ((_, _, looks),) = shown(tmp_path)
    assert [look[:3] for look in looks] == [["plots", "a", "noniid"]]
    assert shown(tmp_path, rank=1) == []
