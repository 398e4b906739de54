"""Functions with gradients, kept on a tape of our own in place of autograd's graph."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from torch import Tensor
from torch.autograd import Function

_tape: ContextVar["Tape | None"] = ContextVar("tape", default=None)


class Context:
    """What autograd would hand to a function's forward, and later to its backward."""

    saved_tensors: tuple[Tensor | None, ...] = ()
    needs_input_grad: tuple[bool, ...] = ()

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keeps them."""
        self.saved_tensors = tensors


class UnknownTensorError(Exception):
    """Something else than functions on the tape has made a tensor: no gradient would go there."""


class Tape:
    """Functions in the order in which they were applied.

    Args:
        inputs: All tensors that come from elsewhere. They must live as long as the tape, and
            nothing may change in place.
    """

    def __init__(self, inputs: Sequence[Tensor]) -> None:
        self._wanted = {id(x): x.requires_grad for x in inputs}  # of all that is known
        self._entries: list[tuple[type[Function], Context, tuple[Any, ...], Tensor]] = []

    def require(self, tensors: Iterable[Any]) -> None:
        """Raises UnknownTensorError if one of them is neither an input nor a result."""
        if any(isinstance(x, Tensor) and id(x) not in self._wanted for x in tensors):
            raise UnknownTensorError

    @contextmanager
    def running(self) -> Iterator[None]:
        """Has ``apply`` keep functions on this tape meanwhile."""
        token = _tape.set(self)
        try:
            yield
        finally:
            _tape.reset(token)

    def apply(self, function: type[Function], *arguments: Any) -> Tensor:
        """Applies a function with one result.

        Raises:
            UnknownTensorError: If an argument is neither an input nor a result.
        """
        self.require(arguments)
        context = Context()
        context.needs_input_grad = tuple(
            isinstance(x, Tensor) and self._wanted[id(x)] for x in arguments
        )
        result = function.forward(context, *arguments)
        self._wanted[id(result)] = True
        self._entries.append((function, context, arguments, result))
        return result

    def unwind(self, gradients: dict[int, Tensor]) -> None:
        """Goes back, once.

        Args:
            gradients: Of results, by their ``id``; those of all other tensors are added.
        """
        while self._entries:
            function, context, arguments, result = self._entries.pop()
            if (gradient := gradients.pop(id(result), None)) is None:
                continue
            found = function.backward(context, gradient)
            for argument, own in zip(arguments, found, strict=True):
                if own is not None and isinstance(argument, Tensor):
                    before = gradients.get(id(argument))
                    gradients[id(argument)] = own if before is None else before + own


def apply(function: type[Function], *arguments: Any) -> Tensor:
    """``function.apply``; on the tape, where one is running."""
    tape = _tape.get()
    return function.apply(*arguments) if tape is None else tape.apply(function, *arguments)


def is_running() -> bool:
    """Whether operations are to be kept on a tape."""
    return _tape.get() is not None
