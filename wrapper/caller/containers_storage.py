"""What Podman and CRI-O keep of a container: the images' names of containers/storage, and libpod's labels.

A container's root file system lies in STORAGE/DRIVER/…, what is known of it in STORAGE/DRIVER-containers/, and libpod's
database in STORAGE/libpod/bolt_state.db or, since Podman 4.8, STORAGE/db.sql.
"""

from __future__ import annotations

import os
from typing import Any

from hookrun.runtime import jsonio
from hookrun.runtime.linux import files
from hookrun.wrapper import ownership
from hookrun.wrapper.caller import bolt

_PYTHON = "/usr/bin/python3"
_QUERY = """
import sqlite3, sys
try:
    database = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", timeout=1, uri=True)
    query = "SELECT CAST(JSON AS BLOB) FROM ContainerConfig WHERE ID = ?"  # text of Podman 5.4, bytes of 5.8
    row = database.execute(query, sys.argv[2:]).fetchone()
except sqlite3.Error:
    row = None
sys.stdout.buffer.write(row[0] if row else b"")
"""
_DEPTH = 4  # STORAGE/vfs/dir/ID, STORAGE/overlay/ID/merged


def image(root_path: str, container: str) -> str:
    """The whole name of the image, as `docker.io/library/nginx:1`; "" where there is none."""
    for storage, driver in _storages(root_path):
        for name in ("containers.json", "volatile-containers.json"):
            for entry in _read(f"{storage}/{driver}-containers/{name}") or ():
                if isinstance(entry, dict) and entry.get("id") == container:
                    return _name_in(entry.get("metadata"))
    return ""


def podmans_labels(root_path: str, container: str) -> dict[str, Any]:
    """The labels of a container of Podman's."""
    for storage, _ in _storages(root_path):
        kept = _in_bolt(f"{storage}/libpod/bolt_state.db", container) or _in_sqlite(f"{storage}/db.sql", container)
        config = _parsed(kept)
        if isinstance(config, dict):
            return config.get("labels") or {}
    return {}


def _storages(root_path: str) -> list[tuple[str, str]]:
    """The storages in which a root file system may lie, each with the driver's name."""
    found = []
    for _ in range(_DEPTH):
        above, driver = os.path.split(root_path)
        if os.path.isdir(f"{above}/{driver}-containers"):
            found.append((above, driver))
        root_path = above
    return found


def _name_in(metadata: Any) -> str:
    found = _parsed(metadata)
    name = found.get("image-name") if isinstance(found, dict) else None
    return name if isinstance(name, str) else ""


def _read(path: str) -> Any:
    try:
        return None if ownership.problem(path) else _parsed(files.read_bytes(path))
    except OSError:
        return None


def _parsed(text: Any) -> Any:
    try:
        return jsonio.loads(text) if text and isinstance(text, str | bytes) else None
    except ValueError:
        return None


def _in_bolt(path: str, container: str) -> bytes:
    """libpod's bucket of containers (Podman: libpod/boltdb_state_internal.go)."""
    try:
        return b"" if ownership.problem(path) else bolt.value(path, b"ctr", container.encode(), b"config")
    except (OSError, ValueError):
        return b""


def _in_sqlite(path: str, container: str) -> bytes:
    """libpod's table ContainerConfig (Podman: libpod/sqlite_state_internal.go).

    By another interpreter: hookrun-start has no SQLite.
    """
    try:
        if ownership.problem(path):
            return b""
        reader, writer = os.pipe2(os.O_CLOEXEC)
        words = [_PYTHON, "-ISc", _QUERY, path, container]
        pid = os.posix_spawn(_PYTHON, words, {}, file_actions=[(os.POSIX_SPAWN_DUP2, writer, 1)])
    except OSError:
        return b""
    os.close(writer)
    with open(reader, "rb") as file:
        found = file.read()
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:  # whoever called ignores SIGCHLD
        pass
    return found
