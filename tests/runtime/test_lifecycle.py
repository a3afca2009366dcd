"""The commands around a container's life, side by side with runc: order, messages, exit codes, what is left."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.cgroup_support import cgroups_of
from tests.runtime.parity import told
from tests.support import leaks
from tests.support.bundles import Bundle
from tests.support.runtimes import PATIENCE, Runtime, fresh_id, wait_for

SLEEP = ("sleep", "1000")


def test_a_whole_life(bundle: Bundle, either: Runtime) -> None:
    container_id = either.create(bundle.command("sh", "-c", "exit 0").path)
    assert either.state(container_id)["status"] == "created"
    either.start(container_id)
    either.wait_for_status(container_id, "stopped")
    assert either.state(container_id)["pid"] == 0
    assert either.call("delete", container_id).status == 0
    assert either.call("state", container_id).status == 1
    assert leaks.cgroups(container_id) == []


def test_state_has_what_runc_shows(bundle: Bundle, hookrun: Runtime, runc: Runtime) -> None:
    bundle.config["annotations"] = {"a.b": "c", "x": "y z"}
    bundle.command(*SLEEP)
    states = []
    for runtime in (hookrun, runc):
        state = runtime.state(runtime.run_detached(bundle.path))
        states.append({key: value for key, value in state.items() if key not in ("id", "pid", "created", "ociVersion")})
    assert states[0] == states[1]


def test_state_is_printed_letter_for_letter_as_by_runc(bundle: Bundle, hookrun: Runtime, runc: Runtime) -> None:
    bundle.config["annotations"] = {"a": "b"}
    bundle.command(*SLEEP)
    texts = []
    for runtime in (hookrun, runc):
        container_id = runtime.create(bundle.path)
        lines = runtime.call("state", container_id).out.splitlines(keepends=True)
        texts.append([line.split(":")[0] for line in lines])
    assert texts[0] == texts[1]


@pytest.mark.parametrize(
    "command",
    [
        ["state"],
        ["start"],
        ["kill"],
        ["delete"],
        ["delete", "--force"],
        ["pause"],
        ["resume"],
        ["ps"],
        ["events", "--stats"],
        ["exec"],
        ["update", "--memory", "1000000"],
    ],
)
def test_a_container_that_does_not_exist(hookrun: Runtime, runc: Runtime, command: list[str]) -> None:
    extra = ["true"] if command == ["exec"] else []
    assert told(hookrun.call(*command, "none", *extra)) == told(runc.call(*command, "none", *extra))


@pytest.mark.parametrize("container_id", ["", ".", "..", "a/b", "../x", "a b", "é", "x\ny", "-x", "a" * 300])
def test_ids_that_are_none(bundle: Bundle, hookrun: Runtime, runc: Runtime, container_id: str) -> None:
    results = [runtime.call("create", "--bundle", str(bundle.path), container_id) for runtime in (hookrun, runc)]
    assert [result.status for result in results] == [1, 1]
    assert not hookrun.root.exists() or list(hookrun.root.iterdir()) == []


def test_an_id_is_taken_once(bundle: Bundle, either: Runtime) -> None:
    container_id = either.create(bundle.command(*SLEEP).path)
    result = either.call("create", "--bundle", str(bundle.path), container_id)
    assert result.status == 1
    assert "container with given ID already exists" in result.err
    assert either.state(container_id)["status"] == "created"


def test_of_many_creates_of_one_id_one_wins(bundle: Bundle, hookrun: Runtime) -> None:
    bundle.command(*SLEEP)
    container_id = fresh_id()
    start = threading.Barrier(6)

    def create(number: int) -> int:
        start.wait(60)
        output = bundle.path / f"output-{number}"
        return hookrun.call_leaving("create", "--bundle", str(bundle.path), container_id, output=output).status

    with ThreadPoolExecutor(6) as pool:
        statuses = sorted(pool.map(create, range(6)))
    assert statuses == [0, 1, 1, 1, 1, 1]
    assert hookrun.state(container_id)["status"] == "created"
    assert hookrun.call("delete", "--force", container_id).status == 0
    assert leaks.cgroups(container_id) == []


def test_start_twice(bundle: Bundle, hookrun: Runtime, runc: Runtime) -> None:
    bundle.command(*SLEEP)
    seen = []
    for runtime in (hookrun, runc):
        container_id = runtime.run_detached(bundle.path)
        seen.append(told(runtime.call("start", container_id)))
    assert seen[0] == seen[1]


def test_start_of_a_dead_container(bundle: Bundle, hookrun: Runtime, runc: Runtime) -> None:
    bundle.command(*SLEEP)
    seen = []
    for runtime in (hookrun, runc):
        container_id = runtime.create(bundle.path)
        assert runtime.call("kill", container_id, "KILL").status == 0
        runtime.wait_for_status(container_id, "stopped")
        seen.append(told(runtime.call("start", container_id)))
    assert seen[0] == seen[1]


def test_delete_of_a_running_container(bundle: Bundle, hookrun: Runtime, runc: Runtime) -> None:
    bundle.command(*SLEEP)
    seen = []
    for runtime in (hookrun, runc):
        container_id = runtime.run_detached(bundle.path)
        seen.append(told(runtime.call("delete", container_id), container_id))
        assert runtime.call("delete", "--force", container_id).status == 0
    assert seen[0] == seen[1]


@pytest.mark.parametrize("signal", ["TERM", "SIGTERM", "sigterm", "15", "HUP", "0", "NOSUCH", "-1", "99", ""])
def test_kill(bundle: Bundle, hookrun: Runtime, runc: Runtime, signal: str) -> None:
    bundle.shell("trap 'exit 7' TERM; trap 'exit 8' HUP; while :; do sleep 0.1; done")
    seen = []
    for runtime in (hookrun, runc):
        container_id = runtime.run_detached(bundle.path)
        seen.append(told(runtime.call("kill", container_id, signal), container_id))
    assert seen[0] == seen[1]


def test_kill_all_without_a_pid_namespace(bundle: Bundle, either: Runtime) -> None:
    word = f"98{os.getpid()}"
    bundle.without_namespace("pid").shell(f"sleep {word} & sleep {word} & exec sleep {word}")
    container_id = either.run_detached(bundle.path)
    wait_for(lambda: len(leaks.processes(word)) == 3, "three sleepers")
    assert either.call("kill", "--all", container_id, "KILL").status == 0
    wait_for(lambda: not leaks.processes(f"sleep {word}"), "their end")


def test_kill_of_a_stopped_container(bundle: Bundle, hookrun: Runtime, runc: Runtime) -> None:
    """With --all it is no error, whether its cgroup is still there or, as by systemd, gone with its last process."""
    bundle.command(*SLEEP)
    seen = []
    for runtime in (hookrun, runc):
        container_id = runtime.run_detached(bundle.path)
        assert runtime.call("kill", container_id, "KILL").status == 0
        runtime.wait_for_status(container_id, "stopped")
        words = [[container_id, signal] for signal in ("0", "TERM", "KILL", "99")]
        before = [told(runtime.call("kill", *flags, *call)) for call in words for flags in ([], ["--all"])]
        for directory in leaks.cgroups(container_id):
            os.rmdir(directory)
        after = [told(runtime.call("kill", *flags, *call)) for call in words for flags in ([], ["--all"])]
        seen.append([before, after])
    assert seen[0] == seen[1]


@pytest.mark.parametrize("first", ["alive", "gone"])
def test_kill_without_a_pid_namespace_is_for_all(bundle: Bundle, hookrun: Runtime, first: str) -> None:
    """As in runc since 1.2: no process is left, nor in the way of `delete`."""
    word = f"96{os.getpid()}"
    bundle.without_namespace("pid").shell(f"sleep {word} & sleep {word} & exec sleep {word}")
    container_id = hookrun.run_detached(bundle.path)
    wait_for(lambda: len(leaks.processes(word)) == 3, "three sleepers")
    if first == "gone":
        os.kill(hookrun.state(container_id)["pid"], 9)
        hookrun.wait_for_status(container_id, "stopped")
    assert hookrun.call("kill", container_id, "KILL").status == 0
    wait_for(lambda: not leaks.processes(f"sleep {word}"), "their end")


def test_delete_force_without_a_pid_namespace_leaves_no_process(bundle: Bundle, either: Runtime) -> None:
    word = f"97{os.getpid()}"
    bundle.without_namespace("pid").shell(f"sleep {word} & exec sleep {word}")
    container_id = either.run_detached(bundle.path)
    wait_for(lambda: len(leaks.processes(word)) == 2, "two sleepers")
    if either.name == "hookrun":
        assert either.call("delete", "--force", container_id).status == 0
        wait_for(lambda: not leaks.processes(f"sleep {word}"), "their end")
        assert leaks.cgroups(container_id) == []
    else:
        # runc 1.1.5 leaves the second process behind: the test takes it away.
        either.call("kill", "--all", container_id, "KILL")


def test_pid_file(bundle: Bundle, either: Runtime) -> None:
    pid_file = bundle.path / "pid"
    container_id = either.create(bundle.command(*SLEEP).path, "--pid-file", str(pid_file))
    assert int(pid_file.read_text()) == either.state(container_id)["pid"]
    assert pid_file.read_text() == pid_file.read_text().strip()


def test_pid_file_that_cannot_be_written(bundle: Bundle, hookrun: Runtime) -> None:
    container_id = fresh_id()
    mounts = leaks.mounts()
    result = hookrun.call("create", "--bundle", str(bundle.path), "--pid-file", "/no/such/place/pid", container_id)
    assert result.status == 1
    assert "/no/such/place" in result.err
    assert list(hookrun.root.iterdir()) == []
    assert leaks.cgroups(container_id) == []
    assert leaks.mounts() == mounts


def test_run_detached_and_run_keep(bundle: Bundle, either: Runtime) -> None:
    container_id = either.run_detached(bundle.command("true").path)
    either.wait_for_status(container_id, "stopped")
    kept = fresh_id()
    assert either.run(bundle.path, "--keep", container_id=kept).status == 0
    assert either.state(kept)["status"] == "stopped"
    assert either.call("delete", kept).status == 0
    assert leaks.cgroups(kept) == []


def test_list(bundle: Bundle, hookrun: Runtime, runc: Runtime) -> None:
    bundle.command(*SLEEP)
    tables, quiet, shapes = [], [], []
    names = [fresh_id("list"), fresh_id("a-rather-long-one-that-widens-its-column")]
    for runtime in (hookrun, runc):
        runtime.root.mkdir()
        empty = [runtime.call("list").out, runtime.call("list", "--format", "json").out]
        for name in names:
            runtime.create(bundle.path, container_id=name)
        table = runtime.call("list").out.splitlines()
        # A time has no zeros at its end, so that now and then its column is narrower.
        heading = re.sub("CREATED +", "CREATED ", table[0])
        tables.append([empty, heading, [line.index("created") for line in table[1:]], len(table)])
        quiet.append(sorted(runtime.call("list", "-q").out.split()))
        listed = json.loads(runtime.call("list", "--format", "json").out)
        shapes.append(sorted((item["id"], sorted(item), item["status"], item["owner"]) for item in listed))
        assert runtime.call("list", "--format", "xml").status == 1
        runtime.delete_all()
    assert tables[0] == tables[1]
    assert quiet[0] == quiet[1] == sorted(names)
    assert shapes[0] == shapes[1]


def test_list_without_the_root(hookrun: Runtime) -> None:
    """Only the default root may be missing, as in runc since 1.2: runc 1.1 makes any."""
    assert hookrun.call("list").err.endswith(f'msg="open {hookrun.root}: no such file or directory"\n')
    assert not hookrun.root.exists()
    script = 'mount -t tmpfs tmpfs /run && exec "$0" list --quiet'
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", script, hookrun.program]
    default = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE, check=False)
    assert (default.returncode, default.stdout, default.stderr) == (0, b"", b"")


def test_console_socket(bundle: Bundle, either: Runtime, tmp_path_factory: pytest.TempPathFactory) -> None:
    place = Path(f"/tmp/hr-console-{os.getpid()}-{either.name}")
    bundle.process.update(terminal=True, consoleSize={"height": 33, "width": 77})
    bundle.shell("tty; stty size; test -c /dev/console && echo console; sleep 1000")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place))
        listener.listen(1)
        try:
            container_id = either.create(bundle.path, "--console-socket", str(place))
            connection, _ = listener.accept()
            _, descriptors, _, _ = socket.recv_fds(connection, 100, 1)
        finally:
            place.unlink()
    either.start(container_id)
    said = b""
    while b"console" not in said:
        said += os.read(descriptors[0], 1000)
    os.close(descriptors[0])
    assert b"/dev/pts/0" in said
    assert b"33 77" in said


@pytest.mark.parametrize(
    ("terminal", "options"),
    [(True, []), (False, ["--console-socket", "/no/such/socket"]), (True, ["--console-socket", "/no/such/socket"])],
)
def test_consoles_that_cannot_be(
    bundle: Bundle, hookrun: Runtime, runc: Runtime, terminal: bool, options: list[str]
) -> None:
    bundle.process["terminal"] = terminal
    bundle.write()
    seen = [
        told(runtime.call("create", "--bundle", str(bundle.path), *options, fresh_id())) for runtime in (hookrun, runc)
    ]
    assert seen[0] == seen[1]
    assert list(hookrun.root.iterdir()) == [] if hookrun.root.exists() else True


def test_bundles_that_are_none(bundle: Bundle, hookrun: Runtime, runc: Runtime) -> None:
    empty = bundle.path / "empty"
    empty.mkdir()
    for path in (empty, bundle.path / "missing"):
        results = [runtime.run(path) for runtime in (hookrun, runc)]
        assert results[0].status == results[1].status == 1
        assert told(results[0]) == told(results[1])


def test_exec_statuses(bundle: Bundle, hookrun: Runtime, runc: Runtime) -> None:
    bundle.command(*SLEEP)
    calls = (
        ["sh", "-c", "echo out; echo err >&2; exit 9"],
        ["no-such-program"],
        ["/etc"],
        ["/etc/passwd"],
        ["sh", "-c", "kill -9 $$"],
        ["--cwd", "/tmp", "pwd"],
        ["--cwd", "/nowhere", "pwd"],
        ["--cwd", "relative", "pwd"],
        ["--env", "A=b", "--env", "C=d", "env"],
        ["--user", "1000:100", "id"],
        ["--user", "1000", "id"],
        ["--user", "x", "id"],
        ["--additional-gids", "5", "--additional-gids", "6", "id"],
        ["--cap", "CAP_SYS_ADMIN", "grep", "^Cap", "/proc/self/status"],
        ["--no-new-privs=false", "grep", "NoNew", "/proc/self/status"],
        ["--cgroup", "a:b:c", "true"],
        ["grep", "-E", "^(Cap|Uid|NoNew|Sig(Blk|Ign))", "/proc/self/status"],
        ["sh", "-c", "ls /proc/self/fd | wc -l"],
        ["--tty", "--detach", "true"],
    )
    seen: list[list[Any]] = []
    for runtime in (hookrun, runc):
        container_id = runtime.run_detached(bundle.path)
        seen.append([])
        for call in calls:
            options = call[: next(index for index, word in enumerate(call) if _is_program(call, index))]
            program = call[len(options) :]
            seen[-1].append((call, told(runtime.call("exec", *options, container_id, *program), container_id)))
    for ours, theirs in zip(*seen, strict=True):
        assert ours == theirs


def _is_program(call: list[str], index: int) -> bool:
    """Whether the word at `index` is the first that is neither a flag nor a flag's value."""
    takes_value = {"--cwd", "--env", "--user", "--additional-gids", "--cap", "--cgroup"}
    return not call[index].startswith("--") and (index == 0 or call[index - 1] not in takes_value)


@pytest.mark.parametrize(
    "label", ["--apparmor=none-such", "--apparmor=\udcd8", "--process-label=a:b:c", "--apparmor=", "--process-label="]
)
def test_exec_with_a_label_that_no_module_knows(bundle: Bundle, hookrun: Runtime, runc: Runtime, label: str) -> None:
    bundle.command(*SLEEP)
    seen = [told(runtime.exec(label, runtime.run_detached(bundle.path), "id", "-u")) for runtime in (hookrun, runc)]
    assert seen[0] == seen[1]


def test_exec_with_a_process_file(bundle: Bundle, either: Runtime) -> None:
    container_id = either.run_detached(bundle.command(*SLEEP).path)
    process = bundle.path / "process.json"
    process.write_text(
        json.dumps(
            {
                "args": ["sh", "-c", "id -u; pwd; env; exit 4"],
                "cwd": "/tmp",
                "env": ["PATH=/bin", "X=1"],
                "user": {"uid": 5, "gid": 5},
            }
        )
    )
    result = either.call("exec", "--process", str(process), container_id)
    assert result.status == 4
    assert result.out.splitlines()[:2] == ["5", "/tmp"]
    assert "X=1" in result.out


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"args": "sh", "cwd": "/"}', '{"args": ["sh"]}', '{"args": [], "cwd": "/"}']
)
def test_process_files_that_are_none(bundle: Bundle, hookrun: Runtime, runc: Runtime, text: str) -> None:
    process = bundle.path / "process.json"
    process.write_text(text)
    bundle.command(*SLEEP)
    for runtime in (hookrun, runc):
        container_id = runtime.run_detached(bundle.path)
        result = runtime.call("exec", "--process", str(process), container_id)
        assert result.status == 255
        assert result.err.count("\n") == 1


def test_exec_detached_with_pid_file(bundle: Bundle, either: Runtime) -> None:
    container_id = either.run_detached(bundle.command(*SLEEP).path)
    pid_file = bundle.path / "exec.pid"
    output = bundle.path / "exec.output"
    word = f"96{os.getpid()}"
    result = either.call_leaving(
        "exec", "--detach", "--pid-file", str(pid_file), container_id, "sleep", word, output=output
    )
    assert result.status == 0, result.out
    pid = int(pid_file.read_text())
    wait_for(lambda: f"sleep\0{word}\0" == Path(f"/proc/{pid}/cmdline").read_text(), "the process")
    assert cgroups_of(pid) == cgroups_of(either.state(container_id)["pid"])


def test_exec_in_stopped_and_paused(bundle: Bundle, hookrun: Runtime, runc: Runtime) -> None:
    bundle.command(*SLEEP)
    seen = []
    for runtime in (hookrun, runc):
        container_id = runtime.run_detached(bundle.path)
        assert runtime.call("pause", container_id).status == 0
        lines = [runtime.state(container_id)["status"], *told(runtime.exec(container_id, "true"))]
        assert runtime.call("resume", container_id).status == 0
        lines += [runtime.state(container_id)["status"], *told(runtime.exec(container_id, "true"))]
        assert runtime.call("kill", container_id, "KILL").status == 0
        runtime.wait_for_status(container_id, "stopped")
        seen.append([*lines, *told(runtime.exec(container_id, "true"))])
    assert seen[0] == seen[1]


def test_exec_that_ignores_the_pause_waits_for_its_end(bundle: Bundle, either: Runtime) -> None:
    container_id = either.run_detached(bundle.command(*SLEEP).path)
    assert either.call("pause", container_id).status == 0
    words = [either.program, *either.globals, "exec", "--ignore-paused", container_id, "echo", "there"]
    with (bundle.path / "said").open("wb") as said:
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
        assert either.call("resume", container_id).status == 0
        assert process.wait(60) == 0
    assert (bundle.path / "said").read_text() == "there\n"


def test_delete_of_a_paused_container(bundle: Bundle, either: Runtime) -> None:
    container_id = either.run_detached(bundle.command(*SLEEP).path)
    assert either.call("pause", container_id).status == 0
    assert either.call("delete", "--force", container_id).status == 0
    assert leaks.cgroups(container_id) == []


def _sleeps_no_more(pid: int) -> bool:
    return not Path(f"/proc/{pid}/exe").exists() or b"sleep" not in Path(f"/proc/{pid}/cmdline").read_bytes()


def test_damaged_state_is_named_and_deleted_by_force(bundle: Bundle, hookrun: Runtime) -> None:
    for damage in (b"", b"{", b"[]", b'{"id": 5}', b"\xff\xfe"):
        container_id = hookrun.run_detached(bundle.command(*SLEEP).path)
        state = hookrun.root / container_id / "state.json"
        pid = hookrun.state(container_id)["pid"]
        state.write_bytes(damage)
        result = hookrun.call("state", container_id)
        assert result.status == 1
        assert str(state) in result.err
        assert hookrun.call("delete", "--force", container_id).status == 0
        assert not (hookrun.root / container_id).exists()
        wait_for(partial(_sleeps_no_more, pid), "the process's end")


def test_the_pid_of_another_process_is_not_signalled(bundle: Bundle, hookrun: Runtime) -> None:
    container_id = hookrun.run_detached(bundle.command(*SLEEP).path)
    bystander = subprocess.Popen(["sleep", "300"], stdin=subprocess.DEVNULL)
    try:
        state = hookrun.root / container_id / "state.json"
        found = json.loads(state.read_text())
        real = found["init_process_pid"]
        state.write_text(json.dumps({**found, "init_process_pid": bystander.pid}))
        assert hookrun.state(container_id)["status"] == "stopped"
        assert hookrun.call("kill", container_id, "KILL").status == 1
        state.write_text(json.dumps({**found, "init_process_pid": real}))
        assert hookrun.call("delete", "--force", container_id).status == 0
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait(60)


def test_many_containers_at_once_leave_nothing(bundle: Bundle, hookrun: Runtime) -> None:
    mounts = leaks.mounts()
    word = fresh_id("many")
    bundle.command("true")

    def live(number: int) -> int:
        return hookrun.run(bundle.path, container_id=f"{word}-{number}").status

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(live, range(80))) == {0}
    assert leaks.mounts() == mounts
    assert leaks.cgroups(word) == []
    assert leaks.processes(word) == []
    assert list(hookrun.root.iterdir()) == []


def test_an_id_as_long_as_a_name_of_a_file_can_be(bundle: Bundle, either: Runtime) -> None:
    name = f"{fresh_id()}-".ljust(255, "x")
    result = either.call("run", "--bundle", str(bundle.command("true").path), name)
    assert (result.status, result.err) == (0, "")
