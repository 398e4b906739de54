"""The data module: which patches and scenes come, with which noise, on which process."""

import itertools
import os
import signal
from collections import Counter

import numpy as np
import pytest
import torch

from datamodules import base
from datamodules.base import HSIDataModule
from datamodules.noise import FIVE_CASES, corrupt
from datamodules.random_streams import derive_seed
from datamodules.scene import DataError, Scene

torch.set_num_threads(1)

SCENES = {"train": 3, "val": 1, "test": 2}


class Blocks(HSIDataModule):
    """A few random scenes a split."""

    name = "blocks"

    def __init__(self, scenes=SCENES, **options):
        small = {"batch_size": 2, "patch_size": 6, "patch_bands": 3, "patches_per_epoch": 12}
        super().__init__(**(small | options))
        self.all = {
            split: [
                Scene(f"{split}_{i}", np.random.default_rng(i).random((5, 8, 9), np.float32))
                for i in range(number)
            ]
            for split, number in scenes.items()
        }

    def scenes(self, split):
        return self.all[split]


def ready(stage, **options):
    module = Blocks(**options)
    module.setup(stage)
    return module


def patches(module, epoch=0):
    """What the training loader gives for an epoch, by number."""
    loader = module.train_dataloader()
    loader.sampler.set_epoch(epoch)
    return {
        number: (clean.numpy().tobytes(), name, case, seed)
        for batch in loader
        for clean, name, number, case, seed in zip(
            batch["clean"],
            batch["name"],
            batch["index"].tolist(),
            batch["case"],
            batch["seed"].tolist(),
            strict=True,
        )
    }


def noisy_scenes(module, loader):
    """Noisy cubes by scene and case."""
    scenes = {}
    for batch in loader:
        batch = module.on_after_batch_transfer(batch, 0)
        key = (*batch["name"], *batch["case"])
        assert key not in scenes
        scenes[key] = batch["noisy"][0]
    return scenes


@pytest.fixture
def processes(monkeypatch):
    """Makes torch say that this is process ``rank`` of ``world``."""

    def pretend(rank, world):
        monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
        monkeypatch.setattr(torch.distributed, "get_rank", lambda: rank)
        monkeypatch.setattr(torch.distributed, "get_world_size", lambda: world)

    return pretend


# Training patches


@pytest.mark.parametrize(("num_workers", "batch_size"), [(0, 3), (2, 2), (2, 4), (0, 1)])
def test_a_patch_depends_on_seed_and_number_only(num_workers, batch_size):
    module = ready("fit", num_workers=num_workers, batch_size=batch_size)
    expected = patches(ready("fit"))
    assert patches(module) == expected
    assert list(expected) == list(range(12))
    assert len(set(expected.values())) == 12
    assert len({patch[3] for patch in expected.values()}) == 12


def test_a_batch_is_its_patches():
    train_set = ready("fit").train_set
    numbers = [7, 2, 30]
    batch, patches = train_set.__getitems__(numbers), [train_set[number] for number in numbers]
    assert batch.keys() == patches[0].keys()
    assert batch["clean"].dtype == torch.float32
    for key, values in batch.items():
        for value, patch in zip(values, patches, strict=True):
            assert np.array_equal(value, patch[key])


def test_another_seed_gives_other_patches_and_noise():
    one, other = patches(ready("fit")), patches(ready("fit", seed=1))
    assert not {patch[0] for patch in one.values()} & {patch[0] for patch in other.values()}
    assert not {patch[3] for patch in one.values()} & {patch[3] for patch in other.values()}


@pytest.mark.parametrize("num_workers", [0, 2])
def test_each_epoch_goes_on_with_new_patches(num_workers):
    module = ready("fit", num_workers=num_workers)
    first, third = patches(module), patches(module, epoch=2)
    assert list(third) == list(range(24, 36))
    assert not set(first.values()) & set(third.values())
    assert third[30][3] == module.train_set[30]["seed"]


def test_patches_are_cut_from_the_scene_that_they_name():
    module = ready("fit", patch_bands=1, patch_size=1)
    scenes = {scene.name: scene.cube for scene in module.all["train"]}
    items = [module.train_set[number] for number in range(60)]
    assert {item["name"] for item in items} == set(scenes)
    for item in items:
        assert np.isin(item["clean"].numpy(), scenes[item["name"]]).all()


def test_a_batch_is_the_clean_patches_with_noise_of_their_cases_and_seeds():
    module = ready("fit", batch_size=12, train_noise=["stripe", "gaussian30", "mixture"])
    (batch,) = module.train_dataloader()
    clean, seeds = batch["clean"].clone(), batch["seed"].clone()
    assert set(batch["case"]) == {"stripe", "gaussian30", "mixture"}
    out = module.on_after_batch_transfer(batch, 0)
    assert torch.equal(out["clean"], clean)
    for i, case in enumerate(out["case"]):
        expected = corrupt(clean[i : i + 1], [case], seeds[i : i + 1])[0]
        assert torch.equal(out["noisy"][i], expected)
        assert (expected != clean[i]).float().mean() > 0.9
    assert out.keys() == {"clean", "noisy", "dataset", "name", "case", "index"}


def test_the_default_training_mix_comes_in_equal_shares_also_on_each_scene():
    train_set = ready("fit").train_set
    items = [train_set[number] for number in range(2000)]
    counts = Counter((item["name"], item["case"]) for item in items)
    scenes = {"train_0", "train_1", "train_2"}
    assert counts.keys() == set(
        itertools.product(scenes, {"noniid", "impulse", "stripe", "deadline"})
    )
    expected = 2000 / len(counts)
    chi_square = sum((count - expected) ** 2 / expected for count in counts.values())
    assert chi_square < 31.3  # exceeded once in 1000 with 11 degrees of freedom


@pytest.mark.parametrize("num_workers", [0, 2])
def test_noise_cases_may_go_by_the_epoch(num_workers):
    stages = {0: ["gaussian50"], 1: ["stripe", "impulse"], 3: ["mixture"]}
    module = ready("fit", train_noise=stages, num_workers=num_workers)
    seen = [{case for _, _, case, _ in patches(module, epoch).values()} for epoch in range(5)]
    assert seen == [
        {"gaussian50"}, {"stripe", "impulse"}, {"stripe", "impulse"}, {"mixture"}, {"mixture"},
    ]  # fmt: skip


def test_scenes_stay_as_they_are_whatever_is_done_to_batches():
    module = Blocks(batch_size=1, patch_size=8, patch_bands=5, train_noise=["deadline", "impulse"])
    for scene in itertools.chain(*module.all.values()):
        object.__setattr__(scene, "cube", np.ascontiguousarray(scene.cube[..., :8]))
    before = {scene.name: scene.cube.copy() for scene in itertools.chain(*module.all.values())}
    for stage in ("fit", "test"):
        module.setup(stage)
    loaders = (module.train_dataloader(), module.val_dataloader(), module.test_dataloader())
    for batch in itertools.chain(*loaders):
        batch = module.on_after_batch_transfer(batch, 0)
        batch["clean"].fill_(-7)
        batch["noisy"].fill_(-7)
    for scene in itertools.chain(*module.all.values()):
        assert np.array_equal(scene.cube, before[scene.name])


@pytest.mark.parametrize("compile_noise", [False, True])
def test_noise_is_compiled_for_training_where_that_is_asked_for(monkeypatch, compile_noise):
    calls = []
    monkeypatch.setattr(base, "compile_draws", lambda: calls.append(True))
    module = Blocks(compile_noise=compile_noise)
    module.setup("test")
    assert not calls
    module.setup("fit")
    assert calls == [True] * compile_noise


@pytest.mark.parametrize(
    ("strides", "batch_size", "patches"), [((1,), 2, 36), ((2,), 5, 12), ((64,), 4, 4)]
)
def test_an_epoch_has_as_many_patches_as_the_grids_by_default(strides, batch_size, patches):
    # Places of 6 x 6 pixels in three scenes of 8 x 9; in any case one batch.
    module = Blocks(patches_per_epoch=None, batch_size=batch_size)
    module.strides = strides
    module.setup("fit")
    loader = module.train_dataloader()
    assert loader.sampler.length == patches
    assert len(loader) == patches // batch_size


# Validation and test scenes


@pytest.mark.parametrize("num_workers", [0, 2])
def test_test_scenes_come_once_per_case_with_noise_of_their_own_seed(num_workers):
    module = ready("test", num_workers=num_workers, evaluation_seed=5)
    noisy = noisy_scenes(module, module.test_dataloader())
    assert noisy.keys() == set(itertools.product(["test_0", "test_1"], FIVE_CASES))
    cubes = {scene.name: torch.from_numpy(scene.cube) for scene in module.all["test"]}
    for (name, case), image in noisy.items():
        seed = torch.tensor([derive_seed(5, "blocks", name, case)])
        assert torch.equal(image, corrupt(cubes[name][None], [case], seed)[0])


def test_the_noise_of_a_test_scene_does_not_depend_on_what_else_is_tested():
    module = ready("test")
    expected = noisy_scenes(module, module.test_dataloader())
    fewer = Blocks(test_noise=["mixture", "stripe"])
    fewer.all["test"] = [*fewer.all["val"], *fewer.all["test"][::-1]]
    fewer.setup("test")
    noisy = noisy_scenes(fewer, fewer.test_dataloader())
    assert len(noisy) == 6
    for key in set(noisy) & set(expected):
        assert torch.equal(noisy[key], expected[key])


@pytest.mark.parametrize("stage", ["validate", "test"])
def test_the_seed_of_a_training_does_not_touch_what_judges_it(stage):
    def noisy(**seeds):
        module = ready(stage, **seeds)
        loader = module.test_dataloader() if stage == "test" else module.val_dataloader()
        return noisy_scenes(module, loader)

    one, other, another = noisy(), noisy(seed=1), noisy(evaluation_seed=1)
    for key, image in one.items():
        assert torch.equal(other[key], image)
        assert not torch.equal(another[key], image)


@pytest.mark.parametrize("stage", ["fit", "validate"])
def test_validation_scenes_come_once_per_case_whatever_the_epoch(stage):
    module = ready(stage, val_noise=["mixture", "gaussian30"])
    loader = module.val_dataloader()
    first = noisy_scenes(module, loader)
    assert first.keys() == {("val_0", "mixture"), ("val_0", "gaussian30")}
    loader.sampler.set_epoch(3)
    again = noisy_scenes(module, loader)
    assert all(torch.equal(first[key], again[key]) for key in first)


def test_the_noise_of_validation_is_made_after_the_transfer_and_follows_from_names():
    module = ready("validate", evaluation_seed=5, val_noise=["mixture"])
    (batch,) = module.val_dataloader()
    facts = {"dataset", "name", "case", "index", "offset", "gain", "reflectance"}
    assert batch.keys() == {"clean", "seed"} | facts
    out = module.on_after_batch_transfer(batch, 0)
    assert out.keys() == {"clean", "noisy"} | facts
    seed = torch.tensor([derive_seed(5, "blocks", "val_0", "mixture")])
    assert torch.equal(out["noisy"], corrupt(out["clean"], ["mixture"], seed))


def test_items_name_the_scene_and_case_of_each_index():
    module = ready("test")
    for batch in module.test_dataloader():
        item = module.test_set.items[batch["index"].item()]
        assert item == ("blocks", *batch["name"], *batch["case"])
        scene = next(s for s in module.all["test"] if s.name == item.scene)
        assert np.array_equal(batch["clean"][0], scene.cube)


# Several processes


@pytest.mark.parametrize("world", [2, 3, 4, 5])
def test_every_test_scene_is_on_one_process_exactly(processes, world):
    module = ready("test", scenes={"test": 5}, test_noise=["noniid"])
    indices = []
    for rank in range(world):
        processes(rank, world)
        loader = module.test_dataloader()
        own = [index for batch in loader for index in batch["index"].tolist()]
        assert len(own) == len(loader)
        indices += own
    assert sorted(indices) == [0, 1, 2, 3, 4]


def test_a_process_without_a_test_scene_repeats_one(processes):
    # Lightning skips an evaluation without batches, and the other processes wait for it for ever.
    module = ready("test", scenes={"test": 2}, test_noise=["noniid"])
    own = []
    for rank in range(3):
        processes(rank, 3)
        own.append(
            [index for batch in module.test_dataloader() for index in batch["index"].tolist()]
        )
    assert own == [[0], [1], [0]]


@pytest.mark.parametrize(("epoch", "num_workers"), [(0, 0), (2, 0), (2, 2)])
@pytest.mark.parametrize("world", [1, 2, 3])
def test_processes_share_the_same_batches(processes, epoch, num_workers, world):
    module = ready("fit", patches_per_epoch=14, batch_size=6, num_workers=num_workers)
    shares = []
    for rank in range(world):
        processes(rank, world)
        loader = module.train_dataloader()
        loader.sampler.set_epoch(epoch)
        shares.append([batch["index"].tolist() for batch in loader])
        assert len(loader) == 2  # a remainder of two patches is left out
    first = 14 * epoch
    for number, parts in enumerate(zip(*shares, strict=True)):
        assert [len(part) for part in parts] == [6 // world] * world
        batch = sorted(itertools.chain(*parts))
        assert batch == list(range(first + 6 * number, first + 6 * number + 6))


@pytest.mark.parametrize(
    ("batch_size", "world", "sizes"), [(6, 4, "4 or 8"), (2, 3, "3"), (9, 2, "8 or 10")]
)
def test_a_batch_that_cannot_be_shared_equally_is_refused(processes, batch_size, world, sizes):
    module = ready("fit", batch_size=batch_size)
    processes(world - 1, world)
    message = rf"batch_size is {batch_size}, of all {world} devices .*give {sizes}$"
    with pytest.raises(DataError, match=message):
        module.train_dataloader()


# Going on within an epoch


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("done", [0, 1, 3, 5])
def test_a_loader_goes_on_where_its_state_was_saved(num_workers, done):
    def batches(loader):
        loader.sampler.set_epoch(1)
        for batch in loader:
            yield batch["index"].tolist(), batch["clean"].numpy().tobytes()

    module = ready("fit", num_workers=num_workers)
    whole = list(batches(module.train_dataloader()))
    interrupted = module.train_dataloader()
    running = batches(interrupted)
    assert [next(running) for _ in range(done)] == whole[:done]
    again = ready("fit", num_workers=num_workers).train_dataloader()
    again.load_state_dict(interrupted.state_dict())
    assert list(batches(again)) == whole[done:]
    assert list(batches(again)) == whole  # the next epoch is whole


def test_the_state_of_an_epoch_that_was_all_given_begins_the_next_one():
    loader = ready("fit").train_dataloader()
    assert len(list(loader)) == loader.state_dict()["batches"] == 6
    again = ready("fit").train_dataloader()
    again.load_state_dict(loader.state_dict())
    assert len(list(again)) == 6


class Deadly:
    """A scene at whose reading the worker is killed."""

    def __init__(self, scene):
        self.scene, self.path = scene, "data/deadly.npy"

    def __getattr__(self, name):
        return getattr(self.__dict__["scene"], name)

    def cut(self, *args):
        os.kill(os.getpid(), signal.SIGKILL)


def test_the_death_of_a_worker_names_what_it_was_reading():
    module = Blocks(num_workers=1)
    module.all["train"] = [Deadly(scene) for scene in module.all["train"]]
    module.setup("fit")
    with pytest.raises(RuntimeError, match="DataLoader worker") as death:
        list(module.train_dataloader())
    module.on_exception(death.value)
    (note,) = death.value.__notes__
    assert note.startswith("It was reading data/deadly.npy. Is that file damaged?")


def test_other_failures_get_no_note():
    module = ready("fit", num_workers=2)
    list(module.train_dataloader())
    error = RuntimeError("something else")
    module.on_exception(error)
    assert not hasattr(error, "__notes__")


# Errors


@pytest.mark.parametrize(
    ("stage", "split"), [("fit", "train"), ("fit", "val"), ("validate", "val"), ("test", "test")]
)
def test_an_empty_split_is_named(stage, split):
    with pytest.raises(DataError, match=f"blocks: the {split} split is empty"):
        ready(stage, scenes=SCENES | {split: 0})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train_noise": ["noniid", "mixtur"]}, r"data\.train_noise: .*'mixtur'.*mean 'mixture'"),
        ({"val_noise": ["gaussian-1"]}, r"data\.val_noise: .*'gaussian-1'"),
        ({"test_noise": ["fog"]}, r"data\.test_noise: .*'fog'"),
        ({"train_noise": []}, r"data\.train_noise is empty"),
        ({"train_noise": {2: ["noniid"]}}, r"begins at the epochs 2; say .* from epoch 0 on"),
        ({"train_noise": {0: ["noniid"], 4: ["nonid"]}}, r"data\.train_noise: .*'nonid'"),
        ({"val_noise": ()}, r"data\.val_noise is empty"),
        ({"test_noise": []}, r"data\.test_noise is empty"),
        ({"batch_size": 0}, r"data\.batch_size is 0"),
        ({"batch_size": 13}, r"data\.batch_size is 13 and data\.patches_per_epoch 12"),
        ({"patches_per_epoch": 0}, r"data\.patches_per_epoch 0"),
    ],
)
def test_options_that_cannot_work_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        Blocks(**options)


@pytest.mark.parametrize("options", [{"patch_size": 9}, {"patch_bands": 6}, {"patch_size": 0}])
def test_a_patch_that_does_not_fit_is_refused_before_training(options):
    with pytest.raises(DataError, match=r"scene train_0: .*5x8x9"):
        ready("fit", **options)


def test_cubes_alone_go_to_the_device_where_double_precision_may_be_unknown():
    module = ready("validate", val_noise=["mixture"])
    (batch,) = module.val_dataloader()
    moved = module.transfer_batch_to_device(dict(batch), torch.device("meta"), 0)
    at = {key for key, value in moved.items() if isinstance(value, torch.Tensor) and value.is_meta}
    assert at == {"clean", "seed"}
    assert moved["offset"].dtype == torch.float64
    assert moved["name"] == batch["name"]


def test_batches_say_which_dataset_they_are_of():
    module = ready("fit")
    for loader in (module.train_dataloader(), module.val_dataloader(), module.test_dataloader()):
        batch = next(iter(loader))
        assert batch["dataset"] == [module.name] * len(batch["index"])
