"""How a training is told to end, and how its processes agree on the step after which they do."""

import signal
import threading
from enum import IntEnum
from typing import Any

import torch
import torch.distributed

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stopped(SystemExit):
    """A signal has ended the run; the exit code is 128 and the signal's number, as in a shell."""

    def __init__(self, signum: int) -> None:
        super().__init__(128 + signum)


class StopRequest:
    """Notes SIGTERM and Ctrl-C, for the training to end where nothing is lost.

    A second Ctrl-C ends it at once, and so does the first signal while ``at_once``: where there is
    nothing to be saved.
    """

    def __init__(self) -> None:
        self.signum: int | None = None
        self.at_once = False

    def listen(self) -> None:
        """Replaces the handlers there are: Lightning's, which it puts back at its end."""
        if threading.current_thread() is threading.main_thread():
            for signum in SIGNALS:
                signal.signal(signum, self._on_signal)

    def _on_signal(self, signum: int, frame: Any) -> None:
        again = self.signum is not None and signum == signal.SIGINT
        self.signum = signum
        if self.at_once or again:
            raise Stopped(signum)


class Wish(IntEnum):
    """What a process would do after a step; the largest wish of all comes true."""

    GO_ON = 0
    SAVE = 1
    STOP = 2


class Agreement:
    """All processes' largest wish, the same on each.

    Several processes learn it one step later, from memory of the CPU: nobody waits, neither for
    the others nor for a GPU.
    """

    def __init__(self) -> None:
        together = torch.distributed.is_available() and torch.distributed.is_initialized()
        self._group = torch.distributed.new_group(backend="gloo") if together else None
        self._asked: tuple[torch.Tensor, Any] | None = None

    def __call__(self, wish: Wish) -> Wish:
        """Tells this process's wish; each process calls it after each step."""
        if self._group is None:
            return wish
        answer = Wish.GO_ON
        if self._asked is not None:
            value, work = self._asked
            work.wait()
            answer = Wish(int(value))
        value = torch.tensor(int(wish))
        work = torch.distributed.all_reduce(
            value, torch.distributed.ReduceOp.MAX, self._group, async_op=True
        )
        self._asked = (value, work)
        return answer
