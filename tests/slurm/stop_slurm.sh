#!/usr/bin/env bash
# Stop what start_slurm.sh started below FOLDER, jobs and all. The logs stay.
set -euo pipefail

folder=$(cd "${1:?usage: stop_slurm.sh FOLDER}" && pwd)
export SLURM_CONF=$folder/slurm.conf

# A daemon that is not there, or a number that another process has by now, is not touched.
stop() {
    local program=$1 pid
    pid=$(cat "$2" 2>/dev/null) || return 0
    [[ $(cat "/proc/$pid/comm" 2>/dev/null) == "$program"* ]] || return 0
    kill "$pid"
    for _ in {1..100}; do
        [[ -e /proc/$pid ]] || return 0
        sleep 0.1
    done
    kill -9 "$pid"
}

if [[ -e $folder/slurmctld.pid ]]; then
    timeout 10 scancel --full --user="$(id -un)" || true       # it may be dead already
fi
stop slurmctld "$folder/slurmctld.pid"
stop slurmd "$folder/slurmd.pid"
stop munged "$folder/munge/pid"
rm -rf "$folder"/{state,spool,munge,slurm.conf,cgroup.conf,environment,slurmctld.pid,slurmd.pid}
