"""What the environment says of the processes of a run: who started them, how many, and which."""

import os

INTERACTIVE = ("bash", "interactive")  # jobs of SLURM that people type in


def rank() -> int:
    """This process's number among those of the run; those that Lightning launches are not 0."""
    names = ("RANK", "SLURM_PROCID" if by_srun() else "LOCAL_RANK", "LOCAL_RANK")
    return next((int(os.environ[name]) for name in names if name in os.environ), 0)


def started() -> int:
    """How many processes torchrun or srun has started; 1 where neither has."""
    environment = os.environ
    if "RANK" in environment and "WORLD_SIZE" in environment:
        return int(environment["WORLD_SIZE"])
    if by_srun():
        return int(environment["SLURM_NTASKS"])
    return 1


def is_launched() -> bool:
    """Whether Lightning has launched this process, beside one that did all that is done once."""
    return started() == 1 and os.environ.get("LOCAL_RANK", "0") != "0"


def by_srun() -> bool:
    """Whether srun has started this process as one of several: not a shell, nor a single task."""
    environment = os.environ
    return (
        "SLURM_PROCID" in environment
        and int(environment.get("SLURM_NTASKS", "1")) > 1
        and environment.get("SLURM_JOB_NAME") not in INTERACTIVE
    )


def job_name() -> str | None:
    """What SLURM or torchrun calls the job, or where its processes meet; None outside of both."""
    environment = os.environ
    if "SLURM_JOB_ID" in environment:
        job, task = (environment.get(f"SLURM_ARRAY_{part}_ID") for part in ("JOB", "TASK"))
        return f"slurm-{job}_{task}" if job and task else f"slurm-{environment['SLURM_JOB_ID']}"
    name = environment.get("TORCHELASTIC_RUN_ID", "none")
    if name != "none":
        return f"job-{name}"
    if "MASTER_ADDR" in environment:
        return f"job-{environment['MASTER_ADDR']}-{environment.get('MASTER_PORT')}"
    return None


def can_meet() -> bool:
    """Whether something tells the processes of several machines where they meet."""
    return by_srun() or "MASTER_ADDR" in os.environ or "TORCHELASTIC_RUN_ID" in os.environ
