#!/usr/bin/env bash
# Start a Slurm of one node, two cores and 4 GB below FOLDER, without systemd and without cgroups.
#
#     tests/slurm/start_slurm.sh FOLDER && source FOLDER/environment && sinfo
#
# Installs Slurm and munge when they are missing (apt-get, needs root). Once they are there any user can
# run it: the jobs are then that user's. Started twice it leaves the first one running.
# Exit code 77: this machine cannot run a Slurm, the reason is on standard error. 1: it should have, and did not.
set -euo pipefail

folder=$(mkdir -p "${1:?usage: start_slurm.sh FOLDER}" && cd "$1" && pwd)
me=$(id -un)
host=${HOSTNAME%%.*}
PATH=$PATH:/usr/sbin:/sbin
export SLURM_CONF=$folder/slurm.conf

cannot() { echo "start_slurm.sh: $*" >&2; exit 77; }

installed() { type -P slurmctld slurmd sbatch munged >/dev/null; }    # fails where one is missing

install_slurm() {
    command -v apt-get >/dev/null || cannot "Slurm is not installed and there is no apt-get to install it with"
    [[ $(id -u) == 0 ]] || cannot "Slurm is not installed and only root can: apt-get install slurm-wlm munge"
    # The packages would start daemons of their own. In run level 1 they do not; a systemd starts munge's all the
    # same, which is in nobody's way.
    export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
    { apt-get update && apt-get install --yes --no-install-recommends slurmctld slurmd slurm-client munge; } \
        >"$folder/apt.log" 2>&1 || cannot "apt-get could not install Slurm: $(tail -n 1 "$folder/apt.log")"
}

# Without the file sinfo looks for a controller in the DNS, for ten seconds.
idle() { [[ -e $SLURM_CONF && $(timeout 10 sinfo --noheader --format=%T 2>/dev/null) =~ ^(idle|mixed|allocated)$ ]]; }

free_port() {
    local port=$1
    while (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do port=$((port + 2)); done
    echo "$port"
}

configure() {
    mkdir -p "$folder"/{state,spool,munge,log}
    chmod 755 "$folder" "$folder/munge"     # munge wants a folder that others cannot write and all can enter
    (umask 077 && head -c 128 /dev/urandom >"$folder/munge/key")
    cat >"$SLURM_CONF" <<CONF
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmUser=$me
SlurmdUser=$me
AuthType=auth/munge
AuthInfo=socket=$folder/munge/socket
SlurmctldPort=$(free_port 16817)
SlurmdPort=$(free_port 16818)
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/log/slurmctld
SlurmdLogFile=$folder/log/slurmd
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
# A container has no cgroups to give away: processes are found through /proc.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
# The same node everywhere, whatever the machine has.
SlurmdParameters=config_overrides
NodeName=$host NodeAddr=127.0.0.1 CPUs=2 RealMemory=4000 State=UNKNOWN
PartitionName=test Nodes=ALL Default=YES MaxTime=INFINITE State=UP
DefMemPerCPU=500
ReturnToService=2
# Tests wait for it: look for work every second.
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
KillWait=5
CONF
    # From Slurm 23.11 slurmd wants cgroups even when nothing uses them, unless told so; older ones do not know it.
    if [[ $(slurmd -V) =~ ([0-9]+)\.([0-9]+) ]] && ((10#${BASH_REMATCH[1]}${BASH_REMATCH[2]} >= 2311)); then
        echo "CgroupPlugin=disabled" >"$folder/cgroup.conf"
    fi
    echo "export SLURM_CONF='$SLURM_CONF'" >"$folder/environment"
}

start_daemons() {
    munged --key-file="$folder/munge/key" --socket="$folder/munge/socket" --pid-file="$folder/munge/pid" \
        --log-file="$folder/log/munged" --seed-file="$folder/munge/seed"
    slurmctld
    slurmd -N "$host"
}

installed || install_slurm
if ! idle; then
    "$(dirname "$0")/stop_slurm.sh" "$folder"
    configure
    start_daemons
    for _ in {1..120}; do
        idle && break
        sleep 0.5
    done
    idle || { tail -n 20 "$folder"/log/* >&2; echo "start_slurm.sh: no idle node after a minute" >&2; exit 1; }
fi
sinfo
