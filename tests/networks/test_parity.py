"""RAS2S against the reference values of the authors' network."""

from contextlib import nullcontext

import pytest
import torch

from datamodules import IndianPines
from lightning_ras2s.metrics import mpsnr
from lightning_ras2s.networks import RAS2S, native
from lightning_ras2s.networks.ras2s.released import RELEASED_NAMES, from_released
from lightning_ras2s.weights import load_network
from tests.golden import (
    OFFICIAL_WEIGHTS,
    RAS2S_FILES,
    TRACED_FILES,
    load_golden,
    requires_golden,
)
from tests.kinks import EPS, Decisions, Replayed

torch.set_num_threads(1)
pytestmark = requires_golden
GUIDES = ("spatial_guide", "spectral_guide")
GOLDEN_ROUNDING = 64  # rounding errors of float32; 21 are seen
ROUNDING = 128  # likewise, of our float32; 29 are seen


def golden_network(golden):
    network = RAS2S(**golden["config"])
    network.load_state_dict(from_released(golden["state_dict"]))
    return network


def by_released_name(network):
    """Our gradients, cut into the released tensors they are stacked from."""
    parameters = dict(network.named_parameters())
    return {
        f"{name}.{kind}": part
        for ours, released in RELEASED_NAMES.items()
        for kind in ("weight", "bias")
        if f"{ours}.{kind}" in parameters
        for name, part in zip(
            released, parameters[f"{ours}.{kind}"].grad.chunk(len(released)), strict=True
        )
    }


def assert_near(tensor, expected, close):
    """Within a number of rounding errors of float32, relative to the largest value."""
    error = (tensor - expected).abs().max()
    assert error <= close * EPS * expected.abs().max()


def assert_gradients_near(gradients, expected, close):
    assert gradients.keys() == expected.keys()
    for key, gradient in expected.items():
        error = (gradients[key].reshape(gradient.shape) - gradient).abs().max()
        assert error <= close * gradient.abs().max(), key


# No decision of the authors' run in float32 differs from ours in float64, so what is left is the
# rounding of theirs.
@pytest.mark.parametrize("name", RAS2S_FILES)
def test_float64_gives_the_golden_outputs_and_gradients(name):
    golden = load_golden(name)
    assert_gives_golden(golden_network(golden).double(), golden)


@pytest.mark.parametrize(
    "name", [RAS2S_FILES[0], *(pytest.param(f, marks=pytest.mark.slow) for f in RAS2S_FILES[1:])]
)
def test_so_does_compiled_float64(name):
    golden = load_golden(name)
    network = golden_network(golden).double()
    torch._dynamo.reset()
    network.compile_steps(backend="aot_eager", dynamic=False)
    assert_gives_golden(network, golden)


def assert_gives_golden(network, golden):
    denoised = network(golden["input"].double())
    assert_near(denoised, golden["output"], GOLDEN_ROUNDING)
    loss = (denoised - golden["target"]).abs().mean()
    loss.backward()
    assert loss.item() == pytest.approx(float(golden["l1_loss"]), abs=1e-7)
    assert_gradients_near(by_released_name(network), golden["grads"], 5e-5)


@pytest.mark.parametrize("name", RAS2S_FILES)
@pytest.mark.parametrize("path", [native.plain_operations, nullcontext], ids=["plain", "kernels"])
def test_float32_gives_float64s_outputs_and_gradients(name, path):
    golden = load_golden(name)
    network, exact = golden_network(golden), golden_network(golden).double()
    with path(), Decisions() as decisions:
        denoised = network(golden["input"])
    to_denoised = (denoised.detach() - golden["target"]).sign() / denoised.numel()
    with path():
        denoised.backward(to_denoised)
    with Replayed(decisions) as replayed:
        expected = exact(golden["input"].double())
        expected.backward(to_denoised.double())
    replayed.assert_rounding()
    assert_near(denoised, expected, ROUNDING)
    assert_gradients_near(by_released_name(network), by_released_name(exact), 1e-4)


@torch.no_grad()
@pytest.mark.parametrize("name", RAS2S_FILES)
@pytest.mark.parametrize("path", [native.plain_operations, nullcontext], ids=["plain", "kernels"])
def test_inference_in_float32_gives_float64s_outputs(name, path):
    golden = load_golden(name)
    with path(), Decisions() as decisions:
        denoised = golden_network(golden)(golden["input"])
    with Replayed(decisions) as replayed, native.plain_operations():
        expected = golden_network(golden).double()(golden["input"].double())
    replayed.assert_rounding()
    assert_near(denoised, expected, ROUNDING)


@pytest.mark.parametrize("name", RAS2S_FILES)
@pytest.mark.parametrize(
    ("dtype", "largest", "mean"), [(torch.bfloat16, 0.03, 0.005), (torch.float16, 0.006, 0.001)]
)
def test_half_precision_stays_near_the_golden_output(name, dtype, largest, mean):
    golden = load_golden(name)
    with torch.no_grad(), torch.autocast("cpu", dtype=dtype):
        error = (golden_network(golden)(golden["input"]) - golden["output"]).abs()
    assert error.max() <= largest
    assert error.mean() <= mean


@torch.no_grad()
@pytest.mark.parametrize("name", TRACED_FILES)
def test_intermediates(name):
    golden = load_golden(name)
    network, noisy = golden_network(golden).double(), golden["input"].double()
    found = {key: [] for key in golden["trace"]}

    def keep(key, part, result=0):
        def hook(module, args, results):
            results = results if isinstance(results, tuple) else (results,)
            found[key].append(results[result])

        part.register_forward_hook(hook)

    keep("embedding", network.embedding)
    keep("encoded", network.fuse, result=1)
    keep("spatial_guide", network.region_aware.spatial_guide)
    keep("spectral_guide", network.region_aware.spectral_guide)
    keep("region_aware", network.region_aware)
    keep("context", network.attend, result=2)
    network(noisy)
    found["context"].reverse()  # that pass descends
    for key, expected in golden["trace"].items():
        assert_near(torch.stack(found[key], dim=1), expected, GOLDEN_ROUNDING)
    for mask, key in zip(network.region_masks(noisy), GUIDES, strict=True):
        assert torch.equal(mask, golden["trace"][key].argmax(2))


@torch.no_grad()
@pytest.mark.parametrize("name", TRACED_FILES)
def test_region_masks_of_float32_are_those_of_float64(name):
    golden = load_golden(name)
    network, noisy = golden_network(golden), golden["input"]
    masks = network.region_masks(noisy)
    expected = golden_network(golden).double().region_masks(noisy.double())
    for mask, other, key in zip(masks, expected, GUIDES, strict=True):
        guide = golden["trace"][key]
        highest, second = guide.topk(2, dim=2).values.unbind(2)
        clear = highest - second > GOLDEN_ROUNDING * EPS * guide.abs().max()
        assert clear.float().mean() > 0.99
        assert torch.equal(mask[clear], other[clear])


def test_released_file_loads_ready_for_inference():
    golden = load_golden("official_weights_9x24x20.pt")
    network = load_network(OFFICIAL_WEIGHTS)
    assert not network.training
    with torch.no_grad():
        assert_near(network.double()(golden["input"].double()), golden["output"], GOLDEN_ROUNDING)


@pytest.mark.slow
@pytest.mark.parametrize(("case", "psnr_db"), [("noniid", 40.9), ("mixture", 39.5)])
def test_released_weights_denoise_a_real_scene_as_well_as_the_authors_code(case, psnr_db):
    data = IndianPines(protocol="full", test_noise=[case])
    data.setup("test")
    item = data.test_set[0]
    with torch.no_grad():
        denoised = load_network(OFFICIAL_WEIGHTS)(item["noisy"][None])
    assert mpsnr(denoised, item["clean"][None]).item() == pytest.approx(psnr_db, abs=0.5)
