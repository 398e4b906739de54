"""W&B around a run: kept in the run's folder, and what it has no more use for removed."""

import os
import shutil
import sys
from pathlib import Path

from lightning_ras2s.runs.account import has_account
from lightning_ras2s.runs.best_effort import best_effort
from lightning_ras2s.runs.folder import RunFolder

STAGING = Path("artifacts/staging")  # copies of what is to be uploaded
BLOCK, HEADER = 32768, 7  # bytes, of the log of a run


def prepare_wandb(run: RunFolder) -> None:
    """Keeps W&B inside the run's folder, and offline without an account.

    Raises:
        AccountError: As of ``has_account``.
    """
    for variable in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_ARTIFACT_DIR"):
        os.environ[variable] = str(run.wandb.absolute())
    os.environ.setdefault("WANDB_SILENT", "true")
    if not has_account() and "WANDB_MODE" not in os.environ and "wandb" in sys.modules:
        with best_effort("W&B cannot be set up", Exception):
            import wandb

            wandb.setup(wandb.Settings(mode="offline"))


def finish_wandb(run: RunFolder, code: int) -> None:
    """Ends W&B's run, and removes its copies that nothing refers to any more.

    Args:
        run: Where it is kept.
        code: The exit code.
    """
    if "wandb" in sys.modules:
        with best_effort("W&B's run is not closed", Exception):
            sys.modules["wandb"].finish(exit_code=code)
        with best_effort("W&B's copies are not removed"):
            _remove_copies(run.wandb)


def _remove_copies(folder: Path) -> None:
    """Keeps what the logs of offline runs name: ``wandb sync`` sends it later."""
    staged = list((folder / STAGING).rglob("*"))
    logs = [_joined(log.read_bytes()) for log in folder.glob("offline-run-*/*.wandb")]
    named = {path for path in staged if any(path.name.encode() in log for log in logs)}
    if logs and staged and not named:
        return  # a log of another kind
    for path in staged:
        if path.is_file() and path not in named:
            path.unlink()
    if not named:
        shutil.rmtree(folder / STAGING.parent, ignore_errors=True)


def _joined(log: bytes) -> bytes:
    """A log without the headers that divide what goes over the end of a block."""
    starts = range(0, len(log), BLOCK)
    return b"".join(log[start + HEADER if start else 0 : start + BLOCK] for start in starts)
