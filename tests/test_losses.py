import math

import numpy as np
import pytest
import torch

from lightning_ras2s import metrics
from lightning_ras2s.losses import LOSSES, WeightedLoss, parse_loss

torch.set_num_threads(1)

each_loss = pytest.mark.parametrize("name", LOSSES)


def images(dtype=torch.float64, shape=(2, 4, 13, 12)):
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(shape, generator=generator, dtype=torch.float64)
    noise = torch.randn(shape, generator=generator, dtype=torch.float64)
    return (target + 0.1 * noise).to(dtype), target.to(dtype)


def wrapped(phase):
    return np.abs((phase + np.pi) % (2 * np.pi) - np.pi)


def fourier(image):
    return np.fft.fft2(image, norm="ortho")


FORMULAS = {
    "l1": lambda a, b: np.abs(a - b).mean(),
    "l2": lambda a, b: ((a - b) ** 2).mean(),
    "smooth_l1": lambda a, b: ((a - b) ** 2).mean() / 2,
    "charbonnier": lambda a, b: np.sqrt((a - b) ** 2 + 1e-6).mean(),
    "ssim": lambda a, b: 1 - metrics.mssim(torch.tensor(a), torch.tensor(b)).mean(),
    "sam": lambda a, b: np.arccos(
        (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    ).mean(),
    "fourier_amplitude": lambda a, b: np.abs(np.abs(fourier(a)) - np.abs(fourier(b))).mean(),
    "fourier_phase": lambda a, b: wrapped(np.angle(fourier(a)) - np.angle(fourier(b))).mean(),
}


@each_loss
def test_a_loss_is_its_formula(name):
    denoised, target = images()
    expected = float(FORMULAS[name](denoised.numpy(), target.numpy()))
    rel = 1e-5 if name == "sam" else 1e-12  # the floor of the spectra's norms
    assert LOSSES[name](denoised, target).shape == ()
    assert LOSSES[name](denoised, target).item() == pytest.approx(expected, rel=rel)
    assert LOSSES[name](denoised.float(), target.float()).item() == pytest.approx(expected, 1e-4)


@each_loss
def test_a_loss_is_least_for_equal_images(name):
    _, target = images(torch.float32)
    least = 1e-3 if name == "charbonnier" else 0
    assert LOSSES[name](target, target).item() == pytest.approx(least, abs=1e-7)


def test_angles_are_radians():
    _, target = images()
    assert LOSSES["sam"](-target, target).item() == pytest.approx(math.pi, abs=0.02)
    assert LOSSES["fourier_phase"](-target, target).item() == pytest.approx(math.pi)
    shifted = torch.zeros(1, 1, 1, 8)
    shifted[..., 1] = 1
    impulse = shifted.roll(-1, dims=-1)  # shifting by one of 8 pixels turns phase k by k * pi / 4
    turned = [0, 1, 2, 3, 4, 3, 2, 1]
    expected = np.mean(turned) * np.pi / 4
    assert LOSSES["fourier_phase"](shifted, impulse).item() == pytest.approx(expected, rel=1e-6)


def test_the_phase_of_a_coefficient_that_is_zero_in_either_image_does_not_count():
    wave = torch.cos(torch.arange(16) * math.pi / 4).expand(1, 1, 16, 16)
    mixed = torch.rand(1, 1, 16, 16)
    for a, b in [(-wave, mixed), (mixed, -wave)]:
        significant = [2, 14]  # the wave's only two coefficients
        phases = torch.fft.fft2(a).angle() - torch.fft.fft2(b).angle()
        expected = wrapped(phases[0, 0, 0, significant].numpy()).mean()
        assert LOSSES["fourier_phase"](a, b).item() == pytest.approx(expected, rel=1e-5)
    assert LOSSES["fourier_phase"](torch.zeros_like(mixed), mixed).item() == 0


@each_loss
def test_gradients_are_those_of_finite_differences(name):
    denoised, target = images(shape=(1, 3, 11, 12))
    assert torch.autograd.gradcheck(
        LOSSES[name], (denoised.requires_grad_(), target), fast_mode=True
    )


@each_loss
@pytest.mark.parametrize("scale", [1, 1e-4, 1e-12, 1e-30])
def test_gradients_stay_bounded_where_angles_and_amplitudes_have_none(name, scale):
    _, bright = images(torch.float32)
    dim, zero = bright * scale, torch.zeros_like(bright)
    some_dead = dim.clone()
    some_dead[..., 3:7, 2:5] = 0
    constant = torch.full_like(bright, 0.5)
    for target in (bright, dim, some_dead, zero, constant):
        for start in (target, -target, target * (1 + 1e-6), zero, dim, some_dead, constant):
            denoised = start.clone().requires_grad_()
            loss = LOSSES[name](denoised, target)
            loss.backward()
            assert loss.isfinite()
            assert denoised.grad.isfinite().all()
            assert denoised.grad.abs().max() < 100


@each_loss
def test_gradient_descent_lowers_the_loss(name):
    start, target = images(torch.float32, (1, 4, 16, 16))
    denoised = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([denoised], lr=2e-3)
    for _ in range(60):
        optimizer.zero_grad()
        LOSSES[name](denoised, target).backward()
        optimizer.step()
    after, before = LOSSES[name](denoised, target), LOSSES[name](start, target)
    assert after < 0.6 * before


@each_loss
def test_half_precision_is_computed_in_float32_also_under_autocast(name):
    half, target = images(torch.bfloat16)
    expected = LOSSES[name](half.float(), target.float())
    with torch.autocast("cpu", torch.bfloat16):
        for value in (LOSSES[name](half, target), LOSSES[name](half, target.float())):
            assert value.dtype == torch.float32
            torch.testing.assert_close(value, expected, rtol=0, atol=0)


@each_loss
def test_nan_pixels_are_not_passed_over(name):
    _, target = images()
    broken = target.clone()
    broken[1, 2, 8, 8] = math.nan
    assert LOSSES[name](broken, target).isnan()


@each_loss
def test_images_of_different_shapes_are_refused(name):
    target = torch.rand(1, 3, 12, 12)
    with pytest.raises(ValueError, match=r"\[1, 1, 12, 12\] and \[1, 3, 12, 12\]"):
        WeightedLoss(name)(target[:, :1], target)


@pytest.mark.parametrize(
    ("expression", "weights"),
    [
        ("l2", {"l2": 1}),
        ("l2 + 0.001*sam", {"l2": 1, "sam": 0.001}),
        (" sam * .1+1e-3 *l1+fourier_phase*2. ", {"sam": 0.1, "l1": 1e-3, "fourier_phase": 2}),
        ("1e+3*l1+2E1*l2", {"l1": 1000, "l2": 20}),
    ],
)
def test_an_expression_gives_the_weights_in_its_order(expression, weights):
    assert list(parse_loss(expression).items()) == list(weights.items())


@pytest.mark.parametrize(
    ("expression", "term", "problem"),
    [
        ("l2 + smooth_11", "smooth_11", "unknown loss 'smooth_11', did you mean 'smooth_l1'"),
        ("0.1*SAM", "0.1*SAM", "did you mean 'sam'"),
        ("l2 + xyz", "xyz", "unknown loss 'xyz'"),
        ("l2 + 2*l2", "2*l2", "'l2' comes twice"),
        ("", "", "expected name"),
        ("l1 + ", "", "expected name"),
        ("l1 ++ l2", "", "expected name"),
        ("0.5", "0.5", "expected name"),
        ("l1 - l2", "l1 - l2", "expected name"),
        ("*l1", "*l1", "expected name"),
        ("2*l1*3", "2*l1*3", "expected name"),
        ("l1*l2", "l1*l2", "'l1'"),
        ("x*l1", "x*l1", "'x'"),
        ("0*l1", "0*l1", "positive and finite, not 0"),
        ("l2 + -1*l1", "-1*l1", "positive and finite, not -1"),
        ("inf*l1", "inf*l1", "positive and finite, not inf"),
        ("nan*l1", "nan*l1", "positive and finite, not nan"),
    ],
)
def test_an_error_names_the_expression_the_term_and_the_known_losses(expression, term, problem):
    with pytest.raises(ValueError) as error:
        WeightedLoss(expression)
    message = str(error.value)
    assert message.startswith(f"loss {expression!r}, term {term!r}: ")
    assert problem in message
    assert message.endswith("Known losses: " + ", ".join(LOSSES))


def test_a_weighted_loss_is_the_weighted_sum():
    denoised, target = images()
    loss = WeightedLoss("3*l1 + sam*0.1")
    expected = 3 * LOSSES["l1"](denoised, target) + 0.1 * LOSSES["sam"](denoised, target)
    assert loss.terms == {"l1": 3, "sam": 0.1}
    assert repr(loss) == "WeightedLoss(3*l1 + 0.1*sam)"
    torch.testing.assert_close(loss(denoised, target), expected)
