"""RAS2S: the bands of a hyperspectral cube as a sequence, denoised one after another."""

from contextlib import nullcontext
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lightning_ras2s.networks import native
from lightning_ras2s.networks.attention import AdjacentAttention
from lightning_ras2s.networks.hidden_state import CompensatedGRU, ConvGRU
from lightning_ras2s.networks.layers import Conv3x3, Embedding, PairConv, consume, over_bands
from lightning_ras2s.networks.segments import Run, at_once, by_segments
from lightning_ras2s.networks.ssra import RegionAware, RegionMasks, choose_regions

Bands = list[Tensor]  # one [N, channels, H, W] for each band


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
        self.forward_gru = FusedGRU(channels) if bidirectional else None
        self.region_aware = (
            RegionAware(channels, regions, spatial_regions, spectral_regions)
            if spatial_regions or spectral_regions
            else None
        )

    def embed(self, bands: Bands) -> Bands:
        """phi_e of all bands: [N, 1, H, W] -> [N, C, H, W]; features stay as they are."""
        if bands[0].shape[1] > 1:
            return bands
        return list(over_bands(self.embedding, bands, len(bands)))

    def encode(self, bands: Bands, run: Run = at_once, aware: bool = False) -> Bands:
        """Both recurrent passes, and SSRA if ``aware``: noisy bands -> encoded states e or e^r."""
        # Segments would have to keep the features: they embed the bands in both passes instead.
        features = bands[:] if run is by_segments else self.embed(bands)
        state, states = run(self.read_backward, None, features[:])
        features.reverse()
        read_forward = self.read_forward_aware if aware else self.read_forward
        return run(read_forward, state, states, features)[1]

    def forward(self, bands: Bands, run: Run = at_once) -> Bands:
        """Noisy bands [N, 1, H, W] -> region-aware states e^r [N, C, H, W]."""
        return self.encode(bands, run, aware=True)

    def read_backward(self, state: Tensor | None, bands: Bands) -> tuple[Tensor, Bands]:
        """Pass 1, last band to first: bands, or features f_i -> states u_i."""
        features = self.embed(bands[::-1])
        bands.clear()
        state = torch.zeros_like(features[0]) if state is None else state
        states: Bands = []
        for read in self.backward_gru.reads(features):
            state = self.backward_gru(state, *read)
            states.append(state)
        return state, states

    def read_forward(self, state: Tensor, states: Bands, bands: Bands) -> tuple[Tensor, Bands]:
        """Pass 2, first band to last: u_i, and bands or features f_i -> encoded states e_i."""
        if self.forward_gru is None:
            bands.clear()
            return state, list(consume(states))
        features = self.embed(bands)
        of_features = over_bands(self.forward_gru.gru.read, consume(features), len(states))
        of_others = over_bands(self.forward_gru.fusion.read, consume(states), len(states))
        encoded = []
        for reads in zip(of_features, of_others, strict=True):
            state = self.forward_gru(state, *reads)
            encoded.append(state)
        return state, encoded

    def read_forward_aware(
        self, state: Tensor, states: Bands, bands: Bands
    ) -> tuple[Tensor, Bands]:
        """Pass 2, then SSRA: -> e^r."""
        state, encoded = self.read_forward(state, states, bands)
        if self.region_aware is None:
            return state, encoded
        encoded.reverse()
        return state, list(over_bands(self.region_aware, consume(encoded), len(encoded)))


class FusedGRU(nn.Module):
    """A step of the encoder's pass 2, first band to last, fused with a state of pass 1."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gru = ConvGRU(channels)
        self.fusion = PairConv(channels, channels, "leaky_relu")

    def forward(self, state: Tensor, of_features: Tensor, of_other: Tensor) -> Tensor:
        """The next state [N, C, H, W], of what was read ahead of f_i and of u_i."""
        return self.fusion(self.gru(state, of_features), of_other)


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


class Autoregression(nn.Module):
    """A step of the decoder's pass 2, first band to last: each denoised band is read for the next.

    Its state is fused with one of pass 1.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.embedding = Embedding(channels)
        self.feedback_fusion = PairConv(channels, channels, "leaky_relu")
        self.gru = ConvGRU(channels)
        self.state_fusion = PairConv(channels, channels, "leaky_relu")

    def forward(
        self, state: Tensor, feedback: Tensor, of_context: Tensor, of_state: Tensor
    ) -> Tensor:
        """The next state [N, C, H, W].

        Args:
            state: The last one, [N, C, H, W].
            feedback: The denoised band before, [N, 1, H, W]; for the first band its context.
            of_context: What ``feedback_fusion`` has read ahead of c_i.
            of_state: What ``state_fusion`` has read ahead of d_i.
        """
        if feedback.shape[1] == 1:
            feedback = self.embedding(feedback)
        read = self.gru.read(self.feedback_fusion(feedback, of_context))
        return self.state_fusion(self.gru(state, read), of_state)


class Decoder(nn.Module):
    """Denoises the bands: a pass of attention from the last, then an autoregressive one."""

    def __init__(
        self, channels: int, attention_bands: int, hidden_compensation: bool, bidirectional: bool
    ) -> None:
        super().__init__()
        self.attention = AdjacentAttention(attention_bands)
        self.backward_gru = CompensatedGRU(channels, hidden_compensation)
        self.autoregression = Autoregression(channels) if bidirectional else None
        self.readout = Readout(channels)

    def forward(self, bands: Bands, encoded: Bands, run: Run = at_once) -> Bands:
        """Noisy bands [N, 1, H, W] and e^r [N, C, H, W], which it empties -> denoised bands."""
        state, windows = encoded[-1], self.attention.windows(encoded)
        encoded.clear()
        state, states, contexts = run(self.attend, state, windows)
        return run(self.put_out, (state, contexts[-1]), states, contexts, bands[::-1])[1]

    def attend(self, state: Tensor, windows: list[Bands]) -> tuple[Tensor, Bands, Bands]:
        """Pass 1, last band to first: windows of e^r -> states d_i and contexts c_i."""
        states, contexts = [], []
        for context_of in self.attention.contexts(windows):
            context = context_of(state)
            (read,) = self.backward_gru.reads([context])
            state = self.backward_gru(state, *read)
            states.append(state)
            contexts.append(context)
        return state, states, contexts

    def put_out(
        self, carry: tuple[Tensor, Tensor], states: Bands, contexts: Bands, bands: Bands
    ) -> tuple[tuple[Tensor, Tensor], Bands]:
        """Pass 2, first band to last: -> denoised bands. State and feedback are carried."""
        if self.autoregression is None:
            pairs = zip(consume(states), consume(bands), strict=True)
            return carry, [self.readout(*pair) for pair in pairs]
        state, feedback = carry
        read_context = self.autoregression.feedback_fusion.read
        of_contexts = over_bands(read_context, consume(contexts), len(bands))
        of_states = over_bands(self.autoregression.state_fusion.read, consume(states), len(bands))
        denoised: Bands = []
        for band, *reads in zip(consume(bands), of_contexts, of_states, strict=True):
            state = self.autoregression(state, feedback, *reads)
            feedback = self.readout(state, band)
            denoised.append(feedback)
        return (state, feedback), denoised


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
        self.gradient_checkpointing = gradient_checkpointing
        self.compiled = False
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
            for parameter in self.decoder.readout.conv3.parameters():
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
        saving = self.gradient_checkpointing and self.training and torch.is_grad_enabled()
        run = by_segments if saving else at_once
        # What is read ahead of compiled code must be plain too.
        with native.plain_operations() if self.compiled else nullcontext():
            return torch.cat(self.decoder(bands, self.encoder(bands, run), run), dim=1)

    def compile_steps(self, **options: Any) -> None:
        """Compiles what is done band by band, in place, by ``torch.compile``.

        The time of it does not grow with the number of bands, and another number of them compiles
        nothing again. The kernels of the CPU give way to the compiled code, which is slower there.

        Args:
            options: Of ``torch.compile``.
        """
        for part in (
            self.encoder.embedding,
            self.encoder.backward_gru,
            self.encoder.forward_gru,
            self.encoder.region_aware,
            self.decoder.attention,
            self.decoder.backward_gru,
            self.decoder.autoregression,
            self.decoder.readout,
        ):
            if part is not None:
                part.compile(**options)
        self.compiled = True

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
        with native.plain_operations() if self.compiled else nullcontext():
            read = self.encoder.encode if source == "encoded" else self.encoder.embed
            features = read(_as_sequence(noisy))
        aware = self.encoder.region_aware
        if aware is None:
            return RegionMasks(None, None)
        chosen: list[list[Tensor]] = [[], []]
        for band in features:
            for regions, guide in zip(chosen, aware.guides(band), strict=True):
                if guide is not None:
                    regions.append(choose_regions(guide))
        return RegionMasks(
            *(torch.stack(regions, dim=1) if regions else None for regions in chosen)
        )


def _as_sequence(noisy: Tensor) -> Bands:
    """[N, B, H, W] -> B times [N, 1, H, W]."""
    if noisy.ndim != 4 or 0 in noisy.shape:
        raise ValueError(
            f"expected a non-empty batch of cubes [N, B, H, W], got shape {list(noisy.shape)}"
        )
    # Strides that hang on the number of bands would have compiled code compiled again.
    bands = noisy.transpose(0, 1).clone(memory_format=torch.contiguous_format)
    return list(bands.unsqueeze(2).unbind())
