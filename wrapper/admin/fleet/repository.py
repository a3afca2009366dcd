"""The publisher's side: a directory with the keys' whereabouts, and below `public` what a web server serves.

    DIR/fleet.json               who signs (key id to URI), and how many days each role's metadata holds
    DIR/keys/                    keys in files; those of an offline root are kept elsewhere
    DIR/pending/                 metadata that its role's other keys have still to sign
    DIR/public/metadata/         root, targets, snapshot, timestamp (TUF specification 1.0, consistent snapshots)
    DIR/public/targets/          rollout.json and the bundles, their hashes before their names

What refers to a file is written after it, the timestamp last: a host that fetches meanwhile sees the old or the new.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, NoReturn, cast

from securesystemslib.signer import Key, Signer
from tuf.api.exceptions import UnsignedMetadataError
from tuf.api.metadata import (
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization import DeserializationError
from tuf.api.serialization.json import JSONSerializer
from tuf.repository import Repository

from hookrun.runtime.errors import Failure, reason
from hookrun.wrapper.admin import files
from hookrun.wrapper.admin.fleet import bundle, keys, rollout
from hookrun.wrapper.admin.fleet.keys import Ask
from hookrun.wrapper.admin.fleet.rollout import Track

ROLES = ("root", "targets", "snapshot", "timestamp")
_HELD = ("root", "targets")
"""The roles whose keys several people may hold, who sign in turn; the others are signed by machines, every day."""
DAYS = {"root": 365, "targets": 90, "snapshot": 14, "timestamp": 3}
_FIRST: dict[str, Callable[[], Any]] = {"targets": Targets, "snapshot": Snapshot, "timestamp": Timestamp}


class Waiting(Failure):
    """What was signed takes effect when others have signed it too."""


class FleetRepository(Repository):
    """A fleet's repository in a directory. Its methods raise Failure."""

    def __init__(self, directory: Path, ask: Ask = keys.asked) -> None:
        self.directory = directory
        self.metadata = directory / "public/metadata"
        self.targets_directory = directory / "public/targets"
        self._settings: dict[str, Any] = json.loads(files.read(directory / "fleet.json") or "{}")
        self._ask = cache(ask)
        if not self._settings:
            raise Failure(f"{directory} is not a fleet's directory: `hookctl fleet init {directory}` makes one")

    # --- what tuf's Repository asks for

    @property
    def targets_infos(self) -> dict[str, MetaFile]:
        return {"targets.json": MetaFile(self.targets().version)}

    @property
    def snapshot_info(self) -> MetaFile:
        return MetaFile(self.snapshot().version)

    def open(self, role: str) -> Metadata[Any]:
        """A role's newest metadata, or its first, not yet written."""
        path = self._newest(role)
        if path is None:
            return Metadata(_FIRST[role]())
        try:
            return Metadata.from_file(str(path))
        except (DeserializationError, OSError):
            raise Failure(f"{path} is damaged: restore it from a backup") from None

    def close(self, role: str, md: Metadata[Any]) -> None:
        """Sign a role's next version and write it. Raises Waiting where other people's keys have to sign too."""
        if self._newest(role) is not None:
            md.signed.version += 1
        md.signed.expires = _in_days(self._settings["days"][role])
        md.signatures.clear()
        self._sign(role, md)
        missing = self._missing(role, md)
        if not missing:
            files.replace_bytes(self.metadata / _file_name(role, md), md.to_bytes(JSONSerializer()))
        elif role in _HELD and md.signatures:
            self._wait(role, md, missing)
        else:
            raise Failure(f"{missing}: bring the other keys' files, see `hookctl fleet keys list`")

    def _owners(self, role: str, md: Metadata[Any]) -> list[Root]:
        """Whose keys sign: root's own next version has to be signed by its keys and by those of the version before."""
        if role != "root":
            return [self.root()]
        return [cast(Root, md.signed), *([self.root()] if self._newest(role) else [])]

    def _sign(self, role: str, md: Metadata[Any]) -> bool:
        """Sign with the keys that are here and have not signed yet; returns whether there was one."""
        wanted = {key.keyid: key for owner in self._owners(role, md) for key in self._keys(owner, role)}
        signers = [self._signer(key) for identity, key in wanted.items() if identity not in md.signatures]
        for signer in filter(None, signers):
            self._sign_by(signer, md)
        return any(signers)

    def _sign_by(self, signer: Signer, md: Metadata[Any]) -> None:
        try:
            md.sign(signer, append=True)
        except UnsignedMetadataError as error:
            cause = error.__cause__ or error
            if isinstance(cause, Failure):
                raise cause from None
            raise Failure(f"cannot sign with {self.uri(signer.public_key.keyid)}: {keys.told(cause)}") from None

    def _missing(self, role: str, md: Metadata[Any]) -> str:
        """What is missing of a role's signatures, "" if nothing is."""
        for owner in self._owners(role, md):
            try:
                owner.verify_delegate(role, md.signed_bytes, md.signatures)
            except UnsignedMetadataError:
                named = owner.get_delegated_role(role)
                signed = len(set(named.keyids) & set(md.signatures))
                return f"{role} needs {named.threshold} signatures, here are keys for {signed}"
        return ""

    # --- what waits for signatures

    def waiting(self) -> dict[str, Path]:
        """The files that wait, by role."""
        found = {role: next(self._pending.glob(f"*.{role}.json"), None) for role in _HELD}
        return {role: path for role, path in found.items() if path}

    @property
    def _pending(self) -> Path:
        return self.directory / "pending"

    def _wait(self, role: str, md: Metadata[Any], missing: str) -> NoReturn:
        path = self._pending / _file_name(role, md)
        files.replace_bytes(path, md.to_bytes(JSONSerializer()))
        raise Waiting(f"{missing}: {path} waits for the others, who sign with `hookctl fleet sign`")

    def demand_none_waits(self) -> None:
        """Raise Failure while something waits: what is changed on top of it would never fit."""
        for role, path in self.waiting().items():
            raise Failure(
                f"{path} waits for signatures of {role}: `hookctl fleet sign`, or `hookctl fleet sign --drop`"
            )

    def described(self, role: str) -> list[str]:
        """What a role's waiting metadata would change, a line each."""
        new, old = self._read_pending(role).signed, self.open(role).signed
        if role == "root":
            return _differences(_facts(old), _facts(new)) + _differences(_keys_of(old), _keys_of(new))
        tracks = [json.loads(self._rollout(targets) or "{}").get("bundles", {}) for targets in (old, new)]
        told = [{f"rollout of {name}:": json.dumps(track) for name, track in one.items()} for one in tracks]
        files = [{path: json.dumps(one.to_dict()) for path, one in targets.targets.items()} for targets in (old, new)]
        return _differences(_facts(old), _facts(new)) + _differences(*files) + _differences(*told)

    def sign_waiting(self, role: str) -> None:
        """Add the signatures of the keys that are here; with enough of them, let it take effect. Raises Waiting."""
        path, md = self.waiting()[role], self._read_pending(role)
        newest = self.open(role).signed.version
        if md.signed.version != newest + 1:
            raise Failure(f"{path} does not follow version {newest}: `hookctl fleet sign --drop`, and begin again")
        has_signed = self._sign(role, md)
        missing = self._missing(role, md)
        if missing and not has_signed:
            raise Failure(f"no key is here that has still to sign {path}: see `hookctl fleet keys list`")
        if missing:
            self._wait(role, md, missing)
        before = self.root()
        files.replace_bytes(self.metadata / path.name, md.to_bytes(JSONSerializer()))
        path.unlink()
        for other in reversed(ROLES[1:]):  # those that may have to wait again come last
            if self.root().get_delegated_role(other) != before.get_delegated_role(other):
                self.resign(other)
        self.close_update()

    def drop_waiting(self) -> list[Path]:
        """Forget what waits; returns the files that did."""
        found = list(self.waiting().values())
        for path in found:
            path.unlink()
        return found

    def _read_pending(self, role: str) -> Metadata[Any]:
        path = self.waiting()[role]
        try:
            return Metadata.from_file(str(path))
        except (DeserializationError, OSError):
            raise Failure(f"{path} is damaged: `hookctl fleet sign --drop`, and begin again") from None

    def _newest(self, role: str) -> Path | None:
        if role == "timestamp":
            path = self.metadata / "timestamp.json"
            return path if path.exists() else None
        found = self.metadata.glob(f"*.{role}.json")
        return max(found, key=lambda path: int(path.name.partition(".")[0]), default=None)

    @staticmethod
    def _keys(root: Root, role: str) -> list[Key]:
        return [root.get_key(identity) for identity in root.get_delegated_role(role).keyids]

    def _signer(self, key: Key) -> Signer | None:
        uri = self._settings["signers"].get(key.keyid)
        return keys.signer(uri, key, self.directory, self._ask) if uri else None

    # --- bundles

    @property
    def tracks(self) -> dict[str, Track]:
        """What each bundle's hosts are to have."""
        return rollout.unpacked(data) if (data := self._rollout(self.targets())) else {}

    def _rollout(self, targets: Targets) -> bytes:
        """The file that says what hosts are to have, b"" where there is none yet."""
        found = targets.targets.get(rollout.TARGET)
        if found is None:
            return b""
        path = self.targets_directory / f"{found.hashes['sha256']}.{rollout.TARGET}"
        data = _read(path)
        if bundle.digest(data) != found.hashes["sha256"]:
            raise Failure(f"{path} is not what was signed: restore it from a backup")
        return data

    def versions(self, name: str) -> list[str]:
        """The versions of a bundle that are published, the oldest first."""
        found = [target.custom for target in self.targets().targets.values() if target.custom]
        return [
            custom["version"] for custom in sorted(found, key=lambda one: one["published"]) if custom["name"] == name
        ]

    def publish(self, manifest: bundle.Manifest, data: bytes, described: dict[str, Any]) -> None:
        """Offer a bundle's archive; no host takes it yet. `described` is kept with it, for the hosts."""
        self.demand_none_waits()
        if manifest.version in self.versions(manifest.name):
            raise Failure(
                f"{manifest.name} {manifest.version} is already published: a changed bundle needs a new version"
            )
        target = TargetFile.from_data(manifest.file_name, data, ["sha256"])
        target.unrecognized_fields["custom"] = {**described, "published": _now().isoformat()}
        files.replace_bytes(self.targets_directory / f"{target.hashes['sha256']}.{manifest.file_name}", data)
        with self.edit_targets() as targets:
            targets.targets[manifest.file_name] = target
        self.close_update()

    def set_track(self, name: str, track: Track) -> None:
        """Say what a bundle's hosts are to have from now on."""
        self.demand_none_waits()
        data = rollout.packed({**self.tracks, name: track})
        target = TargetFile.from_data(rollout.TARGET, data, ["sha256"])
        files.replace_bytes(self.targets_directory / f"{target.hashes['sha256']}.{rollout.TARGET}", data)
        with self.edit_targets() as targets:
            targets.targets[rollout.TARGET] = target
            for version in track.revoked:
                for path in [path for path, one in targets.targets.items() if _is_version(one, name, version)]:
                    gone = targets.targets.pop(path)
                    (self.targets_directory / f"{gone.hashes['sha256']}.{path}").unlink(missing_ok=True)
        self.close_update()

    def close_update(self) -> None:
        """Let the hosts see what was changed."""
        self.do_snapshot()
        self.do_timestamp()

    def refresh(self) -> None:
        """Sign anew what expires before long, with the timestamp always among it. Raises Waiting after all of that."""
        soon = self.snapshot().expires < _in_days(self._settings["days"]["snapshot"] // 2)
        self.do_snapshot(force=soon)
        self.do_timestamp(force=True)
        is_due = self.targets().expires < _in_days(self._settings["days"]["targets"] // 2)
        if is_due and not self.waiting():  # what others have signed already is kept
            with self.edit_targets():
                pass
            self.close_update()

    def resign(self, role: str) -> None:
        """Have a role's metadata signed by the keys that root names for it now."""
        if role in ("targets", "snapshot"):
            with self.edit(role):
                pass
        self.do_snapshot(force=role == "snapshot")
        self.do_timestamp(force=True)

    # --- keys

    def passphrase(self) -> str:
        """That of the keys in files."""
        return self._ask()

    def key_ids(self, role: str) -> list[str]:
        return list(self.root().get_delegated_role(role).keyids)

    def uri(self, key_id: str) -> str:
        """Where a key's private half is, "" if this directory does not know."""
        found: str = self._settings["signers"].get(key_id, "")
        return found

    def add_key(self, role: str, key: Key, uri: str, threshold: int | None) -> None:
        """Have a role signed by one key more. Raises Failure, and knows nothing of the key then, but for Waiting."""
        self.demand_none_waits()
        self._settings["signers"][key.keyid] = uri
        self._save()
        try:
            with self.edit_root() as root:
                root.add_key(key, role)
                if threshold is not None:
                    root.get_delegated_role(role).threshold = threshold
        except Waiting:
            raise
        except Failure:
            del self._settings["signers"][key.keyid]
            self._save()
            raise
        self.resign(role)

    def drop_key(self, role: str, prefix: str) -> str:
        """Have a role signed by one key less; returns its id."""
        self.demand_none_waits()
        found = [identity for identity in self.key_ids(role) if identity.startswith(prefix)]
        if len(found) != 1:
            raise Failure(f"{role} has {len(found)} keys whose id starts with {prefix}: see `hookctl fleet keys list`")
        with self.edit_root() as root:
            delegated = root.get_delegated_role(role)
            if len(delegated.keyids) - 1 < delegated.threshold:
                raise Failure(f"{role} needs {delegated.threshold} signatures: add a key before this one goes")
            root.revoke_key(found[0], role)
        self.resign(role)
        return found[0]

    def _save(self) -> None:
        files.replace(self.directory / "fleet.json", json.dumps(self._settings, indent=1) + "\n", 0o600)


def create(directory: Path, thresholds: dict[str, int], days: dict[str, int]) -> FleetRepository:
    """Make a fleet's directory, with a key for each signature that a role needs. Raises Failure."""
    if (directory / "fleet.json").exists():
        raise Failure(f"{directory} has a fleet already")
    passphrase = keys.asked(twice=True)
    root = Root(consistent_snapshot=True)
    signers: dict[str, str] = {}
    for role in ROLES:
        for number in range(1, thresholds[role] + 1):
            place = f"keys/{role}-{number}.pem"
            key = keys.new(directory / place, passphrase)
            root.add_key(key, role)
            signers[key.keyid] = f"file:{place}"
        root.get_delegated_role(role).threshold = thresholds[role]
    files.replace(directory / "fleet.json", json.dumps({"signers": signers, "days": days}, indent=1) + "\n", 0o600)
    made = FleetRepository(directory, lambda: passphrase)
    made.close("root", Metadata(root))
    with made.edit_targets():
        pass
    made.close_update()
    return made


@contextmanager
def opened(directory: Path) -> Iterator[FleetRepository]:
    """A fleet's repository, which nobody else changes meanwhile. Raises Failure."""
    found = FleetRepository(directory)
    with files.locked(directory, f"somebody else is changing {directory}: try again"):
        yield found


def _file_name(role: str, md: Metadata[Any]) -> str:
    return f"{role}.json" if role == "timestamp" else f"{md.signed.version}.{role}.json"


def _keys_of(root: Root) -> dict[str, str]:
    """Who signs, by which key, and how many have to. An id need not be that of its key: the key counts."""
    found = {f"{role} threshold": str(root.get_delegated_role(role).threshold) for role in ROLES}
    return found | {
        f"{role} key {key}": json.dumps(root.get_key(key).to_dict())
        for role in ROLES
        for key in root.get_delegated_role(role).keyids
    }


def _facts(signed: Root | Targets) -> dict[str, str]:
    """What a role's metadata says besides who signs and what is offered."""
    told = {name: value for name, value in signed.to_dict().items() if name not in ("keys", "roles", "targets")}
    return {f"{name}:": json.dumps(value) for name, value in told.items()}


def _differences(old: dict[str, str], new: dict[str, str]) -> list[str]:
    gone = [f"- {name} {value}".rstrip() for name, value in old.items() if new.get(name) != value]
    return gone + [f"+ {name} {value}".rstrip() for name, value in new.items() if old.get(name) != value]


def _is_version(target: TargetFile, name: str, version: str) -> bool:
    custom = target.custom or {}
    return bool(custom.get("name") == name and custom.get("version") == version)


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def _in_days(days: int) -> datetime:
    return _now() + timedelta(days=days)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Failure(f"cannot read {path}: {reason(error)}") from None
