#!/usr/bin/env bash
# Convert one image with N jobs of a Slurm cluster:
#
#     submit.sh IN OUT N [options of a conversion]
#
# One job plans, an array of N jobs reads and writes, one job finishes. IN and OUT lie where all nodes see them.
# OUT appears when it is whole; the job file and the logs are in OUT.job, which can be removed then.
set -euo pipefail

if (($# < 3)); then
    echo "usage: submit.sh IN OUT N [options of a conversion]" >&2
    exit 2
fi
in=$1 out=${2%/} parts=$3
shift 3

here=$(cd "$(dirname "$0")" && pwd)
source "$here/settings.sh"
job=$out.job
mkdir -p "$job"

# With --parsable sbatch prints ID, or ID;CLUSTER.
plan=$(sbatch --parsable "${each[@]}" --output="$job/plan.log" \
    "$here/plan.sbatch" "$job/job.json" "$in" "$out" "$parts" "$@")
# Parts that could only wait forever, because the plan failed, are cancelled.
run=$(sbatch --parsable "${each[@]}" --output="$job/part-%a.log" --open-mode=append \
    --array="1-$parts" --dependency="afterok:${plan%;*}" --kill-on-invalid-dep=yes \
    "$here/run.sbatch" "$job/job.json")
# afterany, because it says which parts are missing, should any be.
finish=$(sbatch --parsable "${each[@]}" --output="$job/finish.log" --open-mode=append \
    --dependency="afterany:${run%;*}" "$here/finish.sbatch" "$job/job.json")

echo "plan ${plan%;*}, run ${run%;*}, finish ${finish%;*}; logs in $job"
echo "how far it is:             ngff-convert status $job/job.json"
echo "when parts have failed:    $here/resubmit.sh $job/job.json"
