"""RAS2S against the literal oracle, in float64: outputs, gradients and region masks."""

import pytest
import torch
import torch.nn.functional as F

from lightning_ras2s.networks import RAS2S
from lightning_ras2s.networks.native import attend_channels
from lightning_ras2s.networks.ras2s.released import from_released
from lightning_ras2s.networks.ras2s.ssra import pool_any_size
from tests.oracle import LiteralRAS2S

torch.set_num_threads(1)

SIZES = [  # N B H W, channels, regions, attention_bands
    ((2, 7, 9, 12), 14, 3, 3),
    ((1, 1, 5, 5), 14, 3, 3),
    ((2, 2, 8, 6), 8, 2, 3),
    ((1, 3, 7, 11), 4, 4, 5),
    ((1, 6, 6, 5), 4, 1, 1),
    ((3, 5, 1, 1), 6, 3, 7),
    ((1, 4, 10, 3), 2, 6, 3),
]
ABLATIONS = [
    {"hidden_compensation": False},
    {"spatial_regions": False},
    {"spectral_regions": False},
    {"spatial_regions": False, "spectral_regions": False},
    {"bidirectional": False},
    {"attention_bands": 1},
    {"hidden_compensation": False, "spatial_regions": False, "bidirectional": False},
]


def pair(**config):
    """The oracle and the network with the same weights, in float64, all parts alive."""
    torch.manual_seed(0)
    oracle = LiteralRAS2S(**config).double()
    with torch.no_grad():
        for parameter in oracle.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        oracle(torch.rand(1, 5, 8, 8, dtype=torch.float64), trace := {})
        for name, logits in trace.items():  # balances the guides: all regions in use
            if name.endswith("guide"):
                guide = getattr(oracle.encoder.ssra["ssra"], name)
                bias = guide.b.bias if name == "spatial_guide" else guide.fc1.bias
                bias -= logits.mean((0, 1, 3, 4))
    network = RAS2S(**config).double()
    network.load_state_dict(from_released(oracle.state_dict()))
    return oracle, network


def run(network, noisy, target):
    noisy = noisy.clone().requires_grad_()
    denoised = network(noisy)
    (denoised - target).abs().mean().backward()
    grads = {
        name: torch.zeros_like(p) if p.grad is None else p.grad  # phi_d is unused when B = 1
        for name, p in network.named_parameters()
    }
    return denoised.detach(), noisy.grad, grads


def assert_same(oracle, network, shape):
    noisy, target = torch.rand(2, *shape, dtype=torch.float64)
    expected, expected_input_grad, expected_grads = run(oracle, noisy, target)
    denoised, input_grad, grads = run(network, noisy, target)
    torch.testing.assert_close(denoised, expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(input_grad, expected_input_grad, rtol=1e-9, atol=1e-9)
    for name, expected_grad in from_released(expected_grads).items():
        scale = expected_grad.abs().max()
        assert (grads[name] - expected_grad).abs().max() <= 1e-9 * scale + 1e-12, name


@pytest.mark.parametrize(("shape", "channels", "regions", "attention_bands"), SIZES)
def test_equals_the_oracle(shape, channels, regions, attention_bands):
    config = {"channels": channels, "regions": regions, "attention_bands": attention_bands}
    assert_same(*pair(**config), shape)


@pytest.mark.parametrize("ablation", ABLATIONS, ids=lambda a: "-".join(a))
def test_ablations_equal_the_oracle(ablation):
    assert_same(*pair(channels=6, **ablation), (2, 5, 6, 7))


def test_default_has_the_papers_parameter_count():
    assert sum(p.numel() for p in RAS2S().parameters()) == 84_105


def test_every_parameter_but_the_switched_off_attention_gets_a_gradient():
    _, network = pair(channels=6)
    network(torch.rand(1, 4, 8, 8, dtype=torch.float64)).square().sum().backward()
    assert [name for name, p in network.named_parameters() if not p.grad.any()] == []


@pytest.mark.parametrize("source", ["encoded", "embedding"])
def test_region_masks_are_the_oracles(source):
    oracle, network = pair(channels=6, regions=4)
    noisy = torch.rand(2, 5, 9, 7, dtype=torch.float64)
    trace = {}
    oracle(noisy, trace)
    features = trace[source].transpose(0, 1)
    guides = oracle.encoder.ssra["ssra"]
    spatial, spectral = network.region_masks(noisy, source)
    for mask, guide in ((spatial, guides.spatial_guide), (spectral, guides.spectral_guide)):
        expected = torch.stack([guide(band).argmax(1) for band in features], dim=1)
        assert mask.dtype == torch.int64
        assert source == "embedding" or len(expected.unique()) > 1
        assert torch.equal(mask, expected)


def test_region_masks_of_an_absent_branch_are_none():
    noisy = torch.rand(1, 3, 8, 8)
    assert RAS2S(spatial_regions=False).region_masks(noisy).spatial is None
    assert RAS2S(spectral_regions=False).region_masks(noisy).spectral is None
    masks = RAS2S(spatial_regions=False, spectral_regions=False).region_masks(noisy)
    assert tuple(masks) == (None, None)
    with pytest.raises(ValueError, match="source='input'"):
        RAS2S().region_masks(noisy, "input")


def test_regions_are_counted():
    assert RAS2S(regions=4).regions == 4
    assert RAS2S(regions=2, spatial_regions=False).regions == 2
    assert RAS2S(spatial_regions=False, spectral_regions=False).regions == 0


def test_zero_start_returns_the_input_until_trained():
    noisy = torch.rand(1, 4, 8, 8)
    assert torch.equal(RAS2S(zero_start=True)(noisy), noisy)
    assert not torch.equal(RAS2S()(noisy), noisy)


def test_starts_from_the_released_codes_distribution():
    torch.manual_seed(0)
    guide = RAS2S(channels=14, regions=3).region_aware.spatial_guide
    bound = (9 * 3 * 14) ** -0.5
    for tensor in (guide.base.weight, guide.base.bias):
        assert tensor.abs().max() <= bound
    assert guide.base.weight.abs().max() > 0.95 * bound
    assert not guide.gain2.weight.any()
    gates = RAS2S().read.recurrence.gru.gates.weight.detach()
    assert gates.abs().max().item() == pytest.approx((9 * 28) ** -0.5, rel=0.01)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_stays_near_full_precision(dtype):
    torch.manual_seed(0)
    network = RAS2S().eval()
    noisy = torch.rand(1, 6, 16, 16)
    with torch.no_grad():
        expected = network(noisy)
        with torch.autocast("cpu", dtype=dtype):
            denoised = network(noisy)
    assert (denoised - expected).abs().max() < 0.03
    with torch.autocast("cpu", dtype=dtype):
        loss = network(noisy).float().square().mean()
    loss.backward()
    assert all(p.grad.isfinite().all() for p in network.parameters())


def test_cosines_of_half_precision_are_summed_in_float32():
    x = torch.full((1, 4, 64, 64), 100, dtype=torch.float16)  # the sum of squares is 4e7
    values = torch.arange(4, dtype=torch.float16)[None, :, None, None].expand_as(x)
    with torch.autocast("cpu", dtype=torch.float16):
        mixed = attend_channels(x, x, values, heads=2)
    assert mixed[0, :, 0, 0].tolist() == [0.5, 0.5, 2.5, 2.5]  # equal cosines: means of each head


def test_does_not_change_its_input():
    noisy = torch.rand(1, 3, 8, 8)
    before = noisy.clone()
    network = RAS2S()
    network(noisy)
    network.region_masks(noisy)
    assert torch.equal(noisy, before)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"channels": 13}, "channels=13: .*even.*use 14"),
        ({"channels": 0}, "channels=0"),
        ({"attention_bands": 4}, "attention_bands=4: .*odd.*use 5"),
        ({"attention_bands": -1}, "attention_bands=-1"),
        ({"regions": 0}, "regions=0"),
    ],
)
def test_impossible_sizes_are_refused(config, message):
    with pytest.raises(ValueError, match=message):
        RAS2S(**config)


@pytest.mark.parametrize("shape", [(31, 64, 64), (1, 0, 8, 8)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"\[N, B, H, W\]"):
        RAS2S()(torch.rand(shape))


@pytest.mark.parametrize("size", [(1, 1), (2, 5), (3, 3), (7, 10), (64, 31)])
def test_pooling_of_any_size_is_torchs(size):
    x = torch.rand(2, 4, *size, dtype=torch.float64, requires_grad=True)
    pooled, expected = pool_any_size(x), F.adaptive_avg_pool2d(x, 3)
    torch.testing.assert_close(pooled, expected, rtol=1e-14, atol=1e-14)
    weights = torch.rand_like(expected)
    given, wanted = (torch.autograd.grad(y, x, weights)[0] for y in (pooled, expected))
    torch.testing.assert_close(given, wanted, rtol=1e-14, atol=1e-14)
