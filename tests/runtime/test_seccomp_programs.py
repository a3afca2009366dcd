"""Compiled seccomp programs: what they answer, and the cache that keeps them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hookrun.runtime.linux import foreign, libseccomp, seccomp
from hookrun.runtime.log import Log
from tests.support.runtimes import PATIENCE

MACHINE = os.uname().machine
NATIVE = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}[MACHINE]
LOG = Log()
# A list long enough for a binary tree.
NAMES = [
    "access",
    "brk",
    "capget",
    "chdir",
    "chmod",
    "clone",
    "close",
    "connect",
    "creat",
    "dup",
    "dup2",
    "dup3",
    "execve",
    "exit",
    "exit_group",
    "fchmod",
    "fcntl",
    "fork",
    "fstat",
    "futex",
    "getcwd",
    "getdents64",
    "getegid",
    "geteuid",
    "getgid",
    "getpid",
    "getppid",
    "getrandom",
    "getuid",
    "ioctl",
    "kill",
    "lseek",
    "madvise",
    "mmap",
    "mprotect",
    "munmap",
    "newfstatat",
    "open",
    "openat",
    "openat2",
    "pipe2",
    "poll",
    "ppoll",
    "pread64",
    "prlimit64",
    "read",
    "readlink",
    "readlinkat",
    "rseq",
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "sched_getaffinity",
    "set_robust_list",
    "set_tid_address",
    "sigaltstack",
    "stat",
    "statx",
    "sysinfo",
    "uname",
    "unlink",
    "wait4",
    "write",
    "writev",
    "clone3",
    "close_range",
    "faccessat2",
    "epoll_pwait2",
    "mount_setattr",
    "landlock_add_rule",
    "memfd_secret",
    "process_mrelease",
    "futex_waitv",
]

_CHILD = """
import ctypes, json, sys
from hookrun.runtime.linux import seccomp, syscalls
program, numbers = json.loads(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl(38, 1, 0, 0, 0)
listener = seccomp.install(seccomp.Program(bytes.fromhex(program["bytes"]), program["flags"]))
def errno_of(number):
    return 0 if libc.syscall(ctypes.c_long(number), 0, 0, 0, 0, 0, 0) >= 0 else ctypes.get_errno()
print(json.dumps([listener, [errno_of(number) for number in numbers]]))
"""


def answers(program: seccomp.Program | None, *numbers: int) -> list[int]:
    """The errno of each system call in a process under the program."""
    assert program is not None
    encoded = json.dumps([{"bytes": program.code.hex(), "flags": program.flags}, numbers])
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, encoded],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    listener, found = json.loads(done.stdout)
    assert listener is None
    return list(found)


def profile(default: str = "SCMP_ACT_ERRNO", *architectures: str, **fields: Any) -> Any:
    rules = [{"names": NAMES, "action": "SCMP_ACT_ALLOW"}]
    return {"defaultAction": default, "architectures": list(architectures or (NATIVE,)), "syscalls": rules, **fields}


def compiled(wanted: Any, cache: Path) -> seccomp.Program | None:
    return seccomp.program(wanted, LOG.debug, str(cache / "seccomp"))


@pytest.fixture(name="number")
def fixture_number() -> Any:
    library = libseccomp.Library()
    return lambda name: library.number(name, library.native_architecture())


EPERM, ENOSYS = 1, 38


def test_calls_newer_than_the_profile_get_enosys(tmp_path: Path, number: Any) -> None:
    program = compiled(profile(), tmp_path)
    newest = max(number(name) for name in NAMES)
    assert answers(program, number("getpid"), number("mkdirat"), newest + 1, 4000) == [0, EPERM, ENOSYS, ENOSYS]


def test_the_default_errno_does_not_change_that(tmp_path: Path, number: Any) -> None:
    program = compiled(profile(defaultErrnoRet=13), tmp_path)
    assert answers(program, number("mkdirat"), 4000) == [13, ENOSYS]


def test_a_permissive_default_has_no_such_rule(tmp_path: Path, number: Any) -> None:
    wanted = profile("SCMP_ACT_LOG")
    wanted["syscalls"] = [{"names": ["mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 7}]
    program = compiled(wanted, tmp_path)
    assert answers(program, number("mkdirat"), 4000) == [7, ENOSYS]
    assert program is not None
    assert b"\x26\x00\x05\x00" not in program.code


@pytest.mark.skipif(MACHINE != "x86_64", reason="x32 and x86 are x86_64's")
@pytest.mark.parametrize(
    "architectures",
    [
        ["SCMP_ARCH_X86_64"],
        ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        ["SCMP_ARCH_X86_64", "SCMP_ARCH_X32"],
        ["SCMP_ARCH_X86"],
        [],
        ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM", "SCMP_ARCH_PPC64LE", "SCMP_ARCH_X86_64"],
    ],
    ids=lambda names: "+".join(name.removeprefix("SCMP_ARCH_") for name in names) or "none",
)
def test_the_own_architecture_is_always_covered(architectures: list[str], tmp_path: Path, number: Any) -> None:
    program = compiled({**profile(), "architectures": architectures}, tmp_path)
    assert answers(program, number("getpid"), number("mkdirat"), 4000) == [0, EPERM, ENOSYS]


@pytest.mark.skipif(MACHINE != "x86_64", reason="x32 is x86_64's")
def test_newer_calls_of_x32(tmp_path: Path) -> None:
    program = compiled(profile("SCMP_ACT_ERRNO", "SCMP_ARCH_X86_64", "SCMP_ARCH_X32"), tmp_path)
    assert answers(program, (1 << 30) + 4000) == [ENOSYS]


def test_architectures_are_the_librarys() -> None:
    """The numbers in our table are those that libseccomp has for the same names."""
    library = libseccomp.Library()
    known = {
        name: foreign._int("seccomp_arch_resolve_name", name.removeprefix("SCMP_ARCH_").lower().encode()) & 0xFFFFFFFF
        for name in seccomp.ARCHITECTURES
    }
    # 0 is a name that this version of the library does not have.
    assert {name: number for name, number in known.items() if number} == {
        name: number for name, number in seccomp.ARCHITECTURES.items() if known[name]
    }
    assert known[NATIVE] == library.native_architecture()


# --- the cache


def files(cache: Path) -> list[Path]:
    return sorted((cache / "seccomp").iterdir())


def test_second_time_comes_from_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = compiled(profile(), tmp_path)
    assert first is not None
    monkeypatch.setattr(libseccomp, "Library", None)
    second = compiled(profile(listenerMetadata="does not matter"), tmp_path)
    assert second is not None
    assert (first.code, first.flags) == (second.code, second.flags)
    (kept,) = files(tmp_path)
    assert kept.stat().st_mode & 0o777 == 0o600
    assert kept.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    "other",
    [
        profile(defaultErrnoRet=5),
        profile("SCMP_ACT_TRAP"),
        profile(flags=[]),
        profile("SCMP_ACT_ERRNO", NATIVE, NATIVE),
    ],
)
def test_other_profiles_have_other_programs(other: dict[str, Any], tmp_path: Path) -> None:
    compiled(profile(), tmp_path)
    compiled(other, tmp_path)
    assert len(files(tmp_path)) == 2


@pytest.mark.parametrize("damage", [b"", b"no marshal", b"\xe9" * 40, b"N"])
def test_damaged_file_is_made_anew(damage: bytes, tmp_path: Path) -> None:
    first = compiled(profile(), tmp_path)
    (kept,) = files(tmp_path)
    kept.write_bytes(damage)
    second = compiled(profile(), tmp_path)
    assert first is not None
    assert second is not None
    assert first.code == second.code
    assert kept.read_bytes() != damage


def forge(cache: Path) -> None:
    """Put a program that allows everything in the place of the real one."""
    import marshal

    (kept,) = files(cache)
    path, identity, flags, _ = marshal.loads(kept.read_bytes())
    kept.write_bytes(marshal.dumps((path, identity, flags, bytes.fromhex("0600000000 00ff7f".replace(" ", "")))))


def test_forged_file_would_be_used_but_for_its_owner_and_mode(tmp_path: Path) -> None:
    real = compiled(profile(), tmp_path)
    assert real is not None
    forge(tmp_path)
    (kept,) = files(tmp_path)
    trusted = compiled(profile(), tmp_path)
    assert trusted is not None
    assert trusted.code != real.code
    for mode, owner in ((0o602, 0), (0o600, 65534)):
        kept.chmod(mode)
        os.chown(kept, owner, owner)
        found = compiled(profile(), tmp_path)
        assert found is not None
        assert found.code == real.code
        forge(tmp_path)


def test_link_is_not_followed(tmp_path: Path) -> None:
    real = compiled(profile(), tmp_path)
    assert real is not None
    forge(tmp_path)
    (kept,) = files(tmp_path)
    kept.rename(tmp_path / "elsewhere")
    kept.symlink_to(tmp_path / "elsewhere")
    found = compiled(profile(), tmp_path)
    assert found is not None
    assert found.code == real.code


@pytest.mark.parametrize("mode", [0o777, 0o770])
def test_directory_that_others_may_write_is_not_used(mode: int, tmp_path: Path) -> None:
    (tmp_path / "seccomp").mkdir()
    (tmp_path / "seccomp").chmod(mode)
    assert compiled(profile(), tmp_path) is not None
    assert files(tmp_path) == []


def test_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "seccomp").write_text("a file")
    assert compiled(profile(), tmp_path) is not None
    assert seccomp.program(profile(), LOG.debug, "/proc/nowhere/seccomp") is not None


def test_cache_does_not_grow_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seccomp, "_CACHE_LIMIT", 3)
    for number in range(8):
        compiled(profile(defaultErrnoRet=number), tmp_path)
    assert len(files(tmp_path)) <= 3


def test_another_library_makes_its_own_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled(profile(), tmp_path)
    forge(tmp_path)
    monkeypatch.setattr(seccomp, "_identity", lambda path: (1, 2, 3))
    found = compiled(profile(), tmp_path)
    assert found is not None
    assert len(found.code) > 8
