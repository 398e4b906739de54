"""How a pass goes over the bands: over all at once, or by segments that are computed again."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from lightning_ras2s.networks import native

SEGMENT = 24
"""Bands. Fewer save some of the memory of few bands, of many bands little."""

Pass = Callable[..., tuple[Any, ...]]
"""(carry, *stacks) -> (carry, *results).

The carry is what one band hands on to the next. Stacks are lists with an item for each band, of
which the last is taken first; the pass empties them. Results are such lists in the order in which
they are computed, and so are stacks of a pass in the other direction.
"""
Run = Callable[..., tuple[Any, ...]]
"""(pass, carry, *stacks) -> what the pass gives."""


def at_once(one: Pass, carry: Any, *stacks: list[Any]) -> tuple[Any, ...]:
    """Runs a pass over all bands."""
    return one(carry, *stacks)


def by_segments(one: Pass, carry: Any, *stacks: list[Any]) -> tuple[Any, ...]:
    """Runs a pass over ``SEGMENT`` bands at a time; gradient checkpointing.

    The stacks and what is carried from segment to segment are kept for the backward pass. All else
    is computed again, when the gradients come to its segment.
    """
    results: list[list[Any]] = []
    plain = native.switched_off()

    def run(carry: Any, *parts: list[Any]) -> tuple[Any, ...]:
        with native.plain_operations(plain):  # also where the backward pass computes it again
            carry, *results = one(carry, *map(list, parts))
        return carry, *map(_in_one_block, results)

    while stacks[0]:
        parts = [stack[-SEGMENT:] for stack in stacks]
        for stack in stacks:
            del stack[-SEGMENT:]
        carry, *made = checkpoint(run, carry, *parts, use_reentrant=False, preserve_rng_state=False)
        results = results or [[] for _ in made]
        for result, some in zip(results, made, strict=True):
            result += some
    return carry, *results


def _in_one_block(bands: list[Tensor]) -> list[Tensor]:
    """The same in one piece of memory, as their gradients will be.

    Kept band by band, they would lie between the holes that the other tensors of a pass leave.
    """
    return list(torch.stack(bands).unbind())
