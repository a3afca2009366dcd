#!/bin/sh
# Runs the suites that are given without systemd, and at the same time with systemd making every cgroup: a test mostly
# waits for one process, and the machine has two processors.
# tests/vm/test_vm.py has the virtual machine run it.
set -u

# Some tests count the host's mounts: each driver has its own.
run_by() {
    driver=$1
    shift
    HOOKRUN_TEST_DRIVER=$driver unshare --mount --propagation private \
        .venv/bin/python -m pytest -q -p no:cacheprovider --color=no --durations=15 "$@" > "/tmp/$driver.log" 2>&1
}

run_by cgroupfs "$@" &
cgroupfs=$!
run_by systemd "$@" &
systemd=$!
status=0
wait $cgroupfs || status=1
wait $systemd || status=1
for driver in cgroupfs systemd; do
    echo "=== $driver"
    cat "/tmp/$driver.log"
done
exit $status
