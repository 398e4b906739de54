"""The RAS2S network written out literally, one band after another: what fast code is held to.

Clean-room from the written description of the network; slow on purpose. Bands count from 0 here.
Module names are those of the released weights, so these load with ``strict=True``.
"""

import torch
import torch.nn.functional as F
from torch import nn


def conv3x3(inputs, outputs):
    return nn.Conv2d(inputs, outputs, 3, padding=1)


def leaky(x):
    return F.leaky_relu(x, 0.1)


def embed(y, conv_1, conv_2):
    """phi(y): [N,1,H,W] -> [N,C,H,W]."""
    return leaky(conv_2(leaky(conv_1(y)))) + y


def window(i, bands, length):
    """The indices of the `length` states around band i, for the decoder."""
    n = length // 2
    if bands < length:
        return [min(max(j, 0), bands - 1) for j in range(i - n, i + n + 1)]
    start = min(max(i - n, 0), bands - length)
    return list(range(start, start + length))


class ResBlock(nn.Module):
    """x + conv3x3(ReLU(conv3x3(x)))."""

    def __init__(self, channels):
        super().__init__()
        self.conv1 = conv3x3(channels, channels)
        self.conv2 = conv3x3(channels, channels)

    def forward(self, x):
        return x + self.conv2(F.relu(self.conv1(x)))


class HFComp(nn.Module):
    """Hidden state compensation: two-headed channel attention, two residual blocks, plus h."""

    def __init__(self, channels):
        super().__init__()
        self.k = nn.Conv2d(channels, channels, 1)
        self.v = nn.Conv2d(channels, channels, 1)
        self.q = nn.Conv2d(channels, channels, 1)
        self.res = nn.Sequential(ResBlock(channels), ResBlock(channels))

    def forward(self, f, h):
        n, c, height, width = h.shape
        q = self.q(f).reshape(n, 2, c // 2, height * width)
        k = self.k(h).reshape(n, 2, c // 2, height * width)
        v = self.v(h).reshape(n, 2, c // 2, height * width)
        q = q / q.norm(dim=-1, keepdim=True).clamp_min(1e-12)
        k = k / k.norm(dim=-1, keepdim=True).clamp_min(1e-12)
        attention = torch.softmax(q @ k.transpose(-2, -1), dim=-1)
        o = (attention @ v).reshape(n, c, height, width)
        return self.res(o) + h


class ConvGRU(nn.Module):
    """h' = (1 - update) h + update candidate."""

    def __init__(self, channels):
        super().__init__()
        self.convz = conv3x3(2 * channels, channels)
        self.convr = conv3x3(2 * channels, channels)
        self.convq = conv3x3(2 * channels, channels)

    def forward(self, h, x):
        update = torch.sigmoid(self.convz(torch.cat([h, x], dim=1)))
        reset = torch.sigmoid(self.convr(torch.cat([h, x], dim=1)))
        candidate = torch.tanh(self.convq(torch.cat([reset * h, x], dim=1)))
        return (1 - update) * h + update * candidate


class Layer(nn.Module):
    """The parts of one pass: a ConvGRU and, in second passes, the fusion of the two passes."""

    def __init__(self, channels, fusion):
        super().__init__()
        self.conv_gru = ConvGRU(channels)
        if fusion:
            self.fusion = conv3x3(2 * channels, channels)


class Alpha(nn.Module):
    """The factor per input channel of the spatial guide's base filter: [N,C,1,1]."""

    def __init__(self, channels):
        super().__init__()
        self.a = nn.Conv2d(channels, channels, (3, 1), padding=(1, 0))
        self.b = nn.Conv2d(channels, channels, (3, 1), padding=(1, 0), bias=False)
        nn.init.zeros_(self.b.weight)

    def forward(self, e):
        return 1 + self.b(F.relu(self.a(e.mean(dim=(2, 3), keepdim=True))))


class SpatialGuide(nn.Module):
    """SpecDynConv: a 3x3 convolution whose weight depends on the sample; logits [N,r,H,W]."""

    def __init__(self, channels, regions):
        super().__init__()
        bound = (9 * regions * channels) ** -0.5
        weight = torch.empty(1, regions, channels, 3, 3).uniform_(-bound, bound)
        bias = torch.empty(1, regions).uniform_(-bound, bound)
        self.b = nn.ParameterDict([("weight", weight), ("bias", bias)])
        self.b_rf = Alpha(channels)

    def forward(self, e):
        alpha = self.b_rf(e)
        guides = []
        for n in range(e.shape[0]):
            weight = self.b["weight"][0] * alpha[n].reshape(1, -1, 1, 1)
            guides.append(F.conv2d(e[n : n + 1], weight, self.b["bias"][0], padding=1))
        return torch.cat(guides)


class SpectralGuide(nn.Module):
    """SpecClassifier: one linear layer at each pixel; logits [N,r,H,W]."""

    def __init__(self, channels, regions):
        super().__init__()
        self.fc1 = nn.Linear(channels, regions)

    def forward(self, e):
        return self.fc1(e.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Assign(torch.autograd.Function):
    """At each pixel the candidate map of the guide's best region, with the guide's soft gradient.

    Candidates [N,r,C,H,W], guide [N,r,H,W] -> [N,C,H,W].
    """

    @staticmethod
    def forward(ctx, candidates, guide):
        mask = F.one_hot(guide.argmax(dim=1), guide.shape[1]).permute(0, 3, 1, 2).to(guide.dtype)
        ctx.save_for_backward(candidates, guide, mask)
        return (mask[:, :, None] * candidates).sum(dim=1)

    @staticmethod
    def backward(ctx, grad_out):
        candidates, guide, mask = ctx.saved_tensors
        g = (grad_out[:, None] * candidates).sum(dim=2)
        s = torch.softmax(guide, dim=1)
        return mask[:, :, None] * grad_out[:, None], s * (g - (s * g).sum(dim=1, keepdim=True))


class SSRA(nn.Module):
    """The spatial-spectral region-aware module, for one band."""

    def __init__(self, channels, regions, spatial, spectral):
        super().__init__()
        self.regions, self.spatial, self.spectral = regions, spatial, spectral
        self.conv_kernel = nn.Sequential(
            nn.AdaptiveAvgPool2d(3),
            nn.Conv2d(channels, regions**2, 1),
            nn.Sigmoid(),
            nn.Conv2d(regions**2, regions * channels**2, 1, groups=regions),
        )
        if spectral:
            self.spectral_guide = SpectralGuide(channels, regions)
        if spatial:
            self.spatial_guide = SpatialGuide(channels, regions)
        self.fution_ss = conv3x3((spatial + spectral) * channels, channels)

    def candidates(self, e):
        """Each sample convolved with its own r filters: [N,r,C,H,W]."""
        n, c, height, width = e.shape
        filters = self.conv_kernel(e).reshape(n, self.regions, c, c, 3, 3)
        maps = [
            F.conv2d(e[i : i + 1], filters[i, k], padding=1)
            for i in range(n)
            for k in range(self.regions)
        ]
        return torch.cat(maps).reshape(n, self.regions, c, height, width)

    def forward(self, e):
        """Return the region-aware features and the guides by name."""
        candidates = self.candidates(e)
        guides, results = {}, []
        if self.spatial:
            guides["spatial_guide"] = self.spatial_guide(e)
            results.append(Assign.apply(candidates, guides["spatial_guide"]))
        if self.spectral:
            guides["spectral_guide"] = self.spectral_guide(e)
            results.append(Assign.apply(candidates, guides["spectral_guide"]))
        return self.fution_ss(torch.cat(results, dim=1)) + e, guides


class Attention(nn.Module):
    """AAM: h weighs the L states of its window, element by element."""

    def __init__(self, attention_bands):
        super().__init__()
        self.conv1 = nn.Conv3d(attention_bands + 1, attention_bands, 3, padding=1)

    def forward(self, h, states):
        logits = torch.tanh(self.conv1(torch.stack([h, *states], dim=1)))
        weights = torch.softmax(logits, dim=1)
        return (weights * torch.stack(states, dim=1)).sum(dim=1)


class Encoder(nn.Module):
    """Noisy bands [N,B,H,W] -> the list of the region-aware states e^r."""

    def __init__(self, channels, regions, compensation, spatial, spectral, bidirectional):
        super().__init__()
        self.compensation, self.bidirectional = compensation, bidirectional
        self.regional = spatial or spectral
        if compensation:
            self.corr = HFComp(channels)
        if self.regional:
            self.ssra = nn.ModuleDict({"ssra": SSRA(channels, regions, spatial, spectral)})
        self.encoder_layer = Layer(channels, fusion=False)
        if bidirectional:
            self.encoder_layer1_b = Layer(channels, fusion=True)
        self.conv_inp_1 = conv3x3(1, channels)
        self.conv_inp_2 = conv3x3(channels, channels)

    def forward(self, noisy, trace):
        bands = noisy.shape[1]
        f = [embed(noisy[:, i : i + 1], self.conv_inp_1, self.conv_inp_2) for i in range(bands)]

        u = [None] * bands
        h = torch.zeros_like(f[0])
        for i in reversed(range(bands)):
            if self.compensation:
                h = self.corr(f[i], h)
            h = u[i] = self.encoder_layer.conv_gru(h, f[i])

        e = list(u)
        if self.bidirectional:
            h = u[0]
            for i in range(bands):
                h = self.encoder_layer1_b.conv_gru(h, f[i])
                h = e[i] = leaky(self.encoder_layer1_b.fusion(torch.cat([h, u[i]], dim=1)))

        e_r, guides = list(e), [{}] * bands
        if self.regional:
            for i in range(bands):
                e_r[i], guides[i] = self.ssra["ssra"](e[i])

        trace["embedding"] = torch.stack(f, dim=1)
        trace["encoded"] = torch.stack(e, dim=1)
        for name in guides[0]:
            trace[name] = torch.stack([guide[name] for guide in guides], dim=1)
        trace["region_aware"] = torch.stack(e_r, dim=1)
        return e_r


class Decoder(nn.Module):
    """Noisy bands [N,B,H,W] and the list of states e^r -> denoised bands [N,B,H,W]."""

    def __init__(self, channels, attention_bands, compensation, bidirectional):
        super().__init__()
        self.attention_bands = attention_bands
        self.compensation, self.bidirectional = compensation, bidirectional
        if compensation:
            self.corr = HFComp(channels)
        self.convgru_layers = Layer(channels, fusion=False)
        if bidirectional:
            self.decoder_layer1_b = Layer(channels, fusion=True)
        self.attention = Attention(attention_bands)
        self.conv_out_1 = conv3x3(channels, channels)
        self.conv_out_2 = conv3x3(channels, channels)
        self.conv_out_3 = conv3x3(channels, 1)
        if bidirectional:
            self.conv_inp_1 = conv3x3(1, channels)
            self.conv_inp_2 = conv3x3(channels, channels)
            self.fution_layers = conv3x3(2 * channels, channels)

    def output(self, h):
        return self.conv_out_3(leaky(self.conv_out_2(leaky(self.conv_out_1(h)))))

    def forward(self, noisy, e_r, trace):
        bands = noisy.shape[1]
        y = [noisy[:, i : i + 1] for i in range(bands)]

        c, d = [None] * bands, [None] * bands
        h = e_r[-1]
        for i in reversed(range(bands)):
            c[i] = self.attention(h, [e_r[j] for j in window(i, bands, self.attention_bands)])
            if self.compensation:
                h = self.corr(c[i], h)
            h = d[i] = self.convgru_layers.conv_gru(h, c[i])
        trace["context"] = torch.stack(c, dim=1)

        if not self.bidirectional:
            return torch.cat([y[i] + self.output(d[i]) for i in range(bands)], dim=1)

        x = [None] * bands
        h, u = d[0], c[0]
        for i in range(bands):
            u = leaky(self.fution_layers(torch.cat([u, c[i]], dim=1)))
            h = self.decoder_layer1_b.conv_gru(h, u)
            h = leaky(self.decoder_layer1_b.fusion(torch.cat([h, d[i]], dim=1)))
            x[i] = y[i] + self.output(h)
            u = embed(x[i], self.conv_inp_1, self.conv_inp_2)
        return torch.cat(x, dim=1)


class LiteralRAS2S(nn.Module):
    """RAS2S, [N,B,H,W] -> [N,B,H,W]; the last four arguments are the ablations."""

    def __init__(
        self,
        channels=14,
        regions=3,
        attention_bands=3,
        hidden_compensation=True,
        spatial_regions=True,
        spectral_regions=True,
        bidirectional=True,
    ):
        super().__init__()
        if channels % 2:
            raise ValueError(f"channels must be even (two attention heads), got {channels}")
        if attention_bands % 2 == 0:
            raise ValueError(f"attention_bands must be odd, got {attention_bands}")
        self.encoder = Encoder(
            channels, regions, hidden_compensation, spatial_regions, spectral_regions, bidirectional
        )
        self.decoder = Decoder(channels, attention_bands, hidden_compensation, bidirectional)

    def forward(self, noisy, trace=None):
        """Denoise; `trace`, where given, receives the inner values, [N,B,C or r,H,W] each."""
        trace = {} if trace is None else trace
        return self.decoder(noisy, self.encoder(noisy, trace), trace)
