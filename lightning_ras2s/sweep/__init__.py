"""Hyper-parameter sweeps: files in W&B's format, run by W&B, or by Optuna without an account."""
