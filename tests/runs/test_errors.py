"""Any error is one line and an exit code."""

import pytest
import torch
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch.utils.data import DataLoader

from datamodules import DataError
from lightning_ras2s.runs.errors import UserError, verdict, write_traceback
from lightning_ras2s.runs.folder import RunFolder

torch.set_num_threads(1)


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (UserError("a typo"), 2, "a typo"),
        (DataError("no scene"), 2, "no scene"),
        (FileNotFoundError("w.ckpt: no such"), 2, "w.ckpt: no such"),
        (ValueError("a is 3\n  give 2"), 2, "a is 3 give 2"),
        (MisconfigurationException("no"), 2, "no"),
        (OSError(28, "No space left on device"), 1, "[Errno 28] No space left on device"),
        (KeyError("x"), 1, "KeyError: 'x'"),
        (RuntimeError("out of luck\nat line 3"), 1, "RuntimeError: out of luck"),
        (ZeroDivisionError(), 1, "ZeroDivisionError: "),
    ],
)
def test_an_error_is_one_line_and_a_code(error, code, message):
    assert verdict(error) == (code, message)


def test_what_is_known_of_the_cause_follows_the_first_line():
    error = RuntimeError("out of memory.\nat alloc.cpp:3")
    error.add_note("Lower data.batch_size.")
    assert verdict(error) == (1, "out of memory. Lower data.batch_size.")


class Broken(torch.utils.data.Dataset):
    """Samples that cannot be read."""

    def __len__(self):
        return 1

    def __getitem__(self, index):
        raise DataError("a.npy: 3 bytes are missing")


def test_an_error_in_a_worker_reads_like_one_outside():
    with pytest.raises(DataError) as told:
        next(iter(DataLoader(Broken(), num_workers=1)))
    assert verdict(told.value) == (2, "a.npy: 3 bytes are missing")


def test_where_it_came_from_is_in_a_file(tmp_path):
    try:
        raise KeyError("x")
    except KeyError as error:
        path = write_traceback(RunFolder(tmp_path), error)
    assert path == tmp_path / "traceback.txt"
    assert "test_where_it_came_from_is_in_a_file" in path.read_text()
