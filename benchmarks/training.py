"""What the training loop adds to its steps: patches, noise, logging and Lightning."""

import time
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import LearningRateMonitor
from lightning.pytorch.loggers import CSVLogger
from rich.console import Console
from rich.table import Table

from benchmarks import loading
from benchmarks.timing import device, seconds, spread, tell
from lightning_ras2s import RAS2S, HSIDenoiser
from lightning_ras2s.callbacks import Throughput


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    Attributes:
        batch_size: Patches of 31 x 64 x 64 in a step.
        steps: In a round, of the loop and of the bare step each.
        rounds: In which the two take turns.
    """

    batch_size: int = 8
    steps: int = 6
    rounds: int = 3


QUICK = Plan(batch_size=1, steps=8, rounds=1)


class Clock(L.Callback):
    """Notes when each step has ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_batch_end(self, *args: Any) -> None:
        """Waits for the device, as a bare step is timed."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.ends.append(time.perf_counter())

    def durations(self) -> list[float]:
        """Seconds of each step but the first."""
        return [end - start for start, end in pairwise(self.ends)]


def run_loop(
    denoiser: HSIDenoiser, data: L.LightningDataModule, steps: int, folder: str
) -> list[float]:
    """Seconds of steps of a training, with what ``experiments/defaults.yaml`` has it log."""
    clock = Clock()
    trainer = L.Trainer(
        max_steps=steps,
        log_every_n_steps=10,
        limit_val_batches=0,
        accelerator=device().type,
        devices=1,
        logger=CSVLogger(folder),
        callbacks=[clock, Throughput(), LearningRateMonitor()],
        enable_progress_bar=False,
        gradient_clip_val=1e6,
        default_root_dir=folder,
        enable_checkpointing=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    trainer.fit(denoiser, datamodule=data)
    return clock.durations()


def run_bare(denoiser: HSIDenoiser, batch: dict[str, Any], steps: int) -> list[float]:
    """Seconds of forward, loss, backward and Adam on a batch that lies ready."""
    denoiser.to(device())
    optimizer = torch.optim.Adam(denoiser.parameters(), 1e-4, foreach=True)

    def step() -> None:
        optimizer.zero_grad()
        denoiser.loss(denoiser.network(batch["noisy"]), batch["clean"]).backward()
        optimizer.step()

    return [seconds(step) for _ in range(steps)][1:]


def measure(plan: Plan) -> dict[str, Any]:
    """Both in turns, on synthetic scenes."""
    torch.manual_seed(0)
    denoiser = HSIDenoiser(RAS2S(zero_start=True), schedule="constant")
    rounds = []
    with TemporaryDirectory(prefix="benchmark_") as folder:
        loading.write_scenes(Path(folder, "scenes"), loading.QUICK)
        data = loading.StoredScenes(
            Path(folder, "scenes"),
            batch_size=plan.batch_size,
            patches_per_epoch=plan.batch_size * plan.steps,
        )
        data.setup("fit")
        batch = next(iter(data.train_dataloader()))
        batch = data.transfer_batch_to_device(batch, device(), 0)
        batch = data.on_after_batch_transfer(batch, 0)
        for _ in range(plan.rounds + 1):
            rounds.append(
                {
                    "bare": median(run_bare(denoiser, batch, plan.steps)),
                    "loop": median(run_loop(denoiser, data, plan.steps, folder)),
                }
            )
    counted = rounds[1:]
    return {
        "patches": [plan.batch_size, loading.BANDS, loading.PATCH, loading.PATCH],
        "plan": asdict(plan),
        "device": str(device()),
        "bare_seconds": spread([one["bare"] for one in counted]),
        "loop_seconds": spread([one["loop"] for one in counted]),
        "ratio": spread([one["loop"] / one["bare"] for one in counted]),
    }


def show(result: dict[str, Any], console: Console) -> None:
    """Prints a table."""
    shape = "x".join(map(str, result["patches"]))
    table = Table(title=f"Seconds of a training step of {shape}, device {result['device']}")
    for header in ("the step alone", "in the training loop", "loop / step"):
        table.add_column(header, justify="right")
    table.add_row(
        *(tell(result[key], digits) for key, digits in (("bare_seconds", 3), ("loop_seconds", 3))),
        tell(result["ratio"], 3),
    )
    console.print(table)
