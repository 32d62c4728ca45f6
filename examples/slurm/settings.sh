# shellcheck shell=bash disable=SC2034
# What every job gets, read by submit.sh and resubmit.sh; CORES=8 MEMORY_MB=16000 submit.sh ... is for once.
CORES=${CORES:-4}
MEMORY_MB=${MEMORY_MB:-8000}
each=("--cpus-per-task=$CORES" "--mem=${MEMORY_MB}M")

# What the site wants:
# each+=(--partition=short --account=lab)
# module load ngff-convert                  (or: conda activate ngff); jobs inherit what is loaded here
