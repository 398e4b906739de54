"""The memory that a computation takes at most, and what was freed given back to the system."""

import ctypes
from contextlib import suppress
from pathlib import Path

import torch

PROCESS = Path("/proc/self")  # Linux alone has it


class PeakMemory:
    """The most memory that is taken from now on, beside what is taken now.

    On a GPU it is torch's; on a CPU the process's, which only Linux tells.

    Args:
        device: Where it is computed.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            self.before: int | None = torch.cuda.memory_allocated(device)
        else:
            give_back_memory()
            with suppress(OSError):
                (PROCESS / "clear_refs").write_text("5")  # the peak begins anew
            self.before = _greatest_size()

    def taken(self) -> int | None:
        """Bytes; None where nobody knows."""
        if self.device.type == "cuda":
            after: int | None = torch.cuda.max_memory_allocated(self.device)
        else:
            after = _greatest_size()
        return None if after is None or self.before is None else max(0, after - self.before)


def give_back_memory() -> None:
    """To the system: glibc keeps the holes that large bands leave between small results."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


def _greatest_size() -> int | None:
    try:
        status = (PROCESS / "status").read_text()
    except OSError:
        return None
    fields = dict(line.split(":", 1) for line in status.splitlines())
    return int(fields["VmHWM"].split()[0]) * 1024 if "VmHWM" in fields else None
