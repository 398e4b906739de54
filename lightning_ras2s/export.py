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
from typing import Any, Literal

import torch
from torch import Tensor, nn

from datamodules.atomic_write import atomic_write
from lightning_ras2s.methods import find
from lightning_ras2s.networks.native import plain_operations
from lightning_ras2s.weights import load_network

ENDINGS = {"onnx": ".onnx", "torch": ".pt2"}
TRACED = 16, 20  # pixels of the cube that is followed through the network
CHECKED = (33, 47), (5, 9), (16, 16)  # odd and even, larger and smaller
AGREES = 1e-4  # of a range of 0 to 1; rounding makes some 1e-6
Format = Literal["onnx", "torch"]


def export_network(
    network: nn.Module, bands: int, path: str | PathLike[str], to: Format = "onnx"
) -> float:
    """Writes a network for cubes [1, ``bands``, H, W] of any height and width.

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
        ValueError: If ``bands`` is less than 1, or what was written does not agree with the
            network.
        ImportError: If a package that ONNX needs is missing; the message says how to get it.
    """
    if bands < 1:
        raise ValueError(f"bands is {bands}; give the number of bands of your cubes")
    if to == "onnx":
        _require_onnx()
    network = deepcopy(network).eval().cpu()
    example = torch.rand(1, bands, *TRACED)
    free = ({2: torch.export.Dim("height"), 3: torch.export.Dim("width")},)
    with atomic_write(Path(path)) as aside, torch.no_grad():
        with plain_operations(), _silence():  # operators that others know
            if to == "onnx":
                _write_onnx(network, example, free, aside)
            else:
                program = torch.export.export(network, (example,), dynamic_shapes=free)
                torch.export.save(program, aside)
            run = _onnx_runner(aside) if to == "onnx" else torch.export.load(aside).module()
        difference = _largest_difference(network, run, bands)
        if not difference <= AGREES:
            raise ValueError(
                f"{path}: what was exported differs from the network by {difference:.1e} of the "
                "range, so it was not written"
            )
    return difference


def _require_onnx() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"{error.name} is not installed; ONNX needs pip install onnx onnxruntime onnxscript"
        ) from None


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


def _largest_difference(network: nn.Module, run: Callable[..., Tensor], bands: int) -> float:
    """Over all sizes; NaN if anything is."""
    generator = torch.Generator().manual_seed(0)
    cubes = [torch.rand(1, bands, *size, generator=generator) for size in CHECKED]
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
        f"{path}: [1, {options.bands}, height, width], {size:.1f} MB; differs from the network by "
        f"{difference:.0e} of the range at most"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
