"""LRTDTV: its parts by their definitions, and what it makes of cubes that it can know."""

import pytest
import torch

from lightning_ras2s.classical.lrtdtv import low_rank, lrtdtv
from tests.classical.indian_pines import denoised, psnr

torch.set_num_threads(1)


def test_a_low_rank_tensor_comes_back_and_another_gets_the_rank():
    torch.manual_seed(0)
    core = torch.randn(2, 3, 4, dtype=torch.float64)
    factors = [torch.randn(n, r, dtype=torch.float64) for n, r in ((9, 2), (11, 3), (12, 4))]
    exact = torch.einsum("abc,ia,jb,kc->ijk", core, *factors)
    torch.testing.assert_close(low_rank(exact, (2, 3, 4), 1), exact)
    near = low_rank(exact + 0.1 * torch.randn(9, 11, 12, dtype=torch.float64), (2, 3, 4), 6)
    ranks = [
        torch.linalg.matrix_rank(near.movedim(axis, 0).flatten(1), rtol=1e-9) for axis in range(3)
    ]
    assert ranks == [2, 3, 4]


def test_more_sweeps_are_nearer():
    torch.manual_seed(1)
    x = torch.randn(12, 12, 12, dtype=torch.float64)
    errors = [(low_rank(x, (3, 4, 5), sweeps) - x).norm() for sweeps in (0, 1, 6)]
    assert errors[0] > errors[1] > errors[2]


def test_tiles_of_two_spectra_come_back_from_salt_and_pepper():
    torch.manual_seed(0)
    tiles = torch.rand(3, 3).repeat_interleave(8, 0).repeat_interleave(8, 1)
    band = torch.linspace(0, 1, 20)
    spectra = torch.stack([0.2 + 0.6 * band, 0.5 + 0.3 * torch.cos(3 * band)])
    clean = spectra[0, :, None, None] * tiles + spectra[1, :, None, None] * (1 - tiles)
    noisy = clean.clone()
    hit = torch.rand(clean.shape) < 0.1
    noisy[hit] = (torch.rand(clean.shape)[hit] < 0.5).float()
    result = lrtdtv(noisy[None], ranks=(2, 6, 6))[0]
    assert psnr(result, clean) > 70


@pytest.mark.parametrize(("case", "least"), [("noniid", 37.9), ("mixture", 34.6)])
def test_as_good_as_it_was_measured(case, least):
    assert denoised(lrtdtv, case) > least
