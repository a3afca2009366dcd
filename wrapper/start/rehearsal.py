"""The rehearsal: commands are carried out in the process that fills a heap, on containers that are none.

Python suits code to what it meets when it runs (PEP 659), and notes where each type has each attribute. A call from
the heap would do so for itself alone, and make a page dirty for each code, name and note that it touches. What has
been rehearsed is in the heap as it is when it has run for long: a `state` takes a third less time.

Nothing is learned of who fills the heap: there is no environment here, and nobody is asked who called.
"""

from __future__ import annotations

import os
import posix
import sys

from hookrun.runtime import SPEC_VERSION, jsonio
from hookrun.runtime.cgroups import choice, files
from hookrun.runtime.container import directory as container_directory
from hookrun.runtime.context import Context
from hookrun.runtime.linux import memory, mounts, namespaces, pids, seccomp
from hookrun.runtime.linux.syscalls import NR, call
from hookrun.runtime.log import Log
from hookrun.runtime.process import creation
from hookrun.runtime.process import process as processes
from hookrun.runtime.rootfs import rootfs
from hookrun.wrapper import shim, snapshot
from hookrun.wrapper.caller import engine
from hookrun.wrapper.cli import argv
from hookrun.wrapper.exposure.call import Exposure
from hookrun.wrapper.start import rehearsed, seal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType

    from hookrun.runtime.process import standard_init

_TIMES = 12  # code is suited to what it meets from its ninth run on
_STDOUT = 1  # /dev/null
_STDERR = 2
_NAME = "rehearsal"
_CONTROLLERS = ("devices", "memory")


def codes(place: str) -> list[CodeType]:
    """The code that commands run, in the order of its first run. Otherwise as `rehearse`."""
    found: dict[int, CodeType] = {}
    sys.setprofile(lambda frame, event, argument: found.setdefault(id(frame.f_code), frame.f_code))
    try:
        rehearse(place, times=1)
    finally:
        sys.setprofile(None)
    return list(found.values())


def rehearse(place: str, times: int = _TIMES) -> None:
    """Carry out commands in the directory `place`, which is made and removed. Raises OSError."""
    kept = engine.caller, seal.is_sealed, os.dup(_STDERR)
    engine.caller, seal.is_sealed = _nobody, _yes
    os.dup2(_STDOUT, _STDERR)
    os.mkdir(place, 0o700)
    has_own_mounts = _hide(place)
    try:
        _prepare(place)
        for _ in range(times):
            _live(place)
        if has_own_mounts:
            _be_born_often(place, times)
    finally:
        engine.caller, seal.is_sealed, stderr = kept
        os.dup2(stderr, _STDERR)
        os.close(stderr)
        os.chdir("/")
        if has_own_mounts:
            mounts.detach(place)
            os.rmdir(place)
        else:
            container_directory.remove(place)


def _hide(place: str) -> bool:
    """Mount a tmpfs there that no other process sees; False where this user may not."""
    try:
        call(NR.unshare, namespaces.NEWNS)
        mounts.set_propagation("/", mounts.MS_PRIVATE | mounts.MS_REC)
        target = os.open(place, os.O_PATH | os.O_CLOEXEC)
        mounts.attach(mounts.new_filesystem("tmpfs", "tmpfs", ["mode=700"], 0), target)
        os.close(target)
    except OSError:
        return False
    return True


def _nobody() -> engine.Caller:
    return engine.Caller(0)


def _yes() -> bool:
    return True


def _prepare(place: str) -> None:
    """A bundle, and a snapshot of settings that keep the record here."""
    os.makedirs(f"{place}/bundle/rootfs")
    os.mkdir(f"{place}/bundle/{rehearsed.DIRECTORY}")
    for name in rehearsed.FILES:
        _write(f"{place}/bundle/{name}", b"")
    _write(f"{place}/bundle/config.json", jsonio.dumps(rehearsed.config(f"{place}/bundle")).encode())
    _write(f"{place}/{snapshot.NAME}", snapshot.packed(rehearsed.content(place)))


def _write(path: str, data: bytes) -> None:
    with open(path, "xb") as file:
        file.write(data)


def _line(place: str, *words: str) -> list[bytes]:
    return [os.fsencode(word) for word in ("hookrun", "--root", f"{place}/root", *words, _NAME)]


def _live(place: str) -> None:
    """A container's life but its birth: `create` finds that there is one of this name already."""
    alive, hold = os.pipe2(os.O_CLOEXEC)
    pid = posix.fork()
    if pid == 0:  # the container's process: it lasts until it is killed, or the one that fills is gone
        os.close(hold)
        os.read(alive, 1)
        os._exit(0)
    fifo = _stand(place, pid)
    for words in (("state",), ("create", "--bundle", f"{place}/bundle"), ("start",), ("delete", "--force")):
        shim.main(_line(place, *words), place)
    os.waitpid(pid, 0)
    for descriptor in (alive, hold, fifo):
        os.close(descriptor)


def _stand(place: str, pid: int) -> int:
    """A container of this process, with directories for cgroups; returns its exec fifo."""
    draft = container_directory.Draft(f"{place}/root", _NAME)
    draft.note_progress({})
    draft.keep_config({})
    fifo = draft.make_exec_fifo()
    draft.finish(
        {
            "id": _NAME,
            "init_process_pid": pid,
            "init_process_start": pids.stat(pid)[1],
            "created": container_directory.now(),
            "cgroup_paths": _make_cgroups(place),
            "config": {
                "rootfs": f"{place}/bundle/rootfs",
                "oci_version": SPEC_VERSION,
                "labels": [f"bundle={place}/bundle"],
                "hook_stages": [],
                "namespaces": [{"type": "NEWPID", "path": ""}, {"type": "NEWNS", "path": ""}],
                "cgroups": {},
            },
        }
    )
    return fifo


def _make_cgroups(place: str) -> dict[str, str]:
    """Directories that can be removed as cgroups are, by the keys that this host's manager has for its paths."""
    names = {"": "unified"} if files.is_unified() else {controller: controller for controller in _CONTROLLERS}
    found = {key: f"{place}/{name}" for key, name in names.items()}
    for path in found.values():
        os.mkdir(path)
    return found


def _be_born_often(place: str, times: int) -> None:
    """As far as this user and this host can: what is not rehearsed works as well."""
    try:
        for _ in range(times):
            _be_born(place)
    except Exception:  # no host is so odd that it should start cold for this
        return


def _be_born(place: str) -> None:
    """What the parent plans and writes down, and the rootfs that the child makes, in this process's own mounts."""
    words = argv.parse(_line(place, "create", "--bundle", f"{place}/bundle"))
    context = Context(f"{place}/root", Log())
    made = creation.Creation(context, creation.Request(words.options, _NAME, detach=True))
    _judge(context, made.request.bundle)
    seccomp.program(rehearsed.SECCOMP, context.log.debug, f"{place}/programs")
    manager = choice.for_config(made.config, _NAME, False, False, context.log)
    manager.check_unused()
    manager.paths = _make_cgroups(place)
    for path in manager.paths.values():
        _write(f"{path}/tasks", b"")
    plan = made._plan(manager)
    plan.entrance.enter()
    os.close(plan.fifo)
    plan.namespaces.close()
    made._draft.note_progress(made._state(manager, 0, 0))
    made._draft.keep_config(made.config)
    memory.Spare().give_back()
    _make_rootfs(plan)
    made._draft.finish(made._state(manager, os.getpid(), 0))
    made._draft.discard()
    for path in manager.paths.values():
        os.unlink(f"{path}/tasks")
    manager.destroy()


def _judge(context: Context, bundle: str) -> None:
    """Have the core compare what it mounts, as it does where a policy asked for sources."""
    config = rehearsed.config(bundle)
    exposure = Exposure(bundle, config)
    for mount in config["mounts"]:
        exposure.look(mount)
    exposure.land(config["mounts"])
    exposure.judged(context.judged)


def _make_rootfs(plan: standard_init.Plan) -> None:
    outside = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        processes.parse_environment(plan.config["process"])
        filesystem = rootfs.prepare(plan.config, plan.bundle, plan.sources, plan.judged, plan.cgroup_mounts, plan.log)
        os.fchdir(filesystem.root)
        os.chroot(".")
        filesystem.finalize()
        rootfs.apply_sysctls(plan.config)
        filesystem.restrict_paths()
    finally:
        os.fchdir(outside)
        os.chroot(".")
        os.close(outside)
    mounts.detach(f"{plan.bundle}/rootfs")
    for descriptor in plan.sources.values():
        os.close(descriptor)
