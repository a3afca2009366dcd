"""The warm start: what a heap is used for, what is not in it, and what happens where it can't be used."""

from __future__ import annotations

import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hookrun.runtime.errors import Failure
from hookrun.wrapper import settings, snapshot
from hookrun.wrapper.admin import launcher
from hookrun.wrapper.start import program
from tests.support import warm
from tests.support.bundles import Bundle
from tests.support.places import short_place
from tests.support.runtimes import CHECKOUT, Runtime, wait_for
from tests.wrapper.start import heap_soak

pytestmark = pytest.mark.skipif(
    not warm.START.exists(), reason="hookrun-start was not built: see packaging/build-start.sh"
)

SECRET = "hr-planted-secret-7f3a"


class Host:
    """A state directory with a heap, a record and a launcher."""

    def __init__(self, place: Path) -> None:
        self.state = place / "state"
        self.state.mkdir()
        self.heap = self.state / program.HEAP
        self.record = place / "record"
        content: snapshot.Content = {
            "settings": settings.completed({"record": {"directory": str(self.record)}}),
            "profiles": {},
        }
        (self.state / snapshot.NAME).write_bytes(snapshot.packed(content))
        (self.state / snapshot.NAME).chmod(0o644)
        self.launcher = warm.launcher(place / "hookrun", self.state)
        self.root = place / "root"
        self.root.mkdir()

    def call(self, *words: str | bytes, **options: Any) -> subprocess.CompletedProcess[str]:
        line: list[str | bytes] = [str(self.launcher), "--root", str(self.root), *words]
        return subprocess.run(
            line,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=60,
            check=False,
            **options,
        )

    def reason(self) -> str:
        """Why the last call was a cold one, as its record has it."""
        last: dict[str, Any] = json.loads((self.record / "record.jsonl").read_text().splitlines()[-1])
        return str(last["cold"])


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def fill(heap: Path, packages: Path | str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Have the program fill a heap."""
    return subprocess.run(
        [warm.START, "--fill", heap, packages], capture_output=True, text=True, timeout=120, check=False, **options
    )


def test_a_call_starts_warm(host: Host) -> None:
    assert host.call("list").stdout.startswith("ID ")
    assert host.reason() == ""


def test_a_call_loads_no_code(host: Host, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    words = [
        "strace",
        "-f",
        "-e",
        "trace=open,openat,openat2,execve",
        "-o",
        str(trace),
        str(host.launcher),
        "--root",
        str(host.root),
        "list",
    ]
    subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=True)
    opened = [line for line in trace.read_text().splitlines() if ".py" in line or ".so" in line]
    assert opened == []


def test_a_life_loads_no_code(host: Host, bundle: Bundle, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    traced = Runtime("strace", host.root)
    traced.globals = [
        "-f",
        "-e",
        "trace=open,openat,openat2,execve",
        "-o",
        str(trace),
        str(host.launcher),
        *traced.globals,
    ]
    assert traced.call("run", "--bundle", str(bundle.command("true").path), f"start-{os.getpid()}").status == 0
    ours = str(CHECKOUT)
    opened = [
        line
        for line in trace.read_text().splitlines()
        if "open" in line and (".py" in line or ".so" in line or f"{ours}/runtime" in line)
    ]
    assert opened == []


def shorten(host: Host) -> None:
    with host.heap.open("r+b") as file:
        file.truncate(1_000_000)


def damage(host: Host) -> None:
    with host.heap.open("r+b") as file:
        file.seek(60)
        file.write(b"\xff\xff")


def be_of_another_program(host: Host) -> None:
    with host.heap.open("r+b") as file:
        file.seek(8)
        file.write(bytes(20))


UNUSABLE: dict[str, tuple[Callable[[Host], object], str]] = {
    "missing": (lambda host: host.heap.unlink(), "there is none"),
    "empty": (lambda host: host.heap.write_bytes(b""), "it is damaged"),
    "short": (shorten, "it is damaged"),
    "damaged": (damage, "it is damaged"),
    "another program's": (be_of_another_program, "another hookrun-start made it"),
    "others can write it": (lambda host: host.heap.chmod(0o664), "users other than root can write it"),
    "somebody else's": (lambda host: os.chown(host.heap, 12345, 0), "users other than root can write it"),
    "a link": (
        lambda host: host.heap.rename(host.heap.with_name("x")) and host.heap.symlink_to("x"),
        "it cannot be opened",
    ),
    "a directory": (lambda host: host.heap.unlink() or host.heap.mkdir(), "users other than root can write it"),
}


@pytest.mark.skipif(os.geteuid() != 0, reason="gives the file to somebody")
@pytest.mark.parametrize("kind", UNUSABLE)
def test_a_heap_that_cannot_be_used_is_passed_over(host: Host, kind: str) -> None:
    spoil, reason = UNUSABLE[kind]
    spoil(host)
    done = host.call("list")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("ID ")
    assert host.reason() == reason
    assert program.problem(host.state) == reason


def test_damage_of_its_content_is_found_by_who_looks(host: Host) -> None:
    """A call has no time for that."""
    with host.heap.open("r+b") as file:
        file.seek(-4096, os.SEEK_END)
        before = file.read(1)
        file.seek(-4096, os.SEEK_END)
        file.write(bytes([before[0] ^ 1]))
    assert program.problem(host.state) == program.DAMAGED


@pytest.mark.parametrize("change", ["touch", "remove", "grow"])
def test_a_heap_of_other_sources_is_passed_over(tmp_path: Path, change: str) -> None:
    packages = warm.copied(tmp_path / "packages")
    heap = tmp_path / "heap"
    warm.fill(heap, packages)
    checked = [str(warm.START), "--check", str(heap)]
    assert subprocess.run(checked, check=False).returncode == 0
    source = packages / "runtime/commands/ps.py"
    status = source.stat()
    if change == "remove":
        source.unlink()
    elif change == "grow":
        source.write_text(source.read_text() + "#\n")
        os.utime(source, ns=(status.st_atime_ns, status.st_mtime_ns))
    else:
        source.touch()
    done = subprocess.run(checked, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "hookrun was changed since it was made\n")


def test_a_start_sees_that_a_source_was_replaced(host: Host, tmp_path: Path) -> None:
    """As package managers do it, by renaming, in a tree that is not a checkout."""
    packages = warm.copied(tmp_path / "packages")
    host.heap.unlink()
    warm.fill(host.heap, packages)
    assert host.call("list").returncode == 0
    assert host.reason() == ""
    source = packages / "runtime/commands/ps.py"
    shutil.copy2(source, source.with_suffix(".new"))
    source.with_suffix(".new").rename(source)
    assert host.call("list").returncode == 0
    assert host.reason() == "hookrun was changed since it was made"


def test_a_start_sees_every_edit_of_a_checkout(host: Host, tmp_path: Path) -> None:
    packages = warm.copied(tmp_path / "packages")
    (packages / "pyproject.toml").touch()
    host.heap.unlink()
    warm.fill(host.heap, packages)
    with (packages / "runtime/commands/ps.py").open("a") as source:
        source.write("#\n")
    assert host.call("list").returncode == 0
    assert host.reason() == "hookrun was changed since it was made"


def test_without_a_second_line_the_reason_is_said(host: Host) -> None:
    host.heap.unlink()
    host.launcher.write_text(host.launcher.read_text().splitlines()[0] + "\n")
    done = host.call("list")
    assert done.returncode == 1
    assert done.stderr.startswith("hookrun-start: cannot use the heap: there is none; ")


def test_nothing_of_its_maker_is_in_it(tmp_path: Path) -> None:
    """Neither environment nor working directory, nor the name of an open file or its content."""
    place = tmp_path / SECRET
    place.mkdir()
    heap = tmp_path / "heap"
    with (place / "open").open("w+") as file:
        file.write(SECRET)
        file.flush()
        warm.fill(
            heap,
            program.packages(),
            env={"SECRET": SECRET, SECRET: "1"},
            cwd=place,
            stdin=file,
            pass_fds=(file.fileno(),),
        )
    assert SECRET.encode() not in heap.read_bytes()


def test_nothing_of_who_calls_its_maker_is_in_it(tmp_path: Path) -> None:
    """What commands learn of their caller, they don't in the rehearsal."""
    heap = tmp_path / "heap"
    script = '"$@"; exit $?'
    done = subprocess.run(
        ["sh", "-c", script, SECRET, warm.START, "--fill", heap, program.packages()], timeout=120, check=False
    )
    assert done.returncode == 0
    assert SECRET.encode() not in heap.read_bytes()


ADAPTED = """

def adapted():
    from hookrun.runtime.rootfs import rootfs
    from hookrun.runtime.commands import state
    from hookrun.runtime.container import life
    from hookrun.runtime.rootfs import sources
    from hookrun.wrapper.exposure.bind import Bind
    lives = shim.main, state.run, life.destroy, Bind.shows
    births = rootfs.prepare, sources.copy
    codes = [function.__code__ for function in lives + births]
    os.write(1, repr([code._co_code_adaptive != code.co_code for code in codes]).encode())
    return 0
"""


VIEWS = {
    "v2 alone": "if test -d /sys/fs/cgroup/unified; then mount --bind /sys/fs/cgroup/unified /sys/fs/cgroup; fi",
    "none": "umount --lazy /sys/fs/cgroup",
    "no mounts of its own": "",
}


@pytest.mark.parametrize("view", VIEWS)
def test_a_heap_is_filled_whatever_cgroups_the_host_has(view: str) -> None:
    """And by whom may not mount: what can't be rehearsed there is left out."""
    user = [] if VIEWS[view] else ["setpriv", "--reuid", "1234", "--regid", "1234", "--clear-groups"]
    words = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", f'{VIEWS[view]}\nexec "$@"', "sh", *user]
    with short_place("hr-heap-") as place:
        place.chmod(0o777)
        warm.fill(place / "heap", program.packages(), *words)
        assert (place / "heap").stat().st_size > 1 << 20


def test_commands_were_rehearsed(host: Host, tmp_path: Path) -> None:
    """Python has adapted to them, which it does after some runs; nothing is left of that."""
    packages = warm.copied(tmp_path / "packages")
    entry = packages / "wrapper/entry.py"
    entry.write_text(
        entry.read_text().replace("os._exit(shim.main(arguments, state))", "os._exit(adapted())") + ADAPTED
    )
    host.heap.unlink()
    warm.fill(host.heap, packages)
    is_root = os.geteuid() == 0
    assert host.call("list").stdout == repr([True] * 4 + [is_root] * 2)
    assert sorted(path.name for path in host.state.iterdir()) == [program.HEAP, snapshot.NAME]
    assert str(host.state) not in Path("/proc/self/mountinfo").read_text()


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_who_may_not_mount_fills_a_heap_too() -> None:
    with tempfile.TemporaryDirectory(prefix="hr-", dir="/var/tmp") as name:
        place = Path(name)
        os.chown(place, 65534, 65534)
        words = [
            "setpriv",
            "--reuid",
            "65534",
            "--clear-groups",
            str(warm.START),
            "--fill",
            str(place / "heap"),
            str(program.packages()),
        ]
        done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert [path.name for path in place.iterdir()] == ["heap"]


def test_two_heaps_have_different_secrets_and_places(tmp_path: Path) -> None:
    heaps = [tmp_path / "one", tmp_path / "other"]
    for heap in heaps:
        warm.fill(heap, program.packages())
    one, other = (heap.read_bytes() for heap in heaps)
    assert one[:200] != other[:200]


def test_its_addresses_are_there_in_every_address_space() -> None:
    """Some aarch64 kernels give 39 bits, which no x86 one can be told to; more bits than 47 are had by asking alone."""
    numbers = struct.unpack_from("<9Q", warm.HEAP.read_bytes(), 56)  # struct heap, in heap.h: pieces
    assert all(
        0 < address < address + length < 1 << 38 for address, length in zip(numbers[::3], numbers[1::3], strict=True)
    )


def planted(place: Path, text: str) -> Path:
    packages = warm.copied(place / "packages")
    entry = packages / "wrapper/entry.py"
    entry.write_text(entry.read_text() + text)
    return packages


POINTERS = """
with open("/proc/self/maps") as _maps:
    _line = next(line for line in _maps if {what!r} in line and " rw" in line)
PLANTED = (int(_line.partition("-")[0], 16) + 64).to_bytes(8, "little") * 3
"""


@pytest.mark.parametrize("what", ["[stack]", "[heap]", "hookrun-start"])
def test_a_pointer_to_what_is_not_dumped_is_named(tmp_path: Path, what: str) -> None:
    packages = planted(tmp_path, POINTERS.format(what=what))
    done = fill(tmp_path / "heap", packages)
    assert done.returncode == 1
    assert "the heap does not stand alone: an object of type bytes at " in done.stderr
    assert f"points to {'/' if what == 'hookrun-start' else what}" in done.stderr
    assert not (tmp_path / "heap").exists()


def test_modules_that_know_their_process_are_refused(tmp_path: Path) -> None:
    done = fill(tmp_path / "heap", planted(tmp_path, "import threading\n"))
    assert done.returncode == 1
    assert "a heap must not hold the module threading" in done.stderr


def test_the_environment_of_loaders_and_of_python_counts_for_nothing(host: Host) -> None:
    variables = {
        "LD_PRELOAD": "/nonexistent/preloaded.so", "LD_LIBRARY_PATH": "/nonexistent", "LD_AUDIT": "/nonexistent/audit.so",
        "PYTHONPATH": "/nonexistent", "PYTHONHOME": "/nonexistent", "PYTHONINSPECT": "1", "PYTHONVERBOSE": "1", "PYTHONMALLOC": "debug",
    }  # fmt: skip
    done = host.call("list", env={**os.environ, **variables})
    assert (done.returncode, done.stderr) == (0, "")
    assert host.reason() == ""


def test_words_that_are_not_text_pass(host: Host) -> None:
    for heap_is_there in (True, False):
        if not heap_is_there:
            host.heap.unlink()
        done = host.call(b"state", b"\xffx")
        assert done.returncode == 1
        assert "invalid container ID format" in done.stderr or "does not exist" in done.stderr


TELL = """

def tell(state):
    facts = {
        "arguments": sys.argv[1:], "state": state.rpartition("/")[2], "variables": sorted(os.environb.items()),
        "encodings": (sys.getfilesystemencoding(), sys.getdefaultencoding(), sys.getfilesystemencodeerrors()),
        "signals": sorted((int(number), str(_signal.getsignal(number))) for number in _signal.valid_signals() if number != 2),
        "mask": sorted(_signal.pthread_sigmask(_signal.SIG_BLOCK, ())),
        "flags": (sys.flags.isolated, sys.flags.no_site, sys.flags.utf8_mode, sys.flags.hash_randomization),
        "umask": os.umask(0o22), "cwd": os.getcwd(), "time": __import__("time").tzname, "limit": sys.getrecursionlimit(),
    }
    os.write(1, repr(facts).encode())
    return 0
"""


def test_python_finds_its_process_warm_as_it_does_cold(host: Host, tmp_path: Path) -> None:
    packages = warm.copied(tmp_path / "packages")
    entry = packages / "wrapper/entry.py"
    entry.write_text(entry.read_text().replace("os._exit(shim.main(arguments, state))", "os._exit(tell(state))") + TELL)
    host.heap.unlink()
    warm.fill(host.heap, packages)
    cold = host.launcher.read_text().replace(
        f"sys.path.append({str(Path(program.packages()).parent)!r})",
        f"""
package = type(sys)("hookrun")
package.__path__ = [{str(packages)!r}]
sys.modules["hookrun"] = package
""",
    )
    host.launcher.write_text(cold)

    def tell() -> str:
        def prepare() -> None:
            signal.signal(signal.SIGUSR1, signal.SIG_IGN)
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

        variables = {b"PLAIN": b"1", b"EMPTY": b"", b"B\xff": b"\xfe"}
        return host.call(b"a", b"\xff", "ü", env=variables, preexec_fn=prepare, cwd=tmp_path).stdout

    first = tell()
    assert "'state': 'state'" in first
    host.heap.unlink()
    assert eval(tell()) == eval(first)


@pytest.mark.skipif(os.geteuid() != 0, reason="opens what another process has mapped")
@pytest.mark.parametrize("forbidden", [[], ["madvise"]])
def test_what_waits_gives_pages_back_that_are_as_in_the_heap(forbidden: list[str], host: Host, bundle: Bundle) -> None:
    """Nearly half of those that were written to are: counts of references went up and down again.

    While it waits, or before its filter forbids that.
    """
    rules = [{"names": forbidden, "action": "SCMP_ACT_KILL"}] if forbidden else []
    bundle.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}
    runtime = Runtime(host.launcher, host.root)
    try:
        box = runtime.create(bundle.command("true").path)
        pid = runtime.state(box)["pid"]

        def has_given_back() -> bool:
            copied, same = _copied_pages(pid, host.heap)
            assert copied > 100
            return same < copied / 4

        wait_for(has_given_back, "the process to give pages back")
        runtime.start(box)
        runtime.wait_for_status(box, "stopped")
    finally:
        runtime.delete_all()


def _copied_pages(pid: int, heap: Path) -> tuple[int, int]:
    """How many pages of the heap a process has copies of, and how many of those hold what the file holds."""
    page, copied, same = os.sysconf("SC_PAGESIZE"), 0, 0
    with (
        open(f"/proc/{pid}/mem", "rb", 0) as memory,
        open(f"/proc/{pid}/pagemap", "rb", 0) as pagemap,
        heap.open("rb") as file,
    ):
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            extent, _, offset, _, _, *path = line.split()
            if path != [str(heap)]:
                continue
            start, end = (int(number, 16) for number in extent.split("-"))
            for address in range(start, end, page):
                (entry,) = struct.unpack("Q", os.pread(pagemap.fileno(), 8, address // page * 8))
                if entry >> 63 & 1 and not entry >> 61 & 1:  # present, and not of the file (proc_pid_pagemap(5))
                    copied += 1
                    kept = os.pread(file.fileno(), page, int(offset, 16) + address - start)
                    same += os.pread(memory.fileno(), page, address) == kept
    return copied, same


def test_what_waits_runs_on_when_the_heap_is_replaced(host: Host, bundle: Bundle) -> None:
    """Between create and start hookrun is upgraded: to a new heap, and to none."""
    runtime = Runtime(host.launcher, host.root)
    try:
        for replace in (lambda: warm.launcher(host.launcher, host.state), host.heap.unlink):
            box = runtime.create(bundle.shell("exit 0").path)
            fresh = host.heap.with_name("fresh")
            warm.fill(fresh, program.packages())
            fresh.rename(host.heap)
            replace()
            runtime.start(box)
            runtime.wait_for_status(box, "stopped")
    finally:
        runtime.delete_all()


def registered(state: Path) -> Path:
    """A launcher as hookctl writes it."""
    state.mkdir(parents=True)
    return launcher.install(state, "hookrun")


def test_without_the_program_launchers_start_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "find", lambda: None)
    path = registered(tmp_path / "state")
    assert path.read_text().startswith(f"#!{os.path.realpath(sys.executable)} -ISXutf8\n")
    assert call_version(path).startswith("hookrun version ")
    assert program.problem(tmp_path / "state") == "this hookrun was installed without hookrun-start"


def test_under_another_python_hookctl_makes_no_heap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it compiles into the snapshot, hookrun-start's Python could not read."""
    monkeypatch.setattr(program, "_PYTHON", "cpython-399")
    path = registered(tmp_path / "state")
    assert not (tmp_path / "state" / program.HEAP).exists()
    assert call_version(path).startswith("hookrun version ")
    assert program.problem(tmp_path / "state").startswith("hookrun-start is made for Python 3.11, hookctl runs on 3.11")


@pytest.mark.parametrize(
    ("name", "why"), [("x" * 120 + "/" + "y" * 120, "too long"), ("a blank", "spaces"), ("a\ttab", "spaces")]
)
def test_a_path_that_no_first_line_can_name_is_refused(tmp_path: Path, name: str, why: str) -> None:
    with pytest.raises(Failure, match=why):
        registered(tmp_path / name)
    assert list((tmp_path / name).iterdir()) == []


def call_version(path: Path) -> str:
    return subprocess.run([path, "--version"], capture_output=True, text=True, timeout=60, check=True).stdout


def test_a_heap_that_cannot_be_filled_takes_the_old_one_with_it(
    host: Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    packages = planted(tmp_path, "import nothing_of_the_kind\n")
    monkeypatch.setattr(program, "packages", lambda: str(packages))
    monkeypatch.setattr(program, "find", lambda: warm.START)
    assert program.fill(host.state) == "hookrun-start: hookrun cannot be imported"
    assert sorted(path.name for path in host.state.iterdir()) == [snapshot.NAME]


def test_a_checkouts_code_is_compiled_before_its_heap_is_filled(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Links lead to its folders; the next cold start would change those."""
    packages = warm.copied(tmp_path / "packages")
    for cache in list(packages.rglob("__pycache__")):
        shutil.rmtree(cache)
    links = tmp_path / "links"
    links.mkdir()
    for folder in packages.iterdir():
        (links / folder.name).symlink_to(folder)
    monkeypatch.setattr(program, "packages", lambda: str(links))
    monkeypatch.setattr(program, "find", lambda: warm.START)
    (tmp_path / "state").mkdir()
    assert program.fill(tmp_path / "state") == ""
    assert all((folder / "__pycache__").is_dir() for folder in packages.iterdir())


def test_a_planted_heap_is_not_used(host: Host) -> None:
    """A user's own heap of the same program and sources, put where root's launcher looks."""
    os.chown(host.heap, 65534, 65534)
    assert host.call("list").returncode == 0
    assert host.reason() == "users other than root can write it"


@pytest.mark.parametrize(
    "limit", ["-v 100000", "-v 40000", "-v 24000", "-d 30000", "-d 15000", "-s unlimited", "-s 128"]
)
def test_limits_of_the_caller(host: Host, limit: str) -> None:
    """What is too small for the heap is too small for a plain python3 all the more, unless the kernel counts otherwise."""
    done = subprocess.run(
        ["sh", "-c", f"ulimit {limit}; exec {host.launcher} --version"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("hookrun version ")


def test_too_little_memory_for_a_cold_start_too(host: Host) -> None:
    done = subprocess.run(
        ["sh", "-c", f"ulimit -v 18000; exec {host.launcher} --version"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "hookrun: not enough memory to start: raise the limit (ulimit -v, -d)\n"


def test_a_heap_that_does_not_fit_is_passed_over(host: Host) -> None:
    kibibytes = warm.START.stat().st_size // 1024 + 2000  # enough for the program, not for the heap
    words = [str(warm.START), "--check", str(host.heap)]
    done = subprocess.run(
        ["sh", "-c", f'ulimit -v {kibibytes}; exec "$@"', "sh", *words], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "there is no memory for it\n")


@pytest.mark.parametrize(
    "personality", ["--addr-no-randomize", "--addr-compat-layout", "--3gb", "--mmap-page-zero", "--read-implies-exec"]
)
def test_address_spaces(host: Host, personality: str) -> None:
    done = subprocess.run(
        ["setarch", personality, host.launcher, "--root", host.root, "list"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert host.reason() == ""


@pytest.mark.skipif(shutil.which("qemu-x86_64") is None, reason="needs Debian's qemu-user")
@pytest.mark.parametrize("processor", ["qemu64", "Nehalem", "Haswell", "EPYC", "max"])
def test_another_processor_than_the_one_that_filled_it(host: Host, processor: str) -> None:
    emulated = ["qemu-x86_64", "-cpu", processor, str(warm.START)]
    assert (
        subprocess.run(
            [*emulated, "--check", host.heap], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False
        ).returncode
        == 0
    )
    words = [*emulated, str(host.heap), str(host.launcher), "--root", str(host.root), "list"]
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
    assert (done.returncode, done.stdout[:3]) == (0, "ID ")
    assert host.reason() == ""


def test_many_starts_with_addresses_at_random(host: Host) -> None:
    for _ in range(100):
        assert host.call("list").returncode == 0
    lines = (host.record / "record.jsonl").read_text().splitlines()
    assert [json.loads(line)["cold"] for line in lines] == [""] * 100


def test_calls_while_the_heap_is_replaced(tmp_path: Path) -> None:
    assert heap_soak.soak(tmp_path, 400) == []


def is_built_from_this() -> bool:
    """Whether hookrun-start is newer than what packaging/venv.sh builds it from."""
    folders = [CHECKOUT / folder for folder in ("wrapper", "hooks", "policies", "runtime", "packaging")]
    sources = [path for folder in folders for path in folder.rglob("*.[cphs]*") if "__pycache__" not in path.parts]
    return all(path.stat().st_mtime <= warm.START.stat().st_mtime for path in sources if path.is_file())


@pytest.mark.skipif(
    not warm.START.exists() or not is_built_from_this(),
    reason="sources are newer than hookrun-start: see packaging/venv.sh",
)
def test_two_builds_give_the_same_bytes(tmp_path: Path) -> None:
    """The second from a checkout that lies somewhere else."""
    for folder in ("wrapper", "hooks", "policies", "runtime", "packaging"):
        shutil.copytree(
            CHECKOUT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__", "bin", "admin")
        )
    for archive in (CHECKOUT / ".venv").glob("simplejson-*.tar.gz"):
        shutil.copy(archive, tmp_path / "packaging")
    built = tmp_path / "bin/hookrun-start"
    subprocess.run(
        ["sh", tmp_path / "packaging/build-start.sh", built], stdin=subprocess.DEVNULL, timeout=300, check=True
    )
    assert built.read_bytes() == warm.START.read_bytes()


WITHOUT_PYTHON = """
for place in /usr/lib/python3 /usr/lib/python3.*; do mount -t tmpfs tmpfs $place; done
for program in /usr/bin/python3*; do mount --bind /dev/null $program; done
exec "$@"
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts")
def test_a_host_without_python(host: Host, bundle: Bundle) -> None:
    """hookrun-start has all that it takes; without a heap there is nothing to start, and that is said."""
    hidden = Runtime("unshare", host.root)
    hidden.globals = ["--mount", "sh", "-ec", WITHOUT_PYTHON, "sh", str(host.launcher), "--root", str(host.root)]
    done = hidden.call("run", "--bundle", str(bundle.shell("exit 7").path), f"start-{os.getpid()}")
    assert (done.status, done.err) == (7, "")
    assert host.reason() == ""
    host.heap.unlink()
    done = hidden.call("list")
    assert done.status == 1
    assert done.err.startswith("hookrun-start: cannot use the heap: there is none; /usr/bin/python3: ")


def in_a_file_system(place: Path, options: str, script: str) -> subprocess.CompletedProcess[str]:
    """Run a shell script with an empty tmpfs of these mount options at `place`."""
    place.mkdir()
    words = ["unshare", "--mount", "sh", "-ec", f"mount -t tmpfs -o {options} tmpfs {place}; {script}"]
    return subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts")
def test_a_heap_on_a_file_system_without_programs(host: Host, tmp_path: Path) -> None:
    """/var mounted noexec: a heap is data."""
    place = tmp_path / "var"
    done = in_a_file_system(
        place, "noexec", f"cp -p {host.heap} {place}; exec {warm.START} {place}/heap {host.launcher} --version"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("hookrun version ")
    done = in_a_file_system(
        tmp_path / "other",
        "noexec",
        f"cp -p {host.heap} {tmp_path}/other; exec {warm.START} --check {tmp_path}/other/heap",
    )
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts")
def test_a_file_system_without_room_for_a_heap(tmp_path: Path) -> None:
    place = tmp_path / "var"
    fill_it = f"{sys.executable} -m hookrun.wrapper.start.program {place}"
    done = in_a_file_system(place, "size=2m", f"{fill_it} || ls -A {place}")
    assert (done.returncode, done.stdout) == (0, "")
    assert "No space left on device" in done.stderr
