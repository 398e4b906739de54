#!/usr/bin/env bash
# sbatch --nodes=2 experiments/slurm/train.sh icvl_mixture [--model.learning_rate=5e-4 ...]
# One training on the GPUs of one or several nodes, a process each; RUN is runs/<experiment>/slurm-<job>.
#
# Set for your cluster: the GPUs of a node, as gpus-per-node and as ntasks-per-node, and the partition.
# All nodes must see this folder. Two minutes before its time is over the job gets SIGINT: it ends its
# step, writes a checkpoint and is queued again, to go on exactly there. Pre-emption (SIGTERM) does the
# same where the partition requeues; scancel ends it for good, and sbatch with RUN=<that folder> in
# front goes on with it. NCCL connects GPUs; on nodes without any it is gloo. Of several networks,
# NCCL_SOCKET_IFNAME and GLOO_SOCKET_IFNAME choose one.
#SBATCH --nodes=1
#SBATCH --gpus-per-node=4
#SBATCH --ntasks-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=INT@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=slurm-%j.log
set -euo pipefail
experiment="${1:-icvl_mixture}"
shift || true
run="${RUN:-runs/$experiment/slurm-$SLURM_JOB_ID}"
begin=("$experiment")
if compgen -G "$run/checkpoints/*.ckpt" > /dev/null; then begin=(--resume="$run"); fi
code=0
srun --kill-on-bad-exit=1 .venv/bin/python -m lightning_ras2s fit "${begin[@]}" --run_dir="$run" \
  --trainer.devices="${SLURM_NTASKS_PER_NODE:-1}" --trainer.num_nodes="${SLURM_NNODES:-1}" "$@" || code=$?
if (( code == 130 )); then
  exec scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
