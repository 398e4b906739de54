"""CUDA graphs: which passes are captured, and on a GPU what they give."""

import copy
from types import SimpleNamespace

import pytest
import torch

from lightning_ras2s import RAS2S
from lightning_ras2s.graphs import KEPT, GraphedNetwork

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


def on_gpu(*shape, requires_grad=False):
    """What the bookkeeping sees of a tensor on a GPU."""
    device = torch.device("cuda:0")
    return SimpleNamespace(
        is_cuda=True, shape=shape, dtype=torch.float32, device=device, requires_grad=requires_grad
    )


class Captures(GraphedNetwork):
    def __init__(self):
        self.calls = []
        network = SimpleNamespace(training=True)
        super().__init__(lambda noisy: self.calls.append(("plain", noisy.shape)))
        self.network.training = network.training

    def _capture(self, noisy):
        shape = noisy.shape
        self.calls.append(("capture", shape))
        return lambda noisy: self.calls.append(("replay", shape))


def test_a_pass_is_captured_when_it_comes_again():
    network = Captures()
    for _ in range(3):
        network(on_gpu(1, 2))
    assert network.calls == [
        ("plain", (1, 2)),
        ("capture", (1, 2)),
        ("replay", (1, 2)),
        ("replay", (1, 2)),
    ]


def test_shapes_that_change_all_the_time_are_never_captured():
    network = Captures()
    for number in range(4):
        network(on_gpu(1, number))
        network(on_gpu(2, number))
    assert {kind for kind, _ in network.calls} == {"plain"}


def test_training_and_validation_have_passes_of_their_own():
    network = Captures()
    for _ in range(2):
        network(on_gpu(1, 2))
    with torch.no_grad():
        for _ in range(2):
            network(on_gpu(1, 2))
    assert [kind for kind, _ in network.calls] == ["plain", "capture", "replay"] * 2


def test_the_passes_used_last_are_kept():
    network = Captures()
    for number in range(KEPT + 1):
        for _ in range(2):
            network(on_gpu(1, number))
    network.calls.clear()
    network(on_gpu(1, KEPT))
    network(on_gpu(1, 0))
    assert network.calls == [("replay", (1, KEPT)), ("plain", (1, 0))]


def test_other_devices_and_inputs_with_gradients_are_not_captured():
    network = Captures()
    for _ in range(3):
        network(torch.zeros(1, 2))
        network(on_gpu(1, 2, requires_grad=True))
    assert {kind for kind, _ in network.calls} == {"plain"}


@needs_cuda
@pytest.mark.parametrize("compiled", [False, True])
def test_replayed_passes_give_the_same_outputs_and_gradients(compiled):
    torch.backends.cudnn.allow_tf32 = False
    torch.manual_seed(0)
    network = RAS2S(channels=4, regions=2).cuda()
    other = copy.deepcopy(network)
    if compiled:
        other.compile_steps(dynamic=False)
    graphed = GraphedNetwork(other)
    for _ in range(4):
        noisy = torch.rand(2, 5, 16, 16, device="cuda")
        results = []
        for one, module in ((network, network), (graphed, other)):
            module.zero_grad()
            denoised = one(noisy)
            denoised.square().mean().backward()
            results.append([denoised.detach(), *(p.grad for p in module.parameters())])
        for expected, given in zip(*results, strict=True):
            torch.testing.assert_close(given, expected, rtol=1e-3, atol=1e-5)
        with torch.no_grad():
            torch.testing.assert_close(graphed(noisy), network(noisy), rtol=0, atol=1e-5)
