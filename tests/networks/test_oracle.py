"""The oracle itself: held to the golden values, and to the rules that these do not cover."""

import pytest
import torch
from torch import nn

from tests.golden import RAS2S_FILES, TRACED_FILES, load_golden, requires_golden
from tests.oracle import Assign, LiteralRAS2S, window

EACH_FILE = pytest.mark.parametrize("name", RAS2S_FILES)
GUIDES = ("spatial_guide", "spectral_guide")


def network(golden):
    net = LiteralRAS2S(**golden["config"])
    net.load_state_dict(golden["state_dict"], strict=True)
    return net.double()


def assert_near(tensor, expected):
    """Within the rounding of the golden values, which are of float32; 21 such errors are seen."""
    error = (tensor - expected).abs().max()
    assert error <= 64 * torch.finfo(torch.float32).eps * expected.abs().max()


@requires_golden
@EACH_FILE
def test_gives_the_golden_output_and_gradients(name):
    golden = load_golden(name)
    net = network(golden)
    output = net(golden["input"].double())
    assert_near(output, golden["output"])
    loss = (output - golden["target"]).abs().mean()
    loss.backward()
    assert loss.item() == pytest.approx(float(golden["l1_loss"]), abs=1e-7)
    grads = {key: parameter.grad for key, parameter in net.named_parameters()}
    assert grads.keys() == golden["grads"].keys()
    for key, expected in golden["grads"].items():
        error = (grads[key] - expected).abs().max()
        assert error <= 5e-5 * expected.abs().max(), f"{key}: {error}"


@requires_golden
@pytest.mark.parametrize("name", TRACED_FILES)
def test_gives_the_golden_trace(name):
    golden, trace = load_golden(name), {}
    with torch.no_grad():
        network(golden)(golden["input"].double(), trace)
    for guide in GUIDES:
        assert torch.equal(trace[guide].argmax(2), golden["trace"][guide].argmax(2)), guide
    assert trace.keys() == golden["trace"].keys()
    for key, expected in golden["trace"].items():
        assert_near(trace[key], expected)


def test_has_84105_parameters_by_default():
    assert sum(parameter.numel() for parameter in LiteralRAS2S().parameters()) == 84_105


@requires_golden
def test_parameters_come_in_the_released_order():
    golden = load_golden(RAS2S_FILES[0])
    assert list(LiteralRAS2S().state_dict()) == list(golden["state_dict"])


def test_odd_channels_and_even_windows_are_refused():
    with pytest.raises(ValueError, match="channels must be even"):
        LiteralRAS2S(channels=7)
    with pytest.raises(ValueError, match="attention_bands must be odd"):
        LiteralRAS2S(attention_bands=4)


def test_initialisation():
    guide = LiteralRAS2S(channels=8, regions=4).encoder.ssra["ssra"].spatial_guide
    bound = (9 * 4 * 8) ** -0.5
    assert 0.9 * bound < guide.b.weight.abs().max() <= bound
    assert 0 < guide.b.bias.abs().max() <= bound
    assert not guide.b_rf.b.weight.any()
    assert torch.equal(guide.b_rf(torch.rand(2, 8, 5, 5)), torch.ones(2, 8, 1, 1))


def test_assignment_is_hard_forward_and_soft_for_the_guide_backward():
    torch.manual_seed(0)
    candidates = torch.randn(2, 3, 4, 5, 6, dtype=torch.float64, requires_grad=True)
    guide = torch.randn(2, 3, 5, 6, dtype=torch.float64, requires_grad=True)
    grad_out = torch.randn(2, 4, 5, 6, dtype=torch.float64)
    with torch.no_grad():
        guide[0, 1:, 0, 0] = guide[0, :, 0, 0].max() + 1  # a tie of regions 1 and 2
    region = torch.where(guide == guide.amax(1, keepdim=True), 1, 0).argmax(1)
    assert region[0, 0, 0] == 1
    hard = torch.take_along_dim(candidates, region[:, None, None], dim=1)[:, 0]
    soft = (torch.softmax(guide, 1)[:, :, None] * candidates).sum(1)
    result = Assign.apply(candidates, guide)
    assert torch.equal(result, hard)
    grads = torch.autograd.grad(result, (candidates, guide), grad_out)
    torch.testing.assert_close(grads[0], torch.autograd.grad(hard, candidates, grad_out)[0])
    torch.testing.assert_close(grads[1], torch.autograd.grad(soft, guide, grad_out)[0])


@pytest.mark.parametrize(
    ("bands", "length", "expected"),
    [
        (1, 1, [[1]]),
        (1, 3, [[1, 1, 1]]),
        (1, 5, [[1, 1, 1, 1, 1]]),
        (2, 1, [[1], [2]]),
        (2, 3, [[1, 1, 2], [1, 2, 2]]),
        (2, 5, [[1, 1, 1, 2, 2], [1, 1, 2, 2, 2]]),
        (3, 3, [[1, 2, 3], [1, 2, 3], [1, 2, 3]]),
        (4, 3, [[1, 2, 3], [1, 2, 3], [2, 3, 4], [2, 3, 4]]),
        (4, 5, [[1, 1, 1, 2, 3], [1, 1, 2, 3, 4], [1, 2, 3, 4, 4], [2, 3, 4, 4, 4]]),
        (6, 5, [[1, 2, 3, 4, 5]] * 3 + [[2, 3, 4, 5, 6]] * 3),
    ],
)
def test_windows_counted_from_one(bands, length, expected):
    assert [[j + 1 for j in window(i, bands, length)] for i in range(bands)] == expected


@pytest.mark.parametrize("length", [3, 5])
@pytest.mark.parametrize("bands", [1, 2])
def test_few_bands(bands, length):
    torch.manual_seed(0)
    net = LiteralRAS2S(channels=4, regions=2, attention_bands=length)
    noisy, trace = torch.rand(2, bands, 6, 7), {}
    output = net(noisy, trace)
    output.sum().backward()
    assert output.shape == noisy.shape
    assert output.isfinite().all()
    states = trace["region_aware"].unbind(1)
    indices = {(1, 3): [0] * 3, (1, 5): [0] * 5, (2, 3): [0, 1, 1], (2, 5): [0, 0, 1, 1, 1]}
    last = [states[j] for j in indices[bands, length]]
    context = trace["context"][:, -1]
    torch.testing.assert_close(context, net.decoder.attention(states[-1], last))
    if bands == 1:
        torch.testing.assert_close(context, states[0])  # a mean of equal states


SSRA = "encoder.ssra."
ABLATIONS = [
    ({"hidden_compensation": False}, ["encoder.corr.", "decoder.corr."]),
    ({"spatial_regions": False}, [SSRA + "ssra.spatial_guide."]),
    ({"spectral_regions": False}, [SSRA + "ssra.spectral_guide."]),
    ({"spatial_regions": False, "spectral_regions": False}, [SSRA]),
    (
        {"bidirectional": False},
        [
            "encoder.encoder_layer1_b.",
            "decoder.decoder_layer1_b.",
            "decoder.conv_inp_1.",
            "decoder.conv_inp_2.",
            "decoder.fution_layers.",
        ],
    ),
    (
        {
            "hidden_compensation": False,
            "spatial_regions": False,
            "spectral_regions": False,
            "bidirectional": False,
        },
        [
            SSRA,
            "encoder.corr.",
            "decoder.corr.",
            "encoder.encoder_layer1_b.",
            "decoder.decoder_layer1_b.",
            "decoder.conv_inp_",
            "decoder.fution_layers.",
        ],
    ),
]


@pytest.mark.parametrize(("options", "removed"), ABLATIONS)
def test_ablation_runs_without_its_parts(options, removed):
    torch.manual_seed(0)
    net = LiteralRAS2S(channels=4, regions=2, **options)
    full = LiteralRAS2S(channels=4, regions=2).state_dict()
    kept = {key: value for key, value in full.items() if not key.startswith(tuple(removed))}
    state = net.state_dict()
    assert list(state) == list(kept)
    one_branch = options.get("spatial_regions", True) != options.get("spectral_regions", True)
    for key, value in state.items():
        halved = one_branch and key == SSRA + "ssra.fution_ss.weight"
        assert value.shape == ((4, 4, 3, 3) if halved else kept[key].shape), key

    noisy, trace = torch.rand(2, 4, 6, 7), {}
    output = net(noisy, trace)
    output.square().mean().backward()
    assert output.shape == noisy.shape
    assert output.isfinite().all()
    assert all(parameter.grad is not None for parameter in net.parameters())
    for guide in GUIDES:
        assert (guide in trace) == any(f".{guide}." in key for key in state)
    if not any(key.startswith(SSRA) for key in state):
        assert torch.equal(trace["region_aware"], trace["encoded"])


def test_without_compensation_the_gru_reads_the_state_itself():
    torch.manual_seed(0)
    net = LiteralRAS2S(channels=4, regions=2)
    plain = LiteralRAS2S(channels=4, regions=2, hidden_compensation=False)
    plain.load_state_dict({key: net.state_dict()[key] for key in plain.state_dict()})
    net.encoder.corr = net.decoder.corr = Second()
    noisy = torch.rand(2, 4, 6, 7)
    assert torch.equal(plain(noisy), net(noisy))


class Second(nn.Module):
    """A hidden state compensation that compensates nothing."""

    def forward(self, f, h):
        return h


def test_one_direction_hides_the_first_band_from_the_last():
    torch.manual_seed(0)
    noisy = torch.rand(1, 6, 6, 7)
    changed = noisy.clone()
    changed[:, 0] += 1
    one_way = LiteralRAS2S(channels=4, regions=2, bidirectional=False)
    differs = (one_way(noisy) != one_way(changed)).any(-1).any(-1)[0]
    assert differs.tolist() == [True, True, False, False, False, False]  # 3 to 6 read 2 to 6 only
    both_ways = LiteralRAS2S(channels=4, regions=2)
    assert (both_ways(noisy) != both_ways(changed)).any(-1).any(-1).all()
