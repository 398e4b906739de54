"""The recurrence over the bands of a cube, in the vocabulary of ``jax.lax.scan``."""

import contextvars
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from lightning_ras2s.networks import native

Bands = list[Tensor]  # one entry for each band, in the order of the bands

PIXELS = 1 << 15
"""Of the bands that the CPU trains on together: more would leave its caches, and of fewer the calls
would take longer than the work."""

SEGMENT = 24
"""Bands that are computed again together. Fewer save some of the memory of few bands, of many
bands little."""


class Step:
    """A step with another ``ahead`` or ``after`` than its own."""

    def __init__(
        self,
        step: Any,
        ahead: Callable[..., Any] | None = None,
        after: Callable[..., Any] | None = None,
    ) -> None:
        self.step = step
        self.ahead = ahead or getattr(step, "ahead", None)
        self.after = after or getattr(step, "after", None)

    def __call__(self, h: Any, *reads: Tensor) -> tuple[Any, ...]:
        """The step's own recurrence."""
        return self.step(h, *reads)


def scan(
    step: Any,
    h: Any,
    *xs: Bands,
    reverse: bool = False,
    free: bool = False,
    remat: bool = False,
) -> tuple[Any, ...]:
    """Carries a state from band to band.

    ``h, *ys = scan(step, h, *xs)`` calls ``h, *y = step(h, *x)`` once for each band; this is the
    recurrence. A step may have two more methods, for what waits for no recurrence, and which
    therefore may be called with many bands at once, one after the other along the first axis:

    * ``step.ahead(*x)`` gives what the recurrence reads in place of x;
    * ``step.after(*y)`` gives the results in place of y.

    Each returns a tensor or a tuple of tensors. On the CPU they get a band, in training as many as
    stay in the cache; elsewhere all bands in training, which keeps them anyway, else an eighth.

    Args:
        step: The step.
        h: The state that the first step gets: a tensor, or a tuple, whose structure stays.
        xs: Lists with an entry for each band, each [N, ...].
        reverse: Goes from the last band to the first. The lists are in the order of the bands all
            the same.
        free: Hands the lists over: an entry is let go once it is read, and the lists are empty at
            the end. Otherwise they stay as they are.
        remat: Keeps for the backward pass only ``xs`` and the state of every ``SEGMENT``-th band,
            and computes the rest again, a segment at a time.

    Returns:
        The last state, then a list for each of the step's results.

    Raises:
        ValueError: If the lists are not equally long, or empty.
    """
    bands = len(xs[0]) if xs else 0
    if not bands or any(len(x) != bands for x in xs):
        lengths = ", ".join(str(len(x)) for x in xs) or "no lists"
        raise ValueError(f"scan: every list must have an entry for each band; got {lengths}")
    order = range(bands)[::-1] if reverse else range(bands)
    run = _by_segments if remat else _at_once
    h, made = run(step, h, xs, order, free)
    if free:
        for x in xs:
            x.clear()
    ys = zip(*(made if not reverse else reversed(made)), strict=True)
    return h, *map(list, ys)


def each(layer: Callable[..., Any], *xs: Bands) -> tuple[Bands, ...]:
    """A list for each result of a layer of each band, which waits for no recurrence.

    Args:
        layer: Is called as ``ahead`` and ``after`` of a step of ``scan`` are.
        xs: Lists with an entry for each band.
    """

    def step(h: None, *results: Tensor) -> tuple[Any, ...]:
        return h, *results

    return scan(Step(step, after=layer), None, *xs)[1:]


Made = list[tuple[Tensor, ...]]  # what the step makes of each band, in the order of the steps


def _at_once(
    step: Any, h: Any, xs: Sequence[Bands], order: Sequence[int], free: bool
) -> tuple[Any, Made]:
    """The recurrence over some bands.

    In training, where all is kept anyway, as a whole between what comes ahead and after.
    """
    ahead, after = getattr(step, "ahead", None), getattr(step, "after", None)
    groups = _groups(order, xs[0][order[0]])
    made: Made = []
    for together in [groups] if torch.is_grad_enabled() else [[group] for group in groups]:
        reads = [read for group in together for read in _spread(ahead, _take(xs, group, free))]
        h, results = native.recur(step, h, reads)
        del reads
        rest = iter(results)
        for group in together:
            made += _spread(after, list(islice(rest, len(group))))
    return h, made


def _by_segments(
    step: Any, h: Any, xs: Sequence[Bands], order: Sequence[int], free: bool
) -> tuple[Any, Made]:
    """The same, by segments that the backward pass computes again."""
    context = contextvars.copy_context()  # may choose how operations are computed

    def run(h: Any, segment: Made) -> tuple[Any, Made]:
        parts = [list(part) for part in zip(*segment, strict=True)]
        return context.copy().run(_segment, step, h, parts)

    made: Made = []
    for start in range(0, len(order), SEGMENT):
        segment = _take(xs, order[start : start + SEGMENT], free)
        h, some = checkpoint(run, h, segment, use_reentrant=False, preserve_rng_state=False)
        made += some
    return h, made


def _segment(step: Any, h: Any, parts: list[Bands]) -> tuple[Any, Made]:
    h, made = _at_once(step, h, parts, range(len(parts[0])), free=True)
    # In one piece of memory, as their gradients will be: band by band they would lie between the
    # holes that the other tensors leave.
    stacks = [torch.stack(part).unbind() for part in zip(*made, strict=True)]
    return h, list(zip(*stacks, strict=True))


def _groups(order: Sequence[int], band: Tensor) -> list[Sequence[int]]:
    """The bands that are worked on together where no recurrence is waited for."""
    count = len(order)
    if not band.is_cpu:
        size = count if torch.is_grad_enabled() else max(1, count // 8)
        return [order[start : start + size] for start in range(0, count, size)]
    # The rest go one by one: compiled code shall meet two sizes, whatever the number of bands.
    size = PIXELS // (len(band) * band.shape[2:].numel()) if torch.is_grad_enabled() else 1
    full = count // size if size > 1 else 0
    groups = [order[size * group : size * (group + 1)] for group in range(full)]
    return groups + [order[place : place + 1] for place in range(size * full, count)]


def _take(xs: Sequence[Bands], bands: Iterable[int], free: bool) -> Made:
    """The entries of some bands; ``free`` lets them go."""
    taken: Made = []
    for band in bands:
        taken.append(tuple(x[band] for x in xs))
        if free:
            for x in xs:
                x[band] = None  # type: ignore[call-overload]
    return taken


def _spread(layer: Callable[..., Any] | None, bands: Made) -> Made:
    """Applies a layer to the tensors of several bands at once, and parts its results again."""
    if layer is None:
        return bands
    one = len(bands) == 1
    together = bands[0] if one else [torch.cat(part) for part in zip(*bands, strict=True)]
    results = layer(*together)
    if isinstance(results, Tensor):
        results = (results,)
    if one:
        return [results]
    return list(zip(*(result.split(len(bands[0][0])) for result in results), strict=True))
