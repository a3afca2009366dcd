#!/bin/sh
# The .deb on a Debian 12 with systemd and Docker, over a reboot. tests/vm/test_package.py has the virtual machine run it:
# it installs programs and changes /etc.
set -eux

sources="-o Dir::Etc::sourcelist=/suite/files/sources.list -o Dir::Etc::sourceparts=-"
before=/var/etc-before

list_etc() { (cd "$1" && find . -printf '%p %y %m %u %g %l\n' | sort); }

make_image() {
    mkdir -p /tmp/image/bin
    cp /bin/busybox /tmp/image/bin/
    for program in sh echo sleep; do ln -s busybox "/tmp/image/bin/$program"; done
    tar -C /tmp/image -c . | docker import - tiny
}

docker_runs_by() {
    test "$(docker info --format '{{.DefaultRuntime}}')" = "$1"
    test "$(docker run --rm tiny echo hello)" = hello
}

hookrun_is_in_place() {
    docker_runs_by hookrun
    findmnt --noheadings --output OPTIONS /var/lib/hookrun/seal | grep --word-regexp ro
    systemctl is-active var-lib-hookrun-seal.mount hookrun-prune.timer
    hookctl engine status docker
}

install_and_register() {
    cp -a /etc $before
    # shellcheck disable=SC2086
    apt-get $sources update
    # shellcheck disable=SC2086
    apt-get $sources install --yes --no-install-recommends /suite/files/hookrun_*.deb
    make_image
    hookctl engine register docker --default --reload
    hookrun_is_in_place
    docker run --detach --restart always --name kept tiny sleep 100000
}

still_works() {
    hookrun_is_in_place
    entered() { systemctl show --property ActiveEnterTimestampMonotonic --value "$1"; }
    test "$(entered var-lib-hookrun-seal.mount)" -lt "$(entered docker.service)"
    test "$(docker exec kept echo inside)" = inside
    docker rm --force kept
    hookctl trace list | grep --word-regexp create
    systemctl start hookrun-prune.service
}

# No name and no build leads past hookrun, nor does a restart of the daemons by their units undo it.
every_name_leads_to_hookrun() {
    hookctl engine register docker --only --reload
    docker_runs_by hookrun
    calls() { hookctl trace list --last 0 | wc --lines; }
    before_only=$(calls)
    test "$(docker run --rm --runtime runc tiny echo hello)" = hello
    test "$(calls)" -gt "$before_only"
    before_build=$(calls)
    printf 'FROM tiny\nRUN echo built\n' | DOCKER_BUILDKIT=1 docker build --tag built -
    test "$(calls)" -gt "$before_build"
    hookctl engine status docker
}

unregister_and_purge() {
    hookctl engine unregister docker --reload
    docker_runs_by runc
    apt-get purge --yes --auto-remove hookrun
    for path in /var/lib/hookrun /var/log/hookrun /usr/share/hookrun /usr/bin/hookctl; do test ! -e $path; done
    test "$(grep --count hookrun /proc/self/mountinfo)" = 0
    systemctl daemon-reload
    test "$(systemctl list-unit-files '*hookrun*' --no-legend)" = ""
}

# Copies of what hookctl changed may stay; the linker's cache is made anew by whatever brings a library.
etc_is_as_before() {
    rm -f /etc/docker/daemon.json.hookrun-*
    list_etc $before | grep -v ' *ld.so.cache' > /tmp/before
    list_etc /etc | grep -v ' *ld.so.cache' > /tmp/after
    diff -u /tmp/before /tmp/after
    diff -r --no-dereference --exclude ld.so.cache $before /etc
}

if [ ! -e /var/rebooted ]; then
    install_and_register
    touch /var/rebooted
    systemctl reboot --force
    sleep infinity
fi
still_works
every_name_leads_to_hookrun
unregister_and_purge
etc_is_as_before
