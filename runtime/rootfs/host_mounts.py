"""Sources of mounts that the container's first process can't open itself, opened for it by a helper.

The helper is a process with the host's rights that goes into the container's mount namespace. It has to be that one:
there the kernel has locked the flags of the host's mounts against the container's user namespace, and a mount that was
opened anywhere else would come without these locks. Source: mount_namespaces(7); runc: mount_linux.go mountFd.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Any, NoReturn

from hookrun.runtime.errors import Failure, failing, reason
from hookrun.runtime.linux import mounts, namespaces, paths, sockets
from hookrun.runtime.log import Log
from hookrun.runtime.rootfs import id_mapped, sources
from hookrun.runtime.rootfs.judged import Judged
from hookrun.runtime.rootfs.sources import Identity
from hookrun.runtime.spec.container_mounts import Mount, parse_all
from hookrun.runtime.spec.sections import namespace_paths, root_path

_SEARCHABLE_BY_OTHERS = 0o001
_NO_TEXT = b"\0"  # a descriptor travels with a byte at least


def open_sources(config: dict[str, Any], bundle: str, judged: Judged, log: Log) -> dict[int, int]:
    """Called by the parent before the clone: index in `mounts` to a line on which `ask` gets the source.

    Those are the id-mapped mounts, and in a user namespace the binds whose source lies below a directory that others
    may not enter. An ordinary user can give no such help. `judged` is `Context.judged`. Raises Failure.
    """
    if os.geteuid() != 0:
        return {}
    has_userns = "user" in namespace_paths(config)
    wanted = {
        index: mount
        for index, mount in enumerate(parse_all(config, bundle))
        if mount.is_id_mapped or (mount.is_bind and has_userns and not _is_reachable(mount.source))
    }
    if not wanted:
        return {}
    log.debug(f"mounts that the container's process gets help with: {sorted(wanted)}")
    with failing("can't start the helper that opens sources of mounts"):
        return _start_helper(wanted, config, bundle, judged)


def _is_reachable(source: str) -> bool:
    """Whether others may enter every directory above a path; one that is missing is left to who needs it."""
    path = paths.realpath(source)
    try:
        while path != "/":
            path = os.path.dirname(path)
            if not os.stat(path).st_mode & _SEARCHABLE_BY_OTHERS:
                return False
    except FileNotFoundError:
        pass
    return True


def _start_helper(wanted: dict[int, Mount], config: dict[str, Any], bundle: str, judged: Judged) -> dict[int, int]:
    """Start the helper, nobody's child, so that nobody has to wait for it; the container's ends of the lines."""
    pairs = {index: socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC) for index in wanted}
    pid = os.fork()
    if not pid:
        if os.fork():
            os._exit(0)
        for _, theirs in pairs.values():
            theirs.close()
        openers = {
            index: _opener(mount, config, judged.sources.get(mount.origin), root_path(config, bundle))
            for index, mount in wanted.items()
        }
        _serve({index: ours.detach() for index, (ours, _) in pairs.items()}, openers)
    os.waitpid(pid, 0)
    for ours, _ in pairs.values():
        ours.close()
    return {index: theirs.detach() for index, (_, theirs) in pairs.items()}


def _serve(lines: dict[int, int], openers: dict[int, Callable[[], int]]) -> NoReturn:
    """The helper's life: open one source after the other, in the order in which they are asked for."""
    try:
        for index, line in lines.items():
            _, namespace = sockets.receive(line)
            if namespace < 0:
                break
            try:
                namespaces.join(namespace, namespaces.NEWNS)
                source, text = openers[index](), ""
            except (Failure, OSError) as error:
                source, text = -1, error.text if isinstance(error, Failure) else reason(error)
            sockets.send(line, text.encode("utf-8", "surrogateescape") or _NO_TEXT, source)
            os.close(namespace)
    except OSError:
        pass  # The container's process has ended.
    finally:
        os._exit(0)


def _opener(mount: Mount, config: dict[str, Any], judged: Identity | None, rootfs: str) -> Callable[[], int]:
    """What opens a mount's source: detached and mapped where it is to be id-mapped, else as an O_PATH descriptor."""
    if mount.is_id_mapped:
        return lambda: id_mapped.map_source(open_source(mount, judged, rootfs), mount, config)
    return lambda: open_path(mount.source)


def open_path(path: str) -> int:
    """A source's descriptor (O_PATH); what mounts itself at a look is mounted. Raises Failure."""
    with failing(f"stat {path}"):
        os.stat(path)
        return os.open(path, os.O_PATH | os.O_CLOEXEC)


def open_source(mount: Mount, judged: Identity | None, rootfs: str) -> int:
    """A bind's source as a detached mount; the judged one where it was judged. `rootfs` is its path. Raises Failure."""
    if judged is None:
        try:
            return mounts.open_tree(mount.source, mount.is_recursive)
        except OSError as error:
            what = "open_tree(OPEN_TREE_CLONE)" if mount.is_id_mapped else "stat"  # runc's words
            raise Failure(f"{what} {mount.source}: {reason(error)}") from None
    return _copied(open_path(mount.source), mount, judged, rootfs)


def _copied(source: int, mount: Mount, judged: Identity | None, rootfs: str) -> int:
    """The detached mount of a source's descriptor, which it closes. Raises Failure, OSError."""
    try:
        if judged is None:
            return mounts.copy_tree(source, mount.is_recursive)
        return sources.copy(source, mount.source, recursive=mount.is_recursive, judged=judged, made_here=rootfs)
    finally:
        os.close(source)


def ask(line: int, mount: Mount, judged: Identity | None, rootfs: str) -> int:
    """Called by the container's process: the mount's source as a detached mount; closes the line. Raises Failure."""
    namespace = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    try:
        sockets.send(line, _NO_TEXT, namespace)
        text, source = sockets.receive(line)
    finally:
        os.close(namespace)
        os.close(line)
    if source < 0:
        told = text.strip(_NO_TEXT).decode("utf-8", "surrogateescape")
        raise Failure(told or "the helper that opens sources of mounts has ended")
    return source if mount.is_id_mapped else _copied(source, mount, judged, rootfs)
