"""Whether there is a W&B account to use."""

import os

from lightning_ras2s.runs.best_effort import best_effort
from lightning_ras2s.runs.errors import UserError


class AccountError(UserError):
    """W&B shall be used online and cannot be; told in one line."""


def has_account() -> bool:
    """Whether W&B is to be used online: not switched off by ``WANDB_MODE``, and logged in.

    Raises:
        AccountError: If ``WANDB_MODE=online`` asks for it without an account, or the key is none.
    """
    mode = os.environ.get("WANDB_MODE")
    if mode not in (None, "online"):
        return False
    try:
        import wandb
    except ImportError:
        return False
    found = False
    try:
        with best_effort("W&B cannot be asked for an account", TypeError):  # an old one
            found = wandb.login(prompt=False, verify=False)
    except (wandb.Error, ValueError) as error:
        said = next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")
        raise AccountError(
            f"W&B does not take the key that it was given ({said}); paste the whole of it, or set "
            "WANDB_MODE=offline"
        ) from error
    if found:
        return True
    if mode == "online":
        raise AccountError("WANDB_MODE=online, but no account: run wandb login, or unset it")
    return False
