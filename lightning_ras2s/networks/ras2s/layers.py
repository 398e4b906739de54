"""Small layers that the parts of RAS2S share."""

from torch import Tensor, nn

from lightning_ras2s.networks import native
from lightning_ras2s.networks.native import Activation


class Conv3x3(nn.Conv2d):
    """A 3x3 convolution with stride 1, zero padding 1 and a bias.

    Args:
        in_channels: Channels C of the input.
        out_channels: Channels K of the output.
        activation: Of the result.
    """

    def __init__(
        self, in_channels: int, out_channels: int, activation: Activation = "none"
    ) -> None:
        super().__init__(in_channels, out_channels, 3, padding=1)
        self.activation = activation

    def forward(self, input: Tensor, *residuals: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, K, H, W], plus residuals of that shape or [N, 1, H, W]."""
        return native.conv3x3(input, self.weight, self.bias, None, self.activation, *residuals)


class Conv1x1(nn.Conv2d):
    """A linear layer at each pixel: [N, C, H, W] -> [N, K, H, W]."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 1)

    def forward(self, input: Tensor) -> Tensor:
        """Applies it."""
        return native.conv1x1(input, self.weight, self.bias)


def goes_ahead(second: Tensor) -> bool:
    """Whether the second input of a convolution of two is read ahead of the first.

    A recurrence waits for the first; the second may be known for all bands at once. On a GPU its
    part of the sum is computed for many bands by one launch. On the CPU the kernels read both
    inputs together, while they are in the cache: what is read ahead is the second itself.
    """
    return not second.is_cpu


class PairConv(nn.Conv2d):
    """A 3x3 convolution of [first, second], which are known at two times; see ``goes_ahead``.

    Args:
        channels: Channels of ``first`` and of ``second``, C.
        out_channels: Channels of the result, K.
        activation: Of the result.
    """

    def __init__(self, channels: int, out_channels: int, activation: Activation = "none") -> None:
        super().__init__(2 * channels, out_channels, 3, padding=1)
        self.activation = activation

    def read(self, second: Tensor) -> Tensor:
        """What is known of the result before ``first`` is, from ``second`` [N, C, H, W]."""
        if goes_ahead(second):
            return native.convolve(second, self.weight.chunk(2, dim=1)[1], self.bias)
        return second

    def forward(self, first: Tensor, read: Tensor) -> Tensor:  # type: ignore[override]
        """The whole, [N, K, H, W], from ``first`` [N, C, H, W] and ``read(second)``."""
        if goes_ahead(read):
            of_first = native.convolve(first, self.weight.chunk(2, dim=1)[0])
            return native.activate(of_first + read, self.activation)
        return native.conv3x3(first, self.weight, self.bias, read, self.activation)


class Embedding(nn.Module):
    """Shallow features of one band, phi(y): [N, 1, H, W] -> [N, C, H, W] (paper, section 3.1)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = Conv3x3(1, channels, "leaky_relu")
        self.conv2 = Conv3x3(channels, channels, "leaky_relu")

    def forward(self, band: Tensor) -> Tensor:
        """Embeds ``band`` and adds it to every channel."""
        return self.conv2(self.conv1(band), band)


class Readout(nn.Module):
    """Three convolutions from a state to the correction of a band: [N, C, H, W] -> [N, 1, H, W]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = Conv3x3(channels, channels, "leaky_relu")
        self.conv2 = Conv3x3(channels, channels, "leaky_relu")
        self.conv3 = Conv3x3(channels, 1)

    def forward(self, state: Tensor, band: Tensor) -> Tensor:
        """Adds the correction to the band."""
        return self.conv3(self.conv2(self.conv1(state)), band)
