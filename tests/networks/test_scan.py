"""The recurrence over the bands: its order, its lists, its groups, and what it computes again."""

import gc
import weakref

import pytest
import torch

from lightning_ras2s.networks import scan as recurrence
from lightning_ras2s.networks.scan import SEGMENT, Step, each, scan

torch.set_num_threads(1)


def bands(count, samples=1):
    return [torch.full((samples, 1), float(number + 1)) for number in range(count)]


def numbers(tensors):
    return [tensor.flatten()[0].item() for tensor in tensors]


def running_sum(h, x):
    h = h + x
    return h, h


ZERO = torch.zeros(1, 1)


def test_states_are_carried_from_band_to_band():
    h, sums = scan(running_sum, ZERO, bands(4))
    assert h.item() == 10
    assert numbers(sums) == [1, 3, 6, 10]


def test_reverse_starts_at_the_last_band_and_its_lists_stay_in_the_order_of_the_bands():
    seen = []

    def step(h, x, other):
        seen.append(x.item())
        h = h + x
        return h, h, other * 10

    h, sums, others = scan(step, ZERO, bands(4), bands(4), reverse=True)
    assert seen == [4, 3, 2, 1]
    assert h.item() == 10
    assert numbers(sums) == [10, 9, 7, 4]
    assert numbers(others) == [10, 20, 30, 40]


def test_a_state_may_be_a_tuple_and_results_may_be_absent():
    def fibonacci(carry, x):
        a, b = carry
        return ((b, a + b),)

    (h,) = scan(fibonacci, (ZERO, ZERO + 1), bands(6))
    assert numbers(h) == [8, 13]


class Parts:
    """A step with all three methods, which counts the rows that each is called with."""

    def __init__(self):
        self.rows = {"ahead": [], "step": [], "after": []}

    def ahead(self, x, y):
        self.rows["ahead"].append(len(x))
        return x + y, x * y

    def __call__(self, h, total, product):
        self.rows["step"].append(len(total))
        h = h + total
        return h, h, product

    def after(self, total, product):
        self.rows["after"].append(len(total))
        return total * product


@pytest.mark.parametrize("reverse", [False, True])
def test_what_waits_for_no_recurrence_is_given_ahead_and_after(reverse):
    part = Parts()
    h, results = scan(part, ZERO, bands(3), bands(3), reverse=reverse)
    sums = [12, 10, 6] if reverse else [2, 6, 12]
    assert h.item() == 12
    assert numbers(results) == [total * x * x for total, x in zip(sums, (1, 2, 3), strict=True)]
    assert part.rows == {"ahead": [1] * 3, "step": [1] * 3, "after": [1] * 3}  # on the CPU


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(("gradients", "groups"), [(True, [18]), (False, [2] * 9)])
def test_elsewhere_many_bands_are_given_at_once(monkeypatch, reverse, gradients, groups):
    expected = scan(Parts(), ZERO, bands(18), bands(18), reverse=reverse)
    monkeypatch.setattr(torch.Tensor, "is_cpu", False)
    part = Parts()
    with torch.set_grad_enabled(gradients):
        h, results = scan(part, ZERO, bands(18), bands(18), reverse=reverse)
    assert part.rows == {"ahead": groups, "step": [1] * 18, "after": groups}
    assert h.item() == expected[0].item()
    assert numbers(results) == numbers(expected[1])


def test_samples_stay_together_in_a_group(monkeypatch):
    monkeypatch.setattr(torch.Tensor, "is_cpu", False)
    x = [torch.tensor([[1.0], [2.0], [3.0]]) * band for band in (1, 10)]
    (doubled,) = each(lambda x: x * 2, x)
    assert [band.flatten().tolist() for band in doubled] == [[2, 4, 6], [20, 40, 60]]


def test_a_step_may_be_given_other_outer_parts():
    part = Parts()
    step = Step(part, ahead=lambda x: part.ahead(x, x), after=lambda total, product: total)
    _, results = scan(step, ZERO, bands(3))
    assert numbers(results) == [2, 6, 12]
    assert part.rows["after"] == []


def test_lists_stay_as_they_are():
    x = bands(5)
    before = list(x)
    scan(running_sum, ZERO, x, reverse=True)
    assert all(one is other for one, other in zip(x, before, strict=True))


@torch.no_grad()
def test_free_lets_each_entry_go_once_it_is_read():
    x, other = bands(5), bands(5)
    held = [weakref.ref(band) for band in x]
    alive = []

    def step(h, x):
        del x
        gc.collect()
        alive.append([ref() is not None for ref in held])
        return (h,)

    scan(step, ZERO, x, free=True)
    assert x == []
    assert len(other) == 5
    for number, living in enumerate(alive):
        assert not any(living[:number])
        assert all(living[number + 1 :])


def test_remat_keeps_no_entry_and_gives_the_same(monkeypatch):
    monkeypatch.setattr(recurrence, "SEGMENT", 4)
    generator = torch.Generator().manual_seed(0)
    x = [torch.rand(2, 3, generator=generator, dtype=torch.float64) for _ in range(10)]
    weight = torch.rand(3, 3, generator=generator, dtype=torch.float64)
    start = torch.rand(2, 3, generator=generator, dtype=torch.float64)

    def run(**options):
        inputs = [w.clone().requires_grad_() for w in (weight, start, *x)]
        w, first, *rest = inputs
        calls = []

        def step(h, x):
            calls.append(1)
            h = (h @ w + x).tanh()
            return h, h * x

        h, y = scan(Step(step, after=torch.exp), first, rest, **options)
        assert len(calls) == 10
        torch.stack([h.sum(), *(part.sum() for part in y)]).sum().backward()
        return [h, *y], [i.grad for i in inputs], len(calls)

    for reverse in (False, True):
        values, gradients, once = run(reverse=reverse)
        again, same_gradients, twice = run(reverse=reverse, remat=True)
        assert (once, twice) == (10, 20)
        assert all(torch.equal(*pair) for pair in zip(values, again, strict=True))
        for one, other in zip(gradients, same_gradients, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-13, atol=1e-13)


def test_a_segment_is_not_everything():
    assert 1 < SEGMENT < 31  # the bands of the smallest sensor that is trained with


@pytest.mark.parametrize(
    ("lists", "told"), [([], "no lists"), ([[]], "0"), ([bands(3), bands(2)], "3, 2")]
)
def test_lists_that_do_not_fit_are_refused(lists, told):
    with pytest.raises(
        ValueError, match=f"every list must have an entry for each band; got {told}"
    ):
        scan(lambda h, *x: (h,), ZERO, *lists)
