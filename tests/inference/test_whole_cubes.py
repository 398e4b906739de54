"""Denoisers of some sizes on cubes of any: windows of bands, mirrored borders."""

from dataclasses import replace

import pytest
import torch

from lightning_ras2s.inference.whole_cubes import (
    both_ways,
    in_band_windows,
    whole_cubes,
    with_mirrored_bands,
)
from lightning_ras2s.methods import METHODS

torch.set_num_threads(1)


def of_three(noisy):
    """Takes three bands only; tells which place in the window a band had."""
    assert noisy.shape[1] == 3
    return noisy + torch.tensor([0.0, 1.0, 5.0])[:, None, None]


def test_windows_at_every_band_are_averaged_where_they_overlap():
    noisy = torch.zeros(2, 5, 2, 2)
    denoised = in_band_windows(of_three, noisy, 3)
    # places 0; 0 and 1; 0, 1 and 2; 1 and 2; 2
    assert denoised[1, :, 0, 1].tolist() == [0, 0.5, 2, 3, 5]


def test_fewer_bands_than_a_window_has_are_mirrored():
    noisy = torch.tensor([3.0, 7.0])[None, :, None, None].expand(1, 2, 2, 2)
    seen = []

    def note(window):
        seen.append(window[0, :, 0, 0].tolist())
        return window

    denoised = in_band_windows(note, noisy, 6)
    assert seen == [[3, 7, 3, 7, 3, 7]]
    assert torch.equal(denoised, noisy)
    one = in_band_windows(note, noisy[:, :1], 3)
    assert torch.equal(one, noisy[:, :1])


@pytest.mark.parametrize("size", [(8, 8), (5, 7), (1, 9), (3, 4)])
def test_height_and_width_are_mirrored_to_a_multiple_and_cropped(size):
    method = replace(METHODS["ras2s"], multiple_of=4)
    noisy = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))
    shapes = []

    def note(framed):
        shapes.append(framed.shape[2:])
        height, width = size
        assert torch.equal(framed[..., :height, :width], noisy)
        if height % 4 and height > 1:
            assert torch.equal(framed[..., height, :width], noisy[..., height - 2, :])
        return framed + 1

    denoised = whole_cubes(note, method)(noisy)
    assert torch.equal(denoised, noisy + 1)
    assert all(length % 4 == 0 for shape in shapes for length in shape)
    assert (shapes[0][0] - size[0]) < 4


def test_a_denoiser_of_any_size_is_called_as_it_is():
    def denoise(noisy):
        return noisy

    assert whole_cubes(denoise, METHODS["ras2s"]) is denoise


def test_the_ensemble_is_the_mean_of_both_orders():
    def denoise(noisy):
        return noisy + torch.arange(noisy.shape[1])[None, :, None, None]

    noisy = torch.rand(1, 4, 3, 3)
    torch.testing.assert_close(both_ways(denoise)(noisy), noisy + 1.5)


@pytest.mark.parametrize(("bands", "count"), [(5, 2), (3, 2), (2, 4), (1, 2)])
def test_bands_are_mirrored_in_front_and_behind(bands, count):
    seen = []

    def denoise(noisy):
        seen.append(noisy[0, :, 0, 0].tolist())
        return 2 * noisy

    noisy = torch.arange(bands).float().view(1, bands, 1, 1)
    assert torch.equal(with_mirrored_bands(denoise, count)(noisy), 2 * noisy)
    expected = {
        (5, 2): [2, 1, 0, 1, 2, 3, 4, 3, 2],
        (3, 2): [2, 1, 0, 1, 2, 1, 0],
        (2, 4): [1, 0, 1, 0],
        (1, 2): [0],
    }
    assert seen == [expected[bands, count]]
