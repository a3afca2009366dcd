"""The birth of the container's first process: one clone3 into all new namespaces, or two where some are joined.

Where a namespace is joined by its path, or a time namespace is made (whose offsets must be set before anybody is in
it), an intermediate process goes there first and clones again with CLONE_PARENT, so that the container's process is
hookrun's child, and so its caller's subreaper's, all the same. Sources: clone(2), setns(2), time_namespaces(7); runc:
nsexec.c.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NoReturn

from hookrun.runtime.cgroups.entrance import Entrance
from hookrun.runtime.errors import Failure, failing, reason
from hookrun.runtime.linux import namespaces, pids
from hookrun.runtime.process import channel, mappings
from hookrun.runtime.process.channel import Message
from hookrun.runtime.rootfs.judged import Namespaces as Judged
from hookrun.runtime.spec.sections import linux, namespace_paths

_OFFSETS_FILE = "/proc/self/timens_offsets"


class Birth:
    """A new process and the line to it."""

    __slots__ = ("line", "pid", "pidfd")

    def __init__(self, pid: int, pidfd: int, line: channel.ParentLine) -> None:
        self.pid = pid
        self.pidfd = pidfd
        self.line = line

    def kill(self) -> None:
        """End the process and take its exit status away."""
        try:
            pids.send_signal(self.pidfd, 9)
            os.waitpid(self.pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass


class Namespaces:
    """The namespaces of a config: those to make, and the opened files of those to join."""

    __slots__ = ("config", "joined", "new")

    def __init__(self, config: dict[str, Any], judged: Judged) -> None:
        """Open the namespaces to join, the judged ones where policies judged them (`Judged.namespaces`).

        Raises Failure.
        """
        self.config = config
        self.new = 0
        self.joined: list[tuple[int, int, str]] = []
        paths = namespace_paths(config)
        for kind, flag in namespaces.FLAGS.items():
            path = paths.get(kind)
            if path == "":
                self.new |= flag
            elif path:
                self.joined.append((self._open(kind, path), flag, path))
                self._demand_judged(kind, path, judged)

    def is_new(self, kind: str) -> bool:
        return bool(self.new & namespaces.FLAGS[kind])

    def needs_intermediate(self) -> bool:
        return bool(self.joined) or self.is_new("time")

    def at_clone(self) -> int:
        """The flags for the clone that makes the process."""
        return self.new & ~namespaces.NEWTIME & ~self.at_root()

    def at_root(self) -> int:
        """The flags for what the process makes itself, once it is in its cgroups and root of its user namespace.

        A cgroup namespace has its process's cgroup as its root, and a message queue file system its maker as owner.
        """
        return self.new & (namespaces.NEWCGROUP | (namespaces.NEWIPC if self.is_new("user") else 0))

    def close(self) -> None:
        for descriptor, _, _ in self.joined:
            os.close(descriptor)
        self.joined = []

    def _demand_judged(self, kind: str, path: str, judged: Judged) -> None:
        """Between the decision and this, whoever owns a directory on the way can make the path lead elsewhere."""
        status = os.fstat(self.joined[-1][0])
        opened = status.st_dev, status.st_ino
        if judged.get((kind, path), opened) != opened:
            self.close()
            raise Failure(f"{path} is not the {kind} namespace that the policies judged: it was changed meanwhile")

    def _open(self, kind: str, path: str) -> int:
        try:
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            self.close()
            raise Failure(f"failed to open {path} for the {kind} namespace: {reason(error)}") from None


def give_birth(wanted: Namespaces, entrance: Entrance, main: Callable[[channel.ChildLine], NoReturn]) -> Birth:
    """Make a process in its namespaces and cgroups, which runs `main`. Raises Failure."""
    if not wanted.needs_intermediate():
        return give_birth_at_once(wanted.at_clone(), entrance, main)

    def deliver(line: channel.ChildLine) -> NoReturn:
        _join(wanted)
        flags = wanted.at_clone()
        if wanted.is_new("time"):
            if wanted.is_new("user"):
                namespaces.unshare(namespaces.NEWUSER)
                line.ask(Message.MAPPINGS, str(os.getpid()))
                flags &= ~namespaces.NEWUSER
            namespaces.unshare(namespaces.NEWTIME)
            _set_offsets(wanted.config)
        _deliver(flags, line, main)

    return _await_child(give_birth_at_once(0, entrance, deliver), wanted.config)


def give_birth_inside(
    flags: int, pidfd: int, entrance: Entrance, main: Callable[[channel.ChildLine], NoReturn]
) -> Birth:
    """Make a process in the existing namespaces `flags` of the process behind `pidfd`. Raises Failure."""

    def deliver(line: channel.ChildLine) -> NoReturn:
        namespaces.join(pidfd, flags)
        _deliver(0, line, main)

    return _await_child(give_birth_at_once(0, entrance, deliver), {})


def give_birth_at_once(flags: int, entrance: Entrance, main: Callable[[channel.ChildLine], NoReturn]) -> Birth:
    """Make a process by one clone. Raises Failure."""
    ours, theirs = channel.open_pair()
    try:
        pid, pidfd = namespaces.clone(flags, entrance.clone_fd)
    except OSError as error:
        ours.close()
        theirs.close()
        raise Failure(f"unable to clone: {reason(error)}") from None
    if pid == 0:
        ours.close()
        _live(main, theirs)
    theirs.close()
    return Birth(pid, pidfd, ours)


def _deliver(flags: int, line: channel.ChildLine, main: Callable[[channel.ChildLine], NoReturn]) -> NoReturn:
    """The intermediate process's last act: the container's process, as a child of its own parent.

    The two share the line, and either may run first: the process says nothing before the parent has its number.
    """
    pid, _ = namespaces.clone(flags | namespaces.CLONE_PARENT)
    if pid == 0:
        line.is_announced = False
        _live(main, line)
    line.tell(Message.PID, str(pid))
    os._exit(0)


def _live(main: Callable[[channel.ChildLine], NoReturn], line: channel.ChildLine) -> NoReturn:
    """Run `main`; what it raises goes to the parent, and the process ends here whatever happens."""
    try:
        main(line)
    except Failure as failure:
        _report(line, failure.text)
    except OSError as error:
        what = f"{error.filename}: " if error.filename else ""
        _report(line, f"{what}{reason(error)}")
    except BaseException as error:
        _report(line, f"{type(error).__name__}: {error}")
    os._exit(1)


def _report(line: channel.ChildLine, text: str) -> None:
    try:
        line.tell(Message.ERROR, text)
    except (Failure, OSError):
        # The parent has gone: after `start`, the container's stderr is the only place left, as in runc.
        os.write(2, f"{text}\n".encode("utf-8", "surrogateescape"))


def _join(wanted: Namespaces) -> None:
    """Join what can be joined with the caller's rights, then the user namespace, then the rest with its rights.

    Source: runc's nsexec.c, join_namespaces.
    """
    others = [entry for entry in wanted.joined if entry[1] != namespaces.NEWUSER]
    late = [entry for entry in others if not _has_joined(entry)]
    for descriptor, flag, path in [entry for entry in wanted.joined if entry not in others] + late:
        with failing(f"failed to setns into {path}"):
            namespaces.join(descriptor, flag)


def _has_joined(entry: tuple[int, int, str]) -> bool:
    descriptor, flag, _ = entry
    try:
        namespaces.join(descriptor, flag)
    except PermissionError:
        return False
    except OSError as error:
        raise Failure(f"failed to setns into {entry[2]}: {reason(error)}") from None
    return True


def _set_offsets(config: dict[str, Any]) -> None:
    """Write a new time namespace's clocks (time_namespaces(7)); they can't be changed once a process is in it."""
    offsets = linux(config).get("timeOffsets") or {}
    if not offsets:
        return
    lines = "".join(f"{clock} {time.get('secs', 0)} {time.get('nanosecs', 0)}\n" for clock, time in offsets.items())
    with failing(f"failed to update {_OFFSETS_FILE}"):
        descriptor = os.open(_OFFSETS_FILE, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, lines.encode())
        finally:
            os.close(descriptor)


def _await_child(birth: Birth, config: dict[str, Any]) -> Birth:
    """Help the intermediate process until it says which one is the container's; it ends then. Raises Failure."""
    message, text = birth.line.attend({Message.MAPPINGS: lambda text: mappings.write(config, int(text))})
    if message is not Message.PID:
        birth.kill()
        raise Failure(f"error during container init: {text or 'the process ended'}")
    birth.line.answer()
    os.close(birth.pidfd)
    os.waitpid(birth.pid, 0)
    pid = int(text)
    return Birth(pid, pids.open_pidfd(pid), birth.line)
