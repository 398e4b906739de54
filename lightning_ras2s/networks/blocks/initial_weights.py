"""The weights that the training scripts of QRNN3D, and of those that took them over, start from."""

from torch import nn


def kaiming_weights(network: nn.Module, zero: str = "") -> None:
    """Convolutions: Kaiming-normal by their outputs, biases 0. Linear layers: of 1e-3, biases 0.

    Transposed convolutions keep torch's own, as in those scripts.

    Args:
        network: Whose weights are drawn.
        zero: The name of a part that shall start at zero, for ``zero_start``; empty for none.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out")
        elif isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=1e-3)
        else:
            continue
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    for parameter in network.get_submodule(zero).parameters() if zero else ():
        nn.init.zeros_(parameter)
