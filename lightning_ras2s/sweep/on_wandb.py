"""Runs a sweep on W&B: its server draws the parameters, its agents train here."""

import os
import subprocess
import sys
from pathlib import Path

from lightning_ras2s.sweep import devices
from lightning_ras2s.sweep.definition import Config, SweepError, variables

PROJECT = "lightning_ras2s"  # where the sweep's file names none


def run_agents(config: Config, count: int | None, agents: int, sweep_id: str | None) -> int:
    """Creates a sweep on W&B, or joins one, and runs agents on it until it ends.

    Args:
        config: The sweep.
        count: How many runs there shall be: in all of a sweep that is created, for each agent of
            one that is joined.
        agents: How many to run at once.
        sweep_id: The sweep to join.

    Returns:
        The exit code: the agents' worst.

    Raises:
        SweepError: If W&B does not take the sweep.
    """
    variables(config)
    project, entity = config.get("project") or PROJECT, config.get("entity")
    options = ["--project", project, *(["--entity", entity] if entity else [])]
    if sweep_id is None:
        cap = {} if count is None else {"run_cap": count}
        sweep_id = _create(config | cap, project, entity)
    elif count is not None:
        options += ["--count", str(count)]
    command = [sys.executable, "-m", "wandb", "agent", *options, sweep_id]
    # An agent starts the trainings as plain "python".
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    running = [
        subprocess.Popen(command, env=os.environ | {"PATH": path} | share)
        for share in devices.shares(agents)
    ]
    try:
        return max(abs(agent.wait()) for agent in running)
    except KeyboardInterrupt:
        for agent in running:
            agent.terminate()
        for agent in running:
            agent.wait()
        raise


def _create(config: Config, project: str, entity: str | None) -> str:
    import wandb

    try:
        return wandb.sweep(config, project=project, entity=entity)
    except wandb.errors.Error as error:
        raise SweepError(f"W&B does not take the sweep: {' '.join(str(error).split())}") from error
