"""Differences, their adjoint, and the equation that is solved with them."""

import pytest
import torch

from lightning_ras2s.classical.variation import (
    Smoother,
    difference,
    difference_adjoint,
    soft,
)

torch.set_num_threads(1)


@pytest.mark.parametrize("axis", range(3))
def test_the_adjoint_is_one(axis):
    torch.manual_seed(axis)
    x, v = torch.randn(2, 4, 5, 6, dtype=torch.float64)
    left = (difference(x, axis) * v).sum()
    torch.testing.assert_close(left, (x * difference_adjoint(v, axis)).sum())
    first, last = difference(x, axis).select(axis, -1), x.select(axis, 0) - x.select(axis, -1)
    torch.testing.assert_close(first, last)


@pytest.mark.parametrize("shape", [(4, 5, 6), (5, 6, 7), (1, 4, 3)])
def test_the_solution_solves_it(shape):
    torch.manual_seed(0)
    right, weights = torch.randn(shape, dtype=torch.float64), (0.5, 1.0, 2.0)
    x = Smoother(right, weights)(right)
    again = x + sum(
        weight**2 * difference_adjoint(difference(x, axis), axis)
        for axis, weight in enumerate(weights)
    )
    torch.testing.assert_close(again, right)


def test_a_soft_threshold():
    x = torch.tensor([-3.0, -1.0, -0.5, 0.0, 0.5, 2.0])
    assert soft(x, 1.0).tolist() == [-2.0, 0.0, 0.0, 0.0, 0.0, 1.0]
