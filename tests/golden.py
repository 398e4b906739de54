"""The reference values that lie next to the checkout, outside of it."""

from pathlib import Path

import pytest
import torch

GOLDEN = Path(__file__).parents[2] / "shared" / "golden"

OFFICIAL_WEIGHTS = GOLDEN / "official_s2s.pth"
"""The released weights."""

RAS2S_FILES = (
    "official_weights_9x24x20.pt",
    "official_weights_31x16x16.pt",
    "random_L1_r2_C8.pt",
    "random_L5_r4_C12.pt",
    "random_L3_r4_C10_all_regions.pt",
)
"""The files of inputs, outputs and gradients of the RAS2S network."""

TRACED_FILES = ("official_weights_9x24x20.pt", "random_L3_r4_C10_all_regions.pt")
"""Those of them that have a `trace`."""

requires_golden = pytest.mark.skipif(
    not GOLDEN.is_dir(), reason=f"the golden reference values are not here: no folder {GOLDEN}"
)


def load_golden(name):
    """One of `RAS2S_FILES`, always with `state_dict` and `config`, also with the released weights.

    Returns:
        `input`, `output`, `target`, `l1_loss`, `grads`, `state_dict`, `config`, sometimes `trace`.
    """
    golden = torch.load(GOLDEN / name, weights_only=True)
    if "state_dict" not in golden:
        golden["state_dict"] = torch.load(OFFICIAL_WEIGHTS, weights_only=True)["net"]
        golden["config"] = {"channels": 14, "regions": 3, "attention_bands": 3}
    return golden
