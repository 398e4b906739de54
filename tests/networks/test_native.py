"""The CPU's kernels: each against its twin in float64, values and gradients."""

import pytest
import torch
import torch.nn.functional as F

from lightning_ras2s.networks import RAS2S, native
from lightning_ras2s.networks.native import (
    attend,
    attend_channels,
    compensate,
    conv1x1,
    conv3x3,
    filter_regions,
    gated_step,
)
from lightning_ras2s.networks.native.attention import LENGTHS

torch.set_num_threads(1)
needs_kernels = pytest.mark.skipif(
    native.kernels() is None, reason="there is no C++ compiler with OpenMP here (CXX, g++)"
)
pytestmark = needs_kernels

SHAPES = [(1, 1, 1), (2, 5, 7), (1, 8, 16), (3, 17, 33), (1, 9, 131), (2, 3, 300)]  # N, H, W
CLOSE = 3e-6


def normal(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def assert_same(operation, tensors, close=CLOSE, plain=None):
    """Same results and gradients, relative to the largest value of each; float64 has no kernels."""
    ours = [tensor.clone().requires_grad_() for tensor in tensors]
    exact = [tensor.double().requires_grad_() for tensor in tensors]
    result, expected = operation(*ours), (plain or operation)(*exact)
    assert_near(result, expected, close)
    with torch.no_grad():
        assert torch.equal(operation(*tensors), result)
    gradient = normal(*result.shape)
    given = torch.autograd.grad(result, ours, gradient)
    wanted = torch.autograd.grad(expected, exact, gradient.double())
    for one, other in zip(given, wanted, strict=True):
        assert_near(one, other, 3 * close)


def assert_near(one, other, close):
    assert one.dtype == torch.float32
    assert one.shape == other.shape
    assert (one - other).abs().max() <= close * max(1, other.abs().max().item())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("channels", "outputs"), [(1, 14), (14, 1), (3, 5), (14, 42), (16, 15), (20, 29)]
)
def test_convolution(shape, channels, outputs):
    n, h, w = shape
    tensors = [normal(n, channels, h, w), normal(outputs, channels, 3, 3), normal(outputs)]
    assert_same(conv3x3, tensors)


@pytest.mark.parametrize("activation", ["none", "relu", "leaky_relu", "sigmoid", "tanh"])
@pytest.mark.parametrize("residual_channels", [[], [1], [6], [6, 6]])
def test_activations_and_residuals(activation, residual_channels):
    def operation(x, weight, bias, *residuals):
        return conv3x3(x, weight, bias, None, activation, *residuals)

    residuals = [normal(2, channels, 9, 35) for channels in residual_channels]
    tensors = [normal(2, 4, 9, 35), normal(6, 4, 3, 3) / 3, normal(6), *residuals]
    assert_same(operation, tensors)


def test_a_weight_for_each_sample():
    tensors = [normal(3, 4, 9, 20), normal(3, 6, 4, 3, 3), normal(6)]
    assert_same(conv3x3, tensors)


def test_a_second_input():
    def operation(x, weight, bias, second):
        return conv3x3(x, weight, bias, second, "leaky_relu")

    tensors = [normal(2, 4, 9, 20), normal(6, 7, 3, 3), normal(6), normal(2, 3, 9, 20)]
    assert_same(operation, tensors)


def test_a_small_result_keeps_its_sign_beside_a_large_residual():
    x, residual = torch.full((1, 1, 3, 3), -1e-9), torch.full((1, 1, 3, 3), 1e3)
    weight = torch.zeros(1, 1, 3, 3)
    weight[..., 1, 1] = 1
    x.requires_grad_()
    conv3x3(x, weight, None, None, "leaky_relu", residual).sum().backward()
    torch.testing.assert_close(x.grad, torch.full_like(x, 0.1))


@pytest.mark.parametrize("shape", SHAPES)
def test_linear_layer(shape):
    n, h, w = shape
    tensors = [normal(n, 14, h, w), normal(28, 14, 1, 1), normal(28)]
    assert_same(conv1x1, tensors)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("channels", [2, 14, 16])
def test_gated_unit(shape, channels):
    n, h, w = shape
    maps = [normal(n, channels, h, w), normal(n, channels, h, w).flip(3)]
    weight = normal(3 * channels, 2 * channels, 3, 3) / channels**0.5
    assert_same(gated_step, [*maps, weight, normal(3 * channels)])


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 5, 7), (1, 9, 131)])
def test_attention(length, shape):
    n, h, w = shape
    weight = normal(length, 1 + length, 3, 3, 3) / 3
    maps = [normal(n, 4, h, w + i)[..., i:] for i in range(1 + length)]

    def plain(weight, bias, state, *window):
        logits = F.conv3d(torch.stack([state, *window], 1), weight, bias, padding=1).tanh()
        return (logits.softmax(1) * torch.stack(window, 1)).sum(1)

    def ours(weight, bias, state, *window):
        return attend(state, list(window), weight, bias)

    assert_same(ours, [weight, normal(length), *maps], plain=plain)


@pytest.mark.parametrize("length", [2, 11])
def test_windows_without_a_kernel_are_attended_to_all_the_same(length):
    def operation(weight, bias, state, *window):
        return attend(state, list(window), weight, bias)

    weight = normal(length, 1 + length, 3, 3, 3) / 3
    maps = [normal(1, 4, 5, 6 + i)[..., i:] for i in range(1 + length)]
    assert_same(operation, [weight, normal(length), *maps])


@pytest.mark.parametrize("shape", [*SHAPES, (2, 40, 50)])
@pytest.mark.parametrize("channels", [2, 14, 20])
def test_attention_between_channels(shape, channels):
    n, h, w = shape
    queries, state = normal(n, channels, h, w), normal(n, channels, h, w).flip(2)
    weight, bias = normal(2 * channels, channels, 1, 1), normal(2 * channels)
    given = compensate(queries, state, weight, bias, 2)
    keys, values = F.conv2d(state.double(), weight.double(), bias.double()).chunk(2, 1)
    assert_near(given, attend_channels(queries.double(), keys, values, 2), 2 * CLOSE)


def test_channels_that_are_zero_are_attended_to_evenly():
    zero = torch.zeros(1, 4, 3, 3)
    bias = torch.tensor([0.0, 0, 0, 0, 1, 3, 5, 9])
    mixed = compensate(zero, zero, torch.zeros(8, 4, 1, 1), bias, 2)
    assert mixed[0, :, 1, 1].tolist() == [2, 2, 7, 7]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("regions", [1, 3, 5])
def test_regions(shape, regions):
    n, h, w = shape
    features, filters = normal(n, 6, h, w), normal(n, 6 * regions, 6, 3, 3)
    guides = [normal(n, regions, h, w).round(), normal(n, regions, h, w).flip(1)]  # with ties
    with torch.no_grad():
        given = filter_regions(features, filters, guides)
        guides = [guide.double() for guide in guides]
        wanted = filter_regions(features.double(), filters.double(), guides)
    assert_near(given, wanted, CLOSE)


def test_extreme_values_saturate_and_nan_stays():
    x = torch.tensor([-1e30, -1e4, -90, -1e-6, 0, 1e-6, 90, 1e4, 1e30, float("nan")])
    x = x[None, None, None]
    identity = torch.zeros(1, 1, 3, 3)
    identity[..., 1, 1] = 1
    for activation in ("sigmoid", "tanh", "relu", "leaky_relu"):
        given = conv3x3(x.nan_to_num(), identity, activation=activation)
        wanted = conv3x3(x.nan_to_num().double(), identity.double(), activation=activation)
        torch.testing.assert_close(given.double(), wanted, rtol=1e-6, atol=2e-7)
        assert conv3x3(x, identity, activation=activation)[..., -1].isnan().all()


def test_results_do_not_hang_on_the_number_of_threads():
    network, noisy = RAS2S(), torch.rand(2, 4, 40, 30)
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        network.zero_grad()
        denoised = network(noisy)
        denoised.square().sum().backward()
        results.append([denoised.detach(), *(p.grad.clone() for p in network.parameters())])
    torch.set_num_threads(1)
    names = ["output", *(name for name, _ in network.named_parameters())]
    # Sums over pixels that torch does itself: of what makes queries, keys, values and guides.
    torch_sums = ("query", "key_value", "spectral_guide", "squeeze", "expand", "gain", "base")
    for name, first, *others in zip(names, *results, strict=True):
        for other in others:
            if any(part in name for part in torch_sums):
                torch.testing.assert_close(other, first, rtol=1e-4, atol=1e-4)
            elif name == "output":
                assert torch.equal(other, first), name
            else:
                torch.testing.assert_close(other, first, rtol=1e-5, atol=1e-5)


def test_inputs_need_not_be_contiguous():
    weight = normal(5, 4, 3, 3)
    for x in (
        normal(2, 4, 9, 20).contiguous(memory_format=torch.channels_last),
        normal(2, 8, 9, 20)[:, 3:7],
        normal(2, 4, 20, 9).transpose(2, 3),
        normal(1, 4, 9, 20).expand(3, 4, 9, 20),
    ):
        assert torch.equal(conv3x3(x, weight), conv3x3(x.contiguous(), weight))
    flipped = weight.transpose(2, 3)
    x = normal(2, 4, 9, 20)
    assert torch.equal(conv3x3(x, flipped), conv3x3(x, flipped.contiguous()))
