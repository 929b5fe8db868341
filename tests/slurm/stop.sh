#!/usr/bin/env bash
# End what start.sh has started in this state directory, and nothing else.
#   stop.sh STATE_DIRECTORY
set -euo pipefail
state=$(cd "${1:?usage: stop.sh STATE_DIRECTORY}" && pwd)
known=/etc/slurm/slurm.conf
export SLURM_CONF="$state/slurm.conf"

timeout 20 scancel --full --user=root >/dev/null 2>&1 || true
for name in slurmd slurmctld slurmdbd mariadbd munged; do
  file="$state/pids/$name.pid"
  [ -s "$file" ] || continue
  process=$(cat "$file")
  # a number left behind by a dead daemon may belong to another program by now
  [ "$(cat "/proc/$process/comm" 2>/dev/null)" = "$name" ] || continue
  kill "$process"
  for _ in $(seq 100); do
    [ -d "/proc/$process" ] || break
    sleep 0.2
  done
  [ -d "/proc/$process" ] && kill -9 "$process" || true
done

if [ "$(readlink $known || true)" = "$state/slurm.conf" ]; then
  rm $known
  [ -e $known.before ] && mv $known.before $known || true
fi
