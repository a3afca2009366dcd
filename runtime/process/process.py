"""What a process of the container becomes: its user, groups, capabilities, limits, working directory and program.

Used by the container's first process and by `exec` alike. Sources: config.md "process"; runc's
libcontainer/init_linux.go (finalizeNamespace, setupUser).
"""

from __future__ import annotations

import errno
import os
import signal
import stat

from hookrun.runtime.documents import Capabilities, Process, Rlimit
from hookrun.runtime.errors import Failure, failing, reason
from hookrun.runtime.linux import attributes, capabilities
from hookrun.runtime.linux.syscalls import NR, call
from hookrun.runtime.log import Log
from hookrun.runtime.spec.process import RLIMITS, no_user

_AT_FDCWD = -100
_AT_EACCESS = 0x200
_NULL_DEVICE = os.makedev(1, 3)
_EXECUTABLE = stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH
_NGROUPS_MAX = 65536  # include/uapi/linux/limits.h


def leave_parents_signals() -> None:
    """Have nothing of the parent's handling of signals in a child: not blocked, not ignored, not told to anybody.

    The parent's watch (`foreground`) has a descriptor that the child closes soon. A signal would make Python complain
    of that with the line of source where it is, which it would look for in the container.
    """
    signal.set_wakeup_fd(-1)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)


def set_rlimits(pid: int, limits: list[Rlimit] | None) -> None:
    """Set the resource limits of another process (prlimit(2)). Raises Failure in runc's words."""
    for limit in limits or ():
        pair = (limit.get("soft") or 0).to_bytes(8, "little") + (limit.get("hard") or 0).to_bytes(8, "little")
        try:
            call(NR.prlimit64, pid, RLIMITS[limit["type"]], pair, None)
        except OSError as error:
            number = RLIMITS[limit["type"]]
            raise Failure(
                f"error setting rlimits for ready process: error setting rlimit type {number}: {reason(error)}"
            ) from None


def set_oom_score(adjustment: int | None) -> None:
    """Set the calling process's /proc/self/oom_score_adj; to be done while it is still dumpable. Raises Failure."""
    if adjustment is None:
        return
    with failing("failed to update /proc/self/oom_score_adj"):
        descriptor = os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, str(adjustment).encode())
        finally:
            os.close(descriptor)


class Identity:
    """The user, groups and capabilities that the process will have, worked out before the rootfs is entered."""

    __slots__ = ("additional_gids", "gid", "has_arrived", "may_set_groups", "sets", "uid", "umask")

    def __init__(self, process: Process, log: Log) -> None:
        user = process.get("user") or {}
        self.uid: int = user.get("uid") or 0
        self.gid: int = user.get("gid") or 0
        self.umask: int | None = user.get("umask")
        self.additional_gids: list[int] = user.get("additionalGids") or []
        wanted = process.get("capabilities")
        # A config that names no capabilities keeps none (runc: an empty set, not the caller's).
        self.sets = _capability_sets(wanted or {}, log)
        self.may_set_groups = True
        self.has_arrived = False

    def take(self) -> None:
        """Become this user with these groups; the permitted capabilities stay. Raises Failure."""
        attributes.set_keep_capabilities(True)
        _own_stdio(self.uid)
        with failing("unable to setup user"):
            if self.may_set_groups:
                _set_groups(self.additional_gids)
            # As runc: a seccomp profile made for it allows these, and need not allow setresgid and setresuid.
            os.setgid(self.gid)
            os.setuid(self.uid)
        attributes.set_keep_capabilities(False)

    def drop_bounding(self) -> None:
        """Drop all capabilities from the bounding set that the process shall not have. Raises Failure."""
        with failing("unable to apply bounding set"):
            capabilities.drop_bounding(self.sets.bounding)

    def apply_capabilities(self) -> list[str]:
        """Set the other four sets; returns warnings of what could not be raised. Raises Failure."""
        with failing("unable to apply caps"):
            capabilities.set_process_sets(self.sets.effective, self.sets.permitted, self.sets.inheritable)
            refused = capabilities.raise_ambient(self.sets.ambient)
        return [f"can't raise ambient capability {name}: {reason(error)}" for name, error in refused.items()]


def _capability_sets(wanted: Capabilities, log: Log) -> capabilities.CapabilitySets:
    """The five sets as bits; what this kernel has not is warned of and left out, as runc does."""
    unknown: set[str] = set()

    def bits(kind: str) -> int:
        found, strange = capabilities.mask(wanted.get(kind) or [])
        unknown.update(strange)
        return found

    sets = capabilities.CapabilitySets(
        bits("bounding"), bits("effective"), bits("inheritable"), bits("permitted"), bits("ambient")
    )
    if unknown:
        log.warning("ignoring unknown or unavailable capabilities: [" + " ".join(sorted(unknown)) + "]")
    return sets


def _set_groups(gids: list[int]) -> None:
    """setgroups(2), whose answer to too many groups Python gives in words of its own. Raises OSError."""
    if len(gids) > _NGROUPS_MAX:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    os.setgroups(gids)


def may_set_groups() -> bool:
    """Whether setgroups(2) is allowed in this user namespace (user_namespaces(7))."""
    try:
        descriptor = os.open("/proc/self/setgroups", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return True
    try:
        return os.read(descriptor, 16).strip() != b"deny"
    finally:
        os.close(descriptor)


def _own_stdio(uid: int) -> None:
    """Give the standard streams to the user, so that `/dev/stdout` can be opened again (runc: fixStdioPermissions).

    /dev/null is left alone: its owner is everybody's. Refusals are no fault: a file system may be read-only, a
    descriptor another user namespace's.
    """
    for descriptor in range(3):
        try:
            status = os.fstat(descriptor)
            if status.st_uid != uid and status.st_rdev != _NULL_DEVICE:
                os.fchown(descriptor, uid, -1)
        except OSError:
            continue


def parse_environment(process: Process) -> dict[bytes, bytes]:
    """The process's environment, the last of two equal names counting. Raises Failure for an entry that is none."""
    variables: dict[bytes, bytes] = {}
    for entry in process.get("env") or ():
        name, separator, value = entry.encode("utf-8", "surrogateescape").partition(b"=")
        if not separator:
            raise Failure(f'invalid environment variable: "{entry}"')
        if not name:
            raise Failure(f'environment variable name can\'t be empty: "{entry}"')
        variables[name] = value
    return variables


def _home_of(uid: int) -> bytes:
    """The user's home directory in the container's /etc/passwd, `/` where there is none."""
    try:
        descriptor = os.open("/etc/passwd", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return b"/"
    try:
        text = os.read(descriptor, 1 << 20)
    except OSError:
        return b"/"
    finally:
        os.close(descriptor)
    wanted = str(uid).encode()
    for line in text.split(b"\n"):
        fields = line.strip().split(b":")
        if len(fields) >= 6 and fields[2] == wanted:
            return fields[5] or b"/"
    return b"/"


def change_directory(cwd: str) -> bool:
    """Go to the working directory; False where this user may not, so that the container's user can be tried."""
    try:
        os.chdir(cwd)
    except OSError as error:
        if error.errno == errno.EACCES:
            return False
        raise Failure(f'chdir to cwd ("{cwd}") set in config.json failed: {reason(error)}') from None
    return True


def check_directory_is_inside() -> None:
    """Refuse a working directory that lies outside the container's root (CVE-2024-21626).

    The kernel's getcwd(2) gives `(unreachable)/…` for one, which libc turns into ENOENT.
    """
    try:
        path = os.getcwdb()
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise Failure(f"failed to verify if current working directory is safe: {reason(error)}") from None
        path = b""
    if not path.startswith(b"/"):
        raise Failure(
            "current working directory is outside of container mount namespace root -- "
            "possible container breakout detected"
        )


def prepare(process: Process, identity: Identity, variables: dict[bytes, bytes]) -> None:
    """Do what a seccomp filter may forbid and what needs no other user. Raises Failure.

    The process goes to its working directory where it may do so already. HOME in `variables` becomes the user's, from
    the container's /etc/passwd, where it is unset or empty.
    """
    if identity.umask is not None:
        os.umask(identity.umask & 0o777)
    identity.may_set_groups = may_set_groups()
    identity.has_arrived = change_directory(process["cwd"])
    if identity.has_arrived:
        check_directory_is_inside()
    if not variables.get(b"HOME"):
        variables[b"HOME"] = _home_of(identity.uid)
        if b"\0" in variables[b"HOME"]:
            raise no_user("setenv: invalid argument")


def settle(process: Process, identity: Identity) -> list[str]:
    """From privileged process to the container's user, after `prepare`, in runc's order; returns warnings.

    Raises Failure.
    """
    identity.drop_bounding()
    identity.take()
    if not identity.has_arrived:
        if not change_directory(process["cwd"]):
            raise Failure(f'chdir to cwd ("{process["cwd"]}") set in config.json failed: permission denied')
        check_directory_is_inside()
    return identity.apply_capabilities()


def find_program(name: str, variables: dict[bytes, bytes]) -> bytes:
    """The path of the program, searched in the process's own PATH. Raises Failure in the words of Go's os/exec."""
    encoded = name.encode("utf-8", "surrogateescape")
    if b"/" in encoded:
        problem = _not_executable(encoded)
        if problem:
            raise Failure(f'exec: "{name}": {problem}')
        return encoded
    path = variables.get(b"PATH", b"")
    for directory in path.split(b":") if path else ():
        candidate = _joined(directory, encoded)
        if not _not_executable(candidate):
            # What is found would depend on the working directory: Go's LookPath refuses it.
            if not candidate.startswith(b"/"):
                raise Failure(f'exec: "{name}": cannot run executable found relative to current directory')
            return candidate
    raise Failure(f'exec: "{name}": executable file not found in $PATH')


def _joined(directory: bytes, name: bytes) -> bytes:
    """A path as Go's filepath.Join cleans it, for a script gets to see it."""
    path = os.path.normpath(f"{os.fsdecode(directory or b'.')}/{os.fsdecode(name)}")
    return os.fsencode("/" + path.lstrip("/") if path.startswith("/") else path)


def _not_executable(path: bytes) -> str:
    try:
        status = os.stat(path)
    except OSError as error:
        return f"stat {os.fsdecode(path)}: {reason(error)}"
    if stat.S_ISDIR(status.st_mode):
        return "permission denied"
    try:
        call(NR.faccessat2, _AT_FDCWD, path, os.X_OK, _AT_EACCESS)
    except OSError as error:
        # A kernel or a seccomp profile from before Linux 5.8 leaves the answer to the mode, as Go's LookPath does.
        if error.errno not in (errno.ENOSYS, errno.EPERM):
            return "permission denied"
    # Root passes access(2) for any file with one x bit; a file with none is refused by execve.
    return "" if status.st_mode & _EXECUTABLE else "permission denied"


def replace(program: bytes, arguments: list[str], variables: dict[bytes, bytes]) -> None:
    """execve(2); does not return. Raises Failure in runc's words."""
    encoded = [argument.encode("utf-8", "surrogateescape") for argument in arguments]
    try:
        os.execve(program, encoded, variables)
    except OSError as error:
        raise Failure(f"exec {os.fsdecode(program)}: {reason(error)}") from None
