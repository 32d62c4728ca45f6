#!/usr/bin/env bash
# Run the parts that failed, or never ran, then finish:
#
#     resubmit.sh OUT.job/job.json
#
# What the failed parts had finished is kept.
set -euo pipefail

json=${1:?usage: resubmit.sh OUT.job/job.json}
here=$(cd "$(dirname "$0")" && pwd)
source "$here/settings.sh"
job=$(dirname "$json")
after=()

missing=$(ngff-convert status "$json" --missing)    # such as 3,17-20; nothing when all parts are done
if [[ $missing ]]; then
    run=$(sbatch --parsable "${each[@]}" --output="$job/part-%a.log" --open-mode=append \
        --array="$missing" "$here/run.sbatch" "$json")
    after=("--dependency=afterany:${run%;*}")
    echo "run ${run%;*}, parts $missing"
fi
finish=$(sbatch --parsable "${each[@]}" --output="$job/finish.log" --open-mode=append "${after[@]}" \
    "$here/finish.sbatch" "$json")
echo "finish ${finish%;*}"
