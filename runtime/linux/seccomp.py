"""Seccomp: the config's `linux.seccomp` as a program for the kernel.

Sources: runtime-spec config-linux.md "Seccomp"; seccomp(2); runc libcontainer/seccomp and its patchbpf, which answers
ENOSYS for every call newer than the newest that the profile knows, so that libc falls back instead of failing.

A compiled program is kept under the hash of its profile, since libseccomp needs 10 to 20 ms for Docker's.
"""

from __future__ import annotations

import _blake2
import errno
import marshal
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from struct import pack
from typing import TypedDict

from hookrun.runtime.errors import Failure, failing, quoted, reason
from hookrun.runtime.linux import libseccomp
from hookrun.runtime.linux.libseccomp import Comparison, Filter, Library
from hookrun.runtime.linux.syscalls import NR, address, call

Instruction = tuple[int, int, int, int]
Debug = Callable[[str], None]

CACHE_DIRECTORY = "/var/cache/hookrun/seccomp"
_CACHE_FORMAT = 1
_CACHE_LIMIT = 128

_SET_MODE_FILTER = 1
NEW_LISTENER = 8
FLAGS = {
    # Threads are none yet when the filter is loaded, so this one changes nothing.
    "SECCOMP_FILTER_FLAG_TSYNC": 0,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 4,
    "SECCOMP_FILTER_FLAG_LOG": 2,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": 32,
}
ACTIONS = {
    "SCMP_ACT_KILL": 0x00000000,
    "SCMP_ACT_KILL_THREAD": 0x00000000,
    "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_ERRNO": 0x00050000,
    "SCMP_ACT_NOTIFY": 0x7FC00000,
    "SCMP_ACT_TRACE": 0x7FF00000,
    "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_ALLOW": 0x7FFF0000,
}
OPERATORS = {
    "SCMP_CMP_NE": 1,
    "SCMP_CMP_LT": 2,
    "SCMP_CMP_LE": 3,
    "SCMP_CMP_EQ": 4,
    "SCMP_CMP_GE": 5,
    "SCMP_CMP_GT": 6,
    "SCMP_CMP_MASKED_EQ": 7,
}
ARCHITECTURES = {
    "SCMP_ARCH_X86": 0x40000003,
    "SCMP_ARCH_X86_64": 0xC000003E,
    "SCMP_ARCH_X32": 0x4000003E,
    "SCMP_ARCH_ARM": 0x40000028,
    "SCMP_ARCH_AARCH64": 0xC00000B7,
    "SCMP_ARCH_LOONGARCH64": 0xC0000102,
    "SCMP_ARCH_MIPS": 0x00000008,
    "SCMP_ARCH_MIPS64": 0x80000008,
    "SCMP_ARCH_MIPS64N32": 0xA0000008,
    "SCMP_ARCH_MIPSEL": 0x40000008,
    "SCMP_ARCH_MIPSEL64": 0xC0000008,
    "SCMP_ARCH_MIPSEL64N32": 0xE0000008,
    "SCMP_ARCH_PPC": 0x00000014,
    "SCMP_ARCH_PPC64": 0x80000015,
    "SCMP_ARCH_PPC64LE": 0xC0000015,
    "SCMP_ARCH_RISCV64": 0xC00000F3,
    "SCMP_ARCH_S390": 0x00000016,
    "SCMP_ARCH_S390X": 0x80000016,
}
_WITH_RETURN_CODE = ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE")
_PASSING = frozenset(("SCMP_ACT_ALLOW", "SCMP_ACT_LOG"))
_PERMISSIVE = ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE")
_ARGUMENTS = 6

# From this many rules on, a binary tree is faster than a list (runc's number).
_TREE_RULES = 32

# Classic BPF, linux/filter.h and linux/bpf_common.h; the offsets are those of struct seccomp_data.
_LOAD, _JUMP, _JUMP_EQUAL, _JUMP_GREATER, _JUMP_BITS, _RETURN = 0x20, 0x05, 0x15, 0x25, 0x45, 0x06
_NUMBER_OFFSET, _ARCHITECTURE_OFFSET = 0, 4
_X32_BIT = 1 << 30
_S390 = (ARCHITECTURES["SCMP_ARCH_S390"], ARCHITECTURES["SCMP_ARCH_S390X"])


class SyscallArgument(TypedDict, total=False):
    """A comparison of one argument of a system call."""

    index: int
    value: int
    valueTwo: int
    op: str


class Syscalls(TypedDict, total=False):
    """What a profile does with some system calls."""

    names: list[str]
    action: str
    errnoRet: int
    args: list[SyscallArgument]


class Profile(TypedDict, total=False):
    """The config's `linux.seccomp`."""

    defaultAction: str
    defaultErrnoRet: int
    architectures: list[str]
    flags: list[str]
    listenerPath: str
    listenerMetadata: str
    syscalls: list[Syscalls]


@dataclass(frozen=True, slots=True)
class Program:
    """A compiled filter: `code`, an array of struct sock_filter, and the `flags` of seccomp(2)."""

    code: bytes
    flags: int

    @property
    def listens(self) -> bool:
        """Whether loading it gives a descriptor to answer calls with (SCMP_ACT_NOTIFY)."""
        return bool(self.flags & NEW_LISTENER)


def allows(seccomp: Profile | None, calls: Iterable[str]) -> bool:
    """Whether a profile lets calls of these names pass whatever their arguments; in doubt it does not."""
    if not seccomp:
        return True
    rules = seccomp.get("syscalls") or []
    for name in calls:
        found = [rule for rule in rules if name in (rule.get("names") or ())]
        actions = {rule.get("action") for rule in found} or {seccomp.get("defaultAction")}
        if not actions <= _PASSING or any(rule.get("args") for rule in found):
            return False
    return True


def program(seccomp: Profile | None, debug: Debug, cache: str = CACHE_DIRECTORY) -> Program | None:
    """The program of a profile, from the `cache` directory where it is there; None where the config wants no filter.

    The profile's types are those of `shape`; `debug` takes what a reader of the log may want to know. Raises Failure
    for one that can't be compiled.
    """
    if not seccomp or not (seccomp.get("defaultAction") or seccomp.get("syscalls")):
        return None
    found = _from_cache_or_compiled(seccomp, debug, cache)
    debug(f"seccomp filter flags: {found.flags}")
    return found


def _from_cache_or_compiled(seccomp: Profile, debug: Debug, cache: str) -> Program:
    key = _key(seccomp)
    directory = _open_cache(cache)
    try:
        found = _cached(directory, key) if directory is not None else None
        if found is not None:
            return found
        made, library = _compile(seccomp, debug)
        if directory is not None:
            _keep(directory, key, made, library)
        return made
    finally:
        if directory is not None:
            os.close(directory)


def install(program: Program) -> int | None:
    """Load the program for this process for good; the descriptor to answer calls with, for one that listens.

    The process needs CAP_SYS_ADMIN or no_new_privs. Raises Failure.
    """
    code = bytearray(program.code)
    header = bytearray(pack("@HP", len(code) // 8, address(code)))
    with failing("error loading seccomp filter into kernel: error loading seccomp filter"):
        result = call(NR.seccomp, _SET_MODE_FILTER, program.flags, header)
    return result if program.listens else None


def supported_flags() -> list[str]:
    """The flags that this kernel takes: asked without a program, it says EFAULT for those and EINVAL for others."""
    return [name for name, flag in FLAGS.items() if _is_supported(flag)]


def _is_supported(flag: int) -> bool:
    # WAIT_KILLABLE_RECV is refused without a listener.
    needed = NEW_LISTENER if flag == FLAGS["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"] else 0
    try:
        call(NR.seccomp, _SET_MODE_FILTER, flag | needed, None)
    except OSError as error:
        return error.errno == errno.EFAULT
    return True


# --- compiling


def _compile(seccomp: Profile, debug: Debug) -> tuple[Program, Library]:
    rules = _rules(seccomp)
    flags = _flags(seccomp) | _listener_flag(seccomp, rules)
    default = _action(seccomp.get("defaultAction"), seccomp.get("defaultErrnoRet"))
    architectures = [_named(ARCHITECTURES, name, "arch") for name in seccomp.get("architectures") or ()]
    try:
        library = libseccomp.Library()
    except OSError as error:
        raise Failure(f"seccomp: {reason(error)}: install libseccomp 2") from None
    with failing("error creating filter"):
        filter_ = library.filter(default)
    try:
        if len(rules) > _TREE_RULES:
            filter_.optimize()
        _add_architectures(filter_, architectures)
        # A rule that says what holds anyway would be refused.
        _add_rules(library, filter_, [rule for rule in rules if rule.action != default], debug)
        code = _exported(filter_)
    finally:
        filter_.release()
    if seccomp["defaultAction"] not in _PERMISSIVE:
        code = _newer_calls_stub(library, architectures, rules) + code
    return Program(code, flags), library


@dataclass(frozen=True, slots=True)
class _Rule:
    """One name of one entry of `syscalls`."""

    name: str
    action: int
    comparisons: list[Comparison]


def _rules(seccomp: Profile) -> list[_Rule]:
    rules = []
    for entry in seccomp.get("syscalls") or ():
        action = _action(entry.get("action"), entry.get("errnoRet"))
        comparisons = [_comparison(argument) for argument in entry.get("args") or ()]
        for name in entry.get("names") or ():
            if not name:
                raise Failure("empty string is not a valid syscall")
            rules.append(_Rule(name, action, comparisons))
    return rules


def _named(table: dict[str, int], name: str, what: str) -> int:
    if name not in table:
        raise Failure(f"string {name} is not a valid {what} for seccomp")
    return table[name]


def _action(name: str | None, code: int | None) -> int:
    action = _named(ACTIONS, name or "", "action")
    if name not in _WITH_RETURN_CODE:
        return action
    return action | (errno.EPERM if code is None else code & 0xFFFF)


def _comparison(argument: SyscallArgument) -> Comparison:
    operator = _named(OPERATORS, argument.get("op") or "", "operator")
    index = argument.get("index") or 0
    if index >= _ARGUMENTS:
        raise Failure(f"syscalls only have up to {_ARGUMENTS} arguments ({index + 1} given)")
    return index, operator, argument.get("value") or 0, argument.get("valueTwo") or 0


def _flags(seccomp: Profile) -> int:
    """Without the field, speculation stays as it is, where the kernel can do that; with it, only what it lists."""
    if seccomp.get("flags") is None:
        default = FLAGS["SECCOMP_FILTER_FLAG_SPEC_ALLOW"]
        return default if _is_supported(default) else 0
    flags = 0
    for name in seccomp["flags"]:
        if name not in FLAGS:
            raise Failure(f"seccomp flag {name} is not known to runc")
        if not _is_supported(FLAGS[name]):
            raise Failure(f"seccomp flag {name} is not supported by this kernel")
        flags |= FLAGS[name]
    return flags


def _listener_flag(seccomp: Profile, rules: list[_Rule]) -> int:
    """The init writes to its parent until the descriptor is handed over, so `write` can't wait for an answer."""
    notify = ACTIONS["SCMP_ACT_NOTIFY"]
    if seccomp.get("defaultAction") == "SCMP_ACT_NOTIFY":
        raise Failure("SCMP_ACT_NOTIFY cannot be used as default action")
    notifying = [rule for rule in rules if rule.action == notify]
    if any(rule.name == "write" for rule in notifying):
        raise Failure("SCMP_ACT_NOTIFY cannot be used for the write syscall")
    return NEW_LISTENER if notifying else 0


def _add_architectures(filter_: Filter, architectures: list[int]) -> None:
    with failing("error adding architecture to seccomp filter"):
        for architecture in architectures:
            filter_.add_architecture(architecture)


def _add_rules(library: Library, filter_: Filter, rules: list[_Rule], debug: Debug) -> None:
    native = library.native_architecture()
    for rule in rules:
        number = library.number(rule.name, native)
        if number == library.UNKNOWN_SYSCALL:
            debug(f"unknown seccomp syscall {quoted(rule.name)} ignored")
        else:
            _add_rule(filter_, number, rule)


def _exported(filter_: Filter) -> bytes:
    with failing("error exporting BPF"):
        return filter_.program()


def _add_rule(filter_: Filter, number: int, rule: _Rule) -> None:
    indices = [comparison[0] for comparison in rule.comparisons]
    # Comparisons of one argument are alternatives, those of several must all hold (runc's reading of the spec).
    alternatives = (
        [[comparison] for comparison in rule.comparisons] if len(set(indices)) < len(indices) else [rule.comparisons]
    )
    with failing(f"error adding seccomp filter rule for syscall {rule.name}"):
        for comparisons in alternatives:
            filter_.add_rule(rule.action, number, comparisons)


# --- ENOSYS for the calls that came after the profile


def _newer_calls_stub(library: Library, architectures: list[int], rules: list[_Rule]) -> bytes:
    """Instructions before the filter: a call above the highest number in the profile gets ENOSYS."""
    newest = _newest_calls(library, [*architectures, library.native_architecture()], rules)
    stub: list[Instruction] = [(_LOAD, 0, 0, _ARCHITECTURE_OFFSET)]
    exits = []
    for audit_architecture, calls in newest.items():
        section = _section(calls)
        stub.append((_JUMP_EQUAL, 0, len(section), audit_architecture))
        stub += section
        exits.append(len(stub) - 1)
    for position in exits:
        stub[position] = (_JUMP, 0, 0, len(stub) - position - 1)
    return b"".join(pack("=HBBI", *instruction) for instruction in stub)


def _newest_calls(library: Library, architectures: list[int], rules: list[_Rule]) -> dict[int, dict[int, int]]:
    """The kernel's architecture -> libseccomp's -> highest number; x32 is x86_64 to the kernel."""
    newest: dict[int, dict[int, int]] = {}
    names = {rule.name for rule in rules}
    for architecture in dict.fromkeys(architectures):
        highest = max((library.number(name, architecture) for name in names), default=0)
        if highest > 0:
            x32 = architecture == ARCHITECTURES["SCMP_ARCH_X32"]
            kernels = ARCHITECTURES["SCMP_ARCH_X86_64"] if x32 else architecture
            newest.setdefault(kernels, {})[architecture] = highest
    return newest


def _section(calls: dict[int, int]) -> list[Instruction]:
    """What is asked about the calls of one architecture; the last instruction leads to the filter."""
    enosys: Instruction = (_RETURN, 0, 0, ACTIONS["SCMP_ACT_ERRNO"] | errno.ENOSYS)
    to_filter: Instruction = (_JUMP, 0, 0, 0)
    load: Instruction = (_LOAD, 0, 0, _NUMBER_OFFSET)
    plain, x32 = calls.get(ARCHITECTURES["SCMP_ARCH_X86_64"]), calls.get(ARCHITECTURES["SCMP_ARCH_X32"])
    if plain is not None and x32 is not None:
        return [
            load,
            (_JUMP_BITS, 1, 0, _X32_BIT),
            (_JUMP_GREATER, 1, 2, plain),
            (_JUMP_GREATER, 0, 1, x32),
            enosys,
            to_filter,
        ]
    if plain is not None:
        return [load, (_JUMP_BITS, 2, 0, _X32_BIT), (_JUMP_GREATER, 0, 1, plain), enosys, to_filter]
    if x32 is not None:
        return [load, (_JUMP_BITS, 0, 2, _X32_BIT), (_JUMP_GREATER, 0, 1, x32), enosys, to_filter]
    ((architecture, newest),) = calls.items()
    if architecture in _S390:
        # setup(2), number 0, stands for every call whose number does not fit into an SVC instruction.
        return [load, (_JUMP_EQUAL, 1, 0, 0), (_JUMP_GREATER, 0, 1, newest), enosys, to_filter]
    return [load, (_JUMP_GREATER, 0, 1, newest), enosys, to_filter]


# --- the cache


def _key(seccomp: Profile) -> str:
    """A name for what a program depends on besides the library: the profile, the format, the kernel, the machine."""
    kernel = os.uname()
    profile = {name: value for name, value in seccomp.items() if not name.startswith("listener")}
    # marshal's format 2 has no references, so equal values have equal texts.
    text = marshal.dumps((_CACHE_FORMAT, kernel.release, kernel.machine, profile), 2)
    return _blake2.blake2b(text, digest_size=32).hexdigest()


def _open_cache(path: str) -> int | None:
    """The cache's directory; None where it can't be made, or is not ours alone: then there is no cache."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return _make_cache(path)
    except OSError:
        return None
    return _ours(descriptor)


def _make_cache(path: str) -> int | None:
    try:
        os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
        os.mkdir(path, 0o700)
        return _ours(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC))
    except FileExistsError:
        return None
    except OSError:
        return None


def _ours(descriptor: int) -> int | None:
    """The descriptor where nobody else may write to its file; closed, and None, otherwise."""
    status = os.fstat(descriptor)
    if status.st_uid == os.geteuid() and not status.st_mode & 0o022:
        return descriptor
    os.close(descriptor)
    return None


def _cached(directory: int, key: str) -> Program | None:
    try:
        descriptor = os.open(key, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    except OSError:
        return None
    if _ours(descriptor) is None:
        return None
    try:
        data = os.read(descriptor, os.fstat(descriptor).st_size)
    finally:
        os.close(descriptor)
    try:
        library, identity, flags, code = marshal.loads(data)
        return Program(code, flags) if _identity(library) == identity else None
    except (ValueError, EOFError, TypeError, OSError):
        return None


def _identity(library: str) -> tuple[int, int, int]:
    """What changes when the library is replaced."""
    status = os.stat(library)
    return status.st_size, status.st_mtime_ns, status.st_ino


def _keep(directory: int, key: str, made: Program, library: Library) -> None:
    """Put a program into the cache; a cache that takes nothing more costs time, not the container."""
    path = library.path()
    temporary = f".{key}.{os.getpid()}"
    try:
        data = marshal.dumps((path, _identity(path), made.flags, made.code))
        _make_room(directory)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=directory)
        try:
            os.write(descriptor, data)
        finally:
            os.close(descriptor)
        os.rename(temporary, key, src_dir_fd=directory, dst_dir_fd=directory)
    except OSError:
        return


def _make_room(directory: int) -> None:
    names = os.listdir(directory)
    if len(names) >= _CACHE_LIMIT:
        for name in names:
            os.unlink(name, dir_fd=directory)
