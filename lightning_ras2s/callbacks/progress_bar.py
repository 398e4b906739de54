"""The bar that shows how far a training is."""

import lightning as L
from lightning.pytorch.callbacks import TQDMProgressBar


class ProgressBar(TQDMProgressBar):
    """Lightning's bar, which reads the training loss only when it is drawn.

    A metric that is logged with ``prog_bar=True`` is read after each step, which waits for the GPU.

    Args:
        refresh_rate: Steps between two drawings.
    """

    def __init__(self, refresh_rate: int = 10) -> None:
        super().__init__(refresh_rate=refresh_rate)

    def get_metrics(
        self, trainer: L.Trainer, pl_module: L.LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        """What stands behind the bar."""
        items = super().get_metrics(trainer, pl_module)
        items.pop("v_num", None)
        if "train/loss" in trainer.callback_metrics:
            items["train/loss"] = f"{trainer.callback_metrics['train/loss'].item():.4f}"
        return items
