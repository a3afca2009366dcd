"""The id mappings of a user namespace, written by the parent (user_namespaces(7); runc: nsexec.c update_uidmap)."""

from __future__ import annotations

import os

from hookrun.runtime.documents import Config, IdMapping
from hookrun.runtime.errors import Failure, failing
from hookrun.runtime.spec.sections import linux


def write(config: Config, pid: int) -> None:
    """Write both maps of the new user namespace that `pid` is in. Raises Failure."""
    uids = linux(config).get("uidMappings") or []
    gids = linux(config).get("gidMappings") or []
    if not _needs_helper(gids, os.getegid()) and os.geteuid() != 0:
        # Without it the kernel lets an ordinary user write no gid map (CVE-2014-8989).
        _write_file(f"/proc/{pid}/setgroups", b"deny")
    _write_map(pid, "uid", uids, os.geteuid())
    _write_map(pid, "gid", gids, os.getegid())


def _needs_helper(mappings: list[IdMapping], own_id: int) -> bool:
    """An ordinary user may map his own id alone (runc: requiresRootOrMappingTool)."""
    only_own = len(mappings) == 1 and (mappings[0].get("hostID") or 0) == own_id and (mappings[0].get("size") or 0) == 1
    return os.geteuid() != 0 and not only_own


def _write_map(pid: int, kind: str, mappings: list[IdMapping], own_id: int) -> None:
    if not mappings:
        return
    if _needs_helper(mappings, own_id):
        _run_helper(f"new{kind}map", pid, mappings)
        return
    lines = "".join(f"{m.get('containerID', 0)} {m.get('hostID', 0)} {m.get('size', 0)}\n" for m in mappings)
    _write_file(f"/proc/{pid}/{kind}_map", lines.encode())


def _write_file(path: str, data: bytes) -> None:
    with failing(f"failed to update {path}"):
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, data)
        finally:
            os.close(descriptor)


def _helper_path(name: str) -> str:
    """Raises Failure where the program is not installed."""
    for directory in os.getenv("PATH", os.defpath).split(":"):
        path = f"{directory}/{name}"
        if directory.startswith("/") and os.access(path, os.X_OK):
            return path
    raise Failure(f"{name} is not installed: without it an ordinary user can map only their own id")


def _run_helper(name: str, pid: int, mappings: list[IdMapping]) -> None:
    """newuidmap(1) and newgidmap(1) write, setuid root, the maps that /etc/subuid and /etc/subgid allow."""
    arguments = [name, str(pid)]
    for entry in mappings:
        arguments += [str(entry.get("containerID") or 0), str(entry.get("hostID") or 0), str(entry.get("size") or 0)]
    helper = os.posix_spawn(_helper_path(name), arguments, os.environb)
    status = os.waitstatus_to_exitcode(os.waitpid(helper, 0)[1])
    if status != 0:
        raise Failure(f"{' '.join(arguments)}: exit status {status}: does /etc/sub{name[3:6]} allow these ids?")
