"""Learning rates over time, as factors of the initial one."""

import math
from collections.abc import Callable, Mapping
from typing import Literal

Schedule = Literal["paper", "cosine", "constant"] | dict[int, float]

PAPER = {5: 0.5, 15: 0.2, 25: 0.1, 50: 0.05}
"""The released recipe: 1e-3 for 5 epochs, 5e-4 to the 15th, 2e-4 to 25, 1e-4 to 50, 5e-5 on."""


def step_factor(factors: Mapping[int, float]) -> Callable[[int], float]:
    """That of the last epoch which has come; 1 before all of them.

    Args:
        factors: By the epoch from which on they hold.
    """

    def factor(epoch: int) -> float:
        return factors[max(come)] if (come := [e for e in factors if e <= epoch]) else 1.0

    return factor


paper_factor = step_factor(PAPER)


def cosine_factor(warmup_steps: int, total_steps: int) -> Callable[[int], float]:
    """Linear warm-up, then half a cosine from 1 down to 0.01 at the last step."""

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / warmup_steps
        return half_cosine((step - warmup_steps) / max(1, total_steps - warmup_steps))

    return factor


def half_cosine(progress: float) -> float:
    """From 1 at 0 down to 0.01 at 1, and on."""
    return 0.01 + 0.99 * (1 + math.cos(math.pi * min(1.0, progress))) / 2
