"""Gradient checkpointing: the same gradients, from less that is kept."""

import copy
import weakref
from contextlib import nullcontext

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lightning_ras2s.networks import RAS2S, native
from lightning_ras2s.networks import scan as recurrence

torch.set_num_threads(1)

ABLATIONS = [
    {"attention_bands": 1},
    {"attention_bands": 5},
    {"hidden_compensation": False},
    {"spatial_regions": False},
    {"spectral_regions": False},
    {"spatial_regions": False, "spectral_regions": False},
    {"bidirectional": False},
    {"bidirectional": False, "hidden_compensation": False, "attention_bands": 5},
]


@pytest.fixture
def four_bands_a_segment(monkeypatch):
    monkeypatch.setattr(recurrence, "SEGMENT", 4)


def pair(**config):
    """The network without and with gradient checkpointing."""
    torch.manual_seed(0)
    network = RAS2S(channels=4, **config)
    saving = RAS2S(channels=4, **config, gradient_checkpointing=True)
    saving.load_state_dict(network.state_dict())
    return network, saving


def run(network, noisy, target):
    """Output, loss, and the gradients of the input and of all parameters."""
    noisy = noisy.clone().requires_grad_()
    denoised = network(noisy)
    loss = (denoised - target).abs().mean()
    loss.backward()
    gradients = {name: p.grad for name, p in network.named_parameters()}
    return denoised.detach(), loss.item(), {"noisy": noisy.grad, **gradients}


def assert_same(network, saving, shape, dtype, close):
    noisy, target = torch.rand(2, *shape, dtype=dtype)
    expected, expected_loss, expected_gradients = run(network.to(dtype), noisy, target)
    denoised, loss, gradients = run(saving.to(dtype), noisy, target)
    assert torch.equal(denoised, expected)
    assert loss == expected_loss
    assert_same_gradients(gradients, expected_gradients, close)


def assert_same_gradients(gradients, expected, close):
    assert gradients.keys() == expected.keys()
    largest = max(g.abs().max() for g in expected.values() if g is not None)
    for name, gradient in expected.items():
        if gradient is None:  # what embeds feedback is not used with one band
            assert gradients[name] is None, name
        else:
            error = (gradients[name] - gradient).abs().max()
            # What attends to the only band has no gradient but rounding.
            assert error <= close * max(gradient.abs().max(), 1e-3 * largest), name


# The segments' sums are added in another order: in float32 a bias whose sum cancels differs.
PATHS = [
    pytest.param(torch.float32, nullcontext, 1e-4, id="kernels"),
    pytest.param(torch.float32, native.plain_operations, 1e-4, id="plain"),
    pytest.param(torch.float64, nullcontext, 1e-13, id="float64"),
]


@pytest.mark.parametrize("bands", [1, 2, 4, 5, 8, 11])
@pytest.mark.parametrize(("dtype", "path", "close"), PATHS)
def test_loss_and_gradients_are_the_same(four_bands_a_segment, bands, dtype, path, close):
    with path():
        assert_same(*pair(), (2, bands, 7, 9), dtype, close)


@pytest.mark.parametrize("ablation", ABLATIONS, ids=lambda a: "-".join(a))
@pytest.mark.parametrize(("dtype", "path", "close"), PATHS)
def test_of_ablations_too(four_bands_a_segment, ablation, dtype, path, close):
    with path():
        assert_same(*pair(**ablation), (2, 10, 7, 9), dtype, close)


def test_with_the_real_segments():
    assert_same(*pair(), (1, 2 * recurrence.SEGMENT + 3, 5, 6), torch.float64, 1e-13)


@pytest.mark.parametrize("forward", [nullcontext, native.plain_operations])
@pytest.mark.parametrize("backward", [nullcontext, native.plain_operations])
def test_segments_are_computed_again_by_what_computed_them(four_bands_a_segment, forward, backward):
    network, saving = pair()
    noisy, target = torch.rand(2, 1, 6, 7, 9)

    def results(network):
        with forward():
            denoised = network(noisy)
        with backward():
            (denoised - target).abs().mean().backward()
        return {name: p.grad for name, p in network.named_parameters()}

    expected = results(network)
    assert_same_gradients(results(saving), expected, 1e-4)


def test_under_autocast(four_bands_a_segment):
    networks = pair()
    noisy, target = torch.rand(2, 1, 6, 7, 9)
    outputs, gradients = [], []
    for network in networks:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            outputs.append(network(noisy))
        (outputs[-1].float() - target).square().mean().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in network.parameters()]))
    assert torch.equal(*outputs)
    # Summed in bfloat16, in another order.
    assert (gradients[1] - gradients[0]).norm() <= 0.01 * gradients[0].norm()


def test_compiled_steps(four_bands_a_segment):
    torch._dynamo.reset()
    network, saving = (one.double() for one in pair(regions=2))
    saving.compile_steps(backend="aot_eager", dynamic=False)
    for bands in (6, 9):
        noisy, target = torch.rand(2, 1, bands, 7, 9, dtype=torch.float64)
        network.zero_grad()
        saving.zero_grad()
        expected, _, expected_gradients = run(network, noisy, target)
        denoised, _, gradients = run(saving, noisy, target)
        torch.testing.assert_close(denoised, expected, rtol=0, atol=1e-13)
        assert_same_gradients(gradients, expected_gradients, 1e-11)
    torch._dynamo.reset()


# Memory


class LivingMaps(TorchDispatchMode):
    """Counts the floats for each pixel of all tensors of whole maps, while they live."""

    def __init__(self, pixels):
        super().__init__()
        self.pixels = pixels
        self.now = self.peak = 0
        self.known = set()

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        results = operation(*args, **(kwargs or {}))
        for tensor in tree_leaves(results):
            if isinstance(tensor, torch.Tensor):
                self.count(tensor.untyped_storage(), tensor.element_size())
        return results

    def count(self, storage, size):
        floats, rest = divmod(storage.nbytes() // size, self.pixels)
        if floats and not rest and storage._cdata not in self.known:
            self.known.add(storage._cdata)
            weakref.finalize(storage, self.forget, storage._cdata, floats)
            self.now += floats
            self.peak = max(self.peak, self.now)

    def forget(self, address, floats):
        self.known.remove(address)
        self.now -= floats


def peak(bands, gradient_checkpointing, path):
    """Floats for each pixel that a step of training holds at most: with 14 channels."""
    network = RAS2S(gradient_checkpointing=gradient_checkpointing)
    noisy = torch.rand(1, bands, 11, 13)
    with LivingMaps(11 * 13) as living, path():
        network(noisy).abs().mean().backward()
    assert living.now <= bands  # the gradient that the loss began with
    return living.peak


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "besides"),
    [
        pytest.param(nullcontext, 4_710, id="kernels"),
        pytest.param(native.plain_operations, 7_770, id="plain", marks=pytest.mark.faults),
    ],
)
def test_memory_grows_by_the_states_of_the_passes(path, besides):
    few, many = peak(31, True, path), peak(210, True, path)
    assert many <= 60 * 210 + besides
    # By four states of 14 channels for each band, or their gradients, and the bands themselves.
    assert many - few <= (4 * 14 + 4) * (210 - 31)
    assert few <= 0.4 * peak(31, False, path)


@pytest.mark.parametrize("bands", [3, 8, 10])
def test_each_step_is_computed_once_more(four_bands_a_segment, bands):
    for network, times in zip(pair(), (1, 2), strict=True):
        calls = []
        for part in (
            network.read,
            network.fuse,
            network.attend,
            network.write,
        ):
            part.register_forward_pre_hook(lambda part, *_: calls.append(part))  # noqa: B023
        denoised = network(torch.rand(1, bands, 5, 6))
        assert len(calls) == 4 * bands
        denoised.sum().backward()
        assert len(calls) == 4 * bands * times


def test_a_pass_is_checkpointed_by_segments_in_training_only(four_bands_a_segment, monkeypatch):
    calls = []
    real = recurrence.checkpoint

    def counted(*args, **options):
        calls.append(args)
        return real(*args, **options)

    monkeypatch.setattr(recurrence, "checkpoint", counted)
    network, saving = pair()
    noisy = torch.rand(1, 10, 5, 6)
    network(noisy)
    saving.eval()(noisy)
    with torch.no_grad():
        saving.train()(noisy)
        saving.region_masks(noisy)
    assert calls == []
    saving(noisy)
    assert len(calls) == 4 * 3  # passes, segments


def test_a_copy_keeps_the_option():
    assert copy.deepcopy(RAS2S(gradient_checkpointing=True)).gradient_checkpointing
    assert not RAS2S().gradient_checkpointing
