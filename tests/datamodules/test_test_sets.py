"""Several test sets at once: every scene of each, with the noise it has by itself."""

import numpy as np
import pytest
import torch

from datamodules import DataError, Scene, TestSets
from datamodules.base import HSIDataModule

torch.set_num_threads(1)


class Two(HSIDataModule):
    """Two scenes of any number of bands."""

    name = "two"

    def __init__(self, bands, **options):
        super().__init__(**options)
        self.bands = bands

    def scenes(self, split):
        cubes = np.random.default_rng(self.bands).random((2, self.bands, 7, 8), np.float32)
        return [Scene(f"s{i}", cube) for i, cube in enumerate(cubes)]


def opened(**options):
    data = TestSets({"a": Two(3), "b": Two(5)}, **options)
    data.setup("test")
    return data


def test_all_scenes_of_all_sets_come_once_under_every_case():
    data = opened(test_noise=["mixture", "blind"])
    assert data.test_set.items == [
        (dataset, scene, case)
        for dataset in "ab"
        for case in ("mixture", "blind")
        for scene in ("s0", "s1")
    ]
    batches = list(data.test_dataloader())
    assert [b["index"].item() for b in batches] == list(range(8))
    assert [b["clean"].shape[1] for b in batches] == [3] * 4 + [5] * 4


def test_the_noise_is_that_of_each_set_by_itself():
    alone = Two(5, test_noise=["mixture"], evaluation_seed=9)
    alone.setup("test")
    joined = opened(test_noise=["mixture"], evaluation_seed=9)
    expected = [sample["noisy"] for sample in alone.test_set]
    found = [joined.test_set[index]["noisy"] for index in (2, 3)]
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))


def test_sets_keep_their_own_cases_by_default():
    data = TestSets({"a": Two(3, test_noise=["stripe"]), "b": Two(3, test_noise=["blind"])})
    data.setup("test")
    assert [item.noise_case for item in data.test_set.items] == ["stripe"] * 2 + ["blind"] * 2


def test_there_is_nothing_to_train_on():
    with pytest.raises(DataError, match="nothing to fit"):
        TestSets({"a": Two(3)}).setup("fit")


def test_mistakes_are_told():
    with pytest.raises(ValueError, match="empty"):
        TestSets({})
    with pytest.raises(ValueError, match="mixtur"):
        TestSets({"a": Two(3)}, test_noise=["mixtur"])


def test_all_sets_without_scenes_are_told_at_once():
    empty = [Two(3), Two(5)]
    for data, name in zip(empty, "ab", strict=True):
        data.name = name
        data.scenes = lambda split: []
    with pytest.raises(DataError, match=r"(?s)a: the test split is empty.*b: the test split"):
        TestSets({"a": empty[0], "b": empty[1]}).setup("test")
