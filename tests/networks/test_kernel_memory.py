"""What the kernels take of a machine: memory, which they give back, and threads."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.network import OURS, peak_memory
from lightning_ras2s.networks import native
from lightning_ras2s.networks.native import memory

torch.set_num_threads(1)
HOUSE = Path(__file__).parents[2]
pytestmark = [
    pytest.mark.skipif(
        native.kernels() is None, reason="there is no C++ compiler with OpenMP here (CXX, g++)"
    ),
    pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="told by Linux's /proc"),
]

SETTING = """
import ctypes, json, resource
from pathlib import Path
import torch
from lightning_ras2s.networks.native import *
from lightning_ras2s.networks.native.convolution import weight_gradient
torch.set_num_threads(1)
"""


def told(code, **environment):
    """What code prints as JSON, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", SETTING + code],
        cwd=HOUSE,
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_maps_are_given_back_when_nothing_holds_them(monkeypatch):
    released = []
    real = native.kernels()

    class Kernels:
        allocate = real.allocate

        @staticmethod
        def release(address):
            released.append(address)
            real.release(address)

    monkeypatch.setattr(memory, "kernels", lambda: Kernels)
    maps = memory.new_maps(1, 4, 128, 128)
    assert maps.shape == (1, 4, 128, 128)
    assert maps.data_ptr() % memory.LINE == 0
    part = maps[:, 1:3].add_(0)
    del maps
    assert released == []
    part.fill_(3)
    assert part.sum() == 2 * 128 * 128 * 3
    del part
    assert len(released) == 1


def test_a_forward_pass_holds_48_floats_for_each_pixel_and_band_at_most():
    peak = peak_memory(OURS, (1, 31, 160, 160), torch.device("cpu"))
    assert 20 < peak <= 48  # 3 C + 6


def test_out_of_memory_is_an_error_and_not_the_end():
    messages = told("""
def refused(*arguments):
    try:
        conv3x3(*arguments)
    except MemoryError as error:
        return str(error)

x, weight = torch.rand(1, 4096, 1, 1), torch.rand(9)
wide = torch.rand(1, 1, 1024, 1024)
conv3x3(x[:, :4], weight.as_strided((4, 4, 3, 3), (0, 0, 3, 1)))
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
limit = used + (200 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
work_space = refused(x, weight.as_strided((4096, 4096, 3, 3), (0, 0, 3, 1)))  # 600 MB of taps
result = refused(wide, weight.as_strided((256, 1, 3, 3), (0, 0, 3, 1)))  # a GB
assert conv3x3(wide, weight.as_strided((2, 1, 3, 3), (0, 0, 3, 1))).isfinite().all()
print(json.dumps([work_space, result]))
""")
    assert messages == [
        "no memory left for the work space of the kernel 'convolution'",
        "no memory for maps of shape [1, 256, 1024, 1024]",
    ]


def test_work_space_is_given_back():
    kept, one_map = told("""
def resident():
    ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

def step(size):
    state, weight = torch.rand(1, 14, size, size), torch.rand(42, 28, 3, 3) / 50
    state.requires_grad_()
    gated_step(state, state.detach(), weight, torch.zeros(42)).sum().backward()

step(128)
before = resident()
step(512)
print(json.dumps([resident() - before, 4 * 14 * 512 * 512]))
""")
    assert kept < one_map / 4


def test_weight_gradients_are_worked_on_by_all_threads():
    # Idle threads of OpenMP would spin, and so seem to work.
    seconds = told(
        """
def seconds():
    tasks = Path("/proc/self/task").iterdir()
    return {task.name: int((task / "schedstat").read_text().split()[0]) for task in tasks}

torch.set_num_threads(2)
gradient, x = torch.rand(2, 1, 112, 8, 128)  # one tile
weight_gradient(gradient, x, x)
before = seconds()
for _ in range(20):
    weight_gradient(gradient, x, x)
print(json.dumps([after - before.get(task, 0) for task, after in seconds().items()]))
""",
        OMP_WAIT_POLICY="passive",
    )
    busiest, second, *_ = sorted(seconds, reverse=True)
    assert second > busiest / 2


@pytest.mark.parametrize("late", [False, True], ids=["all alike", "some of another input"])
@pytest.mark.parametrize(("outputs", "by_sample"), [(14, False), (3, True), (1, False)])
def test_weight_gradients_do_not_hang_on_the_number_of_threads(late, outputs, by_sample):
    if late and outputs == 1:
        pytest.skip("one output is all there is")
    generator = torch.Generator().manual_seed(0)
    gradient, x = torch.randn(2, 3, 14, 40, 30, generator=generator)
    results = []
    for threads in (1, 2, 3, 7):
        torch.set_num_threads(threads)
        of = (gradient[:, :outputs], x, None if outputs == 1 else x, None, "none", by_sample)
        others = (x.flip(3), outputs - 1) if late else (None, 0)
        results.append(torch.ops.ras2s.conv3x3_to_weight(*of, *others))
    torch.set_num_threads(1)
    for other in results[1:]:
        assert all(torch.equal(*pair) for pair in zip(results[0], other, strict=True))
