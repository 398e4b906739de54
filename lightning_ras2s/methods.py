"""METHODS: every denoiser by its key, with what must be known of it before it is built.

``find("ras2s+s")`` gives one; ``select(["fast", "hsdt-s"])`` gives several, groups among them.
``ras2s methods`` prints them.
"""

import argparse
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

PRETRAINED = Path(__file__).parent / "pretrained"
REFINED = "+s"
GROUPS = ("fast", "classical", "learned", "all")


@dataclass(frozen=True)
class Method:
    """A denoiser: a cube in, a cube out.

    Attributes:
        key: Lower case, with underscores; ``+s`` behind it for the refined one.
        label: As papers print it.
        kind: ``network``, which needs weights, or ``model-based``.
        source: Where it lives, ``module:name``: a network's class, or a function of [N, B, H, W].
        arguments: Of the class, for the published network, where they are not its defaults.
        summary: What it does, in a few words.
        paper: Where it was published; empty for what needs no reference.
        year: Of the paper.
        parameters: Trainable weights at the published size; 0 for none.
        bands: The number of bands that the published network takes, and others by windows of so
            many; None for any.
        multiple_of: Height and width are mirrored up to a multiple of it, and cropped again, for a
            network that does not do so itself.
        fast: Takes no longer than RAS2S.
        static_graph: Each training step has the same operations, so that DDP may count on it.
        capturable: A pass can be replayed as a CUDA graph.
        recipe: The experiment that trains it.
        marks: Tensors that its weights have under one of these names, ours or its authors'.
        weights: The file of those that come with the package.
        needs: Packages that have to be installed, as Python imports them, with what pip calls them.
        bytes: Of memory that it takes for each value of a cube.
        refined: Followed by +S.
    """

    key: str
    label: str
    kind: Literal["network", "model-based"]
    source: str
    summary: str
    arguments: Mapping[str, Any] = field(default_factory=dict, hash=False)
    paper: str = ""
    year: int | None = None
    parameters: int = 0
    bands: int | None = None
    multiple_of: int = 1
    fast: bool = True
    static_graph: bool = True
    capturable: bool = True
    recipe: str = ""
    marks: tuple[str, ...] = ()
    weights: str = ""
    needs: Mapping[str, str] = field(default_factory=dict, hash=False)
    bytes: int = 130
    refined: bool = False

    @property
    def base(self) -> str:
        """The key without +S."""
        return self.key.removesuffix(REFINED)

    @property
    def pretrained(self) -> Path:
        """The weights that come with the package.

        Raises:
            ValueError: If none do.
        """
        if not self.weights:
            training = f", or train them: make train EXP={self.recipe}" if self.recipe else ""
            raise ValueError(
                f"no weights of {self.label} come with the package; give a file of them "
                f"(--weights, CKPT=){training}"
            )
        return PRETRAINED / self.weights

    @property
    def is_without_weights(self) -> bool:
        """Whether it needs weights that do not come with the package."""
        return self.kind == "network" and not self.weights

    @property
    def missing(self) -> list[str]:
        """The packages that it needs and that are not installed."""
        return [package for package in self.needs if find_spec(package) is None]

    @property
    def remedy(self) -> str:
        """What is missing, and how it is had; empty where nothing is."""
        if not self.missing:
            return ""
        packages = [self.needs[package] for package in self.missing]
        return f"needs {' and '.join(packages)}: pip install {' '.join(packages)}"

    def load(self) -> Any:
        """Imports it: a network's class, or a function of [N, B, H, W].

        Raises:
            ValueError: If a package that it needs is not installed.
        """
        if self.missing:
            raise ValueError(f"{self.label} {self.remedy}")
        return _imported(self.source)

    def build(self, **arguments: Any) -> Any:
        """The network, with new weights.

        Args:
            arguments: Of its class, where they are not those of the published network.
        """
        return self.load()(**(dict(self.arguments) | arguments))

    def options(self, **arguments: Any) -> list[str]:
        """Those of ``ras2s fit`` that train this network in place of the experiment's.

        Args:
            arguments: As for ``build``.
        """
        given = dict(self.arguments) | arguments
        network = f"--model.network={self.source.replace(':', '.')}"
        return [network, *(f"--model.network.{name}={value}" for name, value in given.items())]

    def network_of(self, state: Mapping[str, Any], arguments: Mapping[str, Any] | None) -> Any:
        """A network with these weights.

        Args:
            state: Its tensors, by our names or its authors'.
            arguments: Of its class; None to read them off the tensors.

        Raises:
            ValueError: If nobody says the arguments.
        """
        kind = self.load()
        if hasattr(kind, "of_state"):
            return kind.of_state(state, arguments)
        if arguments is None:
            raise ValueError(f"{kind.__name__} has no of_state to read its arguments off tensors")
        network = kind(**arguments)
        network.load_state_dict(state)
        return network


_ALL = (
    Method(
        key="identity",
        label="Noisy",
        kind="model-based",
        source="lightning_ras2s.classical.identity:identity",
        summary="the noisy cube as it is",
    ),
    Method(
        key="median",
        label="Median",
        kind="model-based",
        source="lightning_ras2s.classical.median:median_filter",
        summary="median of 3 bands x 3 x 3 pixels",
    ),
    Method(
        key="wavelet",
        label="Wavelet",
        kind="model-based",
        source="lightning_ras2s.classical.wavelet:wavelet",
        summary="thresholds of each band's wavelets, BayesShrink",
        needs={"skimage": "scikit-image", "pywt": "PyWavelets"},
    ),
    Method(
        key="mnf",
        label="MNF",
        kind="model-based",
        source="lightning_ras2s.classical.mnf:mnf",
        summary="minimum noise fraction: components of more signal than noise",
        needs={"spectral": "spectral"},
    ),
    Method(
        key="fasthyde",
        label="FastHyDe",
        kind="model-based",
        source="lightning_ras2s.classical.fasthyde:fasthyde",
        summary="subspace, whose images are denoised by collaborative filtering",
        paper="Zhuang, Bioucas-Dias: Fast Hyperspectral Image Denoising and Inpainting Based on "
        "Low-Rank and Sparse Representations, JSTARS",
        year=2018,
        bytes=300,
    ),
    Method(
        key="lrtdtv",
        label="LRTDTV",
        kind="model-based",
        source="lightning_ras2s.classical.lrtdtv:lrtdtv",
        summary="low multilinear rank, total variation, sparse errors",
        paper="Wang, Peng, Zhao, Leung, Zhao, Meng: Hyperspectral Image Restoration via Total "
        "Variation Regularized Low-Rank Tensor Decomposition, JSTARS",
        year=2018,
        fast=False,
        bytes=160,
    ),
    Method(
        key="llrgtv",
        label="LLRGTV",
        kind="model-based",
        source="lightning_ras2s.classical.llrgtv:llrgtv",
        summary="blocks of low rank, total variation, sparse errors",
        paper="He, Zhang, Shen, Zhang: Hyperspectral Image Denoising Using Local Low-Rank Matrix "
        "Recovery and Global Spatial-Spectral Total Variation, JSTARS",
        year=2018,
        fast=False,
        bytes=400,
    ),
    Method(
        key="ngmeet",
        label="NGMeet",
        kind="model-based",
        source="lightning_ras2s.classical.ngmeet:ngmeet",
        summary="subspace, in which groups of similar patches are of low rank",
        paper="He, Yao, Li, Yokoya, Zhao: Non-Local Meets Global: An Integrated Paradigm for "
        "Hyperspectral Denoising, CVPR",
        year=2019,
        fast=False,
        bytes=800,
    ),
    Method(
        key="llrt",
        label="LLRT",
        kind="model-based",
        source="lightning_ras2s.classical.llrt:llrt",
        summary="groups of similar patches of all bands are of low rank",
        paper="Chang, Yan, Zhong: Hyper-Laplacian Regularized Unidirectional Low-Rank Tensor "
        "Recovery for Multispectral Image Denoising, CVPR",
        year=2017,
        fast=False,
        bytes=1300,
    ),
    Method(
        key="bm4d",
        label="BM4D",
        kind="model-based",
        source="lightning_ras2s.classical.bm4d:bm4d",
        summary="groups of similar blocks of a volume, thresholded together",
        paper="Maggioni, Katkovnik, Egiazarian, Foi: Nonlocal Transform-Domain Filter for "
        "Volumetric Data Denoising and Reconstruction, TIP",
        year=2013,
        fast=False,
        needs={"bmnd": "bmnd"},
        bytes=1600,
    ),
    Method(
        key="ras2s",
        label="RAS2S",
        kind="network",
        source="lightning_ras2s.networks:RAS2S",
        summary="the bands as a sequence, with region-aware filters",
        paper="Xiao, Liu, Wei: Region-Aware Sequence-to-Sequence Learning for Hyperspectral "
        "Denoising, ECCV",
        year=2024,
        parameters=84_105,
        recipe="icvl_mixture",
        marks=(
            "embedding.conv1.weight",
            "encoder.conv_inp_1.weight",
            "encoder.embedding.conv1.weight",
        ),
        weights="ras2s.safetensors",
    ),
    Method(
        key="hsdt_s",
        label="HSDT-S",
        kind="network",
        source="lightning_ras2s.networks.hsdt:HSDT",
        summary="3-D convolutions, bands that attend to learned queries",
        paper="Lai, Yan, Fu: Hybrid Spectral Denoising Transformer with Guided Attention, ICCV",
        year=2023,
        parameters=134_350,
        recipe="rivals/hsdt_s_icvl",
        marks=("head.attention.queries.weight", "head.attn.attn.attn_proj.weight"),
        bands=31,
        arguments={"channels": 8, "stages": 5},
        static_graph=False,
        fast=False,
        bytes=700,
    ),
    Method(
        key="hsdt_m",
        label="HSDT-M",
        kind="network",
        source="lightning_ras2s.networks.hsdt:HSDT",
        summary="the same, twice as wide",
        paper="Lai, Yan, Fu: Hybrid Spectral Denoising Transformer with Guided Attention, ICCV",
        year=2023,
        parameters=521_158,
        recipe="rivals/hsdt_m_icvl",
        marks=("head.attention.queries.weight", "head.attn.attn.attn_proj.weight"),
        bands=31,
        arguments={"channels": 16, "stages": 5},
        static_graph=False,
        fast=False,
        bytes=1000,
    ),
    Method(
        key="hsdt_l",
        label="HSDT-L",
        kind="network",
        source="lightning_ras2s.networks.hsdt:HSDT",
        summary="the same, wider and deeper",
        paper="Lai, Yan, Fu: Hybrid Spectral Denoising Transformer with Guided Attention, ICCV",
        year=2023,
        parameters=2_094_786,
        recipe="rivals/hsdt_l_icvl",
        marks=("head.attention.queries.weight", "head.attn.attn.attn_proj.weight"),
        bands=31,
        arguments={"channels": 16, "stages": 7},
        static_graph=False,
        fast=False,
        bytes=1400,
    ),
    Method(
        key="qrnn3d",
        label="QRNN3D",
        kind="network",
        source="lightning_ras2s.networks.qrnn3d:QRNN3D",
        summary="3-D convolutions, quasi-recurrent over the bands",
        paper="Wei, Fu, Huang: 3-D Quasi-Recurrent Neural Network for Hyperspectral Image "
        "Denoising, TNNLS",
        year=2020,
        parameters=860_453,
        recipe="rivals/qrnn3d_icvl",
        marks=("encoder.0.gates.weight", "feature_extractor.conv.conv.weight"),
        fast=False,
        bytes=1050,
    ),
    Method(
        key="sert",
        label="SERT",
        kind="network",
        source="lightning_ras2s.networks.sert:SERT",
        summary="attention within rectangles, a memory of spectra",
        paper="Li, Liu, Fu, Zhang, Dou: Spectral Enhanced Rectangle Transformer for Hyperspectral "
        "Image Denoising, CVPR",
        year=2023,
        parameters=1_905_319,
        recipe="rivals/sert_icvl",
        marks=(
            "groups.0.blocks.0.attention.spectral.memory",
            "layers.0.smsblock.0.attns.c_attns.cab.3.mb",
        ),
        bands=31,
        fast=False,
        bytes=350,
    ),
    Method(
        key="sst",
        label="SST",
        kind="network",
        source="lightning_ras2s.networks.sst:SST",
        summary="attention within windows, then between channels",
        paper="Li, Fu, Zhang: Spatial-Spectral Transformer for Hyperspectral Image Denoising, AAAI",
        year=2023,
        parameters=4_144_837,
        recipe="rivals/sst_icvl",
        marks=(
            "groups.0.blocks.0.spatial.bias",
            "layers.0.smsblock.0.attn.relative_position_bias_table",
        ),
        bands=31,
        fast=False,
        bytes=450,
    ),
    Method(
        key="t3sc",
        label="T3SC",
        kind="network",
        source="lightning_ras2s.networks.t3sc:T3SC",
        summary="unrolled sparse coding of spectra and of patches",
        paper="Bodrito, Zouaoui, Chanussot, Mairal: A Trainable Spectral-Spatial Sparse Coding "
        "Model for Hyperspectral Image Restoration, NeurIPS",
        year=2021,
        parameters=832_256,
        recipe="rivals/t3sc_icvl",
        marks=("layers.0.analysis.0", "layers.0.C.0"),
        bands=31,
        fast=False,
        bytes=900,
    ),
    Method(
        key="grunet",
        label="GRUNet",
        kind="network",
        source="lightning_ras2s.networks.grunet:GRUNet",
        summary="a deep U-Net, quasi-recurrent over the bands",
        paper="Lai, Wei, Fu: Deep Plug-and-Play Prior for Hyperspectral Image Restoration, "
        "Neurocomputing",
        year=2022,
        parameters=14_277_155,
        recipe="rivals/grunet_icvl",
        marks=("down.1.gates.weight", "Down1.conv.conv.weight"),
        fast=False,
        bytes=1500,
    ),
    Method(
        key="man",
        label="MAN",
        kind="network",
        source="lightning_ras2s.networks.man:MAN",
        summary="3-D convolutions, recurrent both ways, gated layers",
        paper="Lai, Fu: Mixed Attention Network for Hyperspectral Image Denoising, arXiv "
        "2301.11525",
        year=2023,
        parameters=892_417,
        recipe="rivals/man_icvl",
        marks=("head.between_bands.candidate.0.weight", "head.inter_sa.ffn1.w_1.weight"),
        fast=False,
        bytes=1100,
    ),
    Method(
        key="man_v1",
        label="MAN v1",
        kind="network",
        source="lightning_ras2s.networks.man_v1:MANv1",
        summary="its first release: recurrent one way, gated channels",
        paper="Lai, Fu: Mixed Attention Network for Hyperspectral Image Denoising, arXiv "
        "2301.11525",
        year=2023,
        parameters=823_727,
        recipe="rivals/man_v1_icvl",
        marks=("head.1.ahead.0.weight", "head.1.ffn_w2.w_1.weight"),
        fast=False,
        bytes=900,
    ),
    Method(
        key="macnet",
        label="MAC-Net",
        kind="network",
        source="lightning_ras2s.networks.macnet:MACNet",
        summary="subspace, whose images are denoised by 3-D convolutions",
        paper="Xiong, Zhou, Zhao, Lu, Qian: MAC-Net: Model-Aided Nonlocal Neural Network for "
        "Hyperspectral Image Denoising, TGRS",
        year=2022,
        parameters=430_738,
        recipe="rivals/macnet_icvl",
        marks=("tail.1.keys.weight", "enl_3.keys.weight"),
        capturable=False,
        bytes=500,
    ),
    Method(
        key="grnet",
        label="GRNet",
        kind="network",
        source="lightning_ras2s.networks.grnet:GRNet",
        summary="U-Net with global reasoning",
        paper="Cao, Fu, Xu, Meng: Deep Spatial-Spectral Global Reasoning Network for "
        "Hyperspectral Image Denoising, TGRS",
        year=2022,
        parameters=44_393_919,
        recipe="rivals/grnet_icvl",
        marks=("encoder.1.reason.nodes.weight", "GCM1.conv1.weight"),
        bands=31,
        bytes=150,
    ),
    Method(
        key="mst",
        label="MST",
        kind="network",
        source="lightning_ras2s.networks.mst:MST",
        summary="U-Net of attention between channels",
        paper="Cai, Lin, Hu, Wang, Yuan, Zhang, Timofte, Van Gool: Mask-guided Spectral-wise "
        "Transformer for Efficient Hyperspectral Image Reconstruction, CVPR",
        year=2022,
        parameters=1_436_049,
        recipe="rivals/mst_icvl",
        marks=("bottleneck.0.attention.temperature", "bottleneck.blocks.0.0.rescale"),
        bands=31,
        bytes=150,
    ),
    Method(
        key="fidnet",
        label="FIDNet",
        kind="network",
        source="lightning_ras2s.networks.fidnet:FIDNet",
        summary="bands in space and frequencies, then a 3-D U-Net",
        paper="Xiao, Liu, Zhang, Wei: Bridging Fourier and Spatial-Spectral Domains for "
        "Hyperspectral Image Denoising, ACM Multimedia",
        year=2024,
        parameters=483_897,
        recipe="rivals/fidnet_icvl",
        marks=("frequencies.0.amplitude.conv.weight", "fourierNet.up.weight"),
        fast=False,
        bytes=1250,
    ),
    Method(
        key="tdsat",
        label="TDSAT",
        kind="network",
        source="lightning_ras2s.networks.tdsat:TDSAT",
        summary="3-D convolutions, attention over mixed bands and features",
        paper="Zhang, Dong, Zheng, Yu, Song, Zhang, Yuan: Three-Dimension Spatial-Spectral "
        "Attention Transformer for Hyperspectral Image Denoising, TGRS",
        year=2024,
        parameters=1_093_000,
        recipe="rivals/tdsat_icvl",
        marks=("head.1.attention.temperature", "head.1.attn.temperature"),
        fast=False,
        bytes=1650,
    ),
)
METHODS: dict[str, Method] = {method.key: method for method in _ALL}
"""Every method by its key. To add one, add its descriptor."""


def find(name: str) -> Method:
    """The method of a name: case, blanks and ``-`` for ``_`` do not matter; ``+s`` refines it.

    Raises:
        ValueError: If there is none; tells those that there are.
    """
    key = key_of(name)
    base = key.removesuffix(REFINED)
    if base not in METHODS:
        near = get_close_matches(base, METHODS, n=1)
        meant = f"did you mean {near[0]}? T" if near else "t"
        raise ValueError(
            f"unknown method {name!r}; {meant}here are {', '.join(METHODS)}, each also with "
            f"{REFINED} behind it"
        )
    return METHODS[base] if base == key else refined(METHODS[base])


def key_of(name: str) -> str:
    """The key that a name is written for, whether it is one or not."""
    key = re.sub(r"[\s_-]+", "_", name.strip().lower())
    return re.sub(rf"_?{re.escape(REFINED)}$", REFINED, key)


def refined(method: Method) -> Method:
    """The method with +S behind it."""
    return replace(method, key=method.key + REFINED, label=f"{method.label}+S", refined=True)


def select(names: Iterable[str]) -> list[Method]:
    """The methods of names and groups, each once, in their order.

    A group is ``fast``, ``classical`` (without weights), ``learned`` or ``all``; with ``+s``
    behind it, all of it is refined.

    Raises:
        ValueError: If a name is neither.
    """
    chosen: dict[str, Method] = {}
    for name in names:
        group, plus, _ = name.strip().lower().partition(REFINED)
        if group in GROUPS:
            members = [method for method in METHODS.values() if _belongs(method, group)]
            found = [refined(method) for method in members] if plus else members
        else:
            found = [find(name)]
        chosen |= {method.key: method for method in found}
    return list(chosen.values())


def _belongs(method: Method, group: str) -> bool:
    return {
        "fast": method.fast,
        "classical": method.kind == "model-based",
        "learned": method.kind == "network",
        "all": True,
    }[group]


def method_of(network: object) -> Method:
    """The method of a network, by its class; one that is not in METHODS has the class's name.

    Of several sizes of one class it is that with the most arguments in common; another size has
    the class's name as its label.
    """
    name = type(network).__name__
    path = f"{type(network).__module__}:{name}"
    arguments = getattr(network, "arguments", {})
    sizes = [
        method
        for method in METHODS.values()
        if method.kind == "network" and name == method.source.partition(":")[2]
        if type(network) is method.load()
    ]
    if sizes:

        def alike(size: Method) -> int:
            return sum(arguments.get(name) == value for name, value in size.arguments.items())

        nearest = max(sizes, key=alike)
        if alike(nearest) < len(nearest.arguments):  # none of the published sizes
            nearest = replace(nearest, label=name)
        return replace(nearest, bands=getattr(network, "bands", nearest.bands))
    key = re.sub(r"\W+", "_", name).lower()
    return Method(key, name, "network", path, "a network of your own", static_graph=False)


def _imported(source: str) -> Any:
    module, _, name = source.partition(":")
    return getattr(import_module(module), name)


def main(args: Sequence[str] | None = None) -> int:
    """Prints the methods as a table.

    Returns:
        The exit code, 0.
    """
    argparse.ArgumentParser("ras2s methods", description=__doc__).parse_args(args)
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"Methods ({REFINED} behind a key refines the result: ras2s{REFINED})")
    for column in ("key", "as printed", "weights", "bands", "what it does"):
        table.add_column(column)
    for method in METHODS.values():
        table.add_row(
            method.key,
            method.label,
            f"{method.parameters:,}" if method.parameters else "none",
            str(method.bands or "any"),
            method.summary,
        )
    console = Console()
    console.print(table)
    for group in GROUPS:
        members = ", ".join(method.key for method in METHODS.values() if _belongs(method, group))
        console.print(f"{group}: {members}", soft_wrap=True)
    for method in METHODS.values():
        if method.missing:
            console.print(f"{method.label} {method.remedy}", soft_wrap=True)
    for method in METHODS.values():
        if method.paper:
            trained = f"; trained by EXP={method.recipe}" if method.recipe else ""
            console.print(f"{method.label}: {method.paper} {method.year}{trained}", soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
