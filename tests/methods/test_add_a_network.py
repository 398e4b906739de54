"""docs/add-a-network.md, followed by the letter in a miniature of the clone."""

import re

import pytest

from tests.documentation.miniature import Miniature
from tests.documentation.pages import blocks

pytestmark = pytest.mark.methods


def test_a_stranger_adds_a_network_as_the_page_says(tmp_path):
    shown = [block.text for block in blocks("python") if block.page == "add-a-network.md"]
    assert sum(len(text.splitlines()) for text in shown) < 50
    files = "tests/methods/test_every_network.py tests/test_methods.py"
    words = '-m "methods or not methods" -k residual3d -p no:xdist -rA'
    done = Miniature(tmp_path).run(f'"$PYTHON" -m pytest {files} {words}')
    assert done.returncode == 0, done.stdout[-3000:]
    passed = re.findall(r"PASSED (\S+)\[residual3d\]", done.stdout)
    assert {name.rpartition("::")[2] for name in passed} >= {
        "test_five_steps_of_the_quickstart_give_weights_for_all_that_follows",
        "test_what_was_stopped_goes_on_as_if_it_had_not_been",
        "test_two_processes_train_as_one",
        "test_half_precision_trains_as_single_does",
        "test_it_is_written_for_others_or_says_why_not",
        "test_a_network_has_its_weights_its_name_and_a_training_step_as_promised",
        "test_a_descriptor_is_complete",
    }
    assert not (tmp_path / "lightning_ras2s" / "networks" / "residual3d.py").is_symlink()
