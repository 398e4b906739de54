"""METHODS: every denoiser by its key, with what must be known of it before it is built.

``find("ras2s+s")`` gives one; ``select(["fast", "hsdt-s"])`` gives several, groups among them.
``ras2s methods`` prints them.
"""

import argparse
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
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
        summary: What it does, in a few words.
        paper: Where it was published; empty for what needs no reference.
        year: Of the paper.
        parameters: Trainable weights at the published size; 0 for none.
        bands: The number of bands that it takes; None for any.
        multiple_of: Height and width are mirrored up to a multiple of it, and cropped again.
        fast: Takes no longer than RAS2S.
        static_graph: Each training step has the same operations, so that DDP may count on it.
        capturable: A pass can be replayed as a CUDA graph.
        recipe: The experiment that trains it.
        marks: Tensors that its weights have under one of these names, ours or its authors'.
        reader: Makes the network of such tensors, ``module:name``.
        weights: The file of those that come with the package.
        needs: Packages that have to be installed, as Python imports them.
        extra: Of ours, that brings them.
        bytes: Of memory that it takes for each value of a cube.
        refined: Followed by +S.
    """

    key: str
    label: str
    kind: Literal["network", "model-based"]
    source: str
    summary: str
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
    reader: str = ""
    weights: str = ""
    needs: tuple[str, ...] = ()
    extra: str = ""
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
    def missing(self) -> list[str]:
        """The packages that it needs and that are not installed."""
        return [package for package in self.needs if find_spec(package) is None]

    @property
    def remedy(self) -> str:
        """What is missing, and how it is had; empty where nothing is."""
        if not self.missing:
            return ""
        return f"needs {' and '.join(self.missing)}: pip install 'lightning-ras2s[{self.extra}]'"

    def load(self) -> Any:
        """Imports it: a network's class, or a function of [N, B, H, W].

        Raises:
            ValueError: If a package that it needs is not installed.
        """
        if self.missing:
            raise ValueError(f"{self.label} {self.remedy}")
        return _imported(self.source)

    def network_of(self, state: Mapping[str, Any], arguments: Mapping[str, Any] | None) -> Any:
        """A network with these weights.

        Args:
            state: Its tensors, by our names or its authors'.
            arguments: Of its class; None to read them off the tensors.
        """
        return _imported(self.reader)(state, arguments)


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
        needs=("skimage", "pywt"),
        extra="classical",
    ),
    Method(
        key="mnf",
        label="MNF",
        kind="model-based",
        source="lightning_ras2s.classical.mnf:mnf",
        summary="minimum noise fraction: components of more signal than noise",
        needs=("spectral",),
        extra="classical",
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
        needs=("bmnd",),
        extra="bm4d",
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
        reader="lightning_ras2s.networks.ras2s.loading:network_of",
        weights="ras2s.safetensors",
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
    """The method of a network, by its class; one that is not in METHODS has the class's name."""
    name = type(network).__name__
    path = f"{type(network).__module__}:{name}"
    for method in METHODS.values():
        same_name = method.kind == "network" and name == method.source.partition(":")[2]
        if same_name and type(network) is method.load():
            return method
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
    for column in ("key", "as printed", "weights", "bands", "trained by EXP=", "what it does"):
        table.add_column(column)
    for method in METHODS.values():
        table.add_row(
            method.key,
            method.label,
            f"{method.parameters:,}" if method.parameters else "none",
            str(method.bands or "any"),
            method.recipe,
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
            console.print(f"{method.label}: {method.paper} {method.year}", soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
