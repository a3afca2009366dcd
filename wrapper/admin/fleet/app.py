"""`hookctl fleet`: publishing for many hosts, and following on one."""

from __future__ import annotations

import importlib
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hookrun.runtime.errors import Failure
from hookrun.wrapper.admin import host as hosts
from hookrun.wrapper.admin import output, sources, store
from hookrun.wrapper.admin.fleet import bundle, standing
from hookrun.wrapper.admin.fleet.rollout import Gate, Stage, Track

if TYPE_CHECKING:
    from hookrun.wrapper.admin.fleet.repository import FleetRepository

app = typer.Typer(help="Publish policies for many hosts, and follow them on each.", no_args_is_help=True)
keys_app = typer.Typer(help="The keys that sign a fleet's metadata.", no_args_is_help=True)
app.add_typer(keys_app, name="keys")

_LIBRARIES = ("tuf.api.metadata", "urllib3", "cryptography")
_DAYS = "root=365,targets=90,snapshot=14,timestamp=3"

Fleet = Annotated[
    Path, typer.Option("--fleet", "-d", envvar="HOOKCTL_FLEET", help="The fleet's directory, made by `fleet init`.")
]
Name = Annotated[str, typer.Argument(metavar="BUNDLE", help="The bundle's name.")]


@app.command("init")
def init(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="An empty directory, or one to be made.")],
    thresholds: Annotated[
        str, typer.Option("--thresholds", help="How many keys have to sign for a role, 1 by default: root=2,targets=2.")
    ] = "",
    days: Annotated[str, typer.Option("--days", help="How long each role's metadata holds.")] = _DAYS,
    as_json: output.AsJson = False,
) -> None:
    """Make a fleet's directory with its keys, and its first metadata; `public` in it is what a web server serves."""
    repository = _library("repository")
    wanted = {**dict.fromkeys(repository.ROLES, 1), **_numbers(thresholds, repository.ROLES)}
    made = repository.create(directory, wanted, {**repository.DAYS, **_numbers(days, repository.ROLES)})
    root = made.metadata / "1.root.json"
    said = (
        f"{directory}: serve {directory / 'public'}; hosts begin with {root}\n"
        f"Move {directory / 'keys'}/root-*.pem to where no network reaches; they are needed to change keys alone."
    )
    facts = {"fleet": str(directory), "public": str(directory / "public"), "root": str(root)}
    output.tell(said, facts, in_json=as_json)


@app.command("publish")
def publish(
    archive: Annotated[Path, typer.Argument(help="What `hookctl bundle build` wrote.")],
    fleet: Fleet = Path(),
    as_json: output.AsJson = False,
) -> None:
    """Add a bundle to the fleet's. No host takes it before `stage` or `promote`."""
    data = bundle.read_archive(archive)
    with tempfile.TemporaryDirectory(prefix="hookctl-") as place:
        directory = Path(place) / "bundle"
        bundle.unpack(data, directory, str(archive))
        manifest = bundle.manifest(directory)
    with _opened(fleet, in_json=as_json) as repository:
        described = {"name": manifest.name, "version": manifest.version, "minimalHookrun": manifest.minimal_hookrun}
        repository.publish(manifest, data, described)
    said = f"published: {manifest.name} {manifest.version}; no host has it yet: `hookctl fleet stage` or `promote`"
    output.tell(said, {"bundle": manifest.name, "version": manifest.version}, in_json=as_json)


@app.command("stage")
def stage(
    name: Name,
    version: Annotated[str, typer.Argument(help="A published version.")],
    share: Annotated[str, typer.Option("--share", help="How many of the hosts, in percent.")] = "100%",
    hosts_with: Annotated[
        list[str] | None, typer.Option("--hosts", metavar="LABEL=VALUE", help="Only hosts with this label; repeatable.")
    ] = None,
    simulated: Annotated[
        int | None, typer.Option("--max-simulated", min=0, help="At most so many recorded calls may be newly denied.")
    ] = 0,
    denied: Annotated[
        int | None, typer.Option("--max-denied", min=0, help="At most so many calls may be denied by what is new.")
    ] = None,
    failed: Annotated[
        int | None, typer.Option("--max-failed", min=0, help="At most so many containers may fail.")
    ] = None,
    watch: Annotated[
        int, typer.Option("--watch", min=60, max=30 * 86400, help="Seconds that the two count for.")
    ] = 3600,
    fleet: Fleet = Path(),
    as_json: output.AsJson = False,
) -> None:
    """Have some of the hosts try a version first. A host that fails the gate keeps the one before, and says so."""
    with _opened(fleet, in_json=as_json) as repository:
        track = _track(repository, name, version)
        chosen = Stage(version, _share(share), _labels(hosts_with or []), Gate(simulated, denied, failed, watch))
        repository.set_track(name, _changed(track, stage=chosen))
    facts = {"bundle": name, "version": version, "share": chosen.share, "hosts": chosen.hosts}
    output.tell(f"{name} {version}: staged for {share} of the hosts", facts, in_json=as_json)


@app.command("promote")
def promote(
    name: Name,
    version: Annotated[str, typer.Argument(help="The staged version by default.")] = "",
    prometheus: Annotated[str, typer.Option("--prometheus", help="URL of the Prometheus that knows the hosts.")] = "",
    force: Annotated[bool, typer.Option("--force", help="Whatever the hosts report.")] = False,
    fleet: Fleet = Path(),
    as_json: output.AsJson = False,
) -> None:
    """Have all hosts take a version. Refused while hosts report that they refused it, or none has tried it."""
    with _opened(fleet, in_json=as_json) as repository:
        track = repository.tracks.get(name, Track())
        version = version or (track.stage.version if track.stage else "")
        if not version:
            raise Failure(f"{name} has no stage: say which version")
        track = _track(repository, name, version)
        if track.stable and not force:
            _library("status").demand_good(prometheus, name, version)
        before = tuple(one for one in (track.stable, *track.before) if one and one != version)
        repository.set_track(name, _changed(track, stable=version, before=before, stage=None))
    output.tell(f"{name} {version}: for all hosts", {"bundle": name, "version": version}, in_json=as_json)


@app.command("rollback")
def roll_back(name: Name, fleet: Fleet = Path(), as_json: output.AsJson = False) -> None:
    """Have all hosts go back: from the stage, or to the version that was for all before."""
    with _opened(fleet, in_json=as_json) as repository:
        track = repository.tracks.get(name, Track())
        if track.stage:
            repository.set_track(name, _changed(track, stage=None))
            version = track.stable
            said = f"{name}: the stage of {track.stage.version} is over, all hosts go on with {track.stable or 'none'}"
        elif track.before:
            version = track.before[0]
            repository.set_track(name, _changed(track, stable=version, before=track.before[1:]))
            said = f"{name}: all hosts go back to {version}"
        else:
            raise Failure(f"{name}: there is no version before {track.stable or 'the first'}")
    output.tell(said, {"bundle": name, "version": version}, in_json=as_json)


@app.command("revoke")
def revoke(
    name: Name,
    version: Annotated[str, typer.Argument(help="A version that no host may have any more.")],
    fleet: Fleet = Path(),
    as_json: output.AsJson = False,
) -> None:
    """Take a version back for good: it is deleted, and no host goes back to it."""
    with _opened(fleet, in_json=as_json) as repository:
        track = _track(repository, name, version)
        if version == track.stable:
            raise Failure(f"{name} {version} is for all hosts: `rollback` or `promote` another one first")
        stage = track.stage if track.stage and track.stage.version != version else None
        before = tuple(one for one in track.before if one != version)
        repository.set_track(name, _changed(track, stage=stage, before=before, revoked=(*track.revoked, version)))
    output.tell(f"{name} {version}: revoked", {"bundle": name, "version": version}, in_json=as_json)


@app.command("sign")
def sign(
    yes: output.Yes = False,
    drop: Annotated[bool, typer.Option("--drop", help="Forget what waits instead.")] = False,
    fleet: Fleet = Path(),
    as_json: output.AsJson = False,
) -> None:
    """Sign what others have begun, with the keys that are here; with the last signature it takes effect."""
    with _opened(fleet, in_json=as_json) as repository:
        if drop:
            dropped = ", ".join(map(str, repository.drop_waiting()))
            output.tell(f"dropped: {dropped or 'nothing waits'}", {"dropped": dropped}, in_json=as_json)
            return
        waiting = repository.waiting()
        for role, path in waiting.items():
            for line in repository.described(role):
                typer.echo(line, err=as_json)
            output.confirm(f"Sign {path}?", yes=yes)
            repository.sign_waiting(role)
    signed = ", ".join(path.name for path in waiting.values())
    output.tell(f"in effect: {signed}" if signed else "nothing waits", {"signed": signed}, in_json=as_json)


@app.command("refresh")
def refresh(fleet: Fleet = Path(), as_json: output.AsJson = False) -> None:
    """Sign anew what expires before long; to be run by a timer, at least once a day."""
    with _opened(fleet, in_json=as_json) as repository:
        repository.refresh()
        expires = repository.timestamp().expires
    said = f"the timestamp holds until {expires:%Y-%m-%d %H:%M} UTC"
    output.tell(said, {"expires": _stamp(expires.timestamp())}, in_json=as_json)


@app.command("list")
def list_bundles(fleet: Fleet = Path(), as_json: output.AsJson = False) -> None:
    """List the published versions, and which of them is for whom."""
    repository = _library("repository").FleetRepository(fleet)
    tracks = repository.tracks
    names = sorted({*tracks, *(one.custom["name"] for one in repository.targets().targets.values() if one.custom)})
    rows = [
        (name, version, *_place(tracks.get(name, Track()), version))
        for name in names
        for version in repository.versions(name)
    ]
    if as_json:
        output.as_json([dict(zip(("name", "version", "for", "hosts"), row, strict=True)) for row in rows])
    else:
        output.table(("BUNDLE", "VERSION", "FOR", "HOSTS"), rows)


def _place(track: Track, version: str) -> tuple[str, str]:
    if track.stage and track.stage.version == version:
        labels = ", ".join(f"{label}={'|'.join(values)}" for label, values in track.stage.hosts.items())
        return "stage", f"{track.stage.share:.0%} {labels}".rstrip()
    return ("all", "100%") if version == track.stable else ("none", "")


@keys_app.command("list")
def list_keys(fleet: Fleet = Path(), as_json: output.AsJson = False) -> None:
    """List who signs what, and whether the key is here."""
    repository = _library("repository").FleetRepository(fleet)
    rows = []
    for role in _library("repository").ROLES:
        threshold = repository.root().get_delegated_role(role).threshold
        for identity in repository.key_ids(role):
            uri = repository.uri(identity)
            path = fleet / uri.removeprefix("file:")
            is_here = "yes" if uri and (not uri.startswith("file:") or path.exists()) else "no"
            rows.append((role, threshold, identity, uri or "-", is_here))
    if as_json:
        headings = ("role", "threshold", "key", "signer", "here")
        output.as_json([dict(zip(headings, row, strict=True)) for row in rows])
    else:
        output.table(("ROLE", "THRESHOLD", "KEY", "SIGNER", "HERE"), rows)


@keys_app.command("add")
def add_key(
    role: Annotated[str, typer.Argument(help="root, targets, snapshot or timestamp.")],
    signer: Annotated[
        str, typer.Option("--signer", help="Who signs: exec:PROGRAM, hsm:…; a new key in a file by default.")
    ] = "",
    public: Annotated[Path | None, typer.Option("--public", help="The signer's public key, in PEM.")] = None,
    threshold: Annotated[
        int | None, typer.Option("--threshold", min=1, help="How many have to sign from now on.")
    ] = None,
    fleet: Fleet = Path(),
    as_json: output.AsJson = False,
) -> None:
    """Have a role signed by one key more. Needs the keys of root."""
    keys, repositories = _library("keys"), _library("repository")
    if role not in repositories.ROLES:
        raise Failure(f"there is no role {role!r}: {', '.join(repositories.ROLES)}")
    if bool(signer) != bool(public) and not signer.startswith(keys.TOKEN):
        raise Failure("--signer and --public go together, but for a token, which tells its public key")
    made: Path | None = None
    with _opened(fleet, in_json=as_json) as repository:
        if signer:
            key = keys.public(public) if public else keys.of_token(signer)
        else:
            signer = f"file:keys/{role}-{time.strftime('%Y%m%d-%H%M%S')}.pem"
            made = fleet / signer.removeprefix("file:")
            key = keys.new(made, repository.passphrase())
        try:
            repository.add_key(role, key, signer, threshold)
        except repositories.Waiting:
            raise
        except Failure:
            if made:
                made.unlink()
            raise
    output.tell(f"{role}: signed by {key.keyid} as well", {"role": role, "key": key.keyid}, in_json=as_json)


@keys_app.command("remove")
def remove_key(
    role: Annotated[str, typer.Argument(help="root, targets, snapshot or timestamp.")],
    key: Annotated[str, typer.Argument(help="The key's id, or how it begins.")],
    fleet: Fleet = Path(),
    as_json: output.AsJson = False,
) -> None:
    """Have a role no longer signed by a key. Needs the keys of root."""
    with _opened(fleet, in_json=as_json) as repository:
        dropped = repository.drop_key(role, key)
    output.tell(f"{role}: {dropped} counts no more", {"role": role, "key": dropped}, in_json=as_json)


@app.command("follow")
def follow(
    context: typer.Context,
    url: Annotated[str, typer.Argument(help="The fleet's public directory; the setting fleet.url by default.")] = "",
    root: Annotated[
        Path | None, typer.Option("--root", help="The fleet's root metadata, needed the first time.")
    ] = None,
    as_json: output.AsJson = False,
) -> None:
    """Bring this host to what its fleet has for it. What fails leaves in force what was."""
    following = _library("follow")
    host = hosts.of(context)
    found = sources.read(host).settings.fleet
    url = url or found.get("url", "")
    if not url:
        raise Failure(f"which fleet? Give its URL, or set fleet.url in {host.settings_file}")
    mirrors, labels = tuple(found.get("mirrors", ())), found.get("labels", {})
    source = following.Source(
        url, root, mirrors, found.get("bundle", ""), labels, found.get("ca", ""), found.get("onExpired", "")
    )
    said = following.follow(host, source)
    output.tell(said, {"said": said, **_facts(host)}, in_json=as_json)


@app.command("show")
def show(context: typer.Context, as_json: output.AsJson = False) -> None:
    """Say how this host stands to its fleet."""
    facts = _facts(hosts.of(context))
    if as_json:
        output.as_json(facts)
        return
    refused = [
        f"{name} {version}: {why}"
        for name, versions in facts.pop("refused").items()
        for version, why in versions.items()
    ]
    rows = [(label, value) for label, value in facts.items() if value] + [("refused", line) for line in refused]
    output.table(("", ""), rows) if rows else typer.echo("this host follows no fleet")


def _facts(host: hosts.Host) -> dict[str, Any]:
    found = standing.read(host)
    held = found.held
    return {
        "bundle": held.name if held else "",
        "version": held.version if held else "",
        "wanted": found.wanted,
        "inForceSince": _stamp(held.since if held else 0),
        "reached": _stamp(found.reached),
        "tried": _stamp(found.tried),
        "expires": _stamp(found.expires),
        "problem": found.problem,
        "refused": {name: versions for name, versions in found.refused.items() if versions},
    }


@app.command("status")
def status(
    prometheus: Annotated[str, typer.Option("--prometheus", help="URL of the Prometheus that knows the hosts.")],
    as_json: output.AsJson = False,
) -> None:
    """Say how the fleet stands: which hosts have which version, which are behind, which refused and why."""
    found = _library("status").status(prometheus)
    if as_json:
        output.as_json(found)
        return
    for title, headings, rows in _library("status").tables(found):
        typer.echo(title)
        output.table(headings, rows)
        typer.echo()


def _stamp(seconds: float) -> str:
    return store.stamp(seconds) if seconds else ""


def _library(module: str) -> Any:
    """A part of this package that stands on libraries which hookctl's other commands do without. Raises Failure."""
    try:
        for name in _LIBRARIES:
            importlib.import_module(name)
    except ImportError as error:
        raise Failure(f"`hookctl fleet` needs {error.name}: pip install 'hookrun[fleet]'") from None
    return importlib.import_module(f"hookrun.wrapper.admin.fleet.{module}")


@contextmanager
def _opened(fleet: Path, *, in_json: bool) -> Iterator[FleetRepository]:
    """The fleet's repository. What waits for other people's signatures ends the command, and well."""
    repositories = _library("repository")
    try:
        with repositories.opened(fleet) as repository:
            yield repository
    except repositories.Waiting as waiting:
        output.tell(waiting.text, {"waiting": waiting.text}, in_json=in_json)
        raise typer.Exit(0) from None


def _track(repository: FleetRepository, name: str, version: str) -> Track:
    """A bundle's track, once it is sure that the version is published. Raises Failure."""
    published = repository.versions(name)
    if version not in published:
        raise Failure(f"{name} {version} is not published: {', '.join(published) or 'no version is'}")
    return repository.tracks.get(name, Track())


def _changed(track: Track, **values: Any) -> Track:
    return replace(track, **values)


def _share(text: str) -> float:
    number = text.removesuffix("%")
    try:
        share = float(number) / 100
    except ValueError:
        share = -1
    if not 0 <= share <= 1:
        raise Failure(f"--share: {text!r}: give a percentage from 0 to 100")
    return share


def _labels(texts: list[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for text in texts:
        label, separator, value = text.partition("=")
        if not separator or not label:
            raise Failure(f"--hosts: {text!r}: give LABEL=VALUE")
        found.setdefault(label, []).append(value)
    return found


def _numbers(text: str, names: tuple[str, ...]) -> dict[str, int]:
    found = {}
    for part in filter(None, text.split(",")):
        name, _, number = part.partition("=")
        if name not in names or not number.isdecimal() or not 1 <= int(number) <= 3650:
            raise Failure(f"{part!r}: give ROLE=NUMBER, the role one of {', '.join(names)}, the number from 1 to 3650")
        found[name] = int(number)
    return found
