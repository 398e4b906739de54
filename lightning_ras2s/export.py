"""The command behind `ras2s export`: a network for elsewhere, as ONNX or as a program of torch."""

import argparse
import logging
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from os import PathLike
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from datamodules.atomic_write import atomic_write
from lightning_ras2s.methods import find, method_of
from lightning_ras2s.networks.blocks.denoiser import Denoiser
from lightning_ras2s.networks.native import plain_operations
from lightning_ras2s.weights import load_network

ENDINGS = {"onnx": ".onnx", "torch": ".pt2"}
FORMATS = {"onnx": "ONNX", "torch": "a program of torch"}
TRACED = 16, 20  # pixels of the cube that is followed through the network
CHECKED = (33, 47), (5, 9), (16, 16)  # odd and even, larger and smaller
AGREES = 1e-4  # of a range of 0 to 1; rounding makes some 1e-6
Format = Literal["onnx", "torch"]


def export_network(
    network: nn.Module, bands: int, path: str | PathLike[str], to: Format = "onnx"
) -> float:
    """Writes a network for cubes [1, ``bands``, H, W] of any height and width that it takes.

    One that mirrors its cubes up to a multiple of their size is written without that: what is
    written takes multiples.

    It takes ``noisy``, float32 with the scene's range at 0 to 1, and gives ``denoised``. Nothing of
    this package is needed to run it: ``onnxruntime`` for ONNX, ``torch.export.load(path).module()``
    for a program of torch. What was written is run beside the network on odd and even sizes before
    the file appears.

    Args:
        network: Denoises [N, B, H, W].
        bands: B.
        path: Of the file.
        to: ``onnx`` or ``torch``.

    Returns:
        The largest difference to the network.

    Raises:
        ValueError: If ``bands`` is less than 1 or not that of the network, it cannot be written, or
            what was written does not agree with it.
        ImportError: If a package that ONNX needs is missing; the message says how to get it.
    """
    if bands < 1:
        raise ValueError(f"bands is {bands}; give the number of bands of your cubes")
    if to == "onnx":
        _require_onnx()
    method = method_of(network)
    if not method.capturable:
        raise ValueError(
            f"{method.label} cannot be written: what it computes hangs on the values of the scene"
        )
    if method.bands not in (None, bands):
        raise ValueError(f"bands is {bands}, and this {method.label} takes {method.bands}")
    network = deepcopy(network).eval().cpu()
    rule = size_rule(network)
    network = Unframed(network) if isinstance(network, Denoiser) else network
    example = torch.rand(1, bands, *rule.fitting(TRACED))
    free = ({2: rule.free("height"), 3: rule.free("width")},)
    with atomic_write(Path(path)) as aside, torch.no_grad():
        try:
            with plain_operations(), _silence():  # operators that others know
                (_write_onnx if to == "onnx" else _write_program)(network, example, free, aside)
                run = _onnx_runner(aside) if to == "onnx" else torch.export.load(aside).module()
            difference = _largest_difference(network, run, bands, rule)
        except Exception as error:  # of many kinds, and long
            raise ValueError(
                f"{method.label} cannot be written as {FORMATS[to]}: {_reason(error)}; "
                f"TO={'torch' if to == 'onnx' else 'onnx'} may do"
            ) from error
        if not difference <= AGREES:
            raise ValueError(
                f"{path}: what was exported differs from the network by {difference:.1e} of the "
                "range, so it was not written"
            )
    return difference


def _write_program(network: nn.Module, example: Tensor, free: Any, path: Path) -> None:
    torch.export.save(torch.export.export(network, (example,), dynamic_shapes=free), path)


def _require_onnx() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"{error.name} is not installed; ONNX needs pip install onnx onnxruntime onnxscript"
        ) from None


def _reason(error: BaseException) -> str:
    """The first line of what was at the bottom of it."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__


def _write_onnx(network: nn.Module, example: Tensor, free: Any, path: Path) -> None:
    names: dict[str, Any] = {"input_names": ["noisy"], "output_names": ["denoised"]}
    program = torch.onnx.export(
        network, (example,), dynamic_shapes=free, dynamo=True, verbose=False, **names
    )
    assert program is not None
    for node in program.model.graph:  # where each came from in our code: half of the file
        node.metadata_props.clear()
    program.save(path)


def _onnx_runner(path: Path) -> Callable[[Tensor], Tensor]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda noisy: torch.from_numpy(session.run(None, {"noisy": noisy.numpy()})[0])


class Unframed(nn.Module):
    """A network for sizes that need no frame."""

    def __init__(self, network: Denoiser) -> None:
        super().__init__()
        self.network = network

    def forward(self, noisy: Tensor) -> Tensor:
        """[N, B, H, W] -> [N, B, H, W]."""
        return self.network.denoise(noisy)


class SizeRule(NamedTuple):
    """Which heights and widths what is written takes: multiples, from the least on."""

    multiple: int
    least: int

    def __str__(self) -> str:
        """Behind the sizes; nothing where any will do."""
        multiples = f"multiples of {self.multiple}, " if self.multiple > 1 else ""
        return f" ({multiples}at least {self.least})" if self.least > 1 else ""

    def fitting(self, size: tuple[int, int]) -> list[int]:
        """A size that it takes, not smaller."""
        at_least = (max(pixels, self.least) for pixels in size)
        return [pixels + -pixels % self.multiple for pixels in at_least]

    def free(self, name: str) -> Any:
        """The symbol of a height or width."""
        if self.multiple == 1:
            return torch.export.Dim(name, min=self.least)
        times = torch.export.Dim(f"{name}_by_{self.multiple}", min=self.least // self.multiple)
        return self.multiple * times


ANY = SizeRule(1, 1)


def size_rule(network: nn.Module) -> SizeRule:
    """Of a network; torch makes another program of what is 1, such as the number of windows."""
    if not isinstance(network, Denoiser):
        return ANY
    multiple, least = network.multiple_of, network.least
    return SizeRule(multiple, 2 * multiple if multiple > 1 else least + (least > 1))


def _largest_difference(
    network: nn.Module, run: Callable[..., Tensor], bands: int, rule: SizeRule = ANY
) -> float:
    """Over all sizes; NaN if anything is."""
    generator = torch.Generator().manual_seed(0)
    cubes = [torch.rand(1, bands, *rule.fitting(size), generator=generator) for size in CHECKED]
    largest = [(run(noisy) - network(noisy)).abs().max() for noisy in cubes]
    return torch.stack(largest).max().item()


@contextmanager
def _silence() -> Iterator[None]:
    """Without what the exporter says to its own developers."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    made = argparse.ArgumentParser(
        prog="ras2s export",
        description="Writes a network for cubes [1, BANDS, height, width] of any height and width, "
        "values 0 to 1. Takes about ten seconds a band.",
    )
    made.add_argument("--bands", type=int, required=True, help="of the cubes")
    made.add_argument("--to", choices=tuple(ENDINGS), default="onnx", help="by default onnx")
    made.add_argument("-o", "--output", help="the file to be; METHOD_BANDS.onnx or .pt2 by default")
    made.add_argument("--method", default="ras2s", help="whose shipped weights, without --weights")
    made.add_argument("--weights", help="a checkpoint, or a run's folder; ours by default")
    return made


def main(args: Sequence[str] | None = None) -> int:
    """Runs the command.

    Returns:
        The exit code: 0; 2 for a mistake.
    """
    options = parser().parse_args(args)
    try:
        method = find(options.method)
        if method.refined or method.kind != "network":
            raise ValueError(f"{method.label} is no network; export one of ras2s methods")
        network = load_network(options.weights or method.pretrained)
        path = Path(options.output or f"{method.key}_{options.bands}{ENDINGS[options.to]}")
        path.parent.mkdir(parents=True, exist_ok=True)
        difference = export_network(network, options.bands, path, options.to)
    except (ValueError, ImportError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)  # noqa: T201
        return 2
    size = path.stat().st_size / 1e6
    print(  # noqa: T201
        f"{path}: [1, {options.bands}, height, width]{size_rule(network)}, {size:.1f} MB; differs "
        f"from the network by {difference:.0e} of the range at most"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
