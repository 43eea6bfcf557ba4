#!/usr/bin/env bash
# One training on the GPUs of several nodes, one process per GPU:
#
#   sbatch --nodes 2 experiments/launch/slurm.sh avatar /shared/talk /shared/run --minutes 30
#
# Arguments: SYSTEM CAPTURE RUN [flags of `jaxhead train`]. Capture and run lie on a file system that
# all nodes see. The same command goes on with a run that was interrupted: SLURM sends SIGTERM before
# the time is up, one process's signal saves and stops all of them at one step, and --requeue starts
# the job again. JAXHEAD names another program than `jaxhead`. Every task sees all GPUs of its node
# (not --gpus-per-task): JAX itself takes the one of the task's local number.
#SBATCH --job-name=jaxhead
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --signal=TERM@60
#SBATCH --requeue
set -euo pipefail
[ $# -ge 3 ] || { echo "usage: sbatch slurm.sh SYSTEM CAPTURE RUN [flags]" >&2; exit 2; }
system=$1 capture=$2 run=$3
shift 3
exec srun --kill-on-bad-exit=1 "${JAXHEAD:-jaxhead}" train "$system" "$capture" --out "$run" \
  --distributed "$@"
