"""Publishers and hosts of a fleet, driven in this process."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from hookrun.policies import policy as policies
from hookrun.runtime.errors import Failure
from hookrun.wrapper.admin import store
from hookrun.wrapper.admin.fleet import bundle, follow, repository, standing
from hookrun.wrapper.admin.fleet.bundle import Manifest
from hookrun.wrapper.admin.fleet.rollout import Gate, Stage, Track
from hookrun.wrapper.admin.host import Host

THRESHOLDS = dict.fromkeys(repository.ROLES, 1)


def policy(name: str, **spec: Any) -> str:
    """A policy's text; without a spec it sets a label of the container."""
    value = {"apiVersion": "hookrun/v1", "kind": "Policy", "metadata": {"name": name, "description": "For a test."}}
    return json.dumps({**value, "spec": spec or {"env": {"force": {"FROM": name}}}})


def denial(path: str = "/hostname", value: str = "evil") -> dict[str, Any]:
    return {"deny": [{"when": {"field": path, "equals": value}, "message": "no"}]}


class Publisher:
    """A fleet's directory, and bundles that are made for it."""

    def __init__(self, directory: Path, **thresholds: int) -> None:
        self.directory = directory
        self.public = directory / "public"
        repository.create(directory, {**THRESHOLDS, **thresholds}, repository.DAYS)

    @property
    def root(self) -> Path:
        return self.public / "metadata/1.root.json"

    def bundle(self, version: str, *, name: str = "base", files: dict[str, str] | None = None, **facts: Any) -> Path:
        """A bundle's directory, with a policy named like the version; files that begin with #! are programs."""
        directory = self.directory / f"bundle-{name}-{version}"
        shutil.rmtree(directory, ignore_errors=True)
        own = {"policies.d/own.yaml": policy(f"of-{version}")} if files is None else files
        for path, text in {bundle.MANIFEST: json.dumps({"name": name, "version": version, **facts}), **own}.items():
            (directory / path).parent.mkdir(parents=True, exist_ok=True)
            (directory / path).write_text(text)
            (directory / path).chmod(0o755 if text.startswith("#!") else 0o644)
        return directory

    def publish(self, version: str, **options: Any) -> None:
        """Make a bundle and offer it, unseen: what is wrong with it the hosts are to find."""
        directory = self.bundle(version, **options)
        found = bundle.manifest(directory)
        self.publish_as(found, bundle.pack(directory))

    def publish_as(self, found: Manifest, data: bytes) -> None:
        with repository.opened(self.directory) as fleet:
            fleet.publish(found, data, {"name": found.name, "version": found.version})

    def promote(self, version: str, *before: str, name: str = "base") -> None:
        self.set(Track(version, before), name)

    def stage(
        self, version: str, share: float = 1, gate: Gate | None = None, stable: str = "", **hosts: list[str]
    ) -> None:
        self.set(Track(stable, (), Stage(version, share, hosts, gate or Gate())), "base")

    def set(self, track: Track, name: str) -> None:
        with repository.opened(self.directory) as fleet:
            fleet.set_track(name, track)


class Follower:
    """A host in directories of its own."""

    def __init__(self, place: Path, url: str, root: Path, **source: Any) -> None:
        self.host = Host(place / "etc", place / "state")
        self.host.config.mkdir(parents=True)
        self.host.state.mkdir()
        record = {"record": {"directory": str(place / "record")}}
        self.host.settings_file.write_text(json.dumps(record))
        self.record = place / "record"
        self.source = follow.Source(url, root, **source)

    def follow(self) -> str:
        return follow.follow(self.host, self.source)

    def refusal(self) -> str:
        """What it says when it does not take over what is offered."""
        try:
            said = self.follow()
        except Failure as failure:
            assert "\n" not in failure.text
            return failure.text
        raise AssertionError(f"it took it over: {said}")

    @property
    def plan(self) -> list[policies.Policy]:
        """The policies in force."""
        content = store.running(self.host)
        return [] if content is None else [policies.unpacked(one) for one in content["policies"]["policies"]]

    @property
    def policies(self) -> list[str]:
        """Their names."""
        return sorted(one.name for one in self.plan)

    @property
    def standing(self) -> standing.Standing:
        return standing.read(self.host)
