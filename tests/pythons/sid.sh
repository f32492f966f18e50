#!/usr/bin/env bash
# Puts Debian's unstable release into a folder and runs tox there, for Pythons that this machine does not have:
#
#     tests/pythons/sid.sh FOLDER -e py315                # all tests, on Python 3.15
#     tests/pythons/sid.sh FOLDER -e processes-py314      # what differs between Pythons, on 3.14
#
# The folder is made where it is not there yet: half a minute and 700 MB. It needs Debian, root and debootstrap
# (apt-get install debootstrap), takes the mirror that this machine's apt uses, and changes nothing outside the folder:
# what is mounted goes with the command. Where it cannot be had it says why, and its exit status is 77.
set -euo pipefail

PYTHONS=(python3.14 python3.15)
PACKAGES=(
    ca-certificates gcc git iproute2 iptables less libc6-dev libcrypt-dev nginx-light openssl procps rabbitmq-server redis-server sudo tmux
)
SKIPPED=77

cannot() {
    echo "Debian sid cannot be had here: $*" >&2
    exit $SKIPPED
}

[ $# -ge 1 ] || { sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2; exit 2; }
folder=$(realpath -m -- "$1")
shift
[ "$(id -u)" = 0 ] || cannot "it needs root"
if [ "${SID_IS_MOUNTED:-}" != "$folder" ]; then
    command -v debootstrap >/dev/null || cannot "debootstrap is not installed"
    unshare --mount true || cannot "no mount namespace can be made"
    SID_IS_MOUNTED=$folder exec unshare --mount --propagation private "$BASH" "$0" "$folder" "$@"
fi

if [ ! -e "$folder/made" ]; then
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' | head -n 1)
    [ -n "$mirror" ] || cannot "apt names no mirror of Debian (apt-get update?)"
    rm -rf --one-file-system -- "$folder"
    mkdir -p "$(dirname "$folder")"
    wanted=("${PYTHONS[@]/%/-venv}" "${PYTHONS[@]/%/-dev}" "${PACKAGES[@]}")
    debootstrap --variant=minbase --include="$(IFS=,; echo "${wanted[*]}")" sid "$folder" "$mirror" >"$folder.log" 2>&1 ||
        { tail -n 20 "$folder.log" >&2; cannot "debootstrap failed, see $folder.log"; }
    mkdir "$folder/source"
    touch "$folder/made"
fi

# The machine's own way to the package index: its name servers, certificates and index.
cp --dereference /etc/resolv.conf "$folder/etc/resolv.conf"
cp --dereference /etc/ssl/certs/ca-certificates.crt "$folder/etc/ssl/certs/ca-certificates.crt"
index=$(python3 -m pip config get global.index-url 2>/dev/null || true)
mount --bind "$folder" "$folder"  # so that what is mounted inside namespaces of the tests has a mount to be in
mount --rbind /dev "$folder/dev"
mount --rbind /sys "$folder/sys"
mount -t proc proc "$folder/proc"
mount --bind "$(realpath "$(dirname "$0")/../..")" "$folder/source"

# Not chroot alone: what is in a chroot may make no user namespaces, and the tests' ordinary users live in one.
cd "$folder"
pivot_root . mnt

exec env --unset=SID_IS_MOUNTED --unset=PIP_FIND_LINKS --unset=PIP_EXTRA_INDEX_URL --unset=TMPDIR --unset=PYTHONPATH \
    HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1 \
    PIP_CERT=/etc/ssl/certs/ca-certificates.crt ${index:+PIP_INDEX_URL="$index"} \
    chroot . sh -euc '
        umount --lazy /mnt
        cd /source
        [ -x /tox/bin/tox ] || { '"${PYTHONS[0]}"' -m venv /tox && /tox/bin/pip install --quiet tox; }
        dpkg-query --show --showformat="\${Package} \${Version}\n" '"${PYTHONS[*]}"'
        exec /tox/bin/tox --workdir /work "$@"' sid "$@"
