#!/usr/bin/env bash
# One training on all hosts of a Cloud TPU pod slice, one process per host:
#
#   experiments/launch/tpu_pod.sh my-slice us-central2-b avatar /mnt/shared/talk /mnt/shared/run
#
# Arguments: TPU ZONE SYSTEM CAPTURE RUN [flags of `jaxhead train`]. Capture and run lie on a file
# system that is mounted on all hosts (Filestore, say); jaxhead is installed there with jax[tpu].
# JAX learns from the slice's metadata which host it is on. After a pre-emption the same command
# goes on. GCLOUD and JAXHEAD name other programs than `gcloud` and `jaxhead`.
set -euo pipefail
[ $# -ge 5 ] || { echo "usage: tpu_pod.sh TPU ZONE SYSTEM CAPTURE RUN [flags]" >&2; exit 2; }
tpu=$1 zone=$2 system=$3 capture=$4 run=$5
shift 5
# The remote shell splits its command line once more: quote every word for it.
printf -v command '%q ' "${JAXHEAD:-jaxhead}" train "$system" "$capture" --out "$run" --distributed "$@"
exec "${GCLOUD:-gcloud}" compute tpus tpu-vm ssh "$tpu" --zone "$zone" --worker=all \
  --command "$command"
