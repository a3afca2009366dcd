"""`hookctl doctor`: what this host gives and lacks, and what to do about it."""

from __future__ import annotations

import ctypes
import errno
import os
import shlex
import shutil
import stat
import subprocess
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from hookrun.runtime.errors import Failure, reason
from hookrun.runtime.linux import syscalls
from hookrun.wrapper import settings, snapshot
from hookrun.wrapper.admin import engines, host, integrity, launcher, output, registrations, sources
from hookrun.wrapper.admin.engines import daemon, stock_runc
from hookrun.wrapper.admin.engines.engine import Engine
from hookrun.wrapper.admin.finding import BAD, GOOD, NOTE, Finding
from hookrun.wrapper.admin.host import Host
from hookrun.wrapper.admin.registrations import Registration
from hookrun.wrapper.admin.standing import Standing, problem_of
from hookrun.wrapper.record import kept_configs, record
from hookrun.wrapper.snapshot import Content
from hookrun.wrapper.start import program, seal

_STYLES = {GOOD: "green", NOTE: "yellow", BAD: "bold red"}
_NOBODY = -1
_CONTROLLERS = ("cpu", "memory", "pids")
_ROOTS_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_CRIU_FEATURES = {"mem_dirty_track": "pre-dumps", "uffd-noncoop": "lazy pages"}
_FULL = 0.9  # of the record's cap
_LEAST_ROOM = 1 << 20  # bytes: some lines of the record, and a config


def doctor(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what this host gives and lacks; exit status 1 where containers would fail."""
    found = list(examine(host.of(context)))
    if as_json:
        output.as_json([asdict(finding) for finding in found])
    else:
        rows = [[finding.state, finding.subject, _line(finding)] for finding in found]
        output.table(("STATE", "SUBJECT", "FINDING"), rows, [_STYLES[finding.state] for finding in found], wrap=True)
    if any(finding.state == BAD for finding in found):
        raise typer.Exit(1)


def _line(finding: Finding) -> str:
    return f"{finding.text}; {finding.advice}" if finding.advice else finding.text


def examine(machine: Host) -> Iterator[Finding]:
    """All findings on a host."""
    yield _kernel()
    yield _idmapped_mounts()
    yield from _cgroups(Path("/proc/self/mountinfo").read_text(encoding="utf-8"))
    yield from _seccomp()
    yield _user_namespaces()
    yield _lsms()
    yield _criu()
    yield _snapshot(machine)
    yield _seal(machine)
    yield _start(machine)
    yield from _launchers(machine)
    noted, problem = _registrations(machine)
    yield from problem
    everywhere = [*engines.found(), *map(integrity.engine_of, noted)]
    found = list({(engine.name, engine.file): engine for engine in everywhere}.values())
    yield from _engines(machine, found)
    yield from integrity.registered(noted)
    for engine in found:
        yield from _other_doors(Standing.of(engine, machine))
    content = snapshot.load(str(machine.state)).content
    for runtime in _runtimes(content, machine):
        yield _delegate(runtime)
    yield from _configuration(machine, content)
    yield from _record(settings.chosen(content, "", str(machine.state)))


def _registrations(machine: Host) -> tuple[list[Registration], list[Finding]]:
    """What `register` noted, and why that can't be read."""
    try:
        return registrations.all_of(machine.state), []
    except Failure as failure:
        text, _, advice = failure.text.rpartition(": ")
        return [], [Finding(NOTE, "registrations", text, advice if os.geteuid() == 0 else "ask again as root")]


def _runtimes(content: Content | None, machine: Host) -> list[str]:
    """The runtimes that the host's settings and its profiles name in place of hookrun's own core."""
    names = ["", *content["profiles"]] if content else [""]
    found = [settings.chosen(content, name, str(machine.state)).runtime for name in names]
    return list(dict.fromkeys(filter(None, found)))


def _configuration(machine: Host, content: Content | None) -> Iterator[Finding]:
    try:
        found = sources.read(machine)
        yield from integrity.owners(machine, found)
        if content is not None:
            yield from integrity.hook_programs(content)
            yield from integrity.sources(machine, content, found)
    except (OSError, Failure) as error:
        text = f"{error.filename}: {reason(error)}" if isinstance(error, OSError) else error.text
        yield Finding(NOTE, "configuration", text, "ask again as root")


def _has(number: int, *arguments: Any) -> bool:
    """Whether the kernel has a system call, which is made with arguments that it refuses."""
    try:
        syscalls.call(number, *arguments)
    except OSError as error:
        return error.errno != errno.ENOSYS
    return True


def _kernel() -> Finding:
    release = os.uname().release
    if _has(syscalls.NR.mount_setattr, _NOBODY, None, 0, None, 0):
        return Finding(GOOD, "kernel", f"Linux {release}")
    return Finding(BAD, "kernel", f"Linux {release} has no mount_setattr(2)", "use Linux 5.12 or later")


def _idmapped_mounts() -> Finding:
    if _has(syscalls.NR.mount_setattr, _NOBODY, None, 0, None, 0):
        return Finding(GOOD, "idmapped mounts", "the kernel has mount_setattr(2)")
    return Finding(NOTE, "idmapped mounts", "none", "containers that ask for them fail; use Linux 5.12 or later")


def _cgroups(mountinfo: str) -> Iterator[Finding]:
    mounts = [line.partition(" - ") for line in mountinfo.splitlines()]
    legacy = [after.split()[2].split(",") for _, _, after in mounts if after.startswith("cgroup ")]
    unified = [before.split()[4] for before, _, after in mounts if after.startswith("cgroup2 ")]
    if not legacy and not unified:
        yield Finding(BAD, "cgroups", "none is mounted", "mount cgroup2 on /sys/fs/cgroup")
        return
    layout = "hybrid (v1 with v2 beside it)" if legacy and unified else "v1" if legacy else "v2"
    yield Finding(GOOD, "cgroups", layout)
    there = {name for options in legacy for name in options}
    if unified and not legacy:
        there = set(_read(f"{unified[0]}/cgroup.controllers").split())
    missing = [name for name in _CONTROLLERS if name not in there]
    if missing:
        advice = "limits on them fail; enable them on the kernel's command line"
        yield Finding(NOTE, "cgroups", f"no controller for {', '.join(missing)}", advice)


def _seccomp() -> Iterator[Finding]:
    actions = _read("/proc/sys/kernel/seccomp/actions_avail").split()
    if not actions:
        yield Finding(BAD, "seccomp", "the kernel has no filters", "use a kernel with CONFIG_SECCOMP_FILTER")
    else:
        yield Finding(GOOD, "seccomp", f"filters with {', '.join(actions)}")
    try:
        ctypes.CDLL("libseccomp.so.2")
    except OSError:
        yield Finding(BAD, "seccomp", "libseccomp.so.2 is missing", "install the package libseccomp2")


def _user_namespaces() -> Finding:
    limit = _read("/proc/sys/user/max_user_namespaces").strip()
    if limit in ("", "0"):
        advice = "sysctl user.max_user_namespaces=28633, if rootless or remapped containers are wanted"
        return Finding(NOTE, "user namespaces", "none", advice)
    if _read("/proc/sys/kernel/unprivileged_userns_clone").strip() == "0":
        advice = "sysctl kernel.unprivileged_userns_clone=1, if rootless containers are wanted"
        return Finding(NOTE, "user namespaces", "for root only", advice)
    return Finding(GOOD, "user namespaces", f"up to {limit}")


def _lsms() -> Finding:
    found = _read("/sys/kernel/security/lsm").strip()
    if not found:
        names = {"apparmor": "/sys/module/apparmor", "selinux": "/sys/fs/selinux/enforce"}
        found = ",".join(name for name, path in names.items() if os.path.exists(path))
    if found:
        return Finding(GOOD, "security modules", found)
    return Finding(NOTE, "security modules", "none can be seen", "profiles and labels of containers have no effect")


def _criu() -> Finding:
    """Whether checkpoint and restore work: the program, the library to talk to it, the kernel."""
    path = shutil.which("criu", path=_ROOTS_PATH)
    if not path:
        return Finding(NOTE, "CRIU", "not installed", "checkpoint and restore fail; install criu if they are wanted")
    try:
        from hookrun.runtime.criu import messages  # noqa: F401
    except Failure as failure:
        return Finding(NOTE, "CRIU", path, failure.text)
    if os.geteuid() != 0:
        return Finding(NOTE, "CRIU", path, "checkpoint and restore are root's alone: ask again as root")
    problem = _said_by_criu(path, "check")
    if problem:
        advice = "checkpoint and restore fail; use a CRIU as new as the kernel"
        return Finding(NOTE, "CRIU", f"{path}: {problem}", advice)
    missing = [what for feature, what in _CRIU_FEATURES.items() if _said_by_criu(path, "check", "--feature", feature)]
    return Finding(GOOD, "CRIU", ", ".join([path, *(f"no {what} with this kernel" for what in missing)]))


def _said_by_criu(path: str, *words: str) -> str:
    """The last line of what criu says where it ends badly, "" where it does not."""
    done = subprocess.run(
        [path, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
    )
    lines = (done.stderr or done.stdout).strip().splitlines()
    return (lines[-1] if lines else f"exit status {done.returncode}") if done.returncode else ""


def _snapshot(machine: Host) -> Finding:
    found = snapshot.load(str(machine.state))
    if found.is_damaged:
        allowed = snapshot.on_error(str(machine.state)) == snapshot.ALLOW
        text, _, advice = found.notice.rpartition("; ")
        return Finding(NOTE if allowed else BAD, "snapshot", text, advice)
    if found.content is None:
        return Finding(NOTE, "snapshot", "none: containers run as with plain runc", "`hookctl apply` makes one")
    status = machine.snapshot.stat()
    days = (time.time() - status.st_mtime) / 86400
    return Finding(GOOD, "snapshot", f"{days:.1f} days old, owner {status.st_uid}, mode {status.st_mode & 0o7777:o}")


def _seal(machine: Host) -> Finding:
    place = machine.state / seal.NAME
    if not place.is_dir():
        return Finding(NOTE, "sealed program", f"no {place}", "`hookctl refresh` makes it")
    if not _is_mounted(place):
        return Finding(NOTE, "sealed program", "not mounted since the host started; the first call does that")
    if os.statvfs(place).f_flag & os.ST_RDONLY:
        return Finding(GOOD, "sealed program", f"mounted read-only on {place}")
    advice = f"umount {place}; the next call seals it"
    return Finding(BAD, "sealed program", f"{place} is mounted writable", advice)


def _is_mounted(place: Path) -> bool:
    """A bind mount of the same filesystem looks like no mount to Path.is_mount."""
    lines = _read("/proc/self/mountinfo").splitlines()
    return any(line.split()[4] == str(place) for line in lines)


def _start(machine: Host) -> Finding:
    problem = program.problem(machine.state)
    if not problem:
        return Finding(GOOD, "start", f"warm, from {machine.state / program.HEAP}")
    advice = "`hookctl refresh` makes the heap again" if program.find() else ""
    if problem == program.DAMAGED:
        return Finding(BAD, "start", f"warm, from {machine.state / program.HEAP}: {problem}", advice)
    return Finding(NOTE, "start", f"cold, which takes some 10 ms more for each call: {problem}", advice)


def _launchers(machine: Host) -> Iterator[Finding]:
    for path in sorted(machine.launchers.iterdir()) if machine.launchers.is_dir() else ():
        yield _launcher(machine, path)


def _launcher(machine: Host, path: Path) -> Finding:
    """What can't start at all has its interpreter gone: a removed virtual environment, an upgraded Python."""
    subject = f"launcher {path.name}"
    text = path.read_text(encoding="utf-8", errors="replace")
    interpreter = text.partition("\n")[0].removeprefix("#!").split(" ")[0]
    advice = "`hookctl refresh` writes it again"
    if not os.access(path, os.X_OK):
        return Finding(BAD, subject, f"{path} can't be executed", advice)
    if not os.access(interpreter, os.X_OK):
        return Finding(BAD, subject, f"its interpreter {interpreter} is gone", advice)
    if text != launcher.text(machine.state):
        return Finding(BAD, subject, f"{path} is not what this hookctl writes", advice)
    if interpreter.startswith(str(machine.state)):
        return Finding(GOOD, subject, str(path))
    return Finding(NOTE, subject, f"runs {interpreter}, which is not sealed beforehand")


def _engines(machine: Host, found: list[Engine]) -> Iterator[Finding]:
    if not found:
        yield Finding(NOTE, "engines", "none found", "install one, then `hookctl engine register`")
    for engine in found:
        yield from _engine(Standing.of(engine, machine))


def _engine(standing: Standing) -> Iterator[Finding]:
    engine = standing.engine
    if standing.problem:
        yield Finding(BAD, engine.name, standing.problem, f"{engine.program} can't read it either")
    elif not standing.ours:
        advice = f"`{integrity.registering(engine, '')}`"
        yield Finding(NOTE, engine.name, f"found; hookrun is not registered in {engine.file}", advice)
    for runtime in standing.ours:
        text = f"runtime {runtime.name}{', the default' if runtime.is_default else ''}"
        problem = problem_of(runtime)
        if problem:
            state = NOTE if os.access(runtime.path, os.X_OK) else BAD
            yield Finding(state, engine.name, f"{text}: {problem}", f"`{integrity.registering(engine, runtime.name)}`")
        else:
            yield Finding(GOOD, engine.name, f"{text}: {runtime.path}, in {runtime.file}")


def _other_doors(standing: Standing) -> Iterator[Finding]:
    """What runs beside hookrun although it is registered: runtimes that a caller may name, and image builds."""
    engine = standing.engine
    if not (standing.ours and engine.stock_units):
        return
    launchers = Path(standing.ours[0].path).parent
    pids = [*standing.pids, *daemon.pids(engines.of(engines.Kind.CONTAINERD))]
    stock = {pid: stock_runc.leads_to(pid) for pid in pids}
    open_to = {program for program in stock.values() if program and Path(program).parent != launchers}
    if not stock:
        text = f"{engine.program} does not run: what `--runtime runc` and image builds call is unknown"
        yield Finding(NOTE, engine.name, text)
    elif open_to:
        text = f"`--runtime runc` and image builds call {', '.join(sorted(open_to))}, past hookrun"
        advice = f"`hookctl engine register {engine.name} --only` closes that"
        if (launchers / stock_runc.NAME).exists():
            advice = f"restart {' and '.join(engine.stock_units)}, or `hookctl engine register {engine.name} --only`"
        yield Finding(NOTE, engine.name, text, advice)
    else:
        yield Finding(GOOD, engine.name, "`--runtime runc` and image builds call hookrun")
    for runtime in standing.runtimes:
        if runtime not in standing.ours:
            text = f"`--runtime {runtime.name}` calls {runtime.path or 'a shim of its own'}, past hookrun"
            yield Finding(NOTE, engine.name, text, f"take it out of {runtime.file} if callers must not have it")


def _delegate(runtime: str) -> Finding:
    if os.access(runtime, os.X_OK):
        return Finding(GOOD, "runtime", f"{runtime} runs the containers")
    advice = "fix `runtime` in config.yaml, then `hookctl apply`"
    return Finding(BAD, "runtime", f"{runtime} can't be executed", advice)


def _record(chosen: settings.Settings) -> Iterator[Finding]:
    if not chosen.record_enabled:
        yield Finding(NOTE, "record", "switched off", "set record.enabled in config.yaml, if it is wanted")
        return
    directory = Path(chosen.record_directory)
    if os.path.exists(directory) and directory.stat().st_mode & 0o077:
        text = f"mode {stat.S_IMODE(directory.stat().st_mode):o}: users other than root can look into the record"
        yield Finding(NOTE, str(directory), text, f"`chmod 700 {shlex.quote(str(directory))}`")
    unfit = _unwritable(directory)
    if unfit:
        state = BAD if chosen.record_required else NOTE
        yield Finding(state, "record", *unfit)
        return
    files = [*directory.glob("record*.jsonl"), *(directory / kept_configs.DIRECTORY).glob("*")]
    size = sum(path.stat().st_size for path in files)
    text = f"{size / 1e6:.1f} MB of {chosen.record_max_total / 1e6:.0f} in {directory}"
    if size > _FULL * chosen.record_max_total:
        advice = "the oldest goes; raise record.maxTotal in config.yaml and `hookctl apply`, to keep more"
        yield Finding(NOTE, "record", text, advice)
    else:
        yield Finding(GOOD, "record", text)


def _unwritable(directory: Path) -> tuple[str, str] | None:
    """Why no line can be added to the record, and what to do; None where one can."""
    elsewhere = "or set record.directory in config.yaml and `hookctl apply`"
    there = next(place for place in (directory, *directory.parents) if os.path.exists(place))
    space = os.statvfs(there)
    if space.f_flag & os.ST_RDONLY:
        return f"{there} is on a read-only file system", f"mount it writable, {elsewhere}"
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        return f"{there} can't be written", f"make it a directory that root owns, {elsewhere}"
    if space.f_bfree * space.f_frsize < _LEAST_ROOM or (space.f_files and not space.f_ffree):
        return f"no space is left in {there}: calls are not recorded", f"make room there, {elsewhere}"
    try:
        os.close(os.open(directory / record.CURRENT, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC))
    except FileNotFoundError:  # the first call makes it
        return None
    except OSError as error:
        return f"{directory / record.CURRENT}: {reason(error)}", "move it aside: the next call makes a new one"
    return None


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError:
        return ""
