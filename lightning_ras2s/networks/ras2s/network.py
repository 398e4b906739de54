"""RAS2S: the bands of a hyperspectral cube as a sequence, denoised one after another."""

from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lightning_ras2s.networks.checked import check_batch
from lightning_ras2s.networks.ras2s.layers import Embedding
from lightning_ras2s.networks.ras2s.passes import (
    Attend,
    Fuse,
    Keep,
    Read,
    Write,
    WriteDirectly,
)
from lightning_ras2s.networks.ras2s.released import rename_earlier
from lightning_ras2s.networks.ras2s.ssra import RegionAware, RegionMasks
from lightning_ras2s.networks.scan import Bands, Step, each, scan


class RAS2S(nn.Module):
    """Region-aware sequence-to-sequence denoising (Xiao, Liu, Wei, ECCV 2024).

    The bands are a sequence: a bidirectional encoder of convolutional GRUs reads them, a module of
    spatial and spectral regions (SSRA) filters each region its own way, and a decoder denoises band
    after band, attending to the encoded states of the adjacent ones. The weights do not depend on
    the number of bands. Where the paper and its released weights differ, the weights are followed.

    Args:
        channels: Hidden channels C; even.
        regions: Regions r into which SSRA divides each band.
        attention_bands: Encoded bands L that the decoder attends to; odd. 1 takes the band's own
            state and leaves out the paper's AAM (its convolution stays, without effect).
        hidden_compensation: HFComp. Without it the recurrences read the last state as it is.
        spatial_regions: SSRA's branch of spatial regions. Without it, the spectral branch alone is
            fused; without both, the encoded states go to the decoder as they are.
        spectral_regions: SSRA's branch of spectral regions, likewise.
        bidirectional: Without it only the passes from the last band to the first are left: the
            encoder's first, and the decoder's first, from whose states the bands are put out
            directly; the autoregressive pass is gone.
        zero_start: Starts the last output convolution at zero, so that the untrained network
            returns its input. The authors do not; short trainings converge much faster with it.
        gradient_checkpointing: Trains in a fraction of the memory: what the backward pass needs is
            computed again, some bands at a time. The gradients stay the same; a step takes 1.5
            times as long. Without effect where there are no gradients, and in ``eval`` mode.

    Raises:
        ValueError: If ``channels`` is odd, ``attention_bands`` is even or one of them or
            ``regions`` is less than 1.
    """

    @classmethod
    def from_pretrained(cls, name: str = "ras2s") -> "RAS2S":
        """A network by name, path or repository of the Hub: ``weights.from_pretrained``."""
        return import_module("lightning_ras2s.weights").from_pretrained(name)

    @classmethod
    def of_state(
        cls, state: Mapping[str, Tensor], arguments: Mapping[str, Any] | None = None
    ) -> "RAS2S":
        """The network that has these tensors: ``ras2s.loading.network_of``."""
        return import_module("lightning_ras2s.networks.ras2s.loading").network_of(state, arguments)

    def save_pretrained(self, folder: str) -> None:
        """Writes it as the Hugging Face Hub lays it out: ``weights.save_pretrained``."""
        import_module("lightning_ras2s.weights").save_pretrained(self, folder)

    def __init__(
        self,
        channels: int = 14,
        regions: int = 3,
        attention_bands: int = 3,
        hidden_compensation: bool = True,
        spatial_regions: bool = True,
        spectral_regions: bool = True,
        bidirectional: bool = True,
        zero_start: bool = False,
        gradient_checkpointing: bool = False,
    ) -> None:
        arguments = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        super().__init__()
        self.arguments = arguments  # for checkpoints to say
        if channels < 2 or channels % 2:
            raise ValueError(
                f"channels={channels}: HFComp has two heads, so channels must be even and at "
                f"least 2; use {max(2, channels + channels % 2)}"
            )
        if attention_bands < 1 or attention_bands % 2 == 0:
            raise ValueError(
                f"attention_bands={attention_bands}: the window is centred on a band, so it must "
                f"be odd and at least 1; use {max(1, attention_bands + 1)}"
            )
        if regions < 1:
            raise ValueError(f"regions={regions}: there must be at least one region")
        self.channels = channels
        self.gradient_checkpointing = gradient_checkpointing
        self.embedding = Embedding(channels)
        self.read = Read(channels, hidden_compensation)
        self.fuse = Fuse(channels) if bidirectional else Keep()
        self.region_aware = (
            RegionAware(channels, regions, spatial_regions, spectral_regions)
            if spatial_regions or spectral_regions
            else None
        )
        self.attend = Attend(channels, hidden_compensation, attention_bands)
        self.write = Write(channels) if bidirectional else WriteDirectly(channels)
        if zero_start:
            for parameter in self.write.readout.conv3.parameters():
                nn.init.zeros_(parameter)
        self.register_load_state_dict_pre_hook(rename_earlier)

    def forward(self, noisy: Tensor) -> Tensor:
        """Denoises a batch.

        Args:
            noisy: [N, B, H, W] floating, nominally in [0, 1] but not clipped; any N, B, H, W >= 1.

        Returns:
            The denoised cubes [N, B, H, W], not clipped.

        Raises:
            TypeError: If ``noisy`` is no tensor, or its type is not that of the weights.
            ValueError: If ``noisy`` is not a non-empty [N, B, H, W] of finite values.
        """
        check_batch(self, noisy)
        y = _bands(noisy)
        run = self._scan()
        (e,) = self._encode(y, self.region_aware)
        h, windows = e[-1], self.attend.attention.windows(e)
        del e  # as each window is let go once it is read
        h, d, c = run(self.attend, h, *windows, reverse=True)
        _, x = run(self.write, (h, c[0]), d, c, y)
        return torch.cat(x, dim=1)

    def _encode(self, y: Bands, after: Callable[[Tensor], Any] | None) -> tuple[Bands, ...]:
        """Both passes of the encoder, and what ``after`` makes of the encoded states."""
        run = self._scan()
        remat = run.keywords["remat"]
        # Rematerialised, the features f are not kept: each pass embeds the bands itself.
        embed, (f,) = (self.embedding, (y,)) if remat else (_as_is, each(self.embedding, y))
        read = Step(self.read, ahead=lambda f: self.read.ahead(embed(f)))
        fuse = Step(self.fuse, ahead=lambda u, f: self.fuse.ahead(u, embed(f)), after=after)
        n, _, height, width = y[0].shape
        h = y[0].new_zeros(n, self.channels, height, width)
        h, u = scan(read, h, f, reverse=True, remat=remat)
        return run(fuse, h, u, f)[1:]

    def _scan(self) -> partial[tuple[Any, ...]]:
        """``scan`` for this mode: without gradients it lets go of what it has read."""
        free = not torch.is_grad_enabled()
        remat = self.gradient_checkpointing and self.training and not free
        return partial(scan, free=free, remat=remat)

    def compile_steps(self, **options: Any) -> None:
        """Compiles what is done band by band, in place, by ``torch.compile``.

        The time of it does not grow with the number of bands, and another number of them compiles
        nothing again. The kernels of the CPU give way to the compiled code, which is slower there.

        Args:
            options: Of ``torch.compile``.
        """
        parts = self.embedding, self.read, self.fuse, self.region_aware, self.attend, self.write
        for part in parts:
            if part is not None:
                part.compile(**options)

    @property
    def regions(self) -> int:
        """The number r of regions; 0 in a network that was built without both branches."""
        return 0 if self.region_aware is None else self.region_aware.filters.regions

    @torch.no_grad()
    def region_masks(
        self, noisy: Tensor, source: Literal["encoded", "embedding"] = "encoded"
    ) -> RegionMasks:
        """The spatial and the spectral region of every pixel and band.

        Args:
            noisy: [N, B, H, W], as in ``forward``.
            source: The features that the guides read: ``encoded``, the encoded state, as the
                network itself uses them, or ``embedding``, as the paper's Fig. 5 shows them.

        Returns:
            Two [N, B, H, W] int64 in 0..r-1, named ``spatial`` and ``spectral``; None for a branch
            that the network was built without.

        Raises:
            ValueError: If ``source`` is neither, or ``noisy`` is not a non-empty [N, B, H, W].
        """
        if source not in ("encoded", "embedding"):
            raise ValueError(f"source={source!r}: the masks are read from 'encoded' or 'embedding'")
        check_batch(self, noisy)
        y, aware = _bands(noisy), self.region_aware
        if aware is None:
            return RegionMasks(None, None)
        if source == "encoded":
            masks = self._encode(y, aware.masks)
        else:
            masks = each(lambda y: aware.masks(self.embedding(y)), y)
        stacked = (torch.stack(mask, dim=1) for mask in masks)
        found = dict(zip(aware.guides, stacked, strict=True))
        return RegionMasks(found.get("spatial"), found.get("spectral"))


def _as_is(features: Tensor) -> Tensor:
    return features


def _bands(noisy: Tensor) -> Bands:
    """[N, B, H, W] -> B times [N, 1, H, W]."""
    # Strides that hang on the number of bands would have compiled code compiled again.
    bands = noisy.transpose(0, 1).clone(memory_format=torch.contiguous_format)
    return list(bands.unsqueeze(2).unbind())
