#!/bin/sh
# Shows in under a minute what hookrun does: a policy with a hook and a changed config, a container, and the record.
# Sets everything up in the checkout's own .venv, needs no daemon, leaves nothing behind but .venv.
set -eu
cd "$(dirname "$0")/.."

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }

install_packages() {
    missing=""
    for package in python3-venv busybox-static libseccomp2 gcc libc6-dev libpython3.11-dev libseccomp-dev; do
        dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
    done
    test -z "$missing" && return
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q > /dev/null
    # shellcheck disable=SC2086
    apt-get install -y -q --no-install-recommends $missing > /dev/null
}

clean_up() {
    "$place/state/launchers/hookrun" --root "$place/root" delete --force hookrun-demo 2>/dev/null || true
    umount -l "$place/state/seal" 2>/dev/null || true
    rm -rf --one-file-system "$place"
}

test "$(id -u)" = 0 || { echo "demo.sh: run it as root: it makes a container" >&2; exit 1; }
say "Setting up .venv"
install_packages
sh packaging/venv.sh
place=$(mktemp -d /var/tmp/hookrun-demo.XXXXXX)
trap clean_up EXIT
trap 'exit 1' INT TERM
hookctl=".venv/bin/hookctl --config $place/etc --state $place/state"

say "A bundle with busybox"
mkdir -p "$place/bundle/rootfs/bin" "$place/bundle/rootfs/proc" "$place/bundle/rootfs/dev" "$place/bundle/rootfs/sys"
cp /bin/busybox "$place/bundle/rootfs/bin/"
for program in sh echo cat grep id; do ln -s busybox "$place/bundle/rootfs/bin/$program"; done
.venv/bin/hookrun spec --bundle "$place/bundle"
.venv/bin/python - "$place/bundle/config.json" <<'PY'
import json
import sys

with open(sys.argv[1]) as file:
    config = json.load(file)
config["process"]["terminal"] = False
config["process"]["args"] = ["sh", "-c", "echo hello from the container; id; echo GREETING=$GREETING; ulimit -n"]
del config["process"]["rlimits"]
with open(sys.argv[1], "w") as file:
    json.dump(config, file, indent=4)
PY
ls "$place/bundle"

say "A policy: one hook, and an overlay on every container's config"
mkdir -p "$place/etc/policies.d"
cat > "$place/etc/policies.d/demo.yaml" <<YAML
apiVersion: hookrun/v1
kind: Policy
metadata:
  name: demo
  description: A greeting for every container, and a note of each.
spec:
  patch:
    - {op: add, path: /process/env/-, value: GREETING=from-the-policy}
  merge: {hostname: demo}
  hooks:
    createRuntime:
      - path: /bin/sh
        args: [sh, -c, 'echo "the hook got: \$(cat)" > $place/hook-output']
        timeout: 5
YAML
cat "$place/etc/policies.d/demo.yaml"
$hookctl apply --yes
$hookctl engine register docker --daemon-json "$place/daemon.json" > /dev/null

say "The container, run by hookrun's own core"
"$place/state/launchers/hookrun" --root "$place/root" run --bundle "$place/bundle" hookrun-demo

say "What the hook said"
cat "$place/hook-output"

say "The record: what was called, and what was changed"
$hookctl trace list
$hookctl trace show hookrun-demo
say "config.json before and after"
$hookctl trace diff hookrun-demo

say "Next: the same for what your Docker starts"
echo "hookctl engine register docker --reload     # README.md says how it is taken away again"
