"""Every command and flag of runc's command line, from runc 1.0 to 1.5, with what containerd 0.2's shim passed.

One table, read by the parser, the help texts and `hookctl`. `since` and `until` are the first and the last minor
version of runc that knows the flag; hookrun accepts all of them at any time, so that an engine of any age can call it.
Source: the `*.go` files of runc's main package at the tags v0.1.1 to v1.5.1.
"""

from __future__ import annotations

from dataclasses import dataclass

BOOL = "bool"
STRING = "string"
STRINGS = "strings"
INT = "int"
INT64S = "int64s"
DURATION = "duration"

SECOND = 1_000_000_000
UNLIMITED = -1


class Flag:
    """One flag. `names` starts with the long name, under which its value is found; durations are in nanoseconds."""

    __slots__ = ("default", "hidden", "kind", "names", "since", "until", "usage")

    def __init__(  # noqa: PLR0913  (a row of the tables below)
        self,
        names: str,
        kind: str,
        usage: str,
        default: bool | int | str | None = None,
        *,
        hidden: bool = False,
        since: str = "1.0",
        until: str = "",
    ) -> None:
        self.names = tuple(names.split())
        self.kind = kind
        self.usage = usage
        self.default = _EMPTY[kind] if default is None else default
        self.hidden = hidden
        self.since = since
        self.until = until

    @property
    def name(self) -> str:
        """The long name, without dashes."""
        return self.names[0]

    def initial(self) -> bool | int | str | list[str] | list[int]:
        """The value of the flag on a command line that does not have it."""
        return [] if isinstance(self.default, tuple) else self.default


@dataclass(frozen=True, slots=True)
class Command:
    """One command. It takes `least` to `most` arguments; with `reorder` its flags may follow its arguments."""

    name: str
    usage: str
    arguments: str
    least: int
    most: int
    flags: tuple[Flag, ...] = ()
    reorder: bool = True
    since: str = "1.0"


_EMPTY: dict[str, bool | int | str | tuple[()]] = {
    BOOL: False,
    STRING: "",
    STRINGS: (),
    INT: 0,
    INT64S: (),
    DURATION: 0,
}

HELP = Flag("help h", BOOL, "show help")
VERSION = Flag("version v", BOOL, "print the version")

_BUNDLE = Flag("bundle b", STRING, "bundle directory, the current directory if not given")
_CONSOLE_SOCKET = Flag("console-socket", STRING, "AF_UNIX socket that is sent the terminal's master descriptor")
_PIDFD_SOCKET = Flag(
    "pidfd-socket", STRING, "AF_UNIX socket that is sent a pidfd of the container's process", since="1.2"
)
_PID_FILE = Flag("pid-file", STRING, "file to write the process id to")
_NO_SUBREAPER = Flag("no-subreaper", BOOL, "leave reparented processes to whoever is the subreaper")
_NO_PIVOT = Flag("no-pivot", BOOL, "enter the rootfs without pivot_root, for a rootfs on top of a ramdisk")
_NO_NEW_KEYRING = Flag("no-new-keyring", BOOL, "keep the caller's session keyring")
_PRESERVE_FDS = Flag("preserve-fds", INT, "how many descriptors after stdio and $LISTEN_FDS the container inherits")
_DETACH = Flag("detach d", BOOL, "do not wait for the process")
_CONSOLE = Flag("console", STRING, "path of the pty slave to use", hidden=True, since="0.1", until="1.0-rc2")
_FORMAT = Flag("format f", STRING, "table or json", "table")


_CRIU_FLAGS = (
    Flag("tcp-established", BOOL, "allow open TCP connections"),
    Flag("ext-unix-sk", BOOL, "allow unix sockets that lead out of the container"),
    Flag("shell-job", BOOL, "allow processes that share a terminal with a shell outside"),
    Flag("file-locks", BOOL, "save and restore file locks"),
    Flag("manage-cgroups-mode", STRING, "what CRIU does about cgroups: soft, full, strict or ignore"),
    Flag("empty-ns", STRINGS, "namespace to create without restoring its content"),
    Flag("auto-dedup", BOOL, "drop memory pages of earlier images that later images replace"),
    Flag("lazy-pages", BOOL, "restore memory pages on demand through userfaultfd"),
)


GLOBALS = (
    Flag("debug", BOOL, "log debug messages"),
    Flag("log", STRING, "file to write the log to instead of stderr"),
    Flag("log-format", STRING, "format of the log: text or json", "text"),
    Flag("root", STRING, "directory for the containers' state, best on a tmpfs"),
    Flag("criu", STRING, "path of the criu program", "criu", hidden=True, until="1.3"),
    Flag("systemd-cgroup", BOOL, 'let systemd make cgroups; cgroupsPath is then "slice:prefix:name"'),
    Flag("rootless", STRING, "ignore missing rights on cgroups: true, false or auto", "auto"),
    Flag("hook-config-path", STRING, "oci-add-hooks: JSON file of hooks to add", hidden=True),
    Flag("runtime-path", STRING, "oci-add-hooks: runtime to run after adding them", hidden=True),
    HELP,
    VERSION,
)


_CHECKPOINT_FLAGS = (
    Flag("image-path", STRING, "directory for CRIU's image files"),
    Flag("work-path", STRING, "directory for CRIU's work files and logs"),
    Flag("parent-path", STRING, "directory of the image files of an earlier pre-dump"),
    Flag("leave-running", BOOL, "let the container go on after the checkpoint"),
    Flag("tcp-skip-in-flight", BOOL, "leave out TCP connections that are being made", since="1.3"),
    Flag("link-remap", BOOL, "link unlinked files back where possible", since="1.3"),
    Flag("status-fd", INT, "descriptor that CRIU writes a NUL to when lazy pages are ready", -1),
    Flag("page-server", STRING, "ADDRESS:PORT of the page server"),
    Flag("pre-dump", BOOL, "save memory only, and let the container go on"),
    *_CRIU_FLAGS,
)


_CREATE_FLAGS = (
    _BUNDLE,
    _CONSOLE_SOCKET,
    _PIDFD_SOCKET,
    _PID_FILE,
    _NO_PIVOT,
    _NO_NEW_KEYRING,
    _PRESERVE_FDS,
    _CONSOLE,
)


_EXEC_FLAGS = (
    _CONSOLE_SOCKET,
    _PIDFD_SOCKET,
    Flag("cwd", STRING, "working directory in the container"),
    Flag("env e", STRINGS, "environment variable NAME=VALUE"),
    Flag("tty t", BOOL, "allocate a terminal"),
    Flag("user u", STRING, "UID[:GID]"),
    Flag("additional-gids g", INT64S, "additional group id"),
    Flag("process p", STRING, "file with the process as JSON"),
    _DETACH,
    _PID_FILE,
    Flag("process-label", STRING, "SELinux label of the process"),
    Flag("apparmor", STRING, "AppArmor profile of the process"),
    Flag("no-new-privs", BOOL, "set no_new_privs"),
    Flag("cap c", STRINGS, "capability to add to the bounding set"),
    Flag("no-subreaper", BOOL, "no effect", hidden=True, until="1.0"),
    _PRESERVE_FDS,
    Flag("cgroup", STRINGS, "[CONTROLLER[,CONTROLLER]:]CGROUP: existing sub-cgroup to run in", since="1.1"),
    Flag("ignore-paused", BOOL, "also in a paused container", since="1.1"),
    _CONSOLE,
)


_RESTORE_FLAGS = (
    _CONSOLE_SOCKET,
    Flag("image-path", STRING, "directory of CRIU's image files"),
    Flag("work-path", STRING, "directory for CRIU's work files and logs"),
    _BUNDLE,
    _DETACH,
    _PID_FILE,
    _NO_SUBREAPER,
    _NO_PIVOT,
    Flag("lsm-profile", STRING, "LSM profile to restore with, TYPE:NAME"),
    Flag("lsm-mount-context", STRING, "LSM mount context to restore with", since="1.1"),
    *_CRIU_FLAGS,
    _CONSOLE,
)


_RUN_FLAGS = (
    _BUNDLE,
    _CONSOLE_SOCKET,
    _PIDFD_SOCKET,
    _DETACH,
    Flag("keep", BOOL, "keep the container's state after it exits", since="1.1"),
    _PID_FILE,
    _NO_SUBREAPER,
    _NO_PIVOT,
    _NO_NEW_KEYRING,
    _PRESERVE_FDS,
    _CONSOLE,
)


_UPDATE_FLAGS = (
    Flag("resources r", STRING, "file with linux.resources as JSON, - for stdin; other flags are then ignored"),
    Flag("blkio-weight", INT, "block IO weight, 10 to 1000"),
    Flag("cpu-period", STRING, "CFS period in microseconds, 0 for the system's default"),
    Flag("cpu-quota", STRING, "CPU time per period in microseconds"),
    Flag("cpu-burst", STRING, "CPU time that may be saved up, in microseconds", since="1.2"),
    Flag("cpu-share", STRING, "relative weight of CPU time"),
    Flag("cpu-rt-period", STRING, "realtime period in microseconds, 0 for the system's default"),
    Flag("cpu-rt-runtime", STRING, "realtime CPU time per period in microseconds"),
    Flag("cpuset-cpus", STRING, "CPUs to use"),
    Flag("cpuset-mems", STRING, "memory nodes to use"),
    Flag("kernel-memory", STRING, "no effect: the kernel has no such limit any more", hidden=True),
    Flag("kernel-memory-tcp", STRING, "no effect: the kernel has no such limit any more", hidden=True),
    Flag("memory", STRING, "memory limit in bytes"),
    Flag("memory-reservation", STRING, "soft memory limit in bytes"),
    Flag("memory-swap", STRING, "limit of memory and swap in bytes, -1 for none"),
    Flag("pids-limit", INT, "how many processes the container may have"),
    Flag("l3-cache-schema", STRING, "Intel RDT L3 cache schema"),
    Flag("mem-bw-schema", STRING, "Intel RDT memory bandwidth schema"),
    Flag("cpu-idle", STRING, "1 for SCHED_IDLE, 0 for the ordinary policy", since="1.2"),
)


_ID = "<container-id>"

COMMANDS = (
    Command("checkpoint", "save a running container's state to files", _ID, 1, 1, _CHECKPOINT_FLAGS),
    Command("create", "create a container", _ID, 1, 1, _CREATE_FLAGS),
    Command(
        "delete",
        "delete a stopped container and what it holds",
        _ID,
        1,
        1,
        (Flag("force f", BOOL, "kill the container with SIGKILL if it runs"),),
    ),
    Command(
        "events",
        "print a container's statistics and its out-of-memory events",
        _ID,
        1,
        1,
        (
            Flag("interval", DURATION, "time between two statistics", 5 * SECOND),
            Flag("stats", BOOL, "print the statistics once"),
        ),
    ),
    Command(
        "exec",
        "run another process in a container",
        "<container-id> <command> [command options] || -p process.json <container-id>",
        1,
        UNLIMITED,
        _EXEC_FLAGS,
        reorder=False,
    ),
    Command(
        "kill",
        "send a signal (SIGTERM if not given) to a container's init process",
        "<container-id> [signal]",
        1,
        2,
        (Flag("all a", BOOL, "signal every process of the container", hidden=True),),
    ),
    Command(
        "list",
        "list the containers under the root directory",
        "",
        0,
        0,
        (_FORMAT, Flag("quiet q", BOOL, "print container ids only")),
    ),
    Command("pause", "suspend every process of a container", _ID, 1, 1),
    Command(
        "ps",
        "print the processes of a container",
        "<container-id> [ps options]",
        1,
        UNLIMITED,
        (_FORMAT,),
        reorder=False,
    ),
    Command("restore", "bring a container back from a checkpoint", _ID, 1, 1, _RESTORE_FLAGS),
    Command("resume", "let the processes of a paused container go on", _ID, 1, 1),
    Command("run", "create and start a container", _ID, 1, 1, _RUN_FLAGS),
    Command(
        "spec",
        "write an example config.json",
        "",
        0,
        0,
        (
            Flag("bundle b", STRING, "directory to write it to"),
            Flag("rootless", BOOL, "make it fit a user who is not root"),
        ),
    ),
    Command("start", "start the process of a created container", _ID, 1, 1),
    Command("state", "print a container's state as JSON", _ID, 1, 1),
    Command("update", "change a container's resource limits", _ID, 1, 1, _UPDATE_FLAGS),
    Command("features", "print as JSON what this runtime can do", "", 0, 0, since="1.1"),
)

HELP_COMMAND = Command("help", "list the commands, or show the help of one", "[command]", 0, UNLIMITED)
HELP_NAMES = ("help", "h")


def command(name: str) -> Command | None:
    """The command of that name; None if there is none."""
    for candidate in COMMANDS:
        if candidate.name == name:
            return candidate
    return HELP_COMMAND if name in HELP_NAMES else None
