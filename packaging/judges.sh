#!/bin/sh
# Puts hookrun before suites that nobody here wrote, beside another runtime, and prints who passes what.
#
#   RUNC_SUITE=~/runc CRUN_SUITE=~/crun sh packaging/judges.sh [TEST ...]
#
# It fetches and builds nothing. A suite runs where its variable names a checkout that is ready for it:
#   RUNC_SUITE        runc: `make test-binaries` is done, the images are in tests/integration/testdata; needs bats, jq, gawk, go
#   PODMAN_SUITE      Podman: test/system; needs bats, and Podman of that version in $PATH
#   TOOLS_SUITE       OCI runtime-tools: `make runtimetest validation-executables` is done
#   CRUN_SUITE        crun: tests/init is built
#   CONTAINERD_SUITE  containerd: integration/client/client.test is built, with containerd and its shim in $PATH
# TEST ... are names of test files, without what comes after the dot: then only these run.
#
# More variables:
#   HOOKRUN, OTHER    the two runtimes: the checkout's hookrun, /usr/sbin/runc
#   JUDGES_UID        the ordinary user, 12345; empty: as root alone
#   JUDGES_RESULTS    where the whole output goes; a new directory of /var/tmp
# CRIU, where runc's suite is to have one, comes first in $PATH. A test of these suites may fail by itself: what counts
# is what fails by hookrun alone, which is listed below the table. The exit status is 1 if there is any.
# shellcheck disable=SC2317  # what a suite's name calls
set -u
cd "$(dirname "$0")/.." || exit

hookrun=${HOOKRUN:-$PWD/.venv/bin/hookrun}
other=${OTHER:-/usr/sbin/runc}
uid=${JUDGES_UID-12345}
results=${JUDGES_RESULTS:-$(mktemp -d /var/tmp/judges.XXXXXX)}
wanted=$*
alone=0

# --- suites: each is given a runtime, and writes TAP or what `go test -v` writes

chosen() { # chosen DIRECTORY SUFFIX: the files of a suite that were asked for
    if [ -z "$wanted" ]; then
        find "$1" -maxdepth 1 -name "*$2" | sort
    else
        for name in $wanted; do find "$1" -maxdepth 1 -name "$name$2"; done
    fi
}

run_runc() {
    # shellcheck disable=SC2046
    RUNC=$1 bats --tap $(chosen "$RUNC_SUITE/tests/integration" .bats)
}

run_podman() {
    # shellcheck disable=SC2046
    cd "$PODMAN_SUITE" && PODMAN="podman --runtime $1" bats --tap $(chosen test/system .bats)
}

run_tools() {
    cd "$TOOLS_SUITE" || return
    for test in $(chosen validation/* .t); do
        # An assertion's name may come from more than one test.
        RUNTIME=$1 timeout 300 "$test" | sed -E "s,^((not )?ok [0-9]+ -?),\1 $(basename "$test" .t):,"
    done
}

# Two flags of crun's own come with nearly every call of its suite: they name what other runtimes do without being told.
run_crun() {
    cd "$CRUN_SUITE" || return
    front=$(mktemp)
    cat > "$front" << END
#!/bin/sh
left=\$#
while [ \$left -gt 0 ]; do
    case \$1 in
        --cgroup-manager | --config)
            shift
            left=\$((left - 1))
            ;;
        *) set -- "\$@" "\$1" ;;
    esac
    shift
    left=\$((left - 1))
done
exec $1 "\$@"
END
    chmod 755 "$front"
    for test in $(chosen tests .py); do
        case $test in */test_*) OCI_RUNTIME=$front INIT=tests/init timeout --foreground 120 python3 "$test" ;; esac
    done
    rm "$front"
}

# The shim finds its runtime under runc's name in $PATH.
run_containerd() {
    programs=$(mktemp -d)
    ln -s "$1" "$programs/runc"
    (cd "$CONTAINERD_SUITE/integration/client" && PATH=$programs:$PATH ./client.test -test.v -test.root)
    rm -r "$programs"
}

# --- who runs them

as_root() { "$@"; }

as_user() { # as an ordinary user of no login session, with places of his own
    home=$(mktemp -d)
    chown "$uid:$uid" "$home"
    setpriv --reuid "$uid" --regid "$uid" --clear-groups env --unset=XDG_RUNTIME_DIR HOME="$home" TMPDIR="$home" USER=judge "$@"
    rm -rf "$home"
}

# Each run is a call of this script for one suite and one runtime, so that it can be another user's and have a terminal,
# which runc's suite takes for granted.
if [ -n "${JUDGES_RUN:-}" ]; then
    "run_$JUDGES_RUN" "$JUDGES_RUNTIME"
    exit
fi

# --- what came of it

outcomes() { # outcomes LOG: one line a test, "ok", "skipped" or "not", and the test's name
    tr -d '\r' < "$1" | sed -nE \
        -e 's/^ok [0-9]+ *-? *(.*) # (skip|SKIP).*/skipped \1/p;t' \
        -e 's/^ok [0-9]+ *-? *(.*)/ok \1/p;t' \
        -e 's/^not ok [0-9]+ *-? *(.*)/not \1/p;t' \
        -e 's/^ *--- PASS: ([^ ]*).*/ok \1/p;t' \
        -e 's/^ *--- SKIP: ([^ ]*).*/skipped \1/p;t' \
        -e 's/^ *--- FAIL: ([^ ]*).*/not \1/p' | sed -E 's/ in [0-9]+(ms|sec)$//' | sort
}

counts() { # counts OUTCOMES
    printf '%d / %d / %d' "$(grep -c '^ok ' "$1")" "$(grep -c '^skipped ' "$1")" "$(grep -c '^not ' "$1")"
}

judge() { # judge SUITE WHO
    for runtime in "$hookrun" "$other"; do
        name=$(basename "$runtime")
        log=$results/$1-${2#as_}-$name
        export JUDGES_RUN="$1" JUDGES_RUNTIME="$runtime"
        "$2" script --quiet --command "sh packaging/judges.sh $wanted" /dev/null > "$log.log" 2>&1 < /dev/null
        outcomes "$log.log" > "$log"
    done
    ours=$results/$1-${2#as_}-$(basename "$hookrun")
    theirs=$results/$1-${2#as_}-$(basename "$other")
    printf '| %s, %s | %s | %s |\n' "$1" "${2#as_}" "$(counts "$ours")" "$(counts "$theirs")"
    # What the other passes, and hookrun does not.
    sed -n 's/^not //p' "$ours" > "$results/failed"
    sed -n 's/^ok //p' "$theirs" | grep -Fxf - "$results/failed" | sed "s/^/$1, ${2#as_}: /" >> "$results/alone"
    rm "$results/failed"
}

echo "| ok / skipped / not | $(basename "$hookrun") | $("$other" --version | head -n 1) |"
echo "| --- | --- | --- |"
: > "$results/alone"
for suite in runc podman tools crun containerd; do
    place=$(eval "echo \${$(echo $suite | tr '[:lower:]' '[:upper:]')_SUITE:-}")
    test -n "$place" || continue
    judge $suite as_root
    case $suite in
        runc | podman) test -z "$uid" || judge $suite as_user ;;
    esac
done
if [ -s "$results/alone" ]; then
    echo
    echo "By hookrun alone these fail:"
    sed 's/^/- /' "$results/alone"
    alone=1
fi
echo "All output: $results"
exit $alone
