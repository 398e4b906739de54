"""Workers that get no shared memory say so, and nobody waits for them."""

import numpy as np
import pytest
import torch

from datamodules import DataError, Scene
from datamodules.base import HSIDataModule
from datamodules.shared_memory import short_of_shared_memory

torch.set_num_threads(1)

FULL = RuntimeError("unable to allocate shared memory(shm) for file </torch_1_2>: No space left")


class Cubes(HSIDataModule):
    """Two scenes for everything."""

    name = "cubes"

    def scenes(self, split):
        rng = np.random.default_rng(0)
        return [Scene(f"{split}{n}", rng.random((4, 12, 12), np.float32)) for n in range(2)]


@pytest.mark.parametrize(("split", "after"), [("train", 1), ("val", 0)])
def test_a_worker_without_shared_memory_says_so(split, after, monkeypatch):
    """Torch shares what it sends behind the worker's back: an error there leaves all waiting."""
    data = Cubes(batch_size=2, patch_size=8, patch_bands=4, patches_per_epoch=8, num_workers=1)
    data.setup("fit")
    loader = getattr(data, f"{split}_dataloader")()
    share, calls = torch.Tensor.share_memory_, iter(range(1 << 30))

    def share_memory_(self):
        if next(calls) >= after:
            raise FULL
        return share(self)

    monkeypatch.setattr(torch.Tensor, "share_memory_", share_memory_)
    with pytest.raises(DataError, match=r"not enough shared memory.*data.num_workers=0.*shm-size"):
        list(loader)


def test_every_tensor_of_a_batch_is_shared_by_the_worker_itself(monkeypatch):
    data = Cubes(batch_size=2, patch_size=8, patch_bands=4, patches_per_epoch=4, num_workers=1)
    data.setup("fit")
    batch = data._loader(data.train_set, data.train_dataloader().sampler, 2).collate_fn(
        data.train_set.__getitems__([0, 1])
    )
    assert not batch["index"].is_shared()  # nobody else is there
    with monkeypatch.context() as worker:
        worker.setattr("datamodules.shared_memory.get_worker_info", object)
        shared = data.train_dataloader().collate_fn(data.train_set.__getitems__([0, 1]))
    tensors = [value for value in shared.values() if isinstance(value, torch.Tensor)]
    assert len(tensors) == 3  # clean, index, seed
    assert all(tensor.is_shared() for tensor in tensors)


def test_other_errors_are_left_as_they_are():
    with pytest.raises(RuntimeError, match="shape"), short_of_shared_memory():
        raise RuntimeError("shape mismatch")


def test_a_dead_worker_whose_memory_was_not_there_is_told_so():
    data = Cubes(num_workers=1)
    error = RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error. ")
    data.on_exception(error)
    (note,) = error.__notes__
    assert "not enough shared memory" in note
