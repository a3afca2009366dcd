"""Running a recorded call again: `hookctl trace replay`.

A container is made of the recorded config in a bundle, a state root and a cgroup of its own, so that nothing of the
engine's is touched. What belonged to the engine's moment is left out, and told: its hooks, joined namespaces, the
console, and bind mounts whose source is gone. hookrun puts in its own hooks and policies as they are now.
"""

from __future__ import annotations

import copy
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from loguru import logger

from hookrun.policies.decide import Outcome
from hookrun.runtime import jsonio
from hookrun.runtime.errors import Failure
from hookrun.runtime.linux import attributes
from hookrun.wrapper import snapshot
from hookrun.wrapper.admin.trace.store import Store
from hookrun.wrapper.cli import argv
from hookrun.wrapper.decision import gate
from hookrun.wrapper.decision.invocation import of_call
from hookrun.wrapper.patch.bundle import Bundle
from hookrun.wrapper.record import changes
from hookrun.wrapper.record.line import Line, Operation

MAKING = ("create", "run")
_READING = ("state", "ps", "list", "features", "exec")
_MASK = "***"
_TIMED_OUT = 124  # as timeout(1) has it

Config = dict[str, Any]


def decide(store: Store, call: Line, state: Path) -> tuple[Outcome, list[Operation]]:
    """What hookrun would decide about the call now, and the change it would make as an RFC 6902 patch.

    Raises Failure where the call made no container, or its config is gone.
    """
    _demand_config(call)
    with _bundle(store.before(call)) as directory:
        words = [os.fsencode(word) for word in call["argv"]]
        invocation = of_call(argv.parse(words), snapshot.load(str(state)))
        invocation.engine = call["engine"]
        invocation.bundle = bundle = Bundle(str(directory))
        outcome = gate.decide(bundle.config, invocation)
        return outcome, changes.between(bundle.config, outcome.config)


def run(store: Store, call: Line, rootfs: Path | None, seconds: float) -> int:
    """Run the call again, for `seconds` at most (0: without a limit); returns its exit status.

    Nothing of it goes on afterwards. Raises Failure where that can't be done apart from the engine, and at the limit.
    """
    if call["command"] in MAKING:
        _demand_config(call)
        return _make_container(call, store.before(call), rootfs, seconds)
    if call["command"] not in _READING:
        raise Failure(
            f"`{call['command']}` would act on the engine's own container: if that is wanted, paste the command line"
            f" that `hookctl trace show {call['id']}` prints"
        )
    return _run(call["argv"], seconds)


def _demand_config(call: Line) -> None:
    if call["command"] not in MAKING or not call["config"]:
        raise Failure(f"call {call['id']} ({call['command']}) made no container, or failed before it had a config")


def _make_container(call: Line, config: Config, rootfs: Path | None, seconds: float) -> int:
    name = f"replay-{call['id']}"
    prepared = _apart(config, name, rootfs or _recorded_rootfs(call, config))
    with _bundle(prepared) as directory:
        words = [call["argv"][0], "--root", f"{directory}/state"]
        try:
            return _run([*words, "run", "--bundle", str(directory), name], seconds)
        finally:
            subprocess.run([*words, "delete", "--force", name], stdin=subprocess.DEVNULL, timeout=120, check=False)


def _recorded_rootfs(call: Line, config: Config) -> Path:
    path = Path(call["bundle"] or "/", (config.get("root") or {}).get("path") or "rootfs")
    if not path.is_dir() or not any(path.iterdir()):
        raise Failure(f"the root filesystem {path} is gone: give another one by --rootfs")
    return path


def _apart(config: Config, name: str, rootfs: Path) -> Config:
    """The config for a container beside the engine's."""
    made = copy.deepcopy(config)
    made["root"] = {**(made.get("root") or {}), "path": str(rootfs.absolute())}
    process = made.get("process") or {}
    process["terminal"] = False
    if made.pop("hooks", None):
        logger.warning("the engine's hooks are left out")
    masked = [entry.partition("=")[0] for entry in process.get("env") or () if _MASK in entry]
    if masked:
        logger.warning("masked in the record, so their values are lost: {}", ", ".join(masked))
    gone = [mount for mount in made.get("mounts") or () if _is_bind(mount) and not os.path.exists(mount["source"])]
    for mount in gone:
        logger.warning("{} is left out: {} is gone", mount["destination"], mount["source"])
    made["mounts"] = [mount for mount in made.get("mounts") or () if mount not in gone]
    linux = made.get("linux") or {}
    linux["cgroupsPath"] = f"/{name}"
    linux["namespaces"] = [{"type": entry["type"]} for entry in linux.get("namespaces") or ()]
    return made


def _is_bind(mount: dict[str, Any]) -> bool:
    return mount.get("type") == "bind" or bool({"bind", "rbind"} & set(mount.get("options") or ()))


@contextmanager
def _bundle(config: Config) -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="hookrun-replay-"))
    try:
        (directory / "config.json").write_text(jsonio.dumps(config))
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _run(words: list[str], seconds: float) -> int:
    """Run a command to its end; what it leaves behind, as a detached process, comes to us and ends with it."""
    attributes.set_child_subreaper()
    try:
        process = subprocess.Popen([os.fsencode(word) for word in words])
    except OSError as error:
        raise Failure(f"cannot run {words[0]}: {error.strerror}") from None
    try:
        return process.wait(seconds or None)
    except subprocess.TimeoutExpired:
        raise Failure(f"it was ended after {seconds:g} s: give it more by --timeout", _TIMED_OUT) from None
    finally:
        process.kill()
        process.wait()
        _end_family()


def _end_family() -> None:
    """Kill all that descends from this process, wherever it is: stopped first, so that nothing is born meanwhile."""
    family: dict[int, int] = {}  # process: its pidfd
    while new := _descendants() - family.keys():
        opened = dict(_opened(new))
        ours = _descendants()  # looked at again: from now on no pidfd can come to mean another process
        for pid, pidfd in opened.items():
            if pid in ours:
                family[pid] = pidfd
                _send(pidfd, signal.SIGSTOP)
            else:
                os.close(pidfd)
    for pidfd in family.values():
        _send(pidfd, signal.SIGKILL)
        os.close(pidfd)
    with suppress(ChildProcessError):
        while True:
            os.wait()


def _opened(processes: set[int]) -> Iterator[tuple[int, int]]:
    for pid in processes:
        with suppress(ProcessLookupError):
            yield pid, os.pidfd_open(pid)


def _descendants() -> set[int]:
    """The processes that descend from this one. Whoever has ended and was not waited for counts too."""
    parents = dict(_parents())
    found: set[int] = set()
    while more := {pid for pid, parent in parents.items() if parent in {os.getpid(), *found}} - found:
        found |= more
    return found


def _parents() -> Iterator[tuple[int, int]]:
    for pid in map(int, filter(str.isdecimal, os.listdir("/proc"))):
        try:
            yield pid, int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])
        except OSError:  # it ended meanwhile
            continue


def _send(pidfd: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, number)
