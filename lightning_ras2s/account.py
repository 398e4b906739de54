"""Whether there is a W&B account to use."""

import os


class AccountError(Exception):
    """W&B shall be used online and cannot be; told in one line."""


def has_account() -> bool:
    """Whether W&B is to be used online: not switched off by ``WANDB_MODE``, and logged in.

    Raises:
        AccountError: If ``WANDB_MODE=online`` asks for it without an account.
    """
    mode = os.environ.get("WANDB_MODE")
    if mode not in (None, "online"):
        return False
    import wandb

    if wandb.login(prompt=False, verify=False):
        return True
    if mode == "online":
        raise AccountError("WANDB_MODE=online, but no account: run wandb login, or unset it")
    return False
