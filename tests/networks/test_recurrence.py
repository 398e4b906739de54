"""Recurrences as one node of autograd's: the same gradients; autograd itself where it must be."""

import gc
import weakref

import pytest
import torch
from torch import nn

from lightning_ras2s.networks import RAS2S, native
from lightning_ras2s.networks.native import recurrence, tape
from lightning_ras2s.networks.scan import scan

torch.set_num_threads(1)
pytestmark = pytest.mark.skipif(
    native.kernels() is None, reason="there is no C++ compiler with OpenMP here (CXX, g++)"
)


@pytest.fixture
def by_autograd(monkeypatch):
    """Has autograd record everything from now on, when it is called."""
    return lambda: monkeypatch.setattr(recurrence, "_is_taped", lambda *_: False)


@pytest.fixture
def taped(monkeypatch):
    """The functions that were put on a tape."""
    names = []
    own = tape.Tape.apply

    def counted(self, function, *arguments):
        names.append(function.__name__)
        return own(self, function, *arguments)

    monkeypatch.setattr(tape.Tape, "apply", counted)
    return names


def network(**arguments):
    torch.manual_seed(0)
    return RAS2S(channels=4, **arguments)


def loss_of(net, noisy):
    denoised = net(noisy)
    return (denoised * torch.linspace(0, 1, denoised.numel()).view_as(denoised)).sum()


def gradients(net, noisy):
    noisy = noisy.clone().requires_grad_()
    wanted = {"noisy": noisy, **dict(net.named_parameters())}
    found = torch.autograd.grad(loss_of(net, noisy), list(wanted.values()), allow_unused=True)
    return dict(zip(wanted, found, strict=True))


@pytest.mark.parametrize(
    "arguments",
    [{}, {"attention_bands": 1}, {"hidden_compensation": False}, {"bidirectional": False}],
    ids=lambda arguments: "-".join(arguments) or "whole",
)
def test_gradients_have_the_same_bits(by_autograd, taped, arguments):
    noisy = torch.rand(2, 5, 7, 9)
    own = gradients(network(**arguments), noisy)
    assert len(taped) > 5 * 7
    by_autograd()
    for name, expected in gradients(network(**arguments), noisy).items():
        if expected is None:
            assert own[name] is None
        else:
            assert torch.equal(own[name], expected), name


def test_frozen_weights_get_no_gradient(taped):
    net, noisy = network(), torch.rand(1, 3, 5, 5)
    net.read.requires_grad_(False)
    loss_of(net, noisy).backward()
    assert "_GatedStep" in taped
    assert all(weight.grad is None for weight in net.read.parameters())
    assert net.write.gru.gates.weight.grad.abs().max() > 0


def test_it_can_be_differentiated_again_and_twice(by_autograd):
    noisy = torch.rand(1, 3, 5, 5)

    def both():
        net = network()
        weight = net.fuse.gru.gates.weight
        loss = loss_of(net, noisy)
        (once,) = torch.autograd.grad(loss, weight, create_graph=True)
        second = torch.autograd.grad(once.square().sum(), weight, retain_graph=True)[0]
        return once.detach(), second, torch.autograd.grad(loss, weight)[0]

    own = both()
    by_autograd()
    for one, expected in zip(own, both(), strict=True):
        torch.testing.assert_close(one, expected, rtol=1e-5, atol=1e-6)


def test_weights_that_have_changed_since_are_refused():
    net = network()
    loss = loss_of(net, torch.rand(1, 3, 5, 5))
    with torch.no_grad():
        net.fuse.gru.gates.weight.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_the_graph_can_be_kept_for_a_second_time():
    net = network()
    loss = loss_of(net, torch.rand(1, 3, 5, 5))
    loss.backward(retain_graph=True)
    once = [weight.grad.clone() for weight in net.parameters()]
    loss.backward()
    for weight, expected in zip(net.parameters(), once, strict=True):
        torch.testing.assert_close(weight.grad, 2 * expected, rtol=1e-4, atol=1e-6)


class Leaky(nn.Module):
    """A step that computes by more than the operators."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.full((2, 2, 3, 3), 0.1))
        self.runs = 0

    def forward(self, h, x):
        self.runs += 1
        h = native.conv3x3(h * 2, self.weight) + x
        return h, h


def test_a_step_that_does_more_is_left_to_autograd(taped):
    step, x = Leaky(), [torch.rand(1, 2, 4, 4, requires_grad=True) for _ in range(3)]
    h, results = scan(step, torch.zeros(1, 2, 4, 4), x)
    (h.sum() + results[0].sum()).backward()
    exact, doubles = Leaky().double(), [one.detach().double().requires_grad_() for one in x]
    h, results = scan(exact, torch.zeros(1, 2, 4, 4).double(), doubles)
    (h.sum() + results[0].sum()).backward()
    for one, expected in zip((step.weight, *x), (exact.weight, *doubles), strict=True):
        torch.testing.assert_close(one.grad.double(), expected.grad, rtol=1e-5, atol=1e-5)
    runs = step.runs
    scan(step, torch.zeros(1, 2, 4, 4), x)
    assert step.runs == runs + 3  # it is not tried again
    assert len(taped) == 1  # it was tried once


def test_hooks_see_every_band(taped):
    net, seen = network(), []
    net.write.readout.register_full_backward_hook(lambda *_: seen.append("back"))
    net.read.recurrence.gru.register_forward_hook(lambda *_: seen.append("forth"))
    loss_of(net, torch.rand(1, 3, 5, 5)).backward()
    assert seen == ["forth"] * 3 + ["back"] * 3
    assert taped.count("_GatedStep") == 2 * 3  # of the two passes that nobody looks at


def test_nothing_outlives_the_graph():
    net = network()
    denoised = net(torch.rand(1, 3, 5, 5))
    node = weakref.ref(denoised)
    gc.disable()
    try:
        denoised.sum().backward()
        del denoised
        assert node() is None
    finally:
        gc.enable()
