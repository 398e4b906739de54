"""What these tests share: the folder with the cubes, and the training that nothing happened to."""

import pytest

from tests.cubes import write_cubes
from tests.faults.training import Training


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faults")
    write_cubes(folder / "cubes")
    return folder


@pytest.fixture(scope="session")
def untouched(folder):
    """The result of a training that nothing happened to."""
    training = Training(folder, "untouched")
    assert training.fit() == 0, training.output
    return training.result()


@pytest.fixture(scope="session")
def untouched_pair(folder):
    """The same by two processes, whose sums round otherwise than those of one."""
    training = Training(folder, "untouched_pair", devices=2)
    assert training.fit() == 0, training.output
    return training.result()
