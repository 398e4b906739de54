"""The Wiener filter of +S, against one that is written out block by block."""

import pytest
import torch
from scipy.fft import dctn, idctn

from lightning_ras2s.inference import wiener
from lightning_ras2s.inference.wiener import smooth

torch.set_num_threads(1)


def written_out(noisy, pilot, height, width, stride):
    """One image."""
    frame = torch.nn.ReflectionPad2d(7)
    a, p = (frame(image.view(1, height, width))[0].double().numpy() for image in (noisy, pilot))
    corners = [(r, c) for r in range(0, height + 7, stride) for c in range(0, width + 7, stride)]
    blocks = [
        tuple(dctn(image[r : r + 8, c : c + 8], norm="ortho") for image in (a, p))
        for r, c in corners
    ]
    variance = sum((one[0, 0] - other[0, 0]) ** 2 for one, other in blocks) / len(blocks)
    beyond = min(max((variance - 1) / variance, 0), 1)
    total, weights, risks = 0 * a, 0 * a, 0 * a
    for (r, c), (one, other) in zip(corners, blocks, strict=True):
        power = torch.tensor(other**2).maximum(torch.tensor(one**2 * (one**2 > 16))).numpy()
        gain = power / (power + 1)
        gain[0, 0] = 1
        estimate = gain * one
        estimate[0, 0] = other[0, 0] + beyond * (one[0, 0] - other[0, 0])
        weight = 1 / (gain**2).sum()
        total[r : r + 8, c : c + 8] += weight * idctn(estimate, norm="ortho")
        weights[r : r + 8, c : c + 8] += weight
        risks[r : r + 8, c : c + 8] += weight * gain.mean()
    inner = slice(7, -7), slice(7, -7)
    found = (total[inner] / weights[inner], risks[inner] / weights[inner])
    return tuple(torch.tensor(each).float().flatten() for each in found)


def smoothed(noisy, pilot, size):
    images, risk = torch.empty_like(noisy), torch.empty_like(noisy)
    smooth(noisy, pilot, size, images, risk)
    return images, risk


@pytest.mark.parametrize("side", [2, 8, 64])
@pytest.mark.parametrize(("count", "stride"), [(2, 1), (17, 2)])
@pytest.mark.parametrize(("height", "width"), [(8, 9), (19, 12)])
def test_it_is_the_one_written_out(monkeypatch, count, stride, height, width, side):
    monkeypatch.setattr(wiener, "SIDE", side)
    draw = torch.Generator().manual_seed(0)
    pilot = 3 * torch.randn(count, height * width, generator=draw)
    noisy = pilot + torch.randn(count, height * width, generator=draw)
    images, risk = smoothed(noisy, pilot, (height, width))
    for image in (0, count - 1):
        expected = written_out(noisy[image], pilot[image], height, width, stride)
        torch.testing.assert_close(images[image], expected[0], rtol=0, atol=2e-5)
        torch.testing.assert_close(risk[image], expected[1], rtol=0, atol=2e-5)


def test_a_flat_pilot_leaves_little_of_the_noise_and_says_so():
    noisy = torch.randn(1, 64 * 64, generator=torch.Generator().manual_seed(0))
    images, risk = smoothed(noisy, torch.zeros_like(noisy), (64, 64))
    assert images.square().mean() < 0.05
    assert risk.mean() < 0.05
    strong = 100 * torch.randn(1, 64 * 64, generator=torch.Generator().manual_seed(1))
    kept, risk = smoothed(strong + noisy, strong, (64, 64))
    assert (kept - strong - noisy).square().mean() < 0.02
    assert risk.mean() > 0.95
