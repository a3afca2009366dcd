"""A bundle: one version of a fleet's policies, hooks, CDI specs and settings.

As a directory it is laid out like /etc/hookrun (config.yaml, policies.d, hooks.d, and cdi beside them), with a
bundle.yaml that names it. Policies and hook files name programs that come with it as `${bundle}/PATH`, which is
compiled to where the bundle lies: on a host, in a directory of its version. As an archive it is a .tar.gz whose bytes
depend on the files' names, contents and executable bits alone.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import re
import shutil
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hookrun.policies import compiler, in_bundle, plausible, testing, validation
from hookrun.policies.document import Invalid
from hookrun.runtime.errors import Failure, reason
from hookrun.wrapper import VERSION
from hookrun.wrapper.admin import sources
from hookrun.wrapper.admin.host import Host
from hookrun.wrapper.admin.sources import Sources

MANIFEST = in_bundle.MANIFEST
# What a bundle may weigh, packed and unpacked, in bytes: a host reads it as root.
MOST_PACKED = 16 * 1024 * 1024
MOST_UNPACKED = 64 * 1024 * 1024
MOST_FILES = 10_000
_SCHEMA = Path(__file__).with_name("manifest.json")


@dataclass(frozen=True)
class Manifest:
    """bundle.yaml: `hosts` has the values that a host's labels must have; one without entries is for all hosts."""

    name: str
    version: str
    minimal_hookrun: str
    hosts: dict[str, list[str]]

    @property
    def file_name(self) -> str:
        """The archive's name."""
        return f"{self.name}-{self.version}.tar.gz"

    def misfit(self, labels: dict[str, str]) -> str:
        """Why the bundle is not for a host with these labels, "" if it is."""
        if _numbers(VERSION) < _numbers(self.minimal_hookrun):
            return f"it needs hookrun {self.minimal_hookrun} or later, this is {VERSION}"
        for label, values in self.hosts.items():
            if labels.get(label) not in values:
                wanted, found = " or ".join(values), labels.get(label, "not set")
                return f"it is for hosts whose label {label} is {wanted}, here it is {found}"
        return ""


def manifest(directory: Path) -> Manifest:
    """What a bundle's directory says about itself. Raises Failure."""
    path = directory / MANIFEST
    try:
        found = sources.checked(compiler.read_file(path), str(path), _SCHEMA)
    except Invalid as problem:
        raise Failure(problem.text) from None
    except OSError as error:
        raise Failure(f"cannot read {path}: {reason(error)}") from None
    if not found:
        raise Failure(f"{path}: it is empty: give name and version")
    return Manifest(found["name"], found["version"], found.get("minimalHookrun", "0"), found.get("hosts", {}))


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version.partition("-")[0])))


def examined(directory: Path) -> Sources:
    """A bundle's policies, hooks and settings, after `lint` and their own tests. Raises Failure with all problems."""
    found = sources.read(Host(directory, directory / "no-state"))
    problems = found.problems + validation.problems(found.policies)
    problems += [doubt.text for source in found.policies for doubt in plausible.findings(source)]
    outcomes = [outcome for source in found.policies for outcome in testing.run(source)]
    problems += [f"{one.place}: {one.policy}: {one.name}: {one.problem}" for one in outcomes if one.problem]
    problems += _program_problems(directory.absolute(), found)
    if problems:
        raise Failure("\n".join(problems))
    return found


def _program_problems(directory: Path, found: Sources) -> list[str]:
    """Lines on programs of a bundle that no hook could run."""
    hooks = {(stage, one["hook"]["path"]) for one in found.hooks["entries"] for stage in one["stages"]}
    hooks |= {(stage, hook["path"]) for source in found.policies for stage, hook, _ in source.policy.hooks}
    problems = []
    for stage, path in sorted((stage, path) for stage, path in hooks if directory in Path(path).parents):
        if stage == "startContainer":
            problems.append(f"{path}: hooks of startContainer run programs of the container, not of the bundle")
        elif os.path.isfile(path) and not os.access(path, os.X_OK):
            problems.append(f"{path}: it can't be executed: `chmod +x` it, or mount its file system without noexec")
    return problems


def pack(directory: Path) -> bytes:
    """The archive of a bundle's directory. Raises Failure."""
    packed = io.BytesIO()
    # The name and time in gzip's header would differ from one call to the next.
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=packed, mtime=0) as stream,
        tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for path in files(directory):
            _add(archive, directory, path)
    data = packed.getvalue()
    if len(data) > MOST_PACKED:
        raise Failure(f"{directory}: {len(data)} bytes packed, at most {MOST_PACKED} are allowed")
    return data


def files(directory: Path) -> list[Path]:
    """The files that a bundle's archive has; what begins with a dot stays behind. Raises Failure."""
    found = []
    for path in sorted(directory.rglob("*")):
        if any(part.startswith(".") for part in path.relative_to(directory).parts) or path.is_dir():
            continue
        if path.is_symlink() or not path.is_file():
            raise Failure(f"{path}: a bundle has regular files alone")
        found.append(path)
    return found


def _add(archive: tarfile.TarFile, directory: Path, path: Path) -> None:
    entry = tarfile.TarInfo(str(path.relative_to(directory)))
    try:
        data = path.read_bytes()
        entry.mode = 0o755 if path.stat().st_mode & 0o100 else 0o644
    except OSError as error:
        raise Failure(f"cannot read {path}: {reason(error)}") from None
    entry.size = len(data)
    archive.addfile(entry, io.BytesIO(data))


def digest(data: bytes) -> str:
    """The SHA-256 of an archive."""
    return hashlib.sha256(data).hexdigest()


def unpack(data: bytes, directory: Path, called: str) -> None:
    """Write an archive's files into a directory that is not there yet: whole or not at all.

    `called` is how errors name the archive. Raises Failure.
    """
    partial = directory.with_name(f".{directory.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        for name, mode, content in _entries(data):
            _write(partial / name, content, mode)
        for place in (partial, *(path for path in partial.rglob("*") if path.is_dir())):
            place.chmod(0o755)  # whatever the umask is: a hook's program is run by users of other namespaces too
        partial.rename(directory)
    except (tarfile.TarError, EOFError, zlib.error, ValueError, gzip.BadGzipFile) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise Failure(f"{called}: not a bundle: {_told(error)}") from None
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise Failure(f"cannot unpack {called} to {directory}: {reason(error)}") from None


def _write(path: Path, content: bytes, mode: int) -> None:
    """Write a file for good: a snapshot that names it must not outlive it when the power goes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    path.chmod(mode)


class _Unfit(ValueError):
    """What a bundle's archive may not have."""


def _told(error: Exception) -> str:
    return str(error) if isinstance(error, _Unfit) else "it is damaged"


def _entries(data: bytes) -> list[tuple[str, int, bytes]]:
    """Name, mode and content of an archive's files. Raises _Unfit, and tarfile's, gzip's and zlib's own errors."""
    with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
        unpacked = stream.read(MOST_UNPACKED + 1)
    if len(unpacked) > MOST_UNPACKED:
        raise _Unfit(f"more than {MOST_UNPACKED} bytes unpacked")
    found: list[tuple[str, int, bytes]] = []
    with tarfile.open(fileobj=io.BytesIO(unpacked), mode="r:") as archive:
        for entry in archive:
            parts = entry.name.split("/")
            if not entry.isreg() or entry.name.startswith("/") or not all(part.strip(".") for part in parts):
                raise _Unfit(f"{entry.name!r}: plain names and regular files alone")
            content = archive.extractfile(entry)
            assert content is not None  # it is a regular file
            found.append((entry.name, 0o755 if entry.mode & 0o100 else 0o644, content.read()))
            if len(found) > MOST_FILES:
                raise _Unfit(f"more than {MOST_FILES} files")
    return found


def read_archive(path: Path) -> bytes:
    """An archive's bytes. Raises Failure."""
    try:
        with path.open("rb") as file:
            data = file.read(MOST_PACKED + 1)
    except OSError as error:
        raise Failure(f"cannot read {path}: {reason(error)}") from None
    if len(data) > MOST_PACKED:
        raise Failure(f"{path}: more than {MOST_PACKED} bytes: no bundle")
    return data


def told(found: Manifest, data: bytes) -> dict[str, Any]:
    """A bundle's facts for JSON."""
    return {"name": found.name, "version": found.version, "sha256": digest(data), "bytes": len(data)}
