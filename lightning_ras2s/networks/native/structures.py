"""What kernels.cpp takes: its structures, field by field in its order."""

import ctypes

Index = ctypes.c_int64
Pointer = ctypes.c_void_p


class Maps(ctypes.Structure):
    """Maps [N, C, H, W], whose samples are ``batch`` floats apart."""

    _fields_ = [("data", Pointer), ("batch", Index)]


class Sizes(ctypes.Structure):
    """Of all maps of a call, and how many threads share it."""

    _fields_ = [(name, Index) for name in ("samples", "height", "width", "threads")]


class Passed(ctypes.Structure):
    """The activation that a gradient has passed, by its result."""

    _fields_ = [("result", Maps), ("activation", Index)]


class Weight(ctypes.Structure):
    """A weight and its strides in floats; ``flipped`` in its taps."""

    _fields_ = [
        ("data", Pointer),
        *((name, Index) for name in ("batch", "output", "input", "flipped")),
    ]


class Pair(ctypes.Structure):
    """Two maps, one after the other; the second may be absent."""

    _fields_ = [
        ("first", Maps),
        ("second", Maps),
        ("first_channels", Index),
        ("second_channels", Index),
    ]


class Residual(ctypes.Structure):
    """What is added to a result; with 0 between channels, one map for all."""

    _fields_ = [("maps", Maps), ("channel", Index)]


class Convolution(ctypes.Structure):
    """Of ``convolution``."""

    _fields_ = [
        ("sizes", Sizes),
        ("input", Pair),
        ("passed", Passed),
        ("outputs", Index),
        ("weight", Weight),
        ("bias", Pointer),
        ("activation", Index),
        ("residuals", Residual * 2),
        ("output", Maps),
    ]


class WeightGradient(ctypes.Structure):
    """Of ``weight_gradient``."""

    _fields_ = [
        ("sizes", Sizes),
        ("input", Pair),
        ("outputs", Index),
        ("gradient", Maps),
        ("passed", Passed),
        ("by_sample", Index),
        ("result", Pointer),
    ]


class GatedUnit(ctypes.Structure):
    """Of ``gated_unit`` and its backward pass."""

    _fields_ = [
        ("sizes", Sizes),
        ("channels", Index),
        ("state", Maps),
        ("input", Maps),
        ("weight", Weight),
        ("bias", Pointer),
        *(
            (name, Maps)
            for name in (
                "next",
                "gates",
                "candidate",
                "gradient",
                "sums_gradient",
                "inputs_gradient",
                "reset_state",
            )
        ),
    ]


class Linear(ctypes.Structure):
    """Of ``linear_layer``."""

    _fields_ = [
        ("sizes", Sizes),
        ("inputs", Index),
        ("outputs", Index),
        ("input", Maps),
        ("weight", Pointer),
        ("bias", Pointer),
        ("output", Maps),
    ]


class Compensation(ctypes.Structure):
    """Of ``compensation``."""

    _fields_ = [
        ("sizes", Sizes),
        ("channels", Index),
        ("heads", Index),
        ("queries", Maps),
        ("state", Maps),
        ("weight", Pointer),
        ("bias", Pointer),
        ("output", Maps),
    ]


class Attention(ctypes.Structure):
    """Of ``attention`` and its backward pass."""

    _fields_ = [
        ("sizes", Sizes),
        ("channels", Index),
        ("length", Index),
        ("state", Maps),
        ("window", ctypes.POINTER(Maps)),
        ("weight", Pointer),
        ("bias", Pointer),
        *(
            (name, Maps)
            for name in ("output", "logits", "gradient", "sums_gradient", "state_gradient")
        ),
        ("window_gradient", ctypes.POINTER(Maps)),
        ("weight_gradient", Pointer),
    ]


class RegionFilter(ctypes.Structure):
    """Of ``region_filter``."""

    _fields_ = [
        ("sizes", Sizes),
        ("channels", Index),
        ("regions", Index),
        ("guides", Index),
        ("input", Maps),
        ("filters", Weight),
        ("guide", ctypes.POINTER(Maps)),
        ("output", Maps),
    ]
