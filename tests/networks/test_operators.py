"""The operators as torch sees them: registered, traced, exported, transformed; their borders."""

import contextvars
import copy
import re
import threading
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import forward_ad
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from lightning_ras2s.networks import RAS2S, native
from lightning_ras2s.networks.native import (
    attend,
    compensate,
    conv1x1,
    conv3x3,
    filter_regions,
    gated_step,
)
from lightning_ras2s.networks.ras2s.layers import Conv3x3
from tests.kinks import decisions_near_a_kink

torch.set_num_threads(1)
HOUSE = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(
    native.kernels() is None, reason="there is no C++ compiler with OpenMP here (CXX, g++)"
)


def normal(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


MAPS = (2, 4, 5, 7)
X, Y, Z = normal(*MAPS), normal(*MAPS).flip(2), normal(*MAPS).flip(3)
GATES = normal(12, 8, 3, 3), normal(12)
AAM = normal(3, 4, 3, 3, 3) / 3, normal(3)
HFCOMP = normal(8, 4, 1, 1), normal(8)
FILTERS, GUIDES = normal(2, 12, 4, 3, 3), [normal(2, 3, 5, 7), normal(2, 3, 5, 7).flip(3)]
CALLS = {
    "conv3x3": [
        (X, normal(6, 4, 3, 3), normal(6), None, "leaky_relu", []),
        (X, normal(6, 8, 3, 3), normal(6), Y, "none", [normal(2, 6, 5, 7), normal(2, 1, 5, 7)]),
        (X, normal(2, 6, 4, 3, 3), None, None, "sigmoid", []),
    ],
    "conv3x3_to_inputs": [
        (X, normal(4, 6, 3, 3), Y, "relu", 6),
        (X, GATES[0][:4], None, "none", 4),
    ],
    "conv3x3_to_weight": [
        (X, Y, Z, Z, "tanh", False, None, 0),
        (X, Y, None, None, "none", True, None, 0),
        (X, Y, Z, None, "none", False, Z, 3),
    ],
    "conv1x1": [(X, *HFCOMP), (X, HFCOMP[0], None)],
    "gated_step": [(X, Y, *GATES)],
    "gated_step_kept": [(X, Y, *GATES)],
    "gated_step_backward": [(X, Y, GATES[0], normal(2, 8, 5, 7), Z)],
    "attend": [(X, [X, Y, Z], *AAM)],
    "attend_kept": [(X, [X, Y, Z], *AAM)],
    "attend_backward": [(X, Y, [X, Y, Z], *AAM, normal(2, 12, 5, 7))],
    "compensate": [
        (X, Y, *HFCOMP, 2),
        (X[:, :2].contiguous(), Y[:, :2].contiguous(), normal(4, 2, 1, 1), normal(4), 2),
    ],
    "compensate_kept": [(X, Y, *HFCOMP, 2)],
    "compensate_backward": [(Z, X, Y, *HFCOMP, 2, normal(2, 16).exp())],
    "filter_regions": [(X, FILTERS, GUIDES)],
    "filter_regions_kept": [(X, FILTERS, GUIDES)],
    "choose_regions_backward": [(normal(2, 8, 5, 7), normal(2, 12, 5, 7), GUIDES)],
}
WITHOUT_GRADIENTS = ("_to_inputs", "_to_weight", "_kept", "_backward")
OPERATORS = [name for name in CALLS if not name.endswith(WITHOUT_GRADIENTS)]
DIFFERENTIABLE = {
    "conv3x3": conv3x3,
    "conv1x1": conv1x1,
    "gated_step": gated_step,
    "attend": attend,
    "compensate": compensate,
    "filter_regions": filter_regions,
}


def spread(name, arguments):
    """As the function of that name takes them."""
    return (*arguments[:5], *arguments[5]) if name == "conv3x3" else arguments


def op(name):
    return getattr(torch.ops.ras2s, name).default


def cases(names):
    return [
        pytest.param(name, arguments, id=f"{name}-{number}")
        for name in names
        for number, arguments in enumerate(CALLS[name])
    ]


def mapped(change, arguments):
    """The arguments with something done to their tensors."""
    return tuple(
        change(a)
        if isinstance(a, torch.Tensor)
        else [change(x) for x in a]
        if isinstance(a, list)
        else a
        for a in arguments
    )


def leaves(arguments):
    return [x for x in torch.utils._pytree.tree_leaves(arguments) if isinstance(x, torch.Tensor)]


def same(result, expected, close=1e-5):
    for one, other in zip(leaves(result), leaves(expected), strict=True):
        torch.testing.assert_close(one, other, rtol=close, atol=close, check_dtype=False)


def test_every_operator_is_tried_here():
    registered = {name for name in torch._C._dispatch_get_all_op_names() if "ras2s::" in name}
    assert {name.removeprefix("ras2s::") for name in registered} == CALLS.keys()


@pytest.mark.parametrize(("name", "arguments"), cases(CALLS))
def test_torch_finds_it_rightly_registered(name, arguments):
    checked = [arguments]
    if name in OPERATORS:
        checked.append(mapped(lambda x: x.clone().requires_grad_(), arguments))
    for given in checked:
        torch.library.opcheck(op(name), given)


@pytest.mark.parametrize(("name", "arguments"), cases(CALLS))
def test_fake_results_have_the_shapes_and_strides_of_real_ones(name, arguments):
    real = leaves(op(name)(*arguments))
    with FakeTensorMode() as mode:
        fake = leaves(op(name)(*mapped(mode.from_tensor, arguments)))
    for one, other in zip(fake, real, strict=True):
        assert (one.shape, one.stride(), one.dtype) == (other.shape, other.stride(), other.dtype)


@pytest.mark.parametrize(("name", "arguments"), cases(OPERATORS))
def test_a_second_derivative_is_the_twins(name, arguments):
    def twice(operation, arguments):
        tensors = leaves(arguments)
        result = operation(*arguments)
        first = torch.autograd.grad(
            result, tensors, normal(*result.shape).to(result.dtype), create_graph=True
        )
        return torch.autograd.grad(sum(g.square().sum() for g in first), tensors, allow_unused=True)

    ours = mapped(lambda x: x.clone().requires_grad_(), arguments)
    exact = mapped(lambda x: x.double().requires_grad_(), arguments)
    for one, other in zip(twice(op(name), ours), twice(op(name), exact), strict=True):
        assert (one is None) == (other is None)
        if other is not None:
            assert (one - other).abs().max() <= 2e-5 * max(1, other.abs().max())


@pytest.mark.parametrize(("name", "arguments"), cases(OPERATORS))
def test_forward_mode_gives_the_directional_derivative(name, arguments):
    exact = mapped(lambda x: x.double(), arguments)
    towards = mapped(lambda x: normal(*x.shape).double(), exact)
    with forward_ad.dual_level():
        duals = iter(
            forward_ad.make_dual(x, t) for x, t in zip(leaves(exact), leaves(towards), strict=True)
        )
        if name == "filter_regions":  # its choice has a backward derivative only
            with pytest.raises((RuntimeError, NotImplementedError), match=r"jvp|forward"):
                op(name)(*mapped(lambda _: next(duals), exact))
            return
        given = forward_ad.unpack_dual(op(name)(*mapped(lambda _: next(duals), exact))).tangent
    step = 1e-6
    moves = iter(leaves(towards))
    beyond = op(name)(*mapped(lambda x: x + step * next(moves), exact))
    moves = iter(leaves(towards))
    before = op(name)(*mapped(lambda x: x - step * next(moves), exact))
    same(given, (beyond - before) / (2 * step), 1e-5)


@pytest.mark.parametrize(("name", "arguments"), cases(OPERATORS))
def test_vmap_is_a_loop(name, arguments):
    maps, operation = leaves(arguments)[0], DIFFERENTIABLE[name]
    many = torch.stack([maps, maps.flip(1), maps + 1])
    rest = spread(name, arguments)[1:]
    given = torch.vmap(lambda x: operation(x, *rest))(many)
    same(given, torch.stack([operation(x, *rest) for x in many]))


@pytest.mark.parametrize(("name", "arguments"), cases(OPERATORS))
def test_its_operations_are_counted_as_its_twins(name, arguments):
    def counted(context):
        with torch.no_grad(), context, FlopCounterMode(display=False) as flops:
            DIFFERENTIABLE[name](*spread(name, arguments))
        return flops.get_total_flops()

    ours, twins = counted(nullcontext()), counted(native.plain_operations())
    if name == "attend":  # the twin's banded matrices are full of zeros
        assert ours == 2 * 27 * X.numel() * 3 * 4 < twins
    else:
        assert ours == twins > 0


def test_vmap_of_the_bare_filter_of_regions_is_refused_in_one_line():
    with pytest.raises(NotImplementedError, match=r"^ras2s::filter_regions cannot .* can$"):
        torch.vmap(lambda x: op("filter_regions")(x, FILTERS, GUIDES))(torch.stack([X, Y]))


@pytest.mark.parametrize(("name", "arguments"), cases(OPERATORS))
def test_autocast_takes_the_twin(name, arguments):
    operation, given = DIFFERENTIABLE[name], spread(name, arguments)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = operation(*given)
        with native.plain_operations():
            assert torch.equal(result, operation(*given))
    same(result, operation(*given), 0.1)


# The network


@pytest.fixture
def network():
    """A network none of whose decisions on ``NOISY`` rounding could change."""
    torch.manual_seed(3)
    network = RAS2S(channels=4, regions=2).eval()
    assert decisions_near_a_kink(network, NOISY) == 0
    return network


NOISY = torch.rand(2, 3, 7, 9, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_a_trace_computes_the_same(network):
    same(torch.jit.trace(network, NOISY)(NOISY.flip(0)), network(NOISY.flip(0)), 1e-6)
    identity = Conv3x3(1, 1)
    identity.weight.copy_(torch.zeros(1, 1, 3, 3))
    identity.weight[..., 1, 1] = 1
    identity.bias.zero_()
    traced = torch.jit.trace(identity, NOISY[:, :1])
    for _ in range(3):
        assert torch.equal(traced(NOISY[:, 1:2]), NOISY[:, 1:2])


@torch.no_grad()
def test_an_export_takes_any_height_and_width():
    torch.manual_seed(0)
    network = RAS2S(channels=4, regions=2).double().eval()
    free = {0: None, 1: None, 2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    noisy = torch.rand(1, 3, 8, 12, dtype=torch.float64)
    program = torch.export.export(copy.deepcopy(network), (noisy,), dynamic_shapes=(free,))
    for size in [(8, 12), (7, 9), (3, 31), (64, 5), (2, 2)]:
        noisy = torch.rand(1, 3, *size, dtype=torch.float64)
        same(program.module()(noisy), network(noisy), 1e-12)
    with pytest.raises((AssertionError, RuntimeError), match=r"3"):
        program.module()(torch.rand(1, 4, 8, 12, dtype=torch.float64))


def test_fake_tensors_go_through_with_gradients(network):
    with FakeTensorMode(allow_non_fake_inputs=True):
        denoised = network(torch.rand(2, 3, 7, 9))
        denoised.sum().backward()
        with torch.no_grad():
            assert network(torch.rand(2, 3, 7, 9)).shape == (2, 3, 7, 9)
    assert denoised.shape == (2, 3, 7, 9)


@torch.no_grad()
def test_vmap_over_cubes_is_a_batch(network):
    denoised = torch.vmap(lambda cube: network(cube[None])[0])(NOISY)
    same(denoised, network(NOISY), 1e-6)


def test_gradients_by_torch_func_are_those_of_autograd(network):
    parameters = dict(network.named_parameters())

    def loss(parameters):
        return torch.func.functional_call(network, parameters, (NOISY,)).square().mean()

    loss(parameters).backward()
    given = torch.func.grad(loss)({name: p.detach() for name, p in parameters.items()})
    for name, parameter in parameters.items():
        close = 1e-5 * parameter.grad.abs().max()
        assert (given[name] - parameter.grad).abs().max() <= close, name


@torch.no_grad()
def test_the_networks_operations_are_counted(network):
    def counted(context):
        with FlopCounterMode(display=False) as flops, context:
            network(NOISY)
        return flops.get_total_flops()

    # What the twin adds: the zeros in its banded matrices of AAM, [L C, (1 + L) C, 3, 3].
    attention = 2 * 3 * 2 * 63 * 9 * 4 * (3 * 4 * 4 - 3 * 4 * 3)
    assert counted(nullcontext()) == counted(native.plain_operations()) - attention


# Borders


@pytest.mark.parametrize(
    ("operation", "arguments"),
    [
        (conv3x3, (normal(1, 7, 5, 5), normal(4, 4, 3, 3), normal(4))),
        (conv3x3, (X, normal(6, 4, 3, 3), normal(5))),
        (conv3x3, (X, normal(6, 8, 3, 3), None)),
        (conv3x3, (X, normal(6, 8, 3, 3), None, Y[:1])),
        (conv3x3, (X, normal(6, 8, 3, 3), None, Y[..., :-1])),
        (conv3x3, (X, normal(6, 4, 5, 5))),
        (conv3x3, (X, normal(3, 6, 4, 3, 3))),
        (conv3x3, (X[0], normal(6, 4, 3, 3))),
        (conv3x3, (X, normal(6, 4, 3, 3), None, None, "gelu")),
        (conv3x3, (X, normal(6, 4, 3, 3), None, None, "none", Y)),
        (conv3x3, (X, normal(4, 4, 3, 3), None, None, "none", X, Y, Z)),
        (conv1x1, (X, normal(6, 5, 1, 1))),
        (conv1x1, (X, normal(6, 4, 1, 1), normal(5))),
        (gated_step, (X, normal(2, 3, 5, 7), *GATES)),
        (gated_step, (X, Y, GATES[0][:, :4], GATES[1])),
        (gated_step, (X, Y, GATES[0], GATES[1][:4])),
        (attend, (X, [X, Y, Z[:1]], *AAM)),
        (attend, (X, [X, Y, Z], AAM[0][:, :3], AAM[1])),
        (attend, (X, [X, Y, Z], AAM[0], AAM[1][:2])),
        (compensate, (X, Y[:, :2], *HFCOMP, 2)),
        (compensate, (X, Y, HFCOMP[0], HFCOMP[1][:4], 2)),
        (compensate, (X, Y, *HFCOMP, 3)),
        (filter_regions, (X, FILTERS[:, :10], [g[:, :2] for g in GUIDES])),
        (filter_regions, (X, FILTERS[:1], GUIDES)),
        (filter_regions, (X, FILTERS, [g[:, :2] for g in GUIDES])),
        (filter_regions, (X, FILTERS, [])),
    ],
)
@pytest.mark.parametrize("gradients", [False, True])
def test_what_does_not_fit_together_is_refused(operation, arguments, gradients):
    arguments = mapped(lambda x: x.clone().requires_grad_(gradients), arguments)
    with pytest.raises(ValueError, match=f"^{operation.__name__}: .* it takes "):
        operation(*arguments)


def test_the_shapes_are_named():
    message = r"x \[1, 7, 5, 5\], second None, weight \[4, 4, 3, 3\], bias \[4\]"
    with pytest.raises(ValueError, match=message):
        Conv3x3(4, 4)(torch.rand(1, 7, 5, 5))


@pytest.mark.parametrize(("name", "arguments"), cases(OPERATORS))
@pytest.mark.parametrize("place", range(5))
def test_another_dtype_in_any_place_is_not_read_as_float32(name, arguments, place):
    tensors = leaves(arguments)
    if place >= len(tensors):
        return
    numbers = iter(range(len(tensors)))
    mixed = mapped(lambda x: x.double() if next(numbers) == place else x, arguments)
    with native.plain_operations():
        try:
            expected = DIFFERENTIABLE[name](*spread(name, mixed))
        except RuntimeError as error:  # torch says that these dtypes do not go together
            with pytest.raises(RuntimeError, match=re.escape(str(error).splitlines()[0])):
                op(name)(*mixed)
            return
    same(op(name)(*mixed), expected)


@pytest.mark.parametrize(("name", "arguments"), cases(OPERATORS))
@pytest.mark.parametrize(
    "change",
    [
        lambda x: x.repeat_interleave(2, dim=-1)[..., ::2],
        lambda x: x.repeat_interleave(2, dim=0)[::2],
        lambda x: x.transpose(0, -1).contiguous().transpose(0, -1),
        lambda x: torch.cat([x, x], dim=0)[len(x) :],
        lambda x: torch._neg_view(-x),
    ],
    ids=["last strided", "first strided", "transposed", "offset", "negated view"],
)
def test_any_layout_is_read_rightly(name, arguments, change):
    def gradients(arguments):
        tensors = leaves(arguments)
        result = op(name)(*arguments)
        return result, *torch.autograd.grad(result, tensors, normal(*result.shape))

    plain = mapped(lambda x: x.clone().requires_grad_(), arguments)
    strided = mapped(lambda x: change(x).requires_grad_(), arguments)
    same(gradients(strided), gradients(plain))


def test_a_window_of_unknown_length_is_refused_by_the_kernel():
    weight = normal(11, 12, 3, 3, 3)
    with pytest.raises(ValueError, match=r"L one of \(1, 3, 5, 7, 9\)"):
        torch.ops.ras2s.attend_kept(X, [X] * 11, weight, normal(11))


class Named(TorchDispatchMode):
    """Collects the names of the operations that are called."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        self.names.add(operation.overloadpacket._qualified_op_name)
        return operation(*args, **(kwargs or {}))


def test_plain_operations_may_be_left_out_of_order_and_are_each_threads_own():
    results = []

    def takes_twin():
        with Named() as seen:
            conv3x3(X, normal(6, 4, 3, 3))
        return "ras2s::conv3x3" not in seen.names

    first, second = native.plain_operations(), native.plain_operations()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert takes_twin()
    thread = threading.Thread(target=lambda: results.append(takes_twin()))
    thread.start()
    thread.join()
    assert results == [False]
    assert contextvars.copy_context().run(takes_twin)
    second.__exit__(None, None, None)
    assert not takes_twin()
