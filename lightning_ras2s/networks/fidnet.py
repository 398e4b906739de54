"""FIDNet: each band in space and in its spectrum of frequencies, then a U-Net that mixes bands."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_ras2s.networks.blocks.cosine_attention import cosine_attention
from lightning_ras2s.networks.blocks.denoiser import Denoiser

HEADS = 4
SLOPE = 0.2  # of the leaky ReLUs
HALVES = torch.float16, torch.bfloat16


class Unit(nn.Sequential):
    """CU: convolution, group norm, leaky ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm = nn.GroupNorm(1, outputs)
        self.activation = nn.LeakyReLU(SLOPE)


class Frequencies(nn.Module):
    """Adds to amplitudes or phases what a convolution over frequencies makes of them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm = nn.GroupNorm(1, channels)  # without effect, as released

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W/2 + 1] -> [N, C, H, W/2 + 1]."""
        return x + self.conv(x)


class AmplitudePhase(nn.Module):
    """AP: amplitudes and phases of the Fourier transform, each convolved."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.before = nn.Conv2d(channels, channels, 1)
        self.amplitude, self.phase = Frequencies(channels), Frequencies(channels)
        self.after = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C, H, W]."""
        with torch.autocast(x.device.type, enabled=False):  # half precision has no transform
            return self._transformed(x.float() if x.dtype in HALVES else x)

    def _transformed(self, x: Tensor) -> Tensor:
        spectrum = torch.fft.rfft2(self.before(x) + 1e-8)
        amplitude = self.amplitude(spectrum.abs())
        phase = self.phase(torch.atan2(_without_rounding(spectrum.imag), spectrum.real))
        changed = torch.complex(amplitude * phase.cos() + 2e-8, amplitude * phase.sin() + 1e-8)
        image = self.after(_real_part(changed, x.shape[-1]).abs())
        return torch.where(image.isfinite(), image, 1e-5)


def _without_rounding(imaginary: Tensor) -> Tensor:
    """+0 at the four frequencies whose values are real.

    The phase of a negative one is pi then; by rounding it would be pi or -pi, and the convolution
    over frequencies makes that visible.
    """
    kept = torch.ones(imaginary.shape[-2:], dtype=torch.bool, device=imaginary.device)
    kept[:: kept.shape[0] // 2, :: kept.shape[1] - 1] = False
    return torch.where(kept, imaginary, 0.0)


def _real_part(spectrum: Tensor, width: int) -> Tensor:
    """The image of half a spectrum that need not be that of a real image."""
    columns = torch.fft.ifft(spectrum, dim=-2)
    kept = torch.ones(columns.shape[-1], device=columns.device)
    kept[:: kept.shape[0] - 1] = 0.0  # of the first and last column, the real parts alone
    return torch.fft.irfft(torch.complex(columns.real, columns.imag * kept), width)


class LargeKernel(nn.Sequential):
    """L: convolutions of each channel, one of them dilated, then one across channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.near = nn.Conv2d(channels, channels, 5, padding=2, groups=channels)
        self.far = nn.Conv2d(channels, channels, 3, padding=3, dilation=3, groups=channels)
        self.mix = nn.Conv2d(channels, channels, 1)
        self.norm = nn.GroupNorm(2, channels)
        self.activation = nn.LeakyReLU(SLOPE)


class CrossAttention(nn.Module):
    """X: the channels of one branch attend to those of the other."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.temperature = nn.Parameter(torch.ones(HEADS, 1, 1))
        self.query = nn.Conv2d(channels, channels, 1, bias=False)
        self.key_value = nn.Conv2d(channels, 2 * channels, 1, bias=False)
        self.around_query, self.around_key_value = LargeKernel(channels), LargeKernel(2 * channels)
        self.project = nn.Conv2d(channels, channels, 1, bias=False)

    def forward(self, source: Tensor, context: Tensor) -> Tensor:
        """Two [N, C, H, W] -> [N, C, H, W]."""
        query = self.around_query(self.query(source))
        key, value = self.around_key_value(self.key_value(context)).chunk(2, dim=1)
        q, k, v = (part.flatten(2).unflatten(1, (HEADS, -1)) for part in (query, key, value))
        return self.project(cosine_attention(q, k, v, self.temperature).reshape(source.shape))


class Fusion(nn.Module):
    """Space and frequencies, each with what it reads from the other, side by side."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.to_space, self.to_frequencies = CrossAttention(channels), CrossAttention(channels)
        self.join = nn.Conv2d(2 * channels, channels, 3, padding=1)

    def forward(self, space: Tensor, frequencies: Tensor) -> Tensor:
        """Two [N, C, H, W] -> [N, C, H, W]."""
        both = [
            space + self.to_space(space, frequencies),
            frequencies + self.to_frequencies(frequencies, space),
        ]
        return self.join(torch.cat(both, 1))


class DenseBlock(nn.Module):
    """RDB: each layer reads all before it; then one of single voxels, and the input is added."""

    def __init__(self, channels: int, growth: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Conv3d(channels + place * growth, growth, 3, padding=1, bias=False)
            for place in range(layers)
        )
        self.join = nn.Conv3d(channels + layers * growth, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, B, H, W] -> [N, C, B, H, W]."""
        dense = x
        for layer in self.layers:
            dense = torch.cat([dense, F.relu(layer(dense))], 1)
        return self.join(dense) + x


class DenseUNet(nn.Module):
    """U: a U-Net of dense blocks over bands, rows and columns."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        g, stride = growth, (1, 2, 2)
        self.enter1 = nn.Conv3d(channels, 2 * g, 3, padding=1)
        self.enter2 = nn.Conv3d(2 * g, 2 * g, 3, padding=1)
        self.halve1 = nn.Conv3d(2 * g, 2 * g, stride, stride)
        self.widen1 = nn.Conv3d(2 * g, 4 * g, 3, padding=1)
        self.block1 = DenseBlock(4 * g, g, 2)
        self.halve2 = nn.Conv3d(4 * g, 4 * g, stride, stride)
        self.widen2 = nn.Conv3d(4 * g, 8 * g, 3, padding=1)
        self.block2 = DenseBlock(8 * g, g, 3)
        self.rise1 = nn.ConvTranspose3d(8 * g, 4 * g, stride, stride)
        self.block3 = DenseBlock(4 * g, g, 3)
        self.rise2 = nn.ConvTranspose3d(4 * g, 2 * g, stride, stride)
        self.block4 = DenseBlock(2 * g, g, 2)
        self.leave = nn.Conv3d(2 * g, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, B, H, W] -> [N, C, B, H, W]."""
        top = F.relu(self.enter2(F.relu(self.enter1(x))))
        middle = self.block1(F.relu(self.widen1(self.halve1(top))))
        bottom = self.block2(F.relu(self.widen2(self.halve2(middle))))
        y = self.block3(self.rise1(bottom) + middle)
        return self.leave(self.block4(self.rise2(y) + top))


class FIDNet(Denoiser):
    """Fourier and spatial-spectral domains bridged (Xiao, Liu, Zhang, Wei, ACM Multimedia 2024).

    It puts out the clean cube itself, not what to add to the noisy one. Few bands harm the released
    weights: the bands' ends are padded with zeros.

    Args:
        channels: C, a multiple of 4.
        growth: g of the dense blocks.
    """

    authors = (
        (r"^fourierNet\.", ""),
        (r"^up\.", "first."),
        (r"^enc\.enc\.", "space."),
        (r"^dec\.dec\.", "read."),
        (r"^(space|read)\.(\d)\.conv\.(conv|norm)\.", r"\1.\2.\3."),
        (r"^dec\.readout\.", "last."),
        (r"^enc_fre\.enc\.", "frequencies."),
        (r"\.fpre\.", ".before."),
        (r"\.amp_fuse_1\.0\.", ".amplitude."),
        (r"\.pha_fuse_1\.0\.", ".phase."),
        (r"^(frequencies\.\d)\.down\.", r"\1.after."),
        (r"^fusion\.att1\.", "fusion.to_space."),
        (r"^fusion\.att2\.", "fusion.to_frequencies."),
        (r"^fusion\.out\.", "fusion.join."),
        (r"\.q_dwconv\.", ".around_query."),
        (r"\.kv_dwconv\.", ".around_key_value."),
        (r"\.q\.", ".query."),
        (r"\.kv\.", ".key_value."),
        (r"\.conv0\.", ".near."),
        (r"\.conv_spatial\.", ".far."),
        (r"(around_\w+)\.conv1\.", r"\1.mix."),
        (r"\.project_out\.", ".project."),
        (r"^hid\.net\.out\.", "join."),
        (r"^hid\.net\.main\.", "between_bands."),
        (r"\.inc\.0\.conv\.0\.", ".enter1."),
        (r"\.inc\.1\.conv\.0\.", ".enter2."),
        (r"\.down([12])\.", r".halve\1."),
        (r"\.up([12])\.up\.", r".rise\1."),
        (r"\.conv([12])\.0\.conv\.0\.", r".widen\1."),
        (r"\.conv([12])\.1\.", r".block\1."),
        (r"\.conv([34])\.0\.", r".block\1."),
        (r"\.dense_layers\.(\d)\.conv\.", r".layers.\1."),
        (r"\.conv_1x1\.", ".join."),
        (r"\.outc\.conv\.", ".leave."),
    )
    multiple_of = 4

    def __init__(self, channels: int = 12, growth: int = 12) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, channels, 3, padding=1)
        self.space = nn.Sequential(Unit(channels, channels), Unit(channels, channels))
        self.frequencies = nn.Sequential(AmplitudePhase(channels), AmplitudePhase(channels))
        self.fusion = Fusion(channels)
        self.between_bands = DenseUNet(channels, growth)
        self.join = nn.Conv3d(2 * channels, channels, 3, padding=1)
        self.read = nn.Sequential(Unit(channels, channels), Unit(2 * channels, channels))
        self.last = nn.Conv2d(channels, 1, 1)

    def denoise(self, noisy: Tensor) -> Tensor:
        """[N, B, H, W] -> [N, B, H, W]."""
        features = self.first(noisy.flatten(0, 1)[:, None])  # every band by itself
        skip = self.space[0](features)
        fused = self.fusion(self.space[1](skip), self.frequencies(features))
        mixed = self._mixed(fused.unflatten(0, noisy.shape[:2]).transpose(1, 2))
        y = self.read[0](mixed.transpose(1, 2).flatten(0, 1))
        y = self.read[1](torch.cat([y, skip], 1))
        return self.last(y)[:, 0].unflatten(0, noisy.shape[:2])

    def _mixed(self, x: Tensor) -> Tensor:
        """Evolve: each band with what the others know of it, [N, C, B, H, W]."""
        return self.join(torch.cat([x, self.between_bands(x) + x], 1)) + x

    @classmethod
    def sizes(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        """Channels and growth."""
        return {
            "channels": state["first.weight"].shape[0],
            "growth": state["between_bands.enter1.weight"].shape[0] // 2,
        }
