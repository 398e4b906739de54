"""What holds for all tests."""

import os
import random
import signal

import numpy as np
import pytest
import torch


def pytest_runtest_setup():
    """Each test draws the same numbers, alone, among others and in any order."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(scope="session", autouse=True)
def _data_is_kept_for_all_tests(tmp_path_factory):
    """Indian Pines is repaired once, and nothing is written to the data of who runs the tests."""
    before = os.environ.get("DATA_ROOT")
    os.environ["DATA_ROOT"] = str(tmp_path_factory.mktemp("data_root"))
    yield
    if before is None:
        del os.environ["DATA_ROOT"]
    else:
        os.environ["DATA_ROOT"] = before


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c_is_heard():
    """A suite begun with SIGINT ignored, as in the background of a script, would hand that on."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
