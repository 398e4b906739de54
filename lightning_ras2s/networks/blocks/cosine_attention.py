"""Attention between channels, or bands, as SST, MST, FIDNet and TDSAT have it."""

import torch.nn.functional as F
from torch import Tensor


def cosine_attention(a: Tensor, b: Tensor, values: Tensor, temperature: Tensor) -> Tensor:
    """softmax(temperature * cos(a, b)) values: every row of a attends to every row of b.

    Zamir et al., "Restormer", CVPR 2022.

    Args:
        a: [..., R, P], rows of P pixels.
        b: [..., S, P].
        values: [..., S, P].
        temperature: Multiplies the cosines; broadcasts to [..., R, S].

    Returns:
        [..., R, P].
    """
    cosines = F.normalize(a, dim=-1) @ F.normalize(b, dim=-1).transpose(-2, -1)
    return (temperature * cosines).softmax(-1) @ values
