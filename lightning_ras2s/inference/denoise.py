"""A cube in, a cube out: what to call with a scene of one's own."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from datamodules.array_checks import tell_order
from datamodules.file_facts import FileFacts
from datamodules.scene import Scene
from lightning_ras2s.inference.denoise_file import Job, denoise_file, identity_of
from lightning_ras2s.inference.prepared_scene import FileScale
from lightning_ras2s.inference.scaling import (
    Range,
    fill_band,
    find_range,
    range_of_file,
    take_off,
)
from lightning_ras2s.inference.subspace import refine
from lightning_ras2s.inference.whole_cubes import whole_cubes
from lightning_ras2s.methods import Method, find, method_of
from lightning_ras2s.weights import load_network

Cube = TypeVar("Cube", np.ndarray, Tensor, Scene, str, Path)
Scale = FileScale | None
Device = str | torch.device | None


def denoise(
    cube: Cube,
    method: str = "ras2s+s",
    weights: str | PathLike[str] | None = None,
    scale: Scale = "auto",
    strength: float = 1.0,
    device: Device = None,
    output: str | PathLike[str] | None = None,
) -> Cube:
    """Denoises a hyperspectral cube, a scene or a file.

    Args:
        cube: [B, H, W], an array or a tensor of real numbers in any units; or a `Scene`, whose bad
            bands stay as they are; or the path of a file in any format of `read_scene`, of any
            size. What is NaN, infinite or nodata is left out and comes back as it is. Of an array
            that is probably [H, W, B] a `DataNote` tells.
        method: A key of ``methods.METHODS``, with ``+s`` behind it for the refined result.
        weights: A checkpoint of the method's network; by default the weights that come with the
            package.
        scale: ``auto`` finds the range of the scene, which the method sees as 0 to 1; two numbers
            say it, in the units of the cube; None takes the values as they are; ``file`` takes what
            the file of a scene declares as 0 and 1, such as reflectance.
        strength: Share of what the method takes for noise that is removed, 0 to 1.
        device: Where to compute; by default where a tensor is, for others a GPU if there is one.
            Several, such as ``cuda:0,cuda:1``, share the tiles of a file.
        output: The file for what became of a file.

    Returns:
        The denoised cube, of the same kind, type and units; integers are rounded and saturated. Of
        a file, the path of the output.

    Raises:
        ValueError: If the cube, the method, the scale or the strength is none, or the weights are
            of another method or cannot be read.
        FileNotFoundError: If there is no such file of weights.
        DataError: If a file cannot be read or written.
    """
    if not 0 <= strength <= 1:
        raise ValueError(f"strength is {strength}; give a share from 0 to 1")
    found = find(method)
    where = devices_of(device) if device is not None else (_place(cube),)
    given: Any = cube
    if isinstance(given, str | PathLike):
        if output is None:
            raise ValueError(f"{given}: a file in needs output=, the file for what comes out")
        job = make_job(found, weights, where, scale=_scale_of(scale), strength=strength)
        kind: Any = type(given)
        made: Any = kind(denoise_file(given, output, job).path)
        return made
    if output is not None:
        raise ValueError("output= is for a file in; an array, tensor or scene comes back as such")
    if isinstance(given, Scene):
        made = _denoise_scene(given, found, weights, scale, strength, where[0])
        return made
    values = _checked(cube)
    tell_order(given, "cube")
    return _like(cube, _denoise_array(values, found, weights, scale, strength, where[0]))


def _denoise_array(
    values: np.ndarray,
    found: Method,
    weights: str | PathLike[str] | None,
    scale: Scale,
    strength: float,
    place: torch.device,
) -> np.ndarray:
    base, _ = denoiser_of(found, weights, (place,))
    valid = np.isfinite(values) if values.dtype.kind == "f" else None
    if valid is not None and valid.all():
        valid = None
    filled = values if valid is None else _filled(values, valid)
    low, high = _range(scale, filled, valid)
    noisy = _scaled(filled, low, high).to(place)
    there = None if valid is None else torch.from_numpy(valid).to(place)
    with torch.inference_mode():
        denoised = base(noisy[None])[0].float()
        if found.refined:
            denoised, _ = refine(noisy, denoised, there)
        removed = (noisy - denoised).cpu().numpy()
    removed = removed.astype(np.float64) * (strength * (high - low))
    masks = [None] * len(values) if valid is None else valid
    bands = zip(values, removed, masks, strict=True)
    return np.stack([take_off(*band) for band in bands])


def make_job(
    method: Method,
    weights: str | PathLike[str] | None,
    devices: tuple[torch.device, ...],
    **options: Any,
) -> Job:
    """How a file is denoised: the method with its weights on devices, and options of `Job`.

    Raises:
        ValueError: If the weights are of another method or cannot be read.
        FileNotFoundError: If there is no such file.
    """
    denoiser, network = denoiser_of(method, weights, devices)
    name = None if weights is None else str(weights)
    return Job(method, denoiser, identity_of(network), devices, weights=name, **options)


def devices_of(names: str | torch.device) -> tuple[torch.device, ...]:
    """The devices of a name, or of several with commas between, each once.

    Raises:
        ValueError: If one cannot be used.
    """
    found = []
    for name in str(names).split(","):
        try:
            found.append(torch.empty(0, device=name.strip()).device)
        except (RuntimeError, AssertionError) as error:
            first = next(iter(str(error).splitlines()), "")
            raise ValueError(f"device {name.strip()!r} cannot be used ({first})") from None
    return tuple(dict.fromkeys(found))


def default_device() -> torch.device:
    """A GPU if there is one."""
    return devices_of("cuda" if torch.cuda.is_available() else "cpu")[0]


def _scale_of(scale: Scale) -> FileScale:
    if scale in ("auto", "file"):
        return scale
    if scale is None:
        return (0.0, 1.0)
    return tuple(_range(scale, np.empty(0), None))  # type: ignore[return-value]


def _denoise_scene(
    scene: Scene,
    found: Method,
    weights: str | PathLike[str] | None,
    scale: Scale,
    strength: float,
    place: torch.device,
) -> Scene:
    """A scene of which bad bands and what is not valid stay as they are."""
    good = [band for band in range(len(scene.cube)) if band not in scene.bad_bands]
    if not good:
        raise ValueError(f"scene {scene.name}: all bands are bad; there is nothing to denoise")
    if scale == "file":
        scale = range_of_file(scene.file or FileFacts(), f"scene {scene.name}")
    values = scene.cube[good].astype(np.float64)
    values = values * scene.gain + scene.offset
    if scene.valid is not None:
        valid = np.broadcast_to(scene.valid, scene.shape)[good]
        values[~valid] = np.nan
    clean = _denoise_array(values, found, weights, scale, strength, place)
    cube = scene.cube.copy()
    denoised = ((clean - scene.offset) / scene.gain).astype(np.float32)
    cube[good] = np.where(np.isfinite(denoised), denoised, cube[good])
    return replace(scene, cube=cube)


def _checked(cube: object) -> np.ndarray:
    if not isinstance(cube, np.ndarray | Tensor):
        raise ValueError(
            "denoise takes an array or a tensor [B, H, W], a Scene or a path, not a "
            f"{type(cube).__name__}"
        )
    if isinstance(cube, Tensor):
        cube = cube.detach().cpu()
        values = (cube.float() if cube.dtype == torch.bfloat16 else cube).numpy()
    else:
        values = cube
    if values.ndim != 3 or 0 in values.shape:
        each = ": denoise each cube[i] of a batch" if values.ndim == 4 else ""
        raise ValueError(
            f"denoise takes a cube [B, H, W] that is not empty, not {values.shape}{each}"
        )
    if values.dtype.kind not in "iuf":
        raise ValueError(f"denoise takes real numbers, not {values.dtype}")
    return values


def _place(cube: object) -> torch.device:
    if isinstance(cube, Tensor):
        return cube.device
    return default_device()


def denoiser_of(
    method: Method, weights: str | PathLike[str] | None, devices: tuple[torch.device, ...]
) -> tuple[Callable[[Tensor], Tensor], nn.Module | None]:
    """What denoises [N, B, H, W] on any of the devices, without +S; and the network, if it is one.

    Raises:
        ValueError: If the weights are of another method or cannot be read.
        FileNotFoundError: If there is no such file.
    """
    if method.kind != "network":
        if weights is not None:
            raise ValueError(f"{method.label} has no weights; leave out {weights}")
        return whole_cubes(method.load(), method), None
    network: nn.Module = load_network(method.pretrained if weights is None else weights)
    loaded = method_of(network)
    if loaded.key != method.base:
        raise ValueError(f"{weights}: the weights of {loaded.label}, not of {method.label}")
    copies = [deepcopy(network).to(device) for device in devices]
    networks = {next(copy.parameters()).device: copy for copy in copies}
    return whole_cubes(lambda noisy: networks[noisy.device](noisy), loaded), network


def _filled(values: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """The nearest valid value of the band where there is none, or the nearest band of any."""
    some = [number for number, there in enumerate(valid) if there.any()]
    filled = values.copy()
    for number in some:
        filled[number] = fill_band(values[number], valid[number])
    for number in set(range(len(values))).difference(some) if some else ():
        filled[number] = filled[min(some, key=lambda other: abs(other - number))]
    return filled


def _range(scale: Scale, values: np.ndarray, valid: np.ndarray | None) -> Range:
    if scale == "auto" or (valid is not None and not valid.any()):
        return find_range(values, valid)
    if scale is None:
        return Range(0.0, 1.0)
    if scale == "file":
        raise ValueError("scale='file' is for files and scenes of files; an array declares none")
    if isinstance(scale, str) or len(scale) != 2 or not scale[0] < scale[1]:
        raise ValueError(f"scale is {scale!r}; give 'auto', None, or the lowest and highest value")
    return Range(float(scale[0]), float(scale[1]))


def _scaled(values: np.ndarray, low: float, high: float) -> Tensor:
    """The cube with its range at 0 to 1, float32."""
    noisy = torch.empty(values.shape)
    for number, band in enumerate(values):  # in float64, a band at a time
        noisy[number] = torch.from_numpy((band.astype(np.float64) - low) / (high - low))
    return noisy


def _like(cube: Any, result: np.ndarray) -> Any:
    """An array or a tensor, as the cube is."""
    if isinstance(cube, Tensor):
        return torch.from_numpy(result).to(cube)
    return result
