"""The structures of kernels.cpp: each is a row of 64-bit integers and addresses."""

from struct import Struct


class Structure:
    """A structure that packs its values, in their order, as C lays them out.

    Args:
        name: As in kernels.cpp.
        fields: The number of values of each field, in its order.
    """

    def __init__(self, name: str, **fields: int) -> None:
        self.name = name
        self.fields = fields
        self.values = sum(fields.values())
        layout = Struct(f"{self.values}q")
        self.bytes = layout.size
        self.pack = layout.pack


MAPS = 2  # data, batch
SIZES = 4  # samples, height, width, threads
PASSED = 3  # result, activation
WEIGHT = 5  # data, batch, output, input, flipped
PAIR = 6  # first, second, first_channels, second_channels
RESIDUAL = 3  # maps, channel

CONVOLUTION = Structure(
    "Convolution",
    sizes=SIZES,
    input=PAIR,
    passed=PASSED,
    outputs=1,
    weight=WEIGHT,
    bias=1,
    activation=1,
    residuals=2 * RESIDUAL,
    output=MAPS,
    second=MAPS,
    first_outputs=1,
)
WEIGHT_GRADIENT = Structure(
    "WeightGradient",
    sizes=SIZES,
    input=PAIR,
    late=MAPS,
    early=1,
    outputs=1,
    gradient=MAPS,
    passed=PASSED,
    by_sample=1,
    result=1,
)
GATED_UNIT = Structure(
    "GatedUnit",
    sizes=SIZES,
    channels=1,
    state=MAPS,
    input=MAPS,
    weight=WEIGHT,
    bias=1,
    next=MAPS,
    reset_state=MAPS,
    gates=MAPS,
    candidate=MAPS,
    gradient=MAPS,
    sums_gradient=MAPS,
    state_gradient=MAPS,
    input_gradient=MAPS,
)
LINEAR = Structure(
    "Linear", sizes=SIZES, inputs=1, outputs=1, input=MAPS, weight=1, bias=1, output=MAPS
)
COMPENSATION = Structure(
    "Compensation",
    sizes=SIZES,
    channels=1,
    heads=1,
    queries=MAPS,
    state=MAPS,
    weight=1,
    bias=1,
    output=MAPS,
    products=1,
    gradient=MAPS,
    queries_gradient=MAPS,
    state_gradient=MAPS,
    weight_gradient=1,
)
ATTENTION = Structure(
    "Attention",
    sizes=SIZES,
    channels=1,
    length=1,
    state=MAPS,
    window=1,
    weight=1,
    bias=1,
    output=MAPS,
    logits=MAPS,
    gradient=MAPS,
    sums_gradient=MAPS,
    state_gradient=MAPS,
    window_gradient=1,
    weight_gradient=1,
)
REGION_FILTER = Structure(
    "RegionFilter",
    sizes=SIZES,
    channels=1,
    regions=1,
    guides=1,
    input=MAPS,
    filters=WEIGHT,
    guide=1,
    output=MAPS,
    candidates=MAPS,
    gradient=MAPS,
    candidates_gradient=MAPS,
    guide_gradient=1,
)
STRUCTURES = (
    CONVOLUTION,
    WEIGHT_GRADIENT,
    GATED_UNIT,
    LINEAR,
    COMPENSATION,
    ATTENTION,
    REGION_FILTER,
)
"""In the order of ``structure_sizes`` of kernels.cpp."""
