"""`hookctl fleet follow`: a host takes over what its fleet has for it, and goes back by itself where that fails.

TUF's own client fetches and checks; then the bundle is looked at as its author would, simulated on the calls recorded
here, put in force and watched. What fails on the way leaves in force what was. Source: TUF specification 1.0, 5.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NoReturn

from tuf.api import exceptions as tuf
from tuf.api.metadata import Metadata, TargetFile
from tuf.ngclient import Updater, UpdaterConfig

from hookrun.policies import compiler, validation
from hookrun.runtime.errors import Failure, reason
from hookrun.wrapper.admin import apply, files, policy, sources, store
from hookrun.wrapper.admin.fleet import bundle, rollout
from hookrun.wrapper.admin.fleet import standing as standings
from hookrun.wrapper.admin.fleet.fetcher import Fetcher
from hookrun.wrapper.admin.fleet.rollout import Gate, Track
from hookrun.wrapper.admin.fleet.standing import Held, Standing
from hookrun.wrapper.admin.host import Host
from hookrun.wrapper.admin.trace import app as trace
from hookrun.wrapper.admin.trace import index as trace_index
from hookrun.wrapper.admin.trace.export import host as export_host
from hookrun.wrapper.admin.trace.store import Query, Store
from hookrun.wrapper.record.line import Line

DENY = "deny"
_SIMULATED = 2_000  # calls of the record, the newest
_MAKING = ("create", "run", "restore")
_EXPIRED_POLICY = """\
apiVersion: hookrun/v1
kind: Policy
metadata:
  name: fleet-expired
  description: The settings say fleet.onExpired deny, and this host has not heard from its fleet in time.
spec:
  priority: 0
  match:
    all:
      - {command: [create, run, restore]}
  deny:
    - when: {field: /ociVersion, exists: true}
      message: "the fleet's metadata expired and fleet.onExpired is deny: see `hookctl fleet show` on this host"
"""


@dataclass(frozen=True)
class Source:
    """Where a host's fleet is, and how it presents itself. `root` is the root metadata that came with the host."""

    url: str
    root: Path | None = None
    mirrors: tuple[str, ...] = ()
    bundle: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    ca: str = ""
    on_expired: str = ""


def follow(host: Host, source: Source) -> str:
    """Bring a host to what its fleet has for it; returns what happened, in one line. Raises Failure."""
    with _alone(host):
        standing = standings.read(host)
        standing.tried = time.time()
        follower = Follower(host, source, standing)
        try:
            said = follower.run()
            standing.problem = ""
        except Failure as failure:
            standing.problem = failure.text
            raise
        finally:
            standings.write(host, standing)
    return said


@contextmanager
def _alone(host: Host) -> Iterator[None]:
    """Nobody else follows on this host meanwhile. Raises Failure."""
    try:
        for place in (host.fleet, standings.bundles(host)):
            place.mkdir(parents=True, exist_ok=True)
            place.chmod(0o711)  # users of other namespaces run programs below it
    except OSError as error:
        raise Failure(f"cannot use {host.fleet}: {reason(error)}") from None
    with files.locked(host.fleet, "another `hookctl fleet follow` is at work on this host"):
        yield


class Follower:
    """One look of a host at its fleet."""

    def __init__(self, host: Host, source: Source, standing: Standing) -> None:
        self._host = host
        self.standing = standing
        self._source = source
        bases = [url.rstrip("/") for url in (source.url, *source.mirrors)]
        self.fetcher = Fetcher(bases, host.fleet / "cache", source.ca)
        self._base = bases[0]

    def run(self) -> str:
        """Look, decide, take over; returns what happened, in one line. Raises Failure."""
        try:
            with _explained(self._base):
                tracks = self._refreshed()
        except tuf.ExpiredMetadataError:
            self._expire("")
        except Failure as failure:
            # Whoever cuts the line to the fleet must not keep a host on old policies longer than a stale mirror could.
            if 0 < self.standing.expires < time.time():
                self._expire(f"; {failure.text}")
            raise
        self._unexpire()
        name = self._name(tracks)
        known = self.standing.refused.get(name, {})
        refused = self.standing.refused[name] = {one: why for one, why in known.items() if one in tracks[name].offered}
        broken = self._broken_gate()
        if broken and self.standing.held:
            refused[self.standing.held.version] = broken
        version, gate = self._wanted(tracks[name], name, set(refused))
        self.standing.wanted = version
        if self._holds(name, version):
            return f"{name} {version} is in force: nothing to change"
        if not version:
            raise Failure(f"{name}: no version is left for this host: {'; '.join(refused.values())}")
        try:
            self.take(name, version, gate)
        except Refused as refusal:
            refused[version] = str(refusal)
            raise Failure(f"{name} {version} is refused here: {refusal}") from None
        return f"{name} {version} is in force{f', instead of one that failed: {broken}' if broken else ''}"

    # --- what the fleet says

    def _refreshed(self) -> dict[str, Track]:
        """The newest rollout. Raises tuf's errors."""
        metadata = self._host.fleet / "metadata"
        targets = self._host.fleet / "cache"
        metadata.mkdir(exist_ok=True, mode=0o700)
        self.updater = Updater(
            str(metadata),
            f"{self._base}/metadata/",
            str(targets),
            f"{self._base}/targets/",
            self.fetcher,
            UpdaterConfig(),
            bootstrap=self._root(),
        )
        self.updater.refresh()
        self.standing.reached = time.time()
        self.standing.expires = _expiry(metadata / "timestamp.json")
        target = self.updater.get_targetinfo(rollout.TARGET)
        return rollout.unpacked(self.fetched(target)) if target else {}

    def _root(self) -> bytes:
        """The root metadata that this host trusts from the start."""
        kept = self._host.fleet / "root.json"
        given = self._source.root
        if given is None and not kept.exists():
            raise Failure("this host trusts no fleet yet: give its root metadata with --root")
        try:
            if given is not None and not kept.exists():
                files.replace(kept, given.read_text(encoding="utf-8"))
            return kept.read_bytes()
        except (OSError, UnicodeDecodeError) as error:
            why = reason(error) if isinstance(error, OSError) else "not JSON"
            raise Failure(f"cannot read {given or kept}: {why}") from None

    def fetched(self, target: TargetFile) -> bytes:
        """A signed file's content, fetched unless it is there already. Raises tuf's errors, OSError."""
        path = self.updater.find_cached_target(target) or self.updater.download_target(target)
        return Path(path).read_bytes()

    def _name(self, tracks: dict[str, Track]) -> str:
        if self._source.bundle:
            if self._source.bundle not in tracks:
                raise Failure(f"the fleet has no bundle {self._source.bundle!r} in its rollout")
            return self._source.bundle
        if len(tracks) != 1:
            names = ", ".join(sorted(tracks)) or "none"
            raise Failure(f"the fleet's bundles are: {names}; the setting fleet.bundle says which is for this host")
        return next(iter(tracks))

    def _wanted(self, track: Track, name: str, refused: set[str]) -> tuple[str, Gate]:
        return track.wanted(host_id(), name, self._source.labels, refused)

    def _holds(self, name: str, version: str) -> bool:
        held = self.standing.held
        return held is not None and (held.name, held.version) == (name, version) and self.is_in_force(held)

    def is_in_force(self, held: Held) -> bool:
        """False after a crash between the two steps that put a bundle in force, or a rollback by hand."""
        return self._host.bundle == standings.place_of(self._host, held.digest)

    # --- taking a version over

    def take(self, name: str, version: str, gate: Gate) -> None:
        """Fetch, check and put in force a version. Raises Failure, Refused."""
        with _explained(self._base):
            target = self.updater.get_targetinfo(bundle.Manifest(name, version, "0", {}).file_name)
            if target is None:
                raise Failure(f"{name} {version} is in the rollout, and not among the fleet's bundles")
            data = self.fetched(target)
        place = standings.place_of(self._host, bundle.digest(data))
        if not place.exists():
            bundle.unpack(data, place, target.path)
        self._check(place, name, version)
        candidate = replace(self._host, candidate=place)
        changed = self._judged(candidate, gate)
        _put_in_force(candidate, f"fleet: {name} {version}")
        standings.point_to(self._host, place)
        self.standing.held = Held(name, version, place.name, time.time(), gate, changed)

    def _check(self, place: Path, name: str, version: str) -> None:
        """What a bundle says of itself, and its own tests. Raises Refused."""
        try:
            found = bundle.manifest(place)
            misfit = found.misfit(self._source.labels)
            if (found.name, found.version) != (name, version):
                misfit = f"it calls itself {found.name} {found.version}"
            if misfit:
                raise Refused(misfit)
            bundle.examined(place)
        except Failure as failure:
            raise Refused(_first_line(failure)) from None

    def _judged(self, candidate: Host, gate: Gate) -> tuple[str, ...]:
        """The names of the policies that are new or changed, once they passed the gate. Raises Refused."""
        before, after = sources.read(self._host), sources.read(candidate)
        if after.problems:
            raise Refused(f"beside this host's own files: {after.problems[0]}")
        if gate.simulated is not None:
            record = Store(trace.directory_of(self._host))
            found = policy.newly_denied(record, before.policies, after.policies, _SIMULATED)
            if len(found) > gate.simulated:
                what = "; ".join(f"{one.policy}: {one.why}" for one in found[:1])
                raise Refused(f"{len(found)} recorded calls would be denied, {gate.simulated} may be ({what})")
        return tuple(apply.changed_policies(before.policies, after.policies))

    # --- what comes of it

    def _broken_gate(self) -> str:
        """Why the version in force failed its gate, "" if it did not."""
        held = self.standing.held
        if held is None or not held.gate.watches or time.time() > held.since + 2 * held.gate.seconds:
            return ""
        calls = list(
            Store(trace.directory_of(self._host)).select(Query(since=held.since, until=held.since + held.gate.seconds))
        )
        denied = sum(1 for call in calls if _denied_by(call, held.changed))
        failed = sum(
            1
            for call in calls
            if call["command"] in _MAKING and trace_index.is_failed(call) and not trace_index.is_denied(call)
        )
        for word, count, most in (("denied", denied, held.gate.denied), ("failed", failed, held.gate.failed)):
            if most is not None and count > most:
                return f"{count} calls {word} since it is in force, {most} may be"
        return ""

    def _expire(self, why: str) -> NoReturn:
        expired = "the fleet's metadata has expired"
        if self._source.on_expired != DENY:
            raise Failure(f"{expired}: this host goes on with what it has{why}")
        if not self._host.expired_policy.exists():
            files.replace(self._host.expired_policy, _EXPIRED_POLICY)
            _put_in_force(self._host, "fleet: metadata expired")
        raise Failure(f"{expired}: new containers are refused, as fleet.onExpired says{why}")

    def _unexpire(self) -> None:
        if self._host.expired_policy.exists():
            files.remove(self._host.expired_policy)
            _put_in_force(self._host, "fleet: metadata is good again")


class Refused(Exception):
    """Why this host does not take a version over; it tries no second time."""


def _put_in_force(host: Host, why: str) -> None:
    found = sources.read(host)
    found.problems += validation.problems(found.policies)
    sources.demand(found)
    new = store.content(host, found, compiler.plan(found.policies))
    entry = store.running_entry(host)
    # What other files say of the same policies counts as well: a snapshot keeps the bundle that it names.
    if entry is None or entry.texts != found.texts or apply.changes(host, store.running(host), new, found):
        store.apply(host, new, found, why)


def host_id() -> str:
    """By what a host's share is told: its machine-id, else its name."""
    identity = export_host.identity()
    return identity["host.id"] or identity["host.name"]


def _denied_by(call: Line, names: tuple[str, ...]) -> bool:
    return trace_index.is_denied(call) and any(one["policy"] in names for one in call["decisions"])


def _expiry(path: Path) -> float:
    """When a role's metadata expires, in seconds since 1970."""
    return Metadata.from_file(str(path)).signed.expires.timestamp()


def _first_line(failure: Failure) -> str:
    lines = failure.text.splitlines()
    return lines[0] + (f" (and {len(lines) - 1} more)" if len(lines) > 1 else "")


@contextmanager
def _explained(url: str) -> Iterator[None]:
    """tuf's errors in one line each. Raises Failure; ExpiredMetadataError goes on."""
    try:
        yield
    except tuf.ExpiredMetadataError:
        raise
    except tuf.BadVersionNumberError:
        raise Failure(
            f"{url} offers older metadata than this host has seen: refused (a rollback, or a stale mirror)"
        ) from None
    except tuf.UnsignedMetadataError:
        raise Failure(f"{url} offers metadata that the fleet's keys did not sign: refused") from None
    except tuf.LengthOrHashMismatchError:
        raise Failure(f"{url} offers a file that is not the one that was signed: refused") from None
    except tuf.DownloadLengthMismatchError:
        raise Failure(f"{url} sends more bytes than were signed: refused") from None
    except tuf.DownloadHTTPError as error:
        raise Failure(f"{url} answers with HTTP status {error.status_code}") from None
    except tuf.DownloadError as error:
        raise Failure(f"cannot reach the fleet: {error}") from None
    except tuf.RepositoryError:
        raise Failure(f"{url} offers metadata that is damaged, or no fleet's: refused") from None
    except OSError as error:
        raise Failure(f"cannot write {error.filename or 'what was fetched'}: {reason(error)}") from None
