"""The rivals against their authors' networks, and the equations that their parts stand for."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from lightning_ras2s.methods import METHODS, method_of
from lightning_ras2s.networks.blocks.convolution import ChannelLinear, ChannelNorm, mix
from lightning_ras2s.networks.blocks.denoiser import Denoiser
from lightning_ras2s.networks.blocks.forget_pool import forget_pool
from lightning_ras2s.networks.blocks.nonlocal_means import nonlocal_means, wavelet_sigma
from lightning_ras2s.networks.blocks.residual_groups import together, windows
from lightning_ras2s.networks.fidnet import AmplitudePhase
from lightning_ras2s.networks.hsdt import HSDT, GuidedAttention
from lightning_ras2s.networks.macnet import MACNet, regression_noise, signal_subspace
from lightning_ras2s.networks.sst import WindowAttention
from lightning_ras2s.networks.t3sc import shrink
from lightning_ras2s.networks.tdsat import EndBlock
from lightning_ras2s.weights import load_network
from tests.golden import GOLDEN, requires_golden

torch.set_num_threads(1)

RIVALS = [key for key, method in METHODS.items() if method.kind == "network" and key != "ras2s"]
SERT_SIZES = {
    "bands": 5,
    "channels": 16,
    "depths": (2, 2),
    "window_sizes": (8, 16),
    "splits": (1, 2),
    "heads": (2, 4),
    "memory": 8,
    "reduction": 4,
}
GOLDENS = {
    "hsdt": "hsdt_s",
    "hsdt_m": "hsdt_m",
    "hsdt_l": "hsdt_l",
    "qrnn3d": "qrnn3d",
    "qrnn3d_nobn": "qrnn3d",
    "sert": "sert",
    "sst": "sst",
    "t3sc": "t3sc",
    "t3sc_beta": "t3sc",
    "grunet": "grunet",
    "grunet_bn": "grunet",
    "man_v2": "man",
    "man_v1": "man_v1",
    "macnet_core": "macnet",
    "grnet": "grnet",
    "mst": "mst",
    "fidnet": "fidnet",
    "tdsat": "tdsat",
}
SMALL = {
    "hsdt_s": {"channels": 2, "bands": 5},
    "hsdt_m": {"channels": 3, "bands": 5},
    "hsdt_l": {"channels": 2, "stages": 7, "bands": 5},
    "qrnn3d": {"channels": 2},
    "sert": SERT_SIZES,
    "sst": {"bands": 5, "channels": 12, "depths": (2,), "heads": (2,)},
    "t3sc": {"bands": 5, "layers": ((1, 3, 1, 6), (5, 2, 2, 8))},
    "grunet": {"widths": (2, 4, 6)},
    "man": {"channels": 2},
    "man_v1": {"channels": 2},
    "macnet": {"channels": 4},
    "grnet": {"bands": 5, "widths": (4, 8, 16)},
    "mst": {"bands": 5, "depths": (1, 1, 1)},
    "fidnet": {"channels": 4, "growth": 2},
    "tdsat": {"channels": 2},
}


def small(key):
    return METHODS[key].load()(**SMALL[key])


def same(tensor, expected, share=1e-5):
    """As ``../shared/spec`` has it: to a share of the largest value, or of 1."""
    assert tensor.shape == expected.shape
    assert (tensor - expected).abs().max() <= share * max(1, expected.abs().max())


def run(network, name, noisy):
    """On what the golden file holds, which for MAC-Net are the images of the subspace."""
    if name == "macnet_core":
        return network.through_the_u(noisy)
    return network(noisy[:, 0])[:, None] if noisy.ndim == 5 else network(noisy)


@requires_golden
@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", GOLDENS)
def test_the_authors_weights_give_the_authors_output(name, precision, tmp_path):
    golden = torch.load(GOLDEN / "peers" / f"{name}.pt", weights_only=True)
    if name == "sert":  # its tensors do not say windows and heads
        network = METHODS["sert"].network_of(golden["state_dict"], SERT_SIZES)
    else:
        torch.save({"net": golden["state_dict"], "epoch": 3}, tmp_path / "model.pth")
        network = load_network(tmp_path / "model.pth")
    assert method_of(network).key == GOLDENS[name]
    assert sum(p.numel() for p in network.parameters()) == golden["param_count"]
    for case in golden["cases"]:
        if "label" in case:
            network = HSDT.of_state(network.state_dict(), network.arguments | {"similarity": True})
        network = network.eval().to(precision)
        with torch.no_grad():
            denoised = run(network, name, case["input"].to(precision))
        same(denoised.float(), case["output"])
    if train := golden.get("train_case"):  # batch norms
        network.train()
        same(run(network, name, train["input"].to(precision)).float(), train["output"])
        state = network.state_dict()
        for author, buffer in train["buffers_after"].items():
            same(state[network.present_name(author)].double(), buffer.double())


@pytest.mark.parametrize("key", RIVALS)
def test_all_sizes_are_taken_and_all_weights_learn(key):
    torch.manual_seed(3)
    network = small(key)
    bands = network.bands or 4
    for size in ((8, 8), (9, 13), (3, 2)):
        noisy = torch.rand(2, bands, *size)
        denoised = network(noisy)
        assert denoised.shape == noisy.shape
        assert torch.isfinite(denoised).all()
    denoised.square().sum().backward()
    if key.startswith("hsdt"):  # a coin decides what else learns
        network.attention = None
    idle = {name for name, p in network.named_parameters() if p.grad is None}
    expected = {
        "man": ("joins.0.",),
        "man_v1": ("joins.0.",),
        "tdsat": ("joins.0.", "head.1.channels.", "tail.1.channels."),
        "fidnet": tuple(
            f"frequencies.{block}.{part}.norm."
            for block in (0, 1)
            for part in ("amplitude", "phase")
        ),
    }.get(key, ())
    assert all(name.startswith(expected) or ".queries." in name for name in idle), idle
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)


@pytest.mark.parametrize("key", RIVALS)
def test_the_border_is_mirrored_below_and_to_the_right(key):
    network = small(key).eval()
    noisy = torch.rand(1, network.bands or 4, 17, 19)
    height, width = (
        max(network.least, math.ceil(size / network.multiple_of) * network.multiple_of)
        for size in noisy.shape[2:]
    )
    framed = np.pad(
        noisy.numpy(), ((0, 0), (0, 0), (0, height - 17), (0, width - 19)), mode="reflect"
    )
    with torch.no_grad():
        same(network(noisy), network(torch.from_numpy(framed))[..., :17, :19], 1e-6)


@pytest.mark.parametrize("key", [key for key in RIVALS if key not in ("t3sc", "fidnet")])
def test_a_zero_start_returns_the_input_and_still_learns(key):
    network = METHODS[key].load()(**SMALL[key], zero_start=True)
    noisy = torch.rand(2, network.bands or 4, 16, 16)
    returned = network(noisy)
    if key == "macnet":  # what it has of it in its subspace
        returned, noisy = network.through_the_u(noisy[:1, None]), noisy[:1, None]
    torch.testing.assert_close(returned, noisy)
    (returned - 2 * noisy).square().sum().backward()
    assert any(p.grad.abs().max() > 0 for p in network.parameters() if p.grad is not None)


@pytest.mark.parametrize("key", RIVALS)
def test_what_it_was_built_with_builds_it_again(key):
    network = small(key).eval()
    state = network.state_dict()
    assert {network.present_name(name) for name in state} == set(state)
    again = type(network).of_state(state, network.arguments).eval()
    read_off = type(network).of_state(state).eval() if key != "sert" else again
    noisy = torch.rand(1, network.bands or 4, 16, 16)
    with torch.no_grad():
        assert torch.equal(again(noisy), network(noisy))
        assert torch.equal(read_off(noisy), network(noisy))


def test_the_arguments_are_noted_whoever_writes_them():
    class Own(Denoiser):
        def __init__(self, width, depth=3, *, bias=False):
            super().__init__()

    assert Own(4, bias=True).arguments == {"width": 4, "depth": 3, "bias": True}


def test_another_number_of_bands_than_it_was_built_for_is_refused():
    with pytest.raises(ValueError, match=r"HSDT was built for 5 bands and got 6; .*bands=6"):
        small("hsdt_s")(torch.rand(1, 6, 8, 8))
    with pytest.raises(ValueError, match=r"\[N, B, H, W\], got shape \[5, 8, 8\]"):
        small("hsdt_s")(torch.rand(5, 8, 8))
    of_any = HSDT(channels=2, bands=5, similarity=True).eval()
    assert of_any(torch.rand(1, 9, 8, 8)).shape == (1, 9, 8, 8)


def test_windows_that_no_published_sert_has_are_asked_for():
    with pytest.raises(ValueError, match="no published SERT has 16 channels and 2 groups"):
        METHODS["sert"].load().of_state(small("sert").state_dict())


def test_sizes_of_one_class_are_told_apart():
    for key in ("hsdt_s", "hsdt_m", "hsdt_l"):
        network = METHODS[key].build(bands=7)
        method = method_of(network)
        assert (method.key, method.label, method.bands) == (key, METHODS[key].label, 7)
    other = method_of(METHODS["hsdt_m"].build(channels=6))
    assert (other.key, other.label) == ("hsdt_s", "HSDT")


@pytest.mark.parametrize("reverse", [False, True])
def test_forget_pooling_is_its_recurrence(reverse):
    z, f = torch.randn(2, 3, 6, 4, 5), torch.rand(2, 3, 6, 4, 5)
    pooled = forget_pool(z, f, reverse)
    h = torch.zeros(2, 3, 4, 5)
    for band in reversed(range(6)) if reverse else range(6):
        h = f[:, :, band] * h + (1 - f[:, :, band]) * z[:, :, band]
        torch.testing.assert_close(pooled[:, :, band], h)


def test_layers_of_channels_are_those_of_the_last_axis():
    x = torch.randn(2, 3, 4, 5, 6)
    for layer, plain in (
        (ChannelLinear(3, 7), nn.Linear(3, 7)),
        (ChannelLinear(3, 7, bias=False), nn.Linear(3, 7, bias=False)),
        (ChannelNorm(3), nn.LayerNorm(3)),
    ):
        plain.load_state_dict(layer.state_dict())
        torch.testing.assert_close(layer(x), plain(x.movedim(1, -1)).movedim(-1, 1))


def test_up_goes_from_corner_to_corner_and_leaves_the_bands():
    layer = mix("up", 1, 1)
    nn.init.zeros_(layer.weight)
    layer.weight.data[0, 0, 1, 1, 1] = 1
    x = torch.rand(1, 1, 3, 2, 2)
    up = layer(x)
    assert up.shape == (1, 1, 3, 4, 4)
    torch.testing.assert_close(up[..., ::3, ::3], x)
    torch.testing.assert_close(up[..., 0, 1], (2 * x[..., 0, 0] + x[..., 0, 1]) / 3)


def test_windows_are_cut_row_after_row_and_put_together_again():
    x = torch.arange(24.0).view(1, 4, 6, 1)
    cut = windows(x, 2, 3)
    assert cut[0, :, :, 0].tolist()[1] == [3, 4, 5, 9, 10, 11]
    assert torch.equal(together(cut, 2, 3, 4, 6), x)


def test_pixels_that_the_shift_has_brought_together_do_not_see_each_other():
    layer = WindowAttention(4, 2, shift=4)
    x = torch.randn(1, 16, 16, 4)
    changed = x.clone()
    changed[:, 0, 0] += 1  # in one window with the last row and column, after the shift
    moved = (layer(changed) - layer(x)).abs().amax(-1)[0]
    assert moved[:4, :4].min() > 1e-5
    assert moved[4:].max() < 1e-6
    assert moved[:, 4:].max() < 1e-6


def test_bands_attend_to_learned_queries_or_to_each_other():
    attention = GuidedAttention(3, bands=5, similarity=False)
    x = torch.randn(2, 3, 5, 4, 4)
    by_queries = attention.eval()(x)
    attention.similarity = True
    by_similarity = attention(x)
    keys = x.mean((3, 4)).transpose(1, 2)
    weights = (keys @ keys.transpose(1, 2)).softmax(-1)
    mixed = torch.einsum("nde,ncehw->ncdhw", weights, attention.value(x))
    torch.testing.assert_close(by_similarity, attention.project(mixed) + x)
    assert (by_queries - by_similarity).abs().max() > 1e-3
    attention.train()
    tossed = [torch.allclose(attention(x), by_similarity, atol=1e-6) for _ in range(40)]
    assert 8 < sum(tossed) < 32


def test_a_threshold_below_zero_still_has_its_form():
    x = torch.tensor([-1.0, 0.2, 3.0])
    assert torch.allclose(shrink(x, torch.tensor(0.5)), torch.tensor([-0.5, 0.0, 2.5]))
    assert torch.allclose(shrink(x, torch.tensor(-0.5)), torch.tensor([-1.5, 0.4, 3.5]))


def test_the_phase_of_what_is_real_does_not_hang_on_rounding():
    torch.manual_seed(1)
    block = AmplitudePhase(2).double()
    x = -torch.rand(1, 2, 20, 28, dtype=torch.float64)  # the mean is negative: its phase is pi
    once = block(x)
    shifted = block(x.flip(2).flip(2) + 0.0)
    torch.testing.assert_close(once, shifted)
    single = block.float()(x.float())
    assert (single - once).abs().max() < 1e-4


def test_the_end_block_of_one_feature_adds_what_hangs_on_the_size_alone():
    block = EndBlock(1)
    for name, parameter in block.named_parameters():
        if "norm" in name and name.endswith("bias"):
            nn.init.constant_(parameter, 0.7)
    x, y = torch.randn(2, 1, 1, 4, 6, 6)
    torch.testing.assert_close(block(x) - x, block(y) - y)
    assert (block(x) - x).abs().max() > 1e-3


def test_nonlocal_means_is_scikit_images():
    restoration = pytest.importorskip("skimage.restoration")
    torch.manual_seed(0)
    smooth = nn.functional.interpolate(torch.rand(2, 5, 6, 7), (23, 30), mode="bilinear")
    images = 2 * smooth + 0.1 * torch.randn(2, 5, 23, 30)
    sigma = wavelet_sigma(images)
    made = nonlocal_means(images, sigma, 0.08)
    for image, one, result in zip(images, sigma, made, strict=True):
        last = image.permute(1, 2, 0).double().numpy()
        estimate = restoration.estimate_sigma(last, average_sigmas=True, channel_axis=-1)
        assert one.item() == pytest.approx(estimate, rel=1e-5)
        expected = restoration.denoise_nl_means(
            last, 7, 9, 0.08, fast_mode=True, sigma=estimate, channel_axis=-1
        )
        # Theirs has an exponential of a few percent of error.
        assert np.abs(result.permute(1, 2, 0).numpy() - expected).max() < 0.01
        assert np.abs(expected - last).max() > 0.1


def test_the_noise_is_what_other_bands_do_not_predict():
    torch.manual_seed(0)
    spectra = (torch.rand(7, 3) @ torch.rand(3, 400) + 0.05 * torch.randn(7, 400)).double()
    noise = regression_noise(spectra[None])[0]
    for band in range(7):
        others = [other for other in range(7) if other != band]
        found = torch.linalg.lstsq(spectra[others].T, spectra[band]).solution
        torch.testing.assert_close(
            noise[band], spectra[band] - found @ spectra[others], atol=1e-5, rtol=1e-4
        )


def test_the_subspace_has_the_dimensions_of_the_signal():
    torch.manual_seed(0)
    spectra = torch.rand(31, 4) @ torch.rand(4, 2500) + 0.01 * torch.randn(31, 2500)
    directions, signal = signal_subspace(spectra[None].double())
    assert signal.tolist() == [4]
    torch.testing.assert_close(directions[0].T @ directions[0], torch.eye(31).double())
    network = MACNet(channels=4, divisor=1)
    found = network.subspace(spectra.view(1, 31, 50, 50))
    assert found.images.shape[1] == max(3, found.directions.shape[2])
    assert found.sigma[0].mean() == pytest.approx(0.01, rel=0.1)
    back = torch.einsum("nbd,ndhw->nbhw", found.directions, found.images)
    clean = back * found.sigma[..., None, None]
    assert (clean.flatten(2)[0] - spectra).square().mean().sqrt() < 0.011
