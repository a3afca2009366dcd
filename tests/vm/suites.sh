#!/bin/sh
# Runs the suites in the first word without systemd, and at the same time those in the second with systemd making every
# cgroup: a test mostly waits for one process, and the machine has two processors.
# tests/vm/test_vm.py has the virtual machine run it.
set -u

# Some tests count the host's mounts: each driver has its own.
run_by() {
    # shellcheck disable=SC2086
    HOOKRUN_TEST_DRIVER=$1 unshare --mount --propagation private \
        .venv/bin/python -m pytest -q -p no:cacheprovider --color=no --durations=15 $2 > "/tmp/$1.log" 2>&1
}

run_by cgroupfs "$1" &
cgroupfs=$!
run_by systemd "$2" &
systemd=$!
status=0
wait $cgroupfs || status=1
wait $systemd || status=1
for driver in cgroupfs systemd; do
    echo "=== $driver"
    cat /tmp/$driver.log
done
exit $status
