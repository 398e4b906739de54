"""The best weights, in W&B."""

import math
from pathlib import Path

import lightning as L
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from lightning_ras2s.runs.best_effort import best_effort
from lightning_ras2s.runs.loggers import wandb_loggers


class ModelArtifact(L.Callback):
    """Keeps the best checkpoint of a training as the artifact ``model-<run id>`` of W&B.

    Lightning's own ``log_model`` ends the run with an error where the score is not finite, and
    keeps the last checkpoint as a second version.
    """

    @rank_zero_only
    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Logs it, with its score; without a checkpoint there is nothing to log."""
        kept = trainer.checkpoint_callback
        path = Path(getattr(kept, "best_model_path", ""))
        if not path.is_file():
            return
        score = math.nan if kept.best_model_score is None else float(kept.best_model_score)  # type: ignore[union-attr]
        facts = {"monitor": kept.monitor, "score": score if math.isfinite(score) else None}  # type: ignore[union-attr]
        for logger in wandb_loggers(trainer.loggers):
            with best_effort("W&B takes no weights", Exception):
                import wandb

                run = logger.experiment
                artifact = wandb.Artifact(f"model-{run.id}", type="model", metadata=facts)
                artifact.add_file(str(path.absolute()), name=path.name, policy="immutable")
                run.log_artifact(artifact, aliases=["best", "latest"])
