#!/bin/sh
# Installs what the tests need and runs all of them; arguments go to pytest.
#   sh packaging/test.sh                 everything, as CI does
#   sh packaging/test.sh -m 'not vm'     without the virtual machine
#   sh packaging/test.sh tests/policies  one folder
set -eu
cd "$(dirname "$0")/.."

packages="python3 python3-venv python3-dev gcc libc6-dev libpython3.11-dev libseccomp-dev runc crun docker.io containerd podman conmon buildah
 umoci skopeo busybox-static libseccomp2 uidmap iproute2 iptables strace procps acl git ca-certificates
 docker-compose qemu-system-x86 qemu-user debootstrap e2fsprogs rootlesskit slirp4netns chromium
 debhelper dh-python dpkg-dev lintian rpm pipx python3-setuptools
 python3-jsonpatch python3-jsonschema python3-loguru python3-markdown-it python3-protobuf python3-rich python3-ruamel.yaml python3-tomlkit
 python3-typer softhsm2 nginx-light prometheus prometheus-node-exporter bash-completion fish zsh man-db groff openssl shellcheck systemd"

missing=""
for package in $packages; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
if [ -n "$missing" ]; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q
    # No daemon of a package may start: the tests start their own. An administrator's own policy stays in force.
    policy=/usr/sbin/policy-rc.d
    ours=""
    test -e $policy || { printf '#!/bin/sh\nexit 101\n' > $policy; chmod 755 $policy; ours=$policy; }
    # shellcheck disable=SC2086
    apt-get install -y -q --no-install-recommends $missing || { rm -f "$ours"; exit 1; }
    rm -f "$ours"
fi

# Some tests are an ordinary user's: a checkout that is closed to others is tested as a copy.
if ! setpriv --reuid 65534 --regid 65534 --clear-groups test -r "$PWD/pyproject.toml"; then
    copy=$(mktemp -d /var/tmp/hookrun-checkout.XXXXXX)
    trap 'rm -rf --one-file-system "$copy"' EXIT
    tar --exclude=./.venv -c . | tar -C "$copy" -x
    chmod -R go+rX "$copy"
    cd "$copy"
fi

sh packaging/venv.sh test
# One worker more than processors: the one with the virtual machine does nothing itself (see tests/parallel.py).
.venv/bin/pytest -q -n $(($(nproc) + 1)) --no-loadscope-reorder "$@"
