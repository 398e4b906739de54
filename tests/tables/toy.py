"""Small scenes, and cells that nobody has computed."""

import numpy as np

from lightning_ras2s.methods import find
from lightning_ras2s.tables.cells import Cell
from lightning_ras2s.tables.compute import Plan, Tables


def put_scenes(folder, names=("alpha", "beta"), bands=8, side=16):
    """Writes smooth cubes as files, and gives the name of the dataset."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        rng = np.random.default_rng(number)
        spectra = rng.random((bands, 3)).cumsum(0)
        maps = rng.random((3, side, side)).cumsum(1).cumsum(2)
        np.save(folder / f"{name}.npy", np.tensordot(spectra, maps, 1).astype(np.float32))
    return f"scenes:{folder}"


def cell(method="ras2s", psnr=30.0, dataset="kaist", case="noniid", scene="a", seed=1, **more):
    metrics = {"psnr_db": psnr, "ssim": psnr / 50, "sam_rad": 1 / psnr, "ergas": 100 / psnr}
    values = {"weights": "", "code": "c", "cubes": f"{dataset}{case}{scene}{seed}", "seconds": 0.5,
              "memory": 3_000_000, "device": "CPU", "threads": 2} | more  # fmt: skip
    return Cell(dataset, case, scene, seed, method, metrics=metrics, **values)


def plan(*methods, datasets=("kaist",), cases=("noniid",), seeds=(1,)):
    return Plan([find(name) for name in methods], datasets, cases, seeds)


def tables(*cells, **more):
    return Tables(list(cells), **more)
