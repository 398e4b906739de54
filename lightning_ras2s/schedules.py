"""Learning rates over time, as factors of the initial one."""

import math
from bisect import bisect_right
from collections.abc import Callable
from typing import Literal

Schedule = Literal["paper", "cosine", "constant"]

PAPER_EPOCHS = (5, 15, 25, 50)
PAPER_FACTORS = (1.0, 0.5, 0.2, 0.1, 0.05)


def paper_factor(epoch: int) -> float:
    """The released recipe: 1e-3 for 5 epochs, 5e-4 to the 15th, 2e-4 to 25, 1e-4 to 50, 5e-5 on."""
    return PAPER_FACTORS[bisect_right(PAPER_EPOCHS, epoch)]


def cosine_factor(warmup_steps: int, total_steps: int) -> Callable[[int], float]:
    """Linear warm-up, then half a cosine from 1 down to 0.01 at the last step."""

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / warmup_steps
        progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
        return 0.01 + 0.99 * (1 + math.cos(math.pi * min(1.0, progress))) / 2

    return factor
