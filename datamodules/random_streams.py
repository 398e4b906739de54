"""Random numbers that come out bit for bit the same on every machine.

Every sample of a batch has a stream of its own, set by one integer seed. What it draws depends only
on that seed, on the number of calls made before and on the position in the array: not on the other
samples, the batch size, the device, the number of threads or torch's version. Three habits do it:

* Numbers are hashes of counters (splitmix64), so there is no state to advance in order.
* Floats meet only exact and correctly rounded operations (+, -, *, /, sqrt). ``log`` and ``sin``
  are polynomials here, as those of libraries differ in their last bits. So does torch's ``sqrt`` on
  the CPU, where MKL computes it: numpy's is used there.
* No multiplication is fused with an addition: each operation is a torch call of its own, and
  ``compile_draws`` tells the compiler so. Nothing is divided by a Python number: CUDA would
  multiply by its reciprocal.

Sources: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014, and
Box and Muller, "A note on the generation of random normal deviates", 1958.
"""

import copy
import hashlib
import json
import logging
import math
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

logger = logging.getLogger(__name__)


def _int64(value: int) -> int:
    """Wraps an integer to 64 bits, two's complement: torch takes no larger ones."""
    return (value + (1 << 63)) % (1 << 64) - (1 << 63)


# splitmix64: the distance between its states, and the factors of its hash.
_GAMMA = _int64(0x9E3779B97F4A7C15)
_FACTORS = (_int64(0xBF58476D1CE4E5B9), _int64(0x94D049BB133111EB))
_CPU_BLOCK = 1 << 16  # hashes per thread worked on at a time: their intermediates fit the cache
_COMPILED_BLOCK = 1 << 18  # likewise, of compiled code: it has no intermediates, but costs to call

# What torch.compile made of _fresh_pairs, if compile_draws found it to be right.
_compiled: Callable[[Tensor, int], tuple[Tensor, Tensor]] | None = None
_COMPILER_OPTIONS: dict[str, Any] = {
    "compile_threads": 1,  # one kernel needs no pool of processes
    "cpp.enable_floating_point_contract_flag": "off",
    # The loop's index times _GAMMA would overflow in C++, which is undefined; tensors wrap around.
    "constant_and_index_propagation": False,
    # The same code serves one thread, as in the workers of a DataLoader, and many.
    "cpp.dynamic_threads": True,
    "guard_filter_fn": lambda guards: [False] * len(guards),  # nothing is compiled again
}

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


def compile_draws() -> bool:
    """Draws normal numbers on the CPU by compiled code from now on, if it gives the same bits.

    It takes seconds, less where torch finds the code in its cache. Whatever goes wrong is logged as
    a warning, and the numbers are drawn as before. A second call does nothing.

    Returns:
        Whether numbers are now drawn by compiled code.
    """
    global _compiled
    if _compiled is not None:
        return True
    try:
        options = _COMPILER_OPTIONS
        draw = torch.compile(_fresh_pairs, dynamic=True, fullgraph=True, options=options)
        # The first sizes are not 0 or 1, as torch would take them for constants.
        for samples, hashes in ((3, 1001), (1, 4096), (16, 1), (2, 5003)):
            keys = RandomStreams(torch.arange(samples))._next_keys()
            if not all(map(torch.equal, draw(keys, hashes), _fresh_pairs(keys, hashes))):
                raise ArithmeticError("the compiled code gives other bits")
    except Exception as error:
        reason = str(getattr(error, "inner_exception", error)).strip().partition("\n")[0]
        logger.warning("noise is drawn without compiled code: %s", reason or type(error).__name__)
        return False
    _compiled = draw
    return True


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

    def select(self, samples: Sequence[int]) -> "RandomStreams":
        """The streams of some samples, which go on from here."""
        selected = copy.copy(self)
        selected._keys = self._keys[list(samples)]
        return selected

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
        on_cpu = self.device.type == "cpu"
        compiled = _compiled if on_cpu and distribution is _normals else None
        samples, block = max(1, len(keys)), max(1, hashes)
        if on_cpu:
            at_once = (_COMPILED_BLOCK if compiled else _CPU_BLOCK) * torch.get_num_threads()
            samples, block = min(samples, max(1, at_once // block)), min(block, at_once)
        for few in keys.split(samples):
            if compiled:
                drawn = torch.view_as_real(torch.complex(*compiled(few, hashes))).flatten(1)
            else:
                drawn = _in_blocks(distribution, few, hashes, block)
            yield drawn[:, :count].reshape(len(few), *shape)


def _in_blocks(
    distribution: Callable[[Tensor, Tensor], None], keys: Tensor, hashes: int, block: int
) -> Tensor:
    """Draws float32 [N, 2 hashes], from so many hashes of each key at a time."""
    drawn = torch.empty(len(keys), 2 * hashes, dtype=torch.float32, device=keys.device)
    steps = _steps(block, keys.device)
    for start in range(0, hashes, block):
        stop = min(start + block, hashes)
        origins = keys + _int64(start * _GAMMA)
        distribution(_mix(steps[: stop - start] + origins[:, None]), drawn[:, 2 * start : 2 * stop])
    return drawn


def _steps(count: int, device: torch.device) -> Tensor:
    """Gives the distances of splitmix64's first states from its origin, int64 [count]."""
    return torch.arange(1, count + 1, dtype=torch.int64, device=device).mul_(_GAMMA)


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


def _uniforms(hashes: Tensor, out: Tensor) -> None:
    """Writes U(0, 1), float32 [N, 2M], from hashes int64 [N, M]."""
    words = hashes.view(torch.int32)
    out.copy_(words.bitwise_and_((1 << 24) - 1).bitwise_or_(1)).mul_(2.0**-24)


def _normals(hashes: Tensor, out: Tensor) -> None:
    """Writes normal numbers, float32 [N, 2M], from hashes int64 [N, M]."""
    torch.complex(*_normal_pairs(hashes), out=torch.view_as_complex(out.unflatten(1, (-1, 2))))


def _fresh_pairs(keys: Tensor, hashes: int) -> tuple[Tensor, Tensor]:
    """Draws pairs of normal numbers, float32 [N, hashes]: compiled, one pass over the memory."""
    return _normal_pairs(_mix(_steps(hashes, keys.device) + keys[:, None]))


def _normal_pairs(hashes: Tensor) -> tuple[Tensor, Tensor]:
    """Turns each random int64 into two normal numbers, float32, by Box and Muller's method.

    The angle lies within the right half circle and is twice one of at most pi/4, whose sine is a
    short polynomial and whose cosine a square root. The left half comes of the radius's sign.
    """
    low = hashes.to(torch.int32).bitwise_or_(1).to(torch.float32)
    radius = square_root_(_minus_two_log(low)).copysign_(low)
    turn = low.copy_(hashes.bitwise_right_shift_(32)).mul_(2.0**-32)
    sine = _polynomial(turn * turn, _SINE).mul_(turn)
    sine_squared = torch.mul(sine, sine, out=turn)
    cosine_squared = 1 - sine_squared
    first = torch.sub(cosine_squared, sine_squared, out=sine_squared).mul_(radius)
    second = sine.mul_(square_root_(cosine_squared)).mul_(2).mul_(radius)
    return first, second


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


def square_root_(x: Tensor) -> Tensor:
    """Takes the square root in place, correctly rounded."""
    if torch.compiler.is_compiling() or x.device.type != "cpu":
        return x.sqrt_()
    np.sqrt(x.numpy(), out=x.numpy())
    return x


def _polynomial(x: Tensor, coefficients: Sequence[float]) -> Tensor:
    """Evaluates a polynomial by Horner's rule."""
    value = x * coefficients[0]
    for coefficient in coefficients[1:-1]:
        value.add_(coefficient).mul_(x)
    return value.add_(coefficients[-1])
