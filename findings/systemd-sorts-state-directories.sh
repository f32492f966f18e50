#!/usr/bin/env bash
# What surprised: of `StateDirectory=zebra alpha` a service finds $STATE_DIRECTORY=/var/lib/alpha:/var/lib/zebra: systemd
#   sorts them, and the first one in the variable is not the first one in the unit. So is it with RuntimeDirectory= and
#   the others of the kind. The manual says that the paths are concatenated with colons, and nothing about their order.
# Seen with: systemd 252.39 of Debian 12, as process 1 of namespaces of its own, on 2026-11-29.
# Why it matters to a durable event queue: a program that keeps its queue in the first of these directories goes to
#   another one when somebody adds a directory whose name comes earlier in the alphabet, and finds an empty queue
#   there; what waits in the old one is sent by nobody.
set -euo pipefail
systemd=/lib/systemd/systemd
cgroups=$(awk '$3 == "cgroup2" {print $2; exit}' /proc/mounts)
if [[ $(id -u) != 0 || ! -x $systemd || -z $cgroups ]] || ! unshare --fork --pid --mount --cgroup true 2>/dev/null; then
  echo "skipped: needs root, systemd's program, cgroups of version 2 and namespaces"
  exit 0
fi
folder=$(mktemp -d)
group=$cgroups/finding-$$
mkdir "$group" "$folder/units" "$folder/state"
finish() {
  find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || true
  rm -rf "$folder"
}
trap finish EXIT

cat > "$folder/units/says.service" <<UNIT
[Unit]
DefaultDependencies=no
[Service]
Type=oneshot
StateDirectory=zebra alpha middle
RuntimeDirectory=zebra alpha middle
StandardOutput=file:$folder/output
ExecStart=/usr/bin/env
ExecStopPost=/bin/kill -s SIGRTMIN+14 1
UNIT
cat > "$folder/boot.sh" <<BOOT
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/system
mount --bind $folder/state /var/lib
umount --recursive /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin SYSTEMD_LOG_TARGET=null \
  SYSTEMD_UNIT_PATH=$folder/units $systemd --system --unit=says.service --show-status=no
BOOT
"$systemd" --version | head -n 1
sh -c "echo \$\$ >$group/cgroup.procs && exec timeout 30 unshare --fork --pid --mount --cgroup --mount-proc --kill-child \
  sh -e $folder/boot.sh" || true
grep _DIRECTORY "$folder/output" | sort | tee "$folder/said"
grep -qx "STATE_DIRECTORY=/var/lib/alpha:/var/lib/middle:/var/lib/zebra" "$folder/said" &&
  grep -qx "RUNTIME_DIRECTORY=/run/alpha:/run/middle:/run/zebra" "$folder/said" || { echo "this has changed"; exit 1; }
