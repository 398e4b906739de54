"""Operations that torch knows by name: kernels for float32 on the CPU, plain torch for all else."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.utils.flop_counter import register_flop_formula

from lightning_ras2s.networks.native.library import kernels
from lightning_ras2s.networks.native.memory import keep_memory
from lightning_ras2s.networks.native.tape import is_running

_library = torch.library.Library("ras2s", "FRAGMENT")
_plain: ContextVar[int] = ContextVar("plain_operations", default=0)

below_autograd = torch._C._AutoDispatchBelowAutograd


@contextmanager
def plain_operations() -> Iterator[None]:
    """Has this thread compute by the twins meanwhile, in plain torch, as other devices do."""
    _plain.set(_plain.get() + 1)
    try:
        yield
    finally:
        _plain.set(_plain.get() - 1)


def _tensors(arguments: tuple[Any, ...]) -> Iterator[Tensor]:
    for argument in arguments:
        if isinstance(argument, Tensor):
            yield argument
        elif isinstance(argument, list):
            yield from argument


def _suits(x: Tensor) -> bool:
    return x.dtype is torch.float32 and x.is_cpu and x.numel() > 0


def _served(arguments: tuple[Any, ...]) -> bool:
    """Whether the kernels compute with these tensors: non-empty ones of float32 on the CPU."""
    for argument in arguments:  # written out, as every operation comes by here
        if isinstance(argument, Tensor):
            if not _suits(argument):
                return False
        elif isinstance(argument, list):
            for x in argument:
                if not _suits(x):
                    return False
    return kernels() is not None


def _keys(x: Tensor) -> int:
    return torch._C._dispatch_keys(x).raw_repr()


with torch.inference_mode(False):
    _ORDINARY = {_keys(torch.empty(1))}  # no subclass, no negated view, not fake, not sparse
with torch.inference_mode():
    _ORDINARY.add(_keys(torch.empty(1)))


def _is_direct(arguments: tuple[Any, ...]) -> bool:
    """Whether torch, below autograd, would come straight to the CPU's kernel."""
    return not torch._C._len_torch_dispatch_stack() and all(
        _keys(x) in _ORDINARY for x in _tensors(arguments)
    )


def _is_plain() -> bool:
    """Whether the twins are wanted, or the only ones that can be looked into."""
    return (
        _plain.get() > 0
        or torch.compiler.is_compiling()
        or torch.jit.is_tracing()
        or torch._C._are_functorch_transforms_active()
    )


def serves(tensors: Sequence[Tensor]) -> bool:
    """Whether the kernels would compute with these tensors here, with gradients of their own."""
    return (
        not _is_plain()
        and not _is_transformed()
        and _served(tuple(tensors))
        and not torch.is_autocast_enabled(tensors[0].device.type)
    )


def _is_transformed() -> bool:
    """Whether a transform of torch.func or forward-mode differentiation is at work."""
    return forward_ad._current_level >= 0 or torch._C._are_functorch_transforms_active()


class Kernel:
    """A kernel that torch knows as ``ras2s::<name>``, for float32 tensors on the CPU.

    Args:
        schema: Name, arguments and results, as ``torch.library`` writes them.
        run: The kernel itself; it takes the arguments in their order.
        check: Raises ValueError where the arguments do not belong together.
        fake: Empty results of the right shapes.
        flops: Operations, from shapes in place of tensors, for torch's FLOP counter.
    """

    def __init__(
        self,
        schema: str,
        run: Callable[..., Any],
        check: Callable[..., None],
        fake: Callable[..., Any],
        flops: Callable[..., int],
    ) -> None:
        self.name = schema.partition("(")[0]
        self.run = run
        self.check = check
        _library.define(schema)
        _library.impl(self.name, self._on_cpu, "CPU")
        self.op = getattr(torch.ops.ras2s, self.name).default

        def checked_fake(*arguments: Any) -> Any:
            check(*arguments)
            return fake(*arguments)

        torch.library.register_fake(f"ras2s::{self.name}", checked_fake, lib=_library)
        register_flop_formula(getattr(torch.ops.ras2s, self.name))(
            lambda *shapes, **_: flops(*shapes)
        )

    def below(self, *arguments: Any) -> Any:
        """Calls it where autograd has nothing to record, as within its own functions."""
        if _is_direct(arguments):  # torch's own way there is long beside a small call
            return self._on_cpu(*arguments)
        with below_autograd():
            return self.op(*arguments)

    def _on_cpu(self, *arguments: Any) -> Any:
        if not _served(arguments):
            dtypes = ", ".join(str(x.dtype) for x in _tensors(arguments))
            raise ValueError(f"ras2s::{self.name} takes float32 on the CPU, got {dtypes}")
        self.check(*arguments)
        return self.run(*arguments)


class Operator(Kernel):
    """A kernel and its twin in plain torch, which computes the same wherever the kernel cannot.

    The twin serves other devices and dtypes, autocast, ``torch.compile``, ``torch.export``,
    tracing, the transforms of ``torch.func``, and what is differentiated twice.

    Args:
        schema: As of ``Kernel``, and so are ``run``, ``check``, ``fake`` and ``flops``.
        twin: The same in plain torch.
        gradient: Gives the kernel's result with its gradient, from all arguments.
    """

    def __init__(
        self,
        schema: str,
        twin: Callable[..., Any],
        run: Callable[..., Any],
        check: Callable[..., None],
        fake: Callable[..., Any],
        flops: Callable[..., int],
        gradient: Callable[..., Any],
    ) -> None:
        super().__init__(schema, run, check, fake, flops)
        self._twin = twin
        self.gradient = gradient
        _library.impl(self.name, self._with_gradient, "Autograd")
        _library.impl(self.name, self._on_batches, "FuncTorchBatched")
        for others in ("CompositeExplicitAutograd", "AutocastCPU", "AutocastCUDA"):
            _library.impl(self.name, self.twin, others)

    def __call__(self, *arguments: Any) -> Any:
        """Computes it, by the kernel where that can."""
        if is_running():
            return self.gradient(*arguments)
        if _is_plain():
            return self.twin(*arguments)
        return self.op(*arguments)

    def twin(self, *arguments: Any) -> Any:
        """Computes it in plain torch."""
        self.check(*arguments)
        return self._twin(*arguments)

    def _with_gradient(self, *arguments: Any) -> Any:
        if _is_transformed():
            return self.twin(*arguments)
        if torch.is_grad_enabled() and any(x.requires_grad for x in _tensors(arguments)):
            if not _served(arguments):
                return self.twin(*arguments)
            keep_memory()
            return self.gradient(*arguments)
        return self.below(*arguments)

    def _on_cpu(self, *arguments: Any) -> Any:
        if not _served(arguments):
            return self.twin(*arguments)
        self.check(*arguments)
        return self.run(*arguments)

    def _on_batches(self, *arguments: Any) -> Any:
        try:
            return self.twin(*arguments)
        except NotImplementedError as error:  # torch has no vmap of functions below the dispatcher
            raise NotImplementedError(
                f"ras2s::{self.name} cannot be vmapped; lightning_ras2s.networks.native.{self.name}"
                " can"
            ) from error


def differentiate_again(
    twin: Callable[..., Tensor], inputs: tuple[Tensor | None, ...], gradient: Tensor
) -> tuple[Tensor | None, ...]:
    """The gradients of a twin's inputs, such that they can be differentiated themselves."""
    with torch.enable_grad():
        # As tensors of their own: an input may hang on another one, such as a weight of all bands.
        own = tuple(x.view_as(x) if x is not None and x.requires_grad else x for x in inputs)
        wanted = [x for x in own if x is not None and x.requires_grad]
        found = iter(
            torch.autograd.grad(twin(*own), wanted, gradient, create_graph=True, allow_unused=True)
        )
    return tuple(next(found) if x is not None and x.requires_grad else None for x in inputs)
