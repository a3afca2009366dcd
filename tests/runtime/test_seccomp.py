"""`linux.seccomp` as a container feels it, with hookrun and with runc."""

from __future__ import annotations

import array
import contextlib
import fcntl
import json
import os
import select
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hookrun.runtime import SPEC_VERSION
from tests.support.bundles import Bundle
from tests.support.runtimes import PATIENCE, Runtime, fresh_id

# The C library of another architecture, or a newer one, may use the second of each.
MKDIR = ["mkdir", "mkdirat"]
NATIVE = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}[os.uname().machine]


def profile(*entries: dict[str, Any], default: str = "SCMP_ACT_ALLOW", **fields: Any) -> dict[str, Any]:
    return {"defaultAction": default, "architectures": [NATIVE], "syscalls": list(entries), **fields}


def outcome(runtime: Runtime, bundle: Bundle, seccomp: dict[str, Any], script: str) -> tuple[int, str]:
    bundle.linux["seccomp"] = seccomp
    bundle.shell(f"exec 2>&1; {script}")
    result = runtime.run(bundle.path)
    return result.status, result.out + result.err


def calls_of_runc(runc: Runtime, directory: Path, *arguments: str) -> set[str]:
    """The system calls that runc's thread makes from the filter's load to the end of the container's program."""
    directory.mkdir()
    trace = ["strace", "-ff", "-qq", "-o", str(directory / "trace"), runc.program, *runc.globals, *arguments]
    subprocess.run(trace, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE, check=True)
    for file in directory.iterdir():
        _, loaded, after = file.read_text().partition("prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER")
        if loaded and 'execve("/bin/echo"' in after:
            return {line.partition("(")[0] for line in after.splitlines()[1:] if line[0].isalpha()}
    raise AssertionError("runc has loaded no filter")


@pytest.mark.parametrize("no_new_privileges", [True, False], ids=["nnp", "privileged"])
def test_a_filter_need_not_allow_what_runc_does_not_call(
    bundle: Bundle, runc: Runtime, hookrun: Runtime, tmp_path: Path, no_new_privileges: bool
) -> None:
    """moby#22252: profiles are made by what runc calls."""
    bundle.process["noNewPrivileges"] = no_new_privileges
    bundle.process["user"] = {"uid": 1000, "gid": 1000, "additionalGids": [5], "umask": 0o27}
    bundle.linux["seccomp"] = profile({"names": ["uselib"], "action": "SCMP_ACT_ERRNO"})
    bundle.command("/bin/echo", "hi")
    allowed = calls_of_runc(runc, tmp_path / "run", "run", "--bundle", str(bundle.path), fresh_id())
    lasting = runc.run_detached(bundle.command("/bin/sleep", "1000").path)
    allowed |= calls_of_runc(runc, tmp_path / "exec", "exec", lasting, "/bin/echo", "hi")
    # What `sleep` calls besides; and read(2), by which a container waits for `start`: runc's opens its fifo for that.
    allowed |= {"clock_nanosleep", "nanosleep", "read"}
    bundle.linux["seccomp"] = profile({"names": sorted(allowed), "action": "SCMP_ACT_ALLOW"}, default="SCMP_ACT_ERRNO")
    result = hookrun.run(bundle.command("/bin/echo", "hi").path)
    assert (result.status, result.out) == (0, "hi\n"), (result.err, sorted(allowed))
    container = hookrun.run_detached(bundle.command("/bin/sleep", "1000").path)
    result = hookrun.call("exec", container, "/bin/echo", "hi")
    assert (result.status, result.out) == (0, "hi\n"), (result.err, sorted(allowed))


ACTIONS: list[tuple[dict[str, Any], str]] = [
    ({"action": "SCMP_ACT_ALLOW"}, "0"),
    ({"action": "SCMP_ACT_LOG"}, "0"),
    ({"action": "SCMP_ACT_ERRNO"}, "Operation not permitted"),
    ({"action": "SCMP_ACT_ERRNO", "errnoRet": 28}, "No space left on device"),
    ({"action": "SCMP_ACT_TRACE"}, "Function not implemented"),
    ({"action": "SCMP_ACT_TRACE", "errnoRet": 28}, "Function not implemented"),
    ({"action": "SCMP_ACT_TRAP"}, "159"),
    ({"action": "SCMP_ACT_KILL"}, "159"),
    ({"action": "SCMP_ACT_KILL_THREAD"}, "159"),
    ({"action": "SCMP_ACT_KILL_PROCESS"}, "159"),
]


@pytest.mark.parametrize("no_new_privileges", [True, False], ids=["nnp", "privileged"])
@pytest.mark.parametrize(("action", "expected"), ACTIONS, ids=[str(list(a.values())) for a, _ in ACTIONS])
def test_actions(
    action: dict[str, Any], expected: str, no_new_privileges: bool, bundle: Bundle, either: Runtime
) -> None:
    bundle.process["noNewPrivileges"] = no_new_privileges
    _, out = outcome(either, bundle, profile({"names": MKDIR, **action}), "/bin/mkdir /tmp/x; echo $?")
    assert expected in out


@pytest.mark.parametrize("default", ["SCMP_ACT_ERRNO", "SCMP_ACT_KILL_PROCESS"])
def test_default_action(default: str, bundle: Bundle, either: Runtime) -> None:
    """Only what is listed goes; nothing that a busybox shell needs is in this list of one."""
    status, _ = outcome(
        either, bundle, profile({"names": ["close"], "action": "SCMP_ACT_ALLOW"}, default=default), "echo not reached"
    )
    assert status != 0


@pytest.mark.parametrize("no_new_privileges", [True, False], ids=["nnp", "privileged"])
def test_a_profile_older_than_the_kernel(no_new_privileges: bool, bundle: Bundle, hookrun: Runtime) -> None:
    """Profiles that refuse what they do not know lack the newer calls; getcwd is the spec's own validation suite's.

    runc calls getcwd after the filter is in, so this is hookrun's alone.
    """
    bundle.process["noNewPrivileges"] = no_new_privileges
    newer = ["close_range", "faccessat2", "openat2", "pidfd_open", "clone3", "getcwd", "statx", "madvise"]
    bundle.linux["seccomp"] = profile({"names": newer, "action": "SCMP_ACT_ERRNO"})
    bundle.command("sleep", "1000")
    container = hookrun.run_detached(bundle.path)
    assert hookrun.exec(container, "echo", "entered").out == "entered\n"


OPERATORS = [
    ("SCMP_CMP_NE", 8, 0),
    ("SCMP_CMP_LT", 8, 0),
    ("SCMP_CMP_LE", 8, 0),
    ("SCMP_CMP_EQ", 8, 0),
    ("SCMP_CMP_GE", 8, 0),
    ("SCMP_CMP_GT", 0, 0),
    ("SCMP_CMP_MASKED_EQ", 12, 8),
]
# Whether personality(0) and personality(8) get through.
THROUGH = {
    "SCMP_CMP_NE": (False, True),
    "SCMP_CMP_LT": (False, True),
    "SCMP_CMP_LE": (False, False),
    "SCMP_CMP_EQ": (True, False),
    "SCMP_CMP_GE": (True, False),
    "SCMP_CMP_GT": (True, False),
    "SCMP_CMP_MASKED_EQ": (True, False),
}
PERSONALITIES = "linux64 true >/dev/null 2>&1; echo $?; linux32 true >/dev/null 2>&1; echo $?"


def passed(out: str) -> tuple[bool, ...]:
    return tuple(line == "0" for line in out.splitlines())


@pytest.mark.parametrize(("operator", "value", "second"), OPERATORS, ids=[name for name, _, _ in OPERATORS])
def test_operators(operator: str, value: int, second: int, bundle: Bundle, either: Runtime) -> None:
    argument = {"index": 0, "op": operator, "value": value, "valueTwo": second}
    rule = {"names": ["personality"], "action": "SCMP_ACT_ERRNO", "args": [argument]}
    assert passed(outcome(either, bundle, profile(rule), PERSONALITIES)[1]) == THROUGH[operator]


def test_comparisons_of_one_argument_are_alternatives(bundle: Bundle, either: Runtime) -> None:
    arguments = [{"index": 0, "op": "SCMP_CMP_EQ", "value": value} for value in (0, 8)]
    rule = {"names": ["personality"], "action": "SCMP_ACT_ERRNO", "args": arguments}
    assert passed(outcome(either, bundle, profile(rule), PERSONALITIES)[1]) == (False, False)


def test_comparisons_of_several_arguments_must_all_hold(bundle: Bundle, either: Runtime) -> None:
    arguments = [{"index": 0, "op": "SCMP_CMP_EQ", "value": 8}, {"index": 5, "op": "SCMP_CMP_EQ", "value": 123456789}]
    rule = {"names": ["personality"], "action": "SCMP_ACT_ERRNO", "args": arguments}
    assert passed(outcome(either, bundle, profile(rule), PERSONALITIES)[1]) == (True, True)


def test_unknown_calls_and_rules_that_say_nothing_new_are_skipped(bundle: Bundle, either: Runtime) -> None:
    rules = (
        {"names": ["no_such_call", *MKDIR], "action": "SCMP_ACT_ERRNO"},
        {"names": ["rmdir"], "action": "SCMP_ACT_ALLOW"},
    )
    assert "Operation not permitted" in outcome(either, bundle, profile(*rules), "/bin/mkdir /tmp/x")[1]


@pytest.mark.parametrize(
    ("flags", "number"),
    [
        (None, 4),
        ([], 0),
        (["SECCOMP_FILTER_FLAG_LOG"], 2),
        (["SECCOMP_FILTER_FLAG_SPEC_ALLOW"], 4),
        (["SECCOMP_FILTER_FLAG_TSYNC"], 0),
        (["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"], 6),
    ],
    ids=str,
)
def test_flags(flags: list[str] | None, number: int, bundle: Bundle, hookrun: Runtime) -> None:
    """runc has flags since 1.2; its --debug tells what the kernel was asked for, from the cache or not."""
    hookrun.globals.append("--debug")
    rule = {"names": MKDIR, "action": "SCMP_ACT_ERRNO"}
    seccomp = profile(rule) if flags is None else profile(rule, flags=flags)
    for _ in range(2):
        said = outcome(hookrun, bundle, seccomp, "/bin/mkdir /tmp/x")[1]
        assert "Operation not permitted" in said
        assert f'msg="seccomp filter flags: {number}"' in said


def test_speculation_is_left_alone_unless_flags_say_otherwise(bundle: Bundle, hookrun: Runtime) -> None:
    """runc 1.5's default; what the kernel shows depends on the processor, so the two must only not be worse."""
    shown = "grep -i Speculation_Store_Bypass /proc/self/status"
    rule = {"names": MKDIR, "action": "SCMP_ACT_ERRNO"}
    plain = outcome(hookrun, bundle, profile(rule), shown)[1]
    assert plain == outcome(hookrun, bundle, profile(rule, flags=["SECCOMP_FILTER_FLAG_SPEC_ALLOW"]), shown)[1]


@pytest.mark.parametrize("seccomp", [None, {}, {"defaultAction": "", "syscalls": []}], ids=str)
def test_no_filter(seccomp: Any, bundle: Bundle, either: Runtime) -> None:
    assert outcome(either, bundle, seccomp, "grep Seccomp: /proc/self/status")[1].split() == ["Seccomp:", "0"]


def test_a_filter_without_rules(bundle: Bundle, either: Runtime) -> None:
    shown = outcome(either, bundle, {"defaultAction": "SCMP_ACT_ALLOW"}, "grep Seccomp: /proc/self/status")[1]
    assert shown.split() == ["Seccomp:", "2"]


BAD = [
    (profile(default="SCMP_ACT_NONE"), "string SCMP_ACT_NONE is not a valid action for seccomp"),
    (profile({"names": ["mkdir"], "action": "deny"}), "string deny is not a valid action for seccomp"),
    (profile(architectures=["SCMP_ARCH_Z80"]), "string SCMP_ARCH_Z80 is not a valid arch for seccomp"),
    (
        profile({"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 0, "op": "=", "value": 1}]}),
        "string = is not a valid operator for seccomp",
    ),
    (profile(flags=["SECCOMP_FILTER_FLAG_NONE"]), "seccomp flag"),
    (
        profile({"names": ["write"], "action": "SCMP_ACT_NOTIFY"}, listenerPath="/no/such/socket"),
        "SCMP_ACT_NOTIFY cannot be used for the write syscall",
    ),
    (profile({"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": "EPERM"}), "errnoRet"),
]


@pytest.mark.parametrize(("seccomp", "message"), BAD, ids=[message[:50] for _, message in BAD])
def test_bad_profiles(seccomp: dict[str, Any], message: str, bundle: Bundle, either: Runtime) -> None:
    status, out = outcome(either, bundle, seccomp, "echo not reached")
    assert status == 1
    assert "not reached" not in out
    assert message in out


def test_there_are_six_arguments(bundle: Bundle, hookrun: Runtime) -> None:
    """runc 1.1 panics."""
    argument = {"index": 6, "op": "SCMP_CMP_EQ", "value": 1}
    rule = {"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "args": [argument]}
    status, out = outcome(hookrun, bundle, profile(rule), "echo not reached")
    assert status == 1
    assert "syscalls only have up to 6 arguments (7 given)" in out


def applies(entry: dict[str, Any]) -> bool:
    """Whether a rule of the engine's file is for a container without capabilities on this machine."""
    includes = dict(entry.get("includes") or {})
    architectures = includes.pop("arches", None)
    machine = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
    return not includes and (architectures is None or machine in architectures)


def test_the_profile_of_the_engines(bundle: Bundle, either: Runtime) -> None:
    path = Path("/usr/share/containers/seccomp.json")
    if not path.exists():
        pytest.skip("no engine's profile on this machine")
    found = json.loads(path.read_text())
    rules = [entry for entry in found["syscalls"] if applies(entry)]
    names = ("names", "action", "args", "errnoRet")
    rules = [{name: entry[name] for name in names if entry.get(name) is not None} for entry in rules]
    fields = {name: found[name] for name in ("defaultErrnoRet",) if name in found}
    seccomp = profile(*rules, default=found["defaultAction"], **fields)
    status, out = outcome(either, bundle, seccomp, "mount -t tmpfs x /tmp || mkdir /tmp/x && ls -d /tmp/x")
    assert status == 0
    assert out.endswith("/tmp/x\n")


# --- the listener

RECEIVE, SEND = 0xC0502100, 0xC0182101
DEADLINE_MS = int(PATIENCE * 1000)


class Agent:
    """Answers `mkdir` with ENOSPC."""

    def __init__(self, path: Path) -> None:
        self.messages: list[dict[str, Any]] = []
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen()
        self._stop, self._stopped = os.pipe()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        watched = select.poll()
        watched.register(self._listener, select.POLLIN)
        watched.register(self._stop, select.POLLHUP | select.POLLIN)
        notifiers: set[int] = set()
        while True:
            for descriptor, event in watched.poll(DEADLINE_MS) or [(self._stop, 0)]:
                if descriptor == self._stop:
                    for notifier in notifiers:
                        os.close(notifier)
                    return
                if descriptor == self._listener.fileno():
                    notifier = self._accept()
                    notifiers.add(notifier)
                    watched.register(notifier, select.POLLIN)
                elif event & select.POLLIN:
                    self._answer(descriptor)
                else:
                    watched.unregister(descriptor)

    def _accept(self) -> int:
        connection, _ = self._listener.accept()
        with connection:
            data, rights, _, _ = connection.recvmsg(65536, socket.CMSG_LEN(4))
        self.messages.append(json.loads(data))
        return array.array("i", rights[0][2])[0]

    def _answer(self, notifier: int) -> None:
        request = bytearray(80)
        try:
            fcntl.ioctl(notifier, RECEIVE, request)
        except FileNotFoundError:  # interrupted even before
            return
        (identifier,) = struct.unpack_from("=Q", request)
        with contextlib.suppress(
            FileNotFoundError
        ):  # a signal interrupted who asked: he asks again (seccomp_unotify(2))
            fcntl.ioctl(notifier, SEND, struct.pack("=QqiI", identifier, 0, -28, 0))

    def close(self) -> None:
        os.close(self._stopped)
        self._thread.join(PATIENCE)
        os.close(self._stop)
        self._listener.close()


@contextlib.contextmanager
def agent(path: Path) -> Iterator[Agent]:
    serving = Agent(path)
    try:
        yield serving
    finally:
        serving.close()


@pytest.mark.parametrize("no_new_privileges", [True, False], ids=["nnp", "privileged"])
def test_listener_gets_the_descriptor_and_answers(no_new_privileges: bool, bundle: Bundle, either: Runtime) -> None:
    path = bundle.path / "agent"
    bundle.process["noNewPrivileges"] = no_new_privileges
    bundle.config["annotations"] = {"for": "the agent"}
    bundle.linux["seccomp"] = profile(
        {"names": MKDIR, "action": "SCMP_ACT_NOTIFY"}, listenerPath=str(path), listenerMetadata="what it wants"
    )
    bundle.shell("/bin/mkdir /tmp/x 2>&1; exec sleep 1000")
    with agent(path) as serving:
        container = either.run_detached(bundle.path)
        result = either.exec(container, "/bin/mkdir", "/tmp/y")
        assert "No space left on device" in result.err
        first, second = serving.messages
        pid = either.state(container)["pid"]
        assert first["ociVersion"] == {"hookrun": SPEC_VERSION, "runc": "1.0.2-dev"}[either.name]
        assert first["fds"] == ["seccompFd"]
        assert first["pid"] == pid
        assert first["metadata"] == "what it wants"
        state = first["state"]
        assert (state["id"], state["status"], state["pid"]) == (container, "creating", pid)
        assert state["bundle"] == str(bundle.path)
        assert state["annotations"] == {"for": "the agent"}
        assert second["pid"] != pid
        assert (second["state"]["status"], second["state"]["pid"]) == ("running", pid)
        either.delete_all()


def test_a_listener_that_is_not_there(bundle: Bundle, either: Runtime) -> None:
    seccomp = profile({"names": MKDIR, "action": "SCMP_ACT_NOTIFY"}, listenerPath=str(bundle.path / "nobody"))
    status, out = outcome(either, bundle, seccomp, "echo not reached")
    assert status == 1
    assert "failed to connect with seccomp agent specified in the seccomp profile" in out
