"""What people do with docker, under runc and under hookrun: both must see the same."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.engines.conftest import IMAGE
from tests.support.docker import Docker
from tests.support.runtimes import Result, fresh_id, wait_for

Lines = list[str]


class Desk:
    """One runtime's side of a scenario: docker with `--runtime`, and containers that are gone at the end."""

    def __init__(self, docker: Docker, runtime: str) -> None:
        self.docker = docker
        self.runtime = runtime
        self.names: list[str] = []

    def name(self) -> str:
        self.names.append(fresh_id("d"))
        return self.names[-1]

    def run(self, *arguments: str) -> Result:
        """`docker run --rm`, without a network unless the arguments name one."""
        network = () if any(a.startswith(("--network", "-p")) for a in arguments) else ("--network", "none")
        return self.docker("run", "--rm", "--name", self.name(), "--runtime", self.runtime, *network, *arguments)

    def shell(self, script: str, *options: str) -> Lines:
        """What a script prints in a container, its exit status and its errors."""
        return self.told(self.run(*options, IMAGE, "sh", "-c", script))

    def up(self, *arguments: str, script: str = "while :; do sleep 1; done") -> str:
        """A container that stays; returns its name."""
        name = self.name()
        network = () if any(a.startswith(("--network", "-p")) for a in arguments) else ("--network", "none")
        self.docker.check(
            "run", "-d", "--name", name, "--runtime", self.runtime, *network, *arguments, IMAGE, "sh", "-c", script
        )
        return name

    def told(self, result: Result) -> Lines:
        return [f"status {result.status}", *self.clean(result.out).splitlines(), *self.clean(result.err).splitlines()]

    def clean(self, text: str) -> str:
        """Text without what differs from one container to the next."""
        for name in self.names:
            text = text.replace(name, "NAME")
        text = re.sub(r"\b[0-9a-f]{64}\b", "ID", text)
        text = re.sub(r"\b[0-9a-f]{12}\b", "ID", text)
        # runc numbers the descriptor through which it mounts, and later versions word it differently.
        text = re.sub(r"mount [^ ]*( \(via [^)]*\))?, [^:]*flags[:=] ?[^:]*: ", "MOUNT: ", text)
        # The client races with the daemon for these words; both runtimes show either.
        return re.sub(r'time="[^"]*" level=error msg="error waiting for container: context canceled"\s*\n?', "", text)

    def close(self) -> None:
        for name in self.names:
            self.docker("rm", "-f", "-v", name)


Scenario = Callable[[Desk], Lines]
SCENARIOS: dict[str, Scenario] = {}


def scenario(function: Scenario) -> Scenario:
    SCENARIOS[function.__name__] = function
    return function


def of_script(name: str, script: str, *options: str) -> None:
    """A scenario that is one script in one container."""
    SCENARIOS[name] = lambda desk: desk.shell(script, *options)


CAPABILITIES = "grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status"
CGROUP = "/sys/fs/cgroup"

of_script("run_rm", "echo out; echo err >&2; exit 5")
of_script("environment", "env | sort", "-e", "A=1", "-e", "B=two words", "-h", "host")
of_script("mounts", "cut -d' ' -f5,6,9 /proc/self/mountinfo | sort")
of_script("devices", "ls -l /dev | sed -E 's/ +/ /g' | cut -d' ' -f1-6,10-")
of_script("status", f"{CAPABILITIES}; cat /proc/self/oom_score_adj; ulimit -a; umask")
of_script(
    "proc_is_masked",
    "cat /proc/kcore 2>&1 | head -c 100; ls /proc/acpi /sys/firmware; echo x > /proc/sys/vm/swappiness",
)
of_script("memory", f"cat {CGROUP}/memory/memory.limit_in_bytes", "--memory", "64m")
of_script("pids_limit", f"cat {CGROUP}/pids/pids.max", "--pids-limit", "17")
of_script("cpus", f"cat {CGROUP}/cpu/cpu.cfs_quota_us {CGROUP}/cpu/cpu.cfs_period_us", "--cpus", "0.5")
of_script(
    "cpu_shares_and_set", f"cat {CGROUP}/cpu/cpu.shares {CGROUP}/cpuset/cpuset.cpus", "-c", "512", "--cpuset-cpus", "0"
)
of_script("user", "id; whoami; echo $HOME", "--user", "1000:1000")
of_script("user_with_groups", "id", "--user", "1000", "--group-add", "10", "--group-add", "20")
of_script("read_only", "touch /x; touch /tmp/x; echo $?", "--read-only")
of_script("tmpfs", "grep ' /t ' /proc/mounts; touch /t/x && echo written", "--tmpfs", "/t:size=1m,mode=700")
of_script("cap_drop_all", CAPABILITIES, "--cap-drop", "ALL")
of_script("cap_drop_one", CAPABILITIES, "--cap-drop", "NET_RAW")
of_script("cap_add", CAPABILITIES, "--cap-add", "NET_ADMIN")
of_script("no_new_privileges", CAPABILITIES, "--security-opt", "no-new-privileges")
of_script("seccomp_unconfined", CAPABILITIES, "--security-opt", "seccomp=unconfined")
of_script("seccomp_default_refuses", "unshare -m true; echo $?; unshare -U true; echo $?")
of_script("ulimit_lowered", "ulimit -n; ulimit -u", "--ulimit", "nofile=100:200", "--ulimit", "nproc=50")
of_script("init", "ps | sed 's/^ *//' | cut -d' ' -f1 | head -2; cat /proc/1/comm", "--init")
of_script("privileged", "ls /dev | wc -l", "--privileged")
of_script("network_none", "ls /sys/class/net; ip a | grep -c lo", "--network", "none")
# Which interfaces there are, other tests beside this one change.
of_script("network_host", "readlink /proc/self/ns/net; ls -d /sys/class/net/lo", "--network", "host")
of_script("pid_host", "test $(ps | wc -l) -gt 20 && echo many", "--pid", "host")
of_script("ipc_host", "readlink /proc/self/ns/ipc", "--ipc", "host")
of_script("uts_host", "hostname", "--uts", "host", "--network", "host")
of_script("workdir", "pwd; ls -ld .", "-w", "/made/on/the/way")
of_script("sysctl", "cat /proc/sys/net/core/somaxconn /proc/sys/kernel/msgmax", "--sysctl", "kernel.msgmax=4096")
of_script("shm_size", "df /dev/shm | tail -1 | sed -E 's/ +/ /g' | cut -d' ' -f2", "--shm-size", "8m")
of_script(
    "device",
    "ls -l /dev/fuse | cut -c1-10; ls -l /dev/zz | sed -E 's/ +/ /g' | cut -d' ' -f1,5,6",
    "--device",
    "/dev/fuse",
    "--device",
    "/dev/null:/dev/zz:r",
)
of_script("device_write_refused", "echo x > /dev/zz; echo $?; cat /dev/zz; echo $?", "--device", "/dev/null:/dev/zz:r")
of_script("oom_score", "cat /proc/self/oom_score_adj", "--oom-score-adj", "500")
of_script("killed_by_signal", "kill -9 $$")
of_script("stop_signal", "echo", "--stop-signal", "SIGQUIT", "--stop-timeout", "1")
of_script(
    "masked_memory_swap",
    f"cat {CGROUP}/memory/memory.limit_in_bytes {CGROUP}/memory/memory.swappiness",
    "-m",
    "32m",
    "--memory-swappiness",
    "0",
)
of_script("blkio_weight_absent", f"cat {CGROUP}/blkio/blkio.throttle.read_bps_device")


@scenario
def cgroup_parent(desk: Desk) -> Lines:
    try:
        return desk.shell("grep -c hr-parent-test /proc/self/cgroup", "--cgroup-parent", "/hr-parent-test")
    finally:
        # Nobody removes a parent that was asked for: neither runtime, nor docker.
        for parent in Path("/sys/fs/cgroup").glob("*/hr-parent-test"):
            parent.rmdir()


@scenario
def volume(desk: Desk) -> Lines:
    place = desk.docker.directory / f"volume-{desk.runtime}"
    place.mkdir(exist_ok=True)
    (place / "from-host").write_text("hello\n")
    lines = desk.shell(
        "cat /v/from-host; echo back > /v/from-container; touch /ro/x", "-v", f"{place}:/v", "-v", f"{place}:/ro:ro"
    )
    return [*lines, (place / "from-container").read_text()]


@scenario
def named_volume(desk: Desk) -> Lines:
    return desk.shell("mkdir -p /etc; ls /vol; echo x > /vol/y; cat /vol/y", "-v", f"{desk.name()}:/vol")


@scenario
def published_port(desk: Desk) -> Lines:
    desk.up("-p", "127.0.0.1:38471:80", script="mkdir -p /w; echo answer > /w/index.html; httpd -f -p 80 -h /w")
    answers: list[bytes] = []

    def answered() -> bool:
        try:
            with desk.docker.machine.network(), socket.create_connection(("127.0.0.1", 38471), 5) as line:
                line.sendall(b"GET / HTTP/1.0\r\n\r\n")
                answers.append(line.makefile("rb").read())
        except OSError:
            return False
        return b"answer" in answers[-1]

    wait_for(answered, "an answer from the container")
    return [answers[-1].decode().splitlines()[0]]


@scenario
def network_of_another(desk: Desk) -> Lines:
    first = desk.up("--network", "bridge")
    mine = desk.docker.check("exec", first, "readlink", "/proc/self/ns/net")
    other = desk.run("--network", f"container:{first}", IMAGE, "readlink", "/proc/self/ns/net").out.strip()
    return [str(mine == other)]


@scenario
def pid_of_another(desk: Desk) -> Lines:
    first = desk.up(script="exec sleep 3333")
    return [str("sleep 3333" in desk.run("--pid", f"container:{first}", IMAGE, "ps").out)]


@scenario
def ipc_of_another(desk: Desk) -> Lines:
    first = desk.up("--ipc", "shareable")
    mine = desk.docker.check("exec", first, "readlink", "/proc/self/ns/ipc")
    return [str(mine == desk.run("--ipc", f"container:{first}", IMAGE, "readlink", "/proc/self/ns/ipc").out.strip())]


@scenario
def logs(desk: Desk) -> Lines:
    name = desk.up(script="echo first; echo second >&2; sleep 1000")
    desk.docker.wait_for_log(name, "second")
    result = desk.docker("logs", name)
    return [result.out, result.err]


@scenario
def exec_in_many_ways(desk: Desk) -> Lines:
    name = desk.up()
    calls = (
        ["exec", name, "sh", "-c", "echo hi; exit 9"],
        ["exec", "-u", "1000", name, "id"],
        ["exec", "-w", "/tmp", name, "pwd"],
        ["exec", "-e", "X=y", name, "printenv", "X"],
        ["exec", "--privileged=false", name, "sh", "-c", CAPABILITIES],
        ["exec", name, "does-not-exist"],
        ["exec", name, "/data"],
        ["exec", "-w", "/nowhere", name, "true"],
        ["exec", "-d", name, "sh", "-c", "echo done > /tmp/detached"],
    )
    lines = [line for call in calls for line in desk.told(desk.docker(*call))]
    wait_for(lambda: desk.docker("exec", name, "cat", "/tmp/detached").out == "done\n", "the detached exec")
    return [*lines, *desk.told(desk.docker("exec", "-i", name, "cat", stdin=b"through\n"))]


@scenario
def stop(desk: Desk) -> Lines:
    name = desk.up(script="trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.1; done")
    desk.docker.wait_for_log(name, "up")
    lines = desk.told(desk.docker("stop", "-t", "60", name))
    return [*lines, desk.docker.inspect(name, "{{.State.Status}} {{.State.ExitCode}}"), desk.docker("logs", name).out]


@scenario
def kill(desk: Desk) -> Lines:
    name = desk.up(script="trap 'echo hup' HUP; echo up; while :; do sleep 0.1; done")
    desk.docker.wait_for_log(name, "up")
    desk.docker.check("kill", "-s", "HUP", name)
    desk.docker.wait_for_log(name, "hup")
    desk.docker.check("kill", name)
    return [desk.docker.check("wait", name), desk.docker.inspect(name, "{{.State.Status}}")]


@scenario
def restart(desk: Desk) -> Lines:
    name = desk.up(script="echo up; sleep 1000")
    desk.docker.check("restart", "-t", "0", name)
    wait_for(lambda: desk.docker("logs", name).out == "up\nup\n", "the second start")
    return [desk.docker.inspect(name, "{{.State.Status}} {{.RestartCount}}")]


@scenario
def remove_by_force(desk: Desk) -> Lines:
    name = desk.up()
    return [*desk.told(desk.docker("rm", name)), *desk.told(desk.docker("rm", "-f", name))]


@scenario
def pause(desk: Desk) -> Lines:
    name = desk.up()
    lines = desk.told(desk.docker("pause", name))
    lines.append(desk.docker.inspect(name, "{{.State.Status}}"))
    lines += desk.told(desk.docker("exec", name, "true"))
    lines += desk.told(desk.docker("unpause", name))
    return [*lines, desk.docker.inspect(name, "{{.State.Status}}"), *desk.told(desk.docker("exec", name, "echo", "on"))]


@scenario
def update(desk: Desk) -> Lines:
    name = desk.up("--memory", "64m")
    desk.docker.check("update", "--memory", "48m", "--memory-swap", "96m", "--cpus", "0.3", "--pids-limit", "50", name)
    files = ("memory/memory.limit_in_bytes", "cpu/cpu.cfs_quota_us", "pids/pids.max")
    return desk.told(desk.docker("exec", name, "cat", *(f"{CGROUP}/{file}" for file in files)))


@scenario
def stats(desk: Desk) -> Lines:
    name = desk.up("--memory", "64m", "--pids-limit", "30")
    line = desk.docker.check("stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}} {{.PIDs}}", name)
    return [str(bool(re.fullmatch(rf"{name} \d[\d.]*[KM]iB / 64MiB [12]", line)))]


@scenario
def top(desk: Desk) -> Lines:
    name = desk.up(script="exec sleep 4444")
    return [str("sleep 4444" in desk.docker.check("top", name))]


@scenario
def out_of_memory(desk: Desk) -> Lines:
    name = desk.up(
        "--memory", "24m", "--memory-swap", "24m", script="x=$(head -c 200000000 /dev/zero | tr '\\0' x); echo lived"
    )
    status = desk.docker.check("wait", name)
    return [status, desk.docker.inspect(name, "{{.State.OOMKilled}}")]


@scenario
def health(desk: Desk) -> Lines:
    name = desk.up("--health-cmd", "echo fine", "--health-interval", "1s")
    desk.docker.wait_for_state(name, "{{.State.Health.Status}}", "healthy")
    return [desk.docker.inspect(name, "{{(index .State.Health.Log 0).Output}}")]


@scenario
def crash_loop(desk: Desk) -> Lines:
    name = desk.up("--restart", "on-failure:3", script="echo crash; exit 4")
    desk.docker.wait_for_state(name, "{{.RestartCount}} {{.State.Status}}", "3 exited")
    return [desk.docker("logs", name).out, desk.docker.inspect(name, "{{.State.ExitCode}}")]


@scenario
def command_missing(desk: Desk) -> Lines:
    return [
        *desk.told(desk.run(IMAGE, "does-not-exist")),
        *desk.told(desk.run(IMAGE, "/does/not/exist")),
        *desk.told(desk.run(IMAGE, "/data")),
        *desk.told(desk.run(IMAGE, "/etc")),
    ]


@scenario
def bad_options(desk: Desk) -> Lines:
    return [
        *desk.told(desk.run("--sysctl", "kernel.shmmax=x", IMAGE, "true")),
        *desk.told(desk.run("-w", "/data", IMAGE, "true")),
        *desk.told(desk.run("--cpuset-cpus", "77", IMAGE, "true")),
        *desk.told(desk.run("-v", "/var/tmp:/data", IMAGE, "true")),
    ]


@scenario
def created_then_started(desk: Desk) -> Lines:
    name = desk.name()
    desk.docker.check("create", "--name", name, "--runtime", desk.runtime, "--network", "none", IMAGE, "echo", "late")
    return desk.told(desk.docker("start", "-a", name))


@scenario
def copied_files(desk: Desk) -> Lines:
    name = desk.up()
    source = desk.docker.directory / "to-copy"
    source.write_text("copied\n")
    desk.docker.check("cp", str(source), f"{name}:/tmp/copied")
    return desk.told(desk.docker("exec", name, "cat", "/tmp/copied"))


@scenario
def commit(desk: Desk) -> Lines:
    name = desk.up(script="echo kept > /kept; echo done; sleep 1000")
    desk.docker.wait_for_log(name, "done")
    image = f"hookrun-commit-{desk.runtime}"
    desk.docker.check("commit", name, image)
    try:
        return desk.told(desk.run(image, "cat", "/kept"))
    finally:
        desk.docker("rmi", "-f", image)


@scenario
def interactive(desk: Desk) -> Lines:
    """`run -it` on a real terminal; a resize reaches the container."""
    return _on_terminal(
        desk, ["run", "--rm", "-it", "--name", desk.name(), "--runtime", desk.runtime, "--network", "none", IMAGE, "sh"]
    )


@scenario
def interactive_exec(desk: Desk) -> Lines:
    return _on_terminal(desk, ["exec", "-it", desk.up(), "sh"])


def _on_terminal(desk: Desk, arguments: list[str]) -> Lines:
    master, slave = pty.openpty()
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    client = subprocess.Popen(
        desk.docker.client(*arguments),
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(slave)
    try:
        said = _converse(master, "test -t 0 && echo is-a-ter''minal\n", "is-a-terminal")
        said += _converse(master, "tty; stty size\n", "30 100")
        fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        deadline = time.monotonic() + 60
        while "40 120" not in said:
            assert time.monotonic() < deadline, f"the resize never arrived: {said}"
            # More than once: the client may still be on its way to listening for the signal.
            client.send_signal(signal.SIGWINCH)
            said += _converse(master, "stty size; echo as''ked\n", "asked")
        os.write(master, b"exit 6\n")
        return [f"status {client.wait(60)}", *(word for word in ("/dev/pts/0", "/dev/pts/1", "40 120") if word in said)]
    finally:
        client.kill()
        client.wait()
        os.close(master)


def _converse(master: int, line: str, answer: str) -> str:
    os.write(master, line.encode())
    said = ""
    deadline = time.monotonic() + 60
    while answer not in said:
        assert time.monotonic() < deadline, f"{line!r}: no {answer!r} in {said!r}"
        if select.select([master], [], [], 1)[0]:
            said += os.read(master, 65536).decode(errors="replace")
    return said


FEATURES = {
    "limits": ("memory", "pids_limit", "cpus", "cpu_shares_and_set", "update"),
    "health checks": ("health",),
    "restart policies and compose": ("crash_loop",),
    "stats": ("stats",),
    "terminals": ("interactive", "interactive_exec"),
}


def with_feature(name: str) -> Any:
    """The scenario's name, with its cell of the README's matrix if it has one."""
    features = [feature for feature, names in FEATURES.items() if name in names]
    return pytest.param(name, marks=[pytest.mark.matrix(engine="Docker", feature=feature) for feature in features])


@pytest.mark.parametrize("name", list(map(with_feature, SCENARIOS)))
def test_both_runtimes_do_the_same(docker: Docker, name: str) -> None:
    seen = {}
    for runtime in ("runc", "hookrun"):
        desk = Desk(docker, runtime)
        try:
            seen[runtime] = SCENARIOS[name](desk)
        finally:
            desk.close()
    assert seen["hookrun"] == seen["runc"]
    assert seen["runc"], "the scenario shows nothing"
