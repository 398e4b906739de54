"""RAS2S: the bands of a hyperspectral cube as a sequence, denoised one after another."""

from typing import Literal

import torch
from torch import Tensor, nn

from lightning_ras2s.networks.attention import AdjacentAttention
from lightning_ras2s.networks.hidden_state import CompensatedGRU, ConvGRU
from lightning_ras2s.networks.layers import (
    LEAKY_SLOPE,
    Embedding,
    PairConv,
    conv3x3,
    leaky_relu,
    over_bands,
)
from lightning_ras2s.networks.ssra import RegionAware, RegionMasks, choose_regions


class Encoder(nn.Module):
    """Reads the bands in both directions and makes the states region-aware.

    Unlike the paper's two independent directions, the second pass of the released weights starts
    from the end of the first, its fused state is what recurs, and HFComp is in the first only.
    """

    def __init__(
        self,
        channels: int,
        regions: int,
        hidden_compensation: bool,
        spatial_regions: bool,
        spectral_regions: bool,
        bidirectional: bool,
    ) -> None:
        super().__init__()
        self.embedding = Embedding(channels)
        self.backward_gru = CompensatedGRU(channels, hidden_compensation)
        self.forward_pass = ForwardPass(channels) if bidirectional else None
        self.region_aware = (
            RegionAware(channels, regions, spatial_regions, spectral_regions)
            if spatial_regions or spectral_regions
            else None
        )

    def embed(self, bands: Tensor) -> Tensor:
        """phi_e of all bands: [B, N, 1, H, W] -> [B, N, C, H, W]."""
        return over_bands(self.embedding, bands)

    def encode(self, features: Tensor) -> Tensor:
        """Both recurrent passes: features [B, N, C, H, W] -> encoded states of the same shape."""
        reads = self.backward_gru.read(features)
        state = torch.zeros_like(features[0])
        states = []
        while reads:
            state = self.backward_gru(state, reads.pop())
            states.append(state)
        backward_states = torch.stack(states[::-1])
        if self.forward_pass is None:
            return backward_states
        return self.forward_pass(features, backward_states)

    def forward(self, bands: Tensor) -> Tensor:
        """Noisy bands [B, N, 1, H, W] -> region-aware states e^r [B, N, C, H, W]."""
        encoded = self.encode(self.embed(bands))
        return encoded if self.region_aware is None else over_bands(self.region_aware, encoded)


class ForwardPass(nn.Module):
    """Pass 2 of the encoder, first band to last, fused with the states of pass 1."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gru = ConvGRU(channels)
        self.fusion = PairConv(channels, channels)

    def forward(self, features: Tensor, backward_states: Tensor) -> Tensor:
        """Features f_i and states u_i -> encoded states, each [B, N, C, H, W]."""
        reads = over_bands(self.gru.read, features).unbind()
        others = over_bands(self.fusion.second, backward_states).unbind()
        state = backward_states[0]
        states = []
        for read, other in zip(reads, others, strict=True):
            state = self.gru(state, read)
            state = leaky_relu(self.fusion.first(state) + other)
            states.append(state)
        return torch.stack(states)


class Decoder(nn.Module):
    """Denoises the bands: a pass of attention from the last, then an autoregressive one."""

    def __init__(
        self, channels: int, attention_bands: int, hidden_compensation: bool, bidirectional: bool
    ) -> None:
        super().__init__()
        self.attention = AdjacentAttention(attention_bands)
        self.backward_gru = CompensatedGRU(channels, hidden_compensation)
        self.autoregression = Autoregression(channels) if bidirectional else None
        self.output = nn.Sequential(
            conv3x3(channels, channels),
            nn.LeakyReLU(LEAKY_SLOPE, inplace=True),
            conv3x3(channels, channels),
            nn.LeakyReLU(LEAKY_SLOPE, inplace=True),
            conv3x3(channels, 1),
        )

    def forward(self, bands: Tensor, encoded: Tensor) -> Tensor:
        """Noisy bands [B, N, 1, H, W] and e^r [B, N, C, H, W] -> denoised bands."""
        contexts, states = self.attend(encoded)
        if self.autoregression is None:
            return bands + over_bands(self.output, states)
        return self.autoregression(bands, contexts, states, self.output)

    def attend(self, encoded: Tensor) -> tuple[Tensor, Tensor]:
        """Pass 1, last band to first: e^r [B, N, C, H, W] -> contexts c_i and states d_i."""
        windows = self.attention.windows(encoded)
        reads = over_bands(self.attention.read, windows).unbind()
        kernel = self.attention.state_kernel(encoded.shape[2])
        state = encoded[-1]
        contexts, states = [], []
        for window, read in zip(windows.unbind()[::-1], reads[::-1], strict=True):
            context = self.attention(state, kernel, read, window)
            state = self.backward_gru(state, self.backward_gru.read(context[None])[0])
            contexts.append(context)
            states.append(state)
        return torch.stack(contexts[::-1]), torch.stack(states[::-1])


class Autoregression(nn.Module):
    """Pass 2 of the decoder, first band to last: each denoised band is read for the next one."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.embedding = Embedding(channels)
        self.feedback_fusion = PairConv(channels, channels)
        self.gru = ConvGRU(channels)
        self.state_fusion = PairConv(channels, channels)

    def forward(self, bands: Tensor, contexts: Tensor, states: Tensor, output: nn.Module) -> Tensor:
        """Noisy bands [B, N, 1, H, W], c_i and d_i [B, N, C, H, W] -> denoised bands."""
        context_reads = over_bands(self.feedback_fusion.second, contexts).unbind()
        state_reads = over_bands(self.state_fusion.second, states).unbind()
        state, feedback = states[0], contexts[0]
        denoised: list[Tensor] = []
        for band, of_context, of_state in zip(
            bands.unbind(), context_reads, state_reads, strict=True
        ):
            if denoised:
                feedback = self.embedding(denoised[-1])
            feedback = leaky_relu(self.feedback_fusion.first(feedback) + of_context)
            state = self.gru(state, self.gru.read(feedback))
            state = leaky_relu(self.state_fusion.first(state) + of_state)
            denoised.append(band + output(state))
        return torch.stack(denoised)


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

    Raises:
        ValueError: If ``channels`` is odd, ``attention_bands`` is even or one of them or
            ``regions`` is less than 1.
    """

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
    ) -> None:
        super().__init__()
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
        self.encoder = Encoder(
            channels,
            regions,
            hidden_compensation,
            spatial_regions,
            spectral_regions,
            bidirectional,
        )
        self.decoder = Decoder(channels, attention_bands, hidden_compensation, bidirectional)
        if zero_start:
            for parameter in self.decoder.output[-1].parameters():
                nn.init.zeros_(parameter)

    def forward(self, noisy: Tensor) -> Tensor:
        """Denoises a batch.

        Args:
            noisy: [N, B, H, W] floating, nominally in [0, 1] but not clipped; any N, B, H, W >= 1.

        Returns:
            The denoised cubes [N, B, H, W], not clipped.

        Raises:
            ValueError: If ``noisy`` is not a non-empty [N, B, H, W].
        """
        bands = _as_sequence(noisy)
        return self.decoder(bands, self.encoder(bands)).squeeze(2).transpose(0, 1)

    @property
    def regions(self) -> int:
        """The number r of regions; 0 in a network that was built without both branches."""
        aware = self.encoder.region_aware
        return 0 if aware is None else aware.filters.regions

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
        features = self.encoder.embed(_as_sequence(noisy))
        if source == "encoded":
            features = self.encoder.encode(features)
        if self.encoder.region_aware is None:
            return RegionMasks(None, None)
        guides = self.encoder.region_aware.guides(features.flatten(0, 1))
        regions = [None if guide is None else choose_regions(guide) for guide in guides]
        shape = features.shape[:2]
        return RegionMasks(
            *(None if r is None else r.unflatten(0, shape).transpose(0, 1) for r in regions)
        )


def _as_sequence(noisy: Tensor) -> Tensor:
    """[N, B, H, W] -> [B, N, 1, H, W]."""
    if noisy.ndim != 4 or 0 in noisy.shape:
        raise ValueError(
            f"expected a non-empty batch of cubes [N, B, H, W], got shape {list(noisy.shape)}"
        )
    return noisy.transpose(0, 1).unsqueeze(2)
