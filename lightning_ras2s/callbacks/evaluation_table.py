"""The test's table: on screen, as evaluation.csv, and in W&B."""

from pathlib import Path

import lightning as L
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from rich.console import Console

from lightning_ras2s.evaluation import COLUMNS, mean_rows, screen_table, write_csv
from lightning_ras2s.module import HSIDenoiser
from lightning_ras2s.runs.best_effort import best_effort
from lightning_ras2s.runs.folder import RunFolder
from lightning_ras2s.runs.loggers import wandb_loggers


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
        console = Console()
        console.print(screen_table(rows))  # first: a full disk may be met next
        table = [[row[column] for column in COLUMNS] for row in [*rows, *mean_rows(rows)]]
        for logger in wandb_loggers(trainer.loggers):
            with best_effort("W&B takes no table", Exception):
                logger.log_table("evaluation", columns=list(COLUMNS), data=table)
        path = RunFolder(self.folder).evaluation_file
        write_csv(rows, path)
        console.print(f"All scenes: {path}", soft_wrap=True)
