"""The test's table: on screen, as evaluation.csv, and in W&B."""

from pathlib import Path

import lightning as L
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from rich.console import Console

from lightning_ras2s.evaluation import COLUMNS, mean_rows, screen_table, write_csv
from lightning_ras2s.module import HSIDenoiser


class EvaluationTable(L.Callback):
    """Shows every method under every noise case when a test ends.

    Args:
        folder: Where ``evaluation.csv`` goes.
    """

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    @rank_zero_only
    def on_test_end(self, trainer: L.Trainer, pl_module: HSIDenoiser) -> None:  # type: ignore[override]
        """Writes the rows that the module kept; there are none without clean scenes."""
        rows = pl_module.evaluation
        if not rows:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "evaluation.csv"
        write_csv(rows, path)
        console = Console()
        console.print(screen_table(rows))
        console.print(f"All scenes: {path}", soft_wrap=True)
        table = [[row[column] for column in COLUMNS] for row in [*rows, *mean_rows(rows)]]
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_table("evaluation", columns=list(COLUMNS), data=table)
