"""The quasi-recurrence of QRNN3D, GRUNet and MAN: gates of all bands at once, a state that forgets.

Bradbury, Merity, Xiong, Socher, "Quasi-Recurrent Neural Networks", ICLR 2017 (f-pooling).
"""

import torch
from torch import Tensor

from lightning_ras2s.networks.scan import scan


def forget_pool(candidates: Tensor, forget: Tensor, reverse: bool = False) -> Tensor:
    """The state h = forget * h + (1 - forget) * candidate, from band to band.

    Args:
        candidates: [N, C, B, H, W].
        forget: Likewise, in [0, 1].
        reverse: From the last band to the first.

    Returns:
        The states [N, C, B, H, W], in the order of the bands.
    """
    fresh = candidates - forget * candidates
    start = torch.zeros_like(fresh[:, :, 0])
    _, states = scan(_step, start, [*fresh.unbind(2)], [*forget.unbind(2)], reverse=reverse)
    return torch.stack(states, 2)


def _step(state: Tensor, fresh: Tensor, forget: Tensor) -> tuple[Tensor, Tensor]:
    state = torch.addcmul(fresh, forget, state)
    return state, state
