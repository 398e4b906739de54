#!/usr/bin/env bash
# sbatch --array=0-7 experiments/slurm/sweep.sh regions icvl_mixture (or an experiment's file)
# Eight agents on one sweep, a GPU each; every task takes trials until there are enough.
#
# Without W&B they share the study in runs/sweeps/, which all nodes must see. Submitted again, the
# sweep goes on where it stopped; COUNT=20 in front of sbatch is the number of trials in all.
# With W&B: make the sweep once, wandb sweep --project lightning_ras2s experiments/sweeps/<name>.yaml,
# and put SWEEP_ID=<its id> in front of sbatch; COUNT is then that of each task.
#SBATCH --gpus=1
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --output=slurm-%A_%a.log
set -euo pipefail
if [[ -z "${SWEEP_ID:-}" ]]; then export WANDB_MODE=offline; fi
exec .venv/bin/python -m lightning_ras2s sweep "${1:-regions}" "${2:-quickstart}" \
  ${COUNT:+--count="$COUNT"} ${SWEEP_ID:+--sweep_id="$SWEEP_ID"}
