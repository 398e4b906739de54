"""The network's steps under torch.compile, in float64: no input of a ReLU is 0 but for rounding."""

import copy

import pytest
import torch
from torch._dynamo.utils import counters

from lightning_ras2s.networks import RAS2S

torch.set_num_threads(1)


@pytest.fixture
def networks():
    torch._dynamo.reset()
    torch.manual_seed(0)
    network = RAS2S(channels=4, regions=2).double()
    yield network, copy.deepcopy(network)
    torch._dynamo.reset()


def cube(*shape):
    return torch.rand(1, *shape, dtype=torch.float64)


def run(network, noisy):
    network.zero_grad()
    denoised = network(noisy)
    denoised.square().mean().backward()
    return denoised.detach(), {name: p.grad for name, p in network.named_parameters()}


def assert_same(network, compiled, noisy):
    expected, expected_gradients = run(network, noisy)
    denoised, gradients = run(compiled, noisy)
    torch.testing.assert_close(denoised, expected, rtol=0, atol=1e-13)
    for name, gradient in expected_gradients.items():
        torch.testing.assert_close(gradients[name], gradient, rtol=1e-11, atol=1e-14, msg=name)


def graphs():
    return counters["stats"]["unique_graphs"]


def test_more_bands_compile_nothing_and_another_size_each_step_once(networks):
    network, compiled = networks
    compiled.compile_steps(backend="aot_eager", dynamic=False)
    assert_same(network, compiled, cube(5, 9, 12))
    first = graphs()
    assert_same(network, compiled, cube(11, 9, 12))
    assert graphs() == first
    assert_same(network, compiled, cube(5, 12, 9))
    assert graphs() <= 2 * first


@pytest.mark.slow
def test_code_that_was_really_compiled_gives_the_same():
    torch.manual_seed(0)
    network = RAS2S(channels=2, regions=2, bidirectional=False).double()
    compiled = copy.deepcopy(network)
    compiled.compile_steps(dynamic=False)
    noisy = cube(4, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(compiled(noisy), network(noisy), rtol=0, atol=1e-13)
    for mask, other in zip(network.region_masks(noisy), compiled.region_masks(noisy), strict=True):
        assert torch.equal(mask, other)


def test_ablations_compile():
    torch._dynamo.reset()
    torch.manual_seed(0)
    ablated = {"bidirectional": False, "hidden_compensation": False, "attention_bands": 1}
    network = RAS2S(channels=2, **ablated).double()
    compiled = copy.deepcopy(network)
    compiled.compile_steps(backend="aot_eager", dynamic=False)
    assert_same(network, compiled, cube(4, 8, 8))
