#!/usr/bin/env bash
# A real SLURM on this machine: controller, accounting on MariaDB, and one node with two pretend GPUs.
#   start.sh STATE_DIRECTORY
# Needs root and: apt-get install slurm-wlm slurmdbd munge mariadb-server
# Everything lives in the state directory but /etc/slurm/slurm.conf, a link to it: the plugin hides SLURM_CONF from the
# commands inside a job. What runs already is left running; stop.sh ends what this script has started.
set -euo pipefail
state=${1:?usage: start.sh STATE_DIRECTORY}
mkdir -p "$state" && state=$(cd "$state" && pwd)
node=$(hostname -s)
cores=$(getconf _NPROCESSORS_ONLN)
database="$state/mysqld.sock"
export SLURM_CONF="$state/slurm.conf"

main() {
  mkdir -p "$state"/{pids,log,spool,controller}
  running munged || start_munge
  running mariadbd || start_database
  configure
  running slurmdbd || start_accounting
  running slurmctld || start_controller
  running slurmd || slurmd
  waited 30 node_is_ready
  sinfo
}

running() { [ -s "$state/pids/$1.pid" ] && kill -0 "$(cat "$state/pids/$1.pid")" 2>/dev/null; }

waited() { # SECONDS COMMAND: until the command succeeds
  local limit=$((SECONDS + $1)) && shift
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $limit ] || { echo "start.sh: waited in vain for: $*; see $state/log" >&2; exit 1; }
    sleep 0.5
  done
}

node_is_ready() { sinfo --noheader --format=%T | grep -qE 'idle|mixed|allocated|drain'; }

start_munge() {
  [ -s "$state/munge.key" ] || (umask 077 && head -c 128 /dev/urandom >"$state/munge.key")
  munged --force --socket="$state/munge.socket" --key-file="$state/munge.key" --seed-file="$state/munge.seed" \
    --log-file="$state/log/munged.log" --pid-file="$state/pids/munged.pid"
}

start_database() {
  [ -d "$state/mysql/mysql" ] || mariadb-install-db --no-defaults --user=root --datadir="$state/mysql" \
    --auth-root-authentication-method=normal --skip-test-db >"$state/log/install.log" 2>&1
  mariadbd --no-defaults --user=root --datadir="$state/mysql" --socket="$database" --bind-address=127.0.0.1 \
    --port=13306 --pid-file="$state/pids/mariadbd.pid" --innodb-flush-log-at-trx-commit=0 \
    --innodb-log-file-size=16M \
    >"$state/log/mariadbd.log" 2>&1 &
  waited 60 mariadb --no-defaults --socket="$database" --user=root --execute="
    create database if not exists slurm_accounting;
    create user if not exists slurm@localhost identified by 'slurm';
    create user if not exists slurm@'127.0.0.1' identified by 'slurm';
    grant all on slurm_accounting.* to slurm@localhost;
    grant all on slurm_accounting.* to slurm@'127.0.0.1'"
}

# as on a cluster: when a job step's first process ends, those that are left are killed at once; linuxproc would lose them
tracking() {
  if [ -w /sys/fs/cgroup/freezer ]; then echo cgroup; else echo pgid; fi
}

configure() {
  printf 'CgroupPlugin=cgroup/v1\nCgroupMountpoint=/sys/fs/cgroup\n' >"$state/cgroup.conf"
  touch "$state"/gpu0 "$state"/gpu1
  echo "NodeName=$node Name=gpu File=$state/gpu[0-1]" >"$state/gres.conf"
  # cred_expire: a requeued job waits until its old credential has expired, two minutes if nothing is said.
  # MinJobAge: how long squeue shows a finished job; the plugin asks it. 300 is SLURM's own default, as JobRequeue's 1.
  # config_overrides: more CPUs than the machine has, since jobs wait more than they compute.
  cat >"$state/slurm.conf" <<END
ClusterName=lottery
SlurmctldHost=$node(127.0.0.1)
SlurmctldPort=16817
SlurmdPort=16818
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$state/munge.socket,cred_expire=10
StateSaveLocation=$state/controller
SlurmdSpoolDir=$state/spool
SlurmctldLogFile=$state/log/slurmctld.log
SlurmdLogFile=$state/log/slurmd.log
SlurmctldPidFile=$state/pids/slurmctld.pid
SlurmdPidFile=$state/pids/slurmd.pid
ProctrackType=proctrack/$(tracking)
TaskPlugin=task/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/linux
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=16819
AccountingStoragePass=$state/munge.socket
AccountingStorageTRES=gres/gpu
AccountingStoreFlags=job_comment
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
MinJobAge=300
KillWait=10
OverTimeLimit=0
ReturnToService=2
SlurmdTimeout=20
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName=$node NodeAddr=127.0.0.1 CPUs=$((2 * cores)) RealMemory=64000 Gres=gpu:2 State=UNKNOWN
PartitionName=gpu Nodes=ALL Default=YES MaxTime=INFINITE PriorityTier=1 State=UP
PartitionName=minute Nodes=ALL MaxTime=1 PriorityTier=1 State=UP
PartitionName=urgent Nodes=ALL MaxTime=INFINITE PriorityTier=9 State=UP
END
  (umask 077 && cat >"$state/slurmdbd.conf") <<END
AuthType=auth/munge
AuthInfo=socket=$state/munge.socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort=16819
SlurmUser=root
PidFile=$state/pids/slurmdbd.pid
LogFile=$state/log/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=13306
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_accounting
END
  local known=/etc/slurm/slurm.conf
  mkdir -p /etc/slurm
  if [ "$(readlink $known || true)" != "$state/slurm.conf" ]; then
    if [ -e $known ]; then
      # a SLURM that answers is somebody's cluster
      if SLURM_CONF=$known timeout 20 scontrol ping 2>/dev/null | grep -q 'is UP'; then
        echo "start.sh: this machine belongs to a SLURM already ($known)" >&2
        exit 1
      fi
      mv $known $known.before
    fi
    ln -sfn "$state/slurm.conf" $known
  fi
}

start_accounting() {
  slurmdbd
  waited 30 sacctmgr --immediate show cluster
  # each of them fails when a start before this one has made it
  for made in "cluster lottery" "account lab cluster=lottery" "user root account=lab"; do
    # shellcheck disable=SC2086
    sacctmgr --immediate add $made || true
  done >"$state/log/accounts.log" 2>&1
}

start_controller() {
  slurmctld
  waited 30 sh -c 'scontrol ping | grep -q "is UP"'
}

main
