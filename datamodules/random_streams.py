"""Random numbers that come out bit for bit the same on every machine.

Every sample of a batch has a stream of its own, set by one integer seed. What it draws depends only
on that seed, on the number of calls made before and on the position in the array: not on the other
samples, the batch size, the device, the number of threads or torch's version. Three habits do it:

* Numbers are hashes of counters (splitmix64), so there is no state to advance in order.
* Floats meet only exact and correctly rounded operations (+, -, *, /, sqrt). ``log`` and ``sin``
  are polynomials here, as those of libraries differ in their last bits. So does torch's ``sqrt`` on
  the CPU, where MKL computes it: numpy's is used there.
* Each operation is a torch call of its own, so that no compiler fuses a multiplication with an
  addition. Nothing is divided by a Python number: CUDA would multiply by its reciprocal.

Sources: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014, and
Box and Muller, "A note on the generation of random normal deviates", 1958.
"""

import hashlib
import json
import math
import operator
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor


def _int64(value: int) -> int:
    """Wraps an integer to 64 bits, two's complement: torch takes no larger ones."""
    return (value + (1 << 63)) % (1 << 64) - (1 << 63)


# splitmix64: the distance between its states, and the factors of its hash.
_GAMMA = _int64(0x9E3779B97F4A7C15)
_FACTORS = (_int64(0xBF58476D1CE4E5B9), _int64(0x94D049BB133111EB))
_CPU_BLOCK = 1 << 16  # hashes per thread worked on at a time: their intermediates fit the cache

_SQRT_HALF_BITS = 0x3F3504F3  # of the float32 sqrt(1/2)
# Polynomials, highest power first: -4 atanh(s) / s in s**2 for |s| < 0.1716 (relative error 7e-10)
# and sin(pi/2 v) / v in v**2 for |v| <= 1/2 (3e-9).
_LOG = (-0.59850904, -0.79949608, -1.33333632, -4.0)
_SINE = (-0.00460216, 0.07968022, -0.64596348, 1.57079632)


def derive_seed(*parts: int | str) -> int:
    """Turns names and numbers into a seed, for example ``derive_seed(0, "icvl", scene, case)``.

    Args:
        parts: Strings and integers. Their types and borders count: ("ab", "c"), ("a", "bc") and
            ("1",), (1,) all give different seeds.

    Returns:
        An integer in [0, 2**63), the same on every machine.

    Raises:
        TypeError: If a part is neither a string nor an integer.
    """
    plain = [part if isinstance(part, str) else operator.index(part) for part in parts]
    digest = hashlib.sha256(json.dumps(plain).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def sample_seeds(seed: int, count: int, device: torch.device | str = "cpu") -> Tensor:
    """Gives each of ``count`` samples a seed, int64 [count]: sample i's depends on (seed, i)."""
    seeds = [derive_seed(seed, index) for index in range(count)]
    return torch.tensor(seeds, dtype=torch.int64, device=device)


class RandomStreams:
    """Independent random streams, one per sample.

    The n-th call gives the same numbers whatever the calls before it asked for, and the first
    numbers of a sample are the same in a smaller and in a larger array.

    Args:
        seeds: int64 [N], any values; neighbouring seeds are as independent as others. The streams
            draw on the device that this tensor is on.

    Raises:
        TypeError: If ``seeds`` is not an int64 tensor of one dimension.
    """

    def __init__(self, seeds: Tensor) -> None:
        if seeds.dtype != torch.int64 or seeds.ndim != 1:
            raise TypeError(
                f"seeds must be an int64 tensor [N], got {seeds.dtype} of shape {list(seeds.shape)}"
            )
        self.device = seeds.device
        self._keys = _mix(seeds + _GAMMA)
        self._calls = 0

    def uniform(self, *shape: int) -> Tensor:
        """Draws from U(0, 1), float32 [N, *shape]: odd multiples of 2**-24, so never 0 or 1."""
        return torch.cat(list(self._draw(self._next_keys(), _uniforms, shape)))

    def uniforms(self, *shape: int) -> Iterator[Tensor]:
        """Draws as ``uniform`` does, but gives one sample at a time, while the cache holds it."""
        return (one for few in self._draw(self._next_keys(), _uniforms, shape) for one in few)

    def normal(self, *shape: int) -> Tensor:
        """Draws from the standard normal distribution, float32 [N, *shape], at most 6.6 in size."""
        return torch.cat(list(self._draw(self._next_keys(), _normals, shape)))

    def normals(self, *shape: int) -> Iterator[Tensor]:
        """Draws as ``normal`` does, but gives one sample at a time, while the cache holds it."""
        return (one for few in self._draw(self._next_keys(), _normals, shape) for one in few)

    def integers(self, low: int, high: int, *shape: int) -> Tensor:
        """Draws integers in [low, high), int64 [N, *shape], with high - low at most 2**20.

        Raises:
            ValueError: If the range is empty or too wide.
        """
        if not 0 < high - low <= 1 << 20:
            raise ValueError(f"need low < high <= low + 2**20, got low {low} and high {high}")
        return self.uniform(*shape).mul_(high - low).to(torch.int64).add_(low)

    def choice(self, values: Sequence[float], *shape: int) -> Tensor:
        """Draws from ``values`` with equal chances, float32 [N, *shape]."""
        table = torch.tensor(values, dtype=torch.float32, device=self.device)
        return table[self.integers(0, len(values), *shape)]

    def permutation(self, *shape: int) -> Tensor:
        """Draws permutations of 0 .. shape[-1] - 1 along the last axis, int64 [N, *shape]."""
        return self.uniform(*shape).argsort(dim=-1, stable=True)

    def generators(self) -> list[torch.Generator]:
        """Seeds N torch generators, for what torch alone can draw (it may differ by device)."""
        seeds = self._next_keys() & ((1 << 63) - 1)
        return [torch.Generator(self.device).manual_seed(seed) for seed in seeds.tolist()]

    def _next_keys(self) -> Tensor:
        """Counts one more call and gives its keys, int64 [N]."""
        self._calls += 1
        return _mix(self._keys + _int64(self._calls * _GAMMA))

    def _draw(
        self, keys: Tensor, distribution: Callable[[Tensor, Tensor], None], shape: Sequence[int]
    ) -> Iterator[Tensor]:
        """Gives float32 [n, *shape] from n keys at a time, two numbers from each hash."""
        count = math.prod(shape)
        hashes = (count + 1) // 2
        samples, block = max(1, len(keys)), max(1, hashes)
        if self.device.type == "cpu":
            at_once = _CPU_BLOCK * torch.get_num_threads()
            samples, block = min(samples, max(1, at_once // block)), min(block, at_once)
        steps = torch.arange(1, block + 1, dtype=torch.int64, device=self.device).mul_(_GAMMA)
        for few in keys.split(samples):
            drawn = torch.empty(len(few), 2 * hashes, dtype=torch.float32, device=self.device)
            for start in range(0, hashes, block):
                stop = min(start + block, hashes)
                origins = few + _int64(start * _GAMMA)
                words = _mix(steps[: stop - start] + origins[:, None]).view(torch.int32)
                distribution(words, drawn[:, 2 * start : 2 * stop])
            yield drawn[:, :count].reshape(len(few), *shape)


def _mix(state: Tensor) -> Tensor:
    """Hashes int64 numbers in place, as splitmix64 does."""
    shifted = torch.empty_like(state)

    def xor_shift(bits: int) -> None:
        torch.bitwise_right_shift(state, bits, out=shifted)
        state.bitwise_xor_(shifted.bitwise_and_((1 << (64 - bits)) - 1))  # less the sign's copies

    xor_shift(30)
    state.mul_(_FACTORS[0])
    xor_shift(27)
    state.mul_(_FACTORS[1])
    xor_shift(31)
    return state


def _uniforms(words: Tensor, out: Tensor) -> None:
    """Writes U(0, 1), float32 [N, M], from random int32 words [N, M]."""
    out.copy_(words.bitwise_and_((1 << 24) - 1).bitwise_or_(1)).mul_(2.0**-24)


def _normals(words: Tensor, out: Tensor) -> None:
    """Writes normal numbers, float32 [N, 2M], from random int32 words [N, 2M]: Box-Muller.

    The angle lies within the right half circle and is twice one of at most pi/4, whose sine is a
    short polynomial and whose cosine a square root. The left half comes of the radius's sign.
    """
    low = words.view(torch.int64).to(torch.int32).bitwise_or_(1).to(torch.float32)
    radius = _sqrt_(_minus_two_log(low)).copysign_(low)
    turn = low.copy_(words[:, 1::2]).mul_(2.0**-32)
    sine = _polynomial(turn * turn, _SINE).mul_(turn)
    sine_squared = torch.mul(sine, sine, out=turn)
    cosine_squared = 1 - sine_squared
    first = torch.sub(cosine_squared, sine_squared, out=sine_squared).mul_(radius)
    second = sine.mul_(_sqrt_(cosine_squared)).mul_(2).mul_(radius)
    torch.complex(first, second, out=torch.view_as_complex(out.unflatten(1, (-1, 2))))


def _minus_two_log(words: Tensor) -> Tensor:
    """Gives -2 log(u), float32, of u = abs(words) / 2**31 in (0, 1], for whole words other than 0.

    With u = m 2**e and m in [sqrt(1/2), sqrt(2)), log(u) = e log(2) + 2 atanh((m - 1) / (m + 1)).
    """
    bits = words.to(torch.float32).abs().view(torch.int32).sub_(_SQRT_HALF_BITS + (31 << 23))
    exponent = (bits >> 23).to(torch.float32)
    mantissa = bits.bitwise_and_((1 << 23) - 1).add_(_SQRT_HALF_BITS).view(torch.float32)
    ratio = mantissa - 1
    ratio.div_(mantissa.add_(1))
    series = _polynomial(torch.mul(ratio, ratio, out=mantissa), _LOG).mul_(ratio)
    return series.add_(exponent.mul_(-2 * math.log(2)))


def _sqrt_(x: Tensor) -> Tensor:
    """Takes the square root in place, correctly rounded."""
    if x.device.type != "cpu":
        return x.sqrt_()
    np.sqrt(x.numpy(), out=x.numpy())
    return x


def _polynomial(x: Tensor, coefficients: Sequence[float]) -> Tensor:
    """Evaluates a polynomial by Horner's rule."""
    value = x * coefficients[0]
    for coefficient in coefficients[1:-1]:
        value.add_(coefficient).mul_(x)
    return value.add_(coefficients[-1])
