"""A recurrence as one node of autograd's.

Autograd and Python spend as long on a node as a kernel does on a small patch, and a recurrence over
the bands has hundreds.
"""

from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.func import functional_call

from lightning_ras2s.networks.native.memory import keep_memory
from lightning_ras2s.networks.native.operators import serves
from lightning_ras2s.networks.native.tape import Tape, UnknownTensorError

Results = list[tuple[Tensor, ...]]  # of a step, band by band
Run = Callable[..., list[Tensor]]

_others: WeakSet[nn.Module] = WeakSet()  # steps that do more than the operators


def recur(step: Any, h: Any, reads: Results) -> tuple[Any, Results]:
    """``h, *results = step(h, *read)`` for each of the reads; see ``scan``.

    Where the kernels serve and gradients are wanted, it is taped, if all tensors of the step, a
    module, come of the operators of this package. Hooks on its parts, or on what autograd saves,
    have it recorded by autograd as usual.
    """
    module = getattr(step, "step", step)
    carried = list(h) if isinstance(h, tuple) else [h]
    inputs = [*carried, *(x for read in reads for x in read)]
    if not _is_taped(module, inputs):
        return _recur(step, h, reads)
    keep_memory()
    lengths = [len(read) for read in reads]
    made: list[int] = []  # numbers of results

    def run(call: Callable[..., Any], tensors: Sequence[Tensor]) -> list[Tensor]:
        """All that ``call`` makes, in place of the step, of the inputs among the tensors."""
        rest = iter(tensors)
        start = tuple(next(rest) for _ in carried)
        again = [tuple(next(rest) for _ in range(length)) for length in lengths]
        end, results = _recur(call, start if isinstance(h, tuple) else start[0], again)
        made[:] = [len(result) for result in results]
        ends = end if isinstance(h, tuple) else (end,)
        return [*ends, *(x for result in results for x in result)]

    try:
        flat = iter(_Recurrence.apply(run, module, *inputs, *module.parameters()))
    except UnknownTensorError:
        _others.add(module)
        return _recur(step, h, reads)
    end = tuple(next(flat) for _ in carried)
    results = [tuple(next(flat) for _ in range(length)) for length in made]
    return end if isinstance(h, tuple) else end[0], results


def _recur(step: Any, h: Any, reads: Results) -> tuple[Any, Results]:
    made: Results = []
    for read in reads:
        h, *results = step(h, *read)
        made.append(tuple(results))
    return h, made


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, run: Run, module: nn.Module, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        ctx.run, ctx.module = run, module
        ctx.tape = Tape(tensors)
        with ctx.tape.running():
            results = run(module, tensors)
        ctx.tape.require(results)
        ctx.save_for_backward(*tensors)  # they live, and so do their ids
        ctx.of_tensors, ctx.of_results = [id(x) for x in tensors], [id(x) for x in results]
        return tuple(x.detach() for x in results)  # the tape shall not hold its own node

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        tensors = ctx.saved_tensors  # raises RuntimeError if one has changed since
        if torch.is_grad_enabled() or ctx.tape is None:  # differentiated again, or a second time
            return None, None, *_again(ctx.run, ctx.module, tensors, gradients)
        found: dict[int, Tensor] = {}
        for key, gradient in zip(ctx.of_results, gradients, strict=True):
            if gradient is not None:
                found[key] = found[key] + gradient if key in found else gradient
        tape, ctx.tape = ctx.tape, None
        tape.unwind(found)
        return None, None, *(found.pop(key, None) for key in ctx.of_tensors)  # each once


def _again(
    run: Run, module: nn.Module, tensors: Sequence[Tensor], gradients: Sequence[Tensor | None]
) -> list[Tensor | None]:
    """The gradients of the tensors by autograd, which may be differentiated themselves."""
    create = torch.is_grad_enabled()
    names = [name for name, _ in module.named_parameters()]
    with torch.enable_grad():
        own = [x.view_as(x) if x.requires_grad else x for x in tensors]  # see differentiate_again
        weights = dict(zip(names, own[len(own) - len(names) :], strict=True))

        def call(*arguments: Any) -> Any:
            return functional_call(module, weights, arguments)

        pairs = [
            (result, gradient)
            for result, gradient in zip(run(call, own), gradients, strict=True)
            if gradient is not None and result.requires_grad
        ]
        results, given = zip(*pairs, strict=True)
        wanted = [x for x in own if x.requires_grad]
        found = iter(
            torch.autograd.grad(results, wanted, given, create_graph=create, allow_unused=True)
        )
    return [next(found) if x.requires_grad else None for x in tensors]


def _is_taped(module: Any, inputs: Sequence[Tensor]) -> bool:
    return (
        torch.is_grad_enabled()
        and isinstance(module, nn.Module)
        and module not in _others
        and serves(inputs)
        and torch._C._autograd._top_saved_tensors_default_hooks(True) is None
        and not any(map(_is_watched, module.modules()))
    )


def _is_watched(module: nn.Module) -> bool:
    """Whether somebody looks at what it computes, or has compiled it."""
    return bool(
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
        or module._compiled_call_impl
    )
