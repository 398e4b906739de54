"""The weights that come with the package: what they reach, and that nothing breaks them."""

import pytest
import torch

from datamodules import IndianPines, add_noise
from datamodules.noise import FIVE_CASES
from lightning_ras2s import RAS2S, denoise

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def block():
    """The test block of Indian Pines: no weights of ours were trained on it, or chosen by it."""
    return torch.from_numpy(IndianPines().scenes("test")[0].cube)


@pytest.fixture(scope="module")
def network():
    return RAS2S.from_pretrained().eval()


def errors(image, clean):
    """Mean squared error of each band."""
    return (image - clean).square().mean((1, 2))


def psnr(image, clean):
    return -10 * errors(image, clean).log10().mean().item()


@pytest.mark.parametrize(
    ("case", "alone", "refined"), [("noniid", 39.0, 43.3), ("mixture", 36.9, 42.3)]
)
def test_the_score_of_the_test_block(network, block, case, alone, refined):
    noisy = add_noise(block, case, 7)
    with torch.inference_mode():
        assert psnr(network(noisy[None])[0], block) > alone
    assert psnr(denoise(noisy, scale=None), block) > refined


@pytest.mark.parametrize("case", FIVE_CASES)
def test_no_band_of_the_test_block_loses(network, block, case):
    noisy = add_noise(block, case, 7)
    with torch.inference_mode():
        denoised = network(noisy[None])[0]
    assert (errors(denoised, block) < errors(noisy, block)).all()


@pytest.mark.parametrize("shape", [(580, 12, 12), (224, 20, 20), (2, 20, 20), (3, 1, 1), (1, 9, 5)])
def test_any_number_of_bands_and_pixels(network, shape):
    noisy = torch.rand(1, *shape, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        denoised = network(noisy)
    assert denoised.isfinite().all()
    assert denoised.abs().max() < 5
    assert denoise(noisy[0], scale=None).isfinite().all()
