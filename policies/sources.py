"""What a mount's source is and shows, for the rules on it: the file counts, not the path that leads to it.

A rule that forbids or selects a source holds for the file itself, whatever name it is given, and for every mount that
shows it, be it a directory above. A rule that says what a source must be (a negated operator) holds for where the
source really is.
"""

from __future__ import annotations

from collections.abc import Callable
from os.path import normpath
from typing import Any, Protocol

from hookrun.policies import conditions
from hookrun.policies.pointer import ABSENT


class Facts(Protocol):
    """What is known of one source on its host. Paths are absolute and normalized."""

    @property
    def names(self) -> list[str]:
        """All paths that lead to it, and to each part of a file system that a mount of it shows."""

    @property
    def may_be_anything(self) -> bool:
        """Whether nobody can say what a mount of it shows."""

    @property
    def real(self) -> list[str]:
        """Where it really is: several paths if several mounts show all of its file system."""

    @property
    def origins(self) -> list[str]:
        """Where all that a mount of it shows really is: `real`, and so for what is mounted below or lies under it.

        Empty where that can't be known.
        """

    @property
    def attributes(self) -> dict[str, Any]:
        """fileSystem, mountPoint, owner, mode; without those that nobody told."""

    def shows(self, paths: tuple[str, ...]) -> str:
        """The first of some paths such that the mount shows what lies there, "" where it shows none."""

    def is_at(self, path: str) -> bool:
        """Whether it is what lies at a path."""

    def is_below(self, directory: str) -> bool:
        """Whether all that a mount of it shows lies in a directory, at any depth."""

    @property
    def devices(self) -> list[str]:
        """The block devices that a file system of its own lies on, each MAJOR:MINOR; of a bind there is none."""

    @property
    def has_mounts_below(self) -> bool:
        """Whether a recursive bind of it takes other mounts along."""


# Where the mounts of a config land in the rootfs: a path for each, without symlinks.
Land = Callable[[list[dict[str, Any]]], list[str]]
# The facts on the source of a mount of the config; None where its source is only a word, like `tmpfs`.
Look = Callable[[dict[str, Any]], Facts | None]

ATTRIBUTES = ("fileSystem", "mountPoint", "owner", "mode")
_LINKED = ("/var/run", "/run")  # so in every distribution


class Stated:
    """Facts that a test or a record states, and what follows from the path where they are silent."""

    def __init__(self, source: str, stated: dict[str, Any]) -> None:
        self.real: list[str] = _list(stated.get("realPath")) or [plain(source)]
        self.names: list[str] = _list(stated.get("names")) or list({plain(source), *self.real})
        self._beginnings = tuple(_beginning(name) for name in self.names)
        self.attributes = {name: stated[name] for name in ATTRIBUTES if name in stated}
        self.may_be_anything: bool = bool(stated.get("mayBeAnything"))
        self.origins = [] if self.may_be_anything else self.real
        self.has_mounts_below: bool = bool(stated.get("mountsBelow"))
        self.devices: list[str] = _list(stated.get("devices"))
        self._shown: dict[str, bool] = stated.get("shows") or {}

    def shows(self, paths: tuple[str, ...]) -> str:
        return next((path for path in paths if self._is_shown(path)), "")

    def _is_shown(self, path: str) -> bool:
        if path in self._shown:
            return self._shown[path]
        return is_path(path) and self.covers(plain(path))

    def covers(self, path: str) -> bool:
        """Whether a path, as `plain` gives it, lies in what is stated."""
        return f"{path}/".startswith(self._beginnings)

    def is_at(self, path: str) -> bool:
        return all(name == plain(path) for name in self.real)

    def is_below(self, directory: str) -> bool:
        return all(name != directory and name.startswith(_beginning(directory)) for name in self.real)


def is_path(operand: Any) -> bool:
    """Whether what a rule compares a source with is a path."""
    return isinstance(operand, str) and operand.startswith("/")


def _list(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value or ())


def plain(path: str) -> str:
    """A path without `.`, `..` and `//`, and without the link that every distribution has."""
    found: str = normpath(path)
    old, new = _LINKED
    return new + found[len(old) :] if f"{found}/".startswith(_beginning(old)) else found


def _beginning(directory: str) -> str:
    """What the paths of all that is in a directory begin with."""
    return f"{directory.rstrip('/')}/"


def stated(sources: dict[str, dict[str, Any]]) -> Look:
    """Facts by what is stated of sources, by their paths in the config; the path alone where nothing is."""

    def look(mount: dict[str, Any]) -> Facts | None:
        source = mount.get("source")
        if not (isinstance(source, str) and source.startswith("/")):
            return None
        return Stated(source, sources.get(source) or {})

    return look


def landed(lands: dict[str, str]) -> Land:
    """Where mounts land by what is stated of their destinations; as these are spelled where nothing is."""

    def land(mounts: list[dict[str, Any]]) -> list[str]:
        spelled = [inside(str(mount.get("destination"))) for mount in mounts]
        return [lands.get(destination, destination) for destination in spelled]

    return land


# A Land without a rootfs.
lexically = landed({})


def inside(destination: str) -> str:
    """A destination from the container's root, without `.`, `..` and `//`."""
    found: str = normpath("/" + destination.lstrip("/"))
    return found


class Landing:
    """Where the mounts of a config land, looked up when a rule asks for one."""

    __slots__ = ("_found", "_land", "_mounts")

    def __init__(self, mounts: list[dict[str, Any]], land: Land) -> None:
        self._mounts = mounts
        self._land = land
        self._found: list[str] = []

    def of(self, number: int) -> str:
        if not self._found:
            self._found = self._land(self._mounts)
        return self._found[number]


class Destination(str):
    """A destination. A rule holds for what it says, and for where the mount really lands."""

    __slots__ = ("_landing", "_number")

    _landing: Landing
    _number: int

    @classmethod
    def of(cls, text: str, landing: Landing, number: int) -> Destination:
        destination = cls(text)
        destination._landing = landing
        destination._number = number
        return destination

    @property
    def real(self) -> str:
        return self._landing.of(self._number)

    def fits(self, tests: tuple[conditions.Test, ...]) -> bool:
        """Whether one of its names passes all tests, each an operator and its operand."""
        return any(conditions.fits(name, tests) for name in {inside(self), self.real})


class Source(str):
    """A source as the config spells it, judged by what it is, which is looked up when a rule asks.

    `is_root` is the rootfs, which no rule selects by chance: only a rule on a file that it shows.
    """

    __slots__ = ("_facts", "_look", "_mount", "is_root")

    _facts: Facts | None
    _look: Look | None
    _mount: dict[str, Any]
    is_root: bool

    @classmethod
    def of(cls, mount: dict[str, Any], look: Look, *, is_root: bool = False) -> Any:
        """The source of a mount. What is no text stays as it is, but for a bind's, which shows the bundle then."""
        text = mount.get("source", ABSENT)
        if not isinstance(text, str) and (text not in (None, ABSENT) or look(mount) is None):
            return text
        source = cls(text if isinstance(text, str) else "")
        source._look = look
        source._mount = mount
        source.is_root = is_root
        return source

    @property
    def facts(self) -> Facts | None:
        """None where the source means no file."""
        if self._look is not None:
            self._facts = self._look(self._mount)
            self._look = None
        return self._facts

    @property
    def real(self) -> list[Any]:
        return self.facts.real if self.facts else [ABSENT]

    @property
    def attributes(self) -> dict[str, Any]:
        return self.facts.attributes if self.facts else {}

    @property
    def has_mounts_below(self) -> bool:
        return self.facts is not None and self.facts.has_mounts_below

    def fits(self, tests: tuple[conditions.Test, ...]) -> bool:
        """Whether a source passes all tests, each an operator and its operand."""
        facts = self.facts
        if facts is None:
            return conditions.fits(str(self), tests)
        return all(self._passes(facts, name, operand) for name, operand in tests)

    def _passes(self, facts: Facts, name: str, operand: Any) -> bool:
        if name in _FORBIDDING:
            return _FORBIDDING[name](facts, operand) or facts.may_be_anything
        if self.is_root:
            return name == "exists" and bool(operand)
        if name in _DEMANDING:
            return not _DEMANDING[name](facts, operand)
        return conditions.fits(str(self), ((name, operand),))


def _shows_one(facts: Facts, operand: tuple[Any, ...]) -> bool:
    return bool(facts.shows(operand))


def _shows(facts: Facts, operand: Any) -> bool:
    return bool(facts.shows((operand,)))


def _begins_or_shows(facts: Facts, operand: str) -> bool:
    """A beginning names things in the directory of its last slash: whatever shows that directory shows them."""
    if any(f"{name}/".startswith(operand) for name in facts.names):
        return True
    return operand.startswith("/") and _shows(facts, operand.rpartition("/")[0] or "/")


def _is_named(test: str) -> Callable[[Facts, Any], bool]:
    return lambda facts, operand: any(conditions.OPERATORS[test](name, operand) for name in facts.names)


def _is_really_named(test: str) -> Callable[[Facts, Any], bool]:
    return lambda facts, operand: (
        bool(facts.origins) and all(conditions.OPERATORS[test](name, operand) for name in facts.origins)
    )


def _is_at_one(facts: Facts, operand: tuple[Any, ...]) -> bool:
    return any(isinstance(one, str) and facts.is_at(normpath(one)) for one in operand)


def _really_begins(facts: Facts, operand: str) -> bool:
    if operand.endswith("/") and facts.is_below(operand.rstrip("/") or "/"):
        return True
    return bool(facts.origins) and all(name.startswith(operand) for name in facts.origins)


_FORBIDDING: dict[str, Callable[[Facts, Any], bool]] = {
    "equals": _shows,
    "in": _shows_one,
    "startsWith": _begins_or_shows,
    "matches": _is_named("matches"),
    "contains": _is_named("contains"),
}
_DEMANDING: dict[str, Callable[[Facts, Any], bool]] = {
    "notEquals": lambda facts, operand: _is_at_one(facts, (operand,)),
    "notIn": _is_at_one,
    "notStartsWith": _really_begins,
    "notMatches": _is_really_named("matches"),
    "notContains": _is_really_named("contains"),
}


def mounts_of(config: dict[str, Any], invocation: dict[str, Any]) -> list[dict[str, Any]]:
    """The config's mounts with their sources and destinations to be judged, and last the rootfs, the bind that it is.

    `invocation["look"]` is a Look, `invocation["land"]` a Land, and `invocation["mounts"]` remembers the
    last answer. What is no mount is left out: the runtime refuses it.
    """
    last = invocation.get("mounts")
    if last is None or last[0] is not config:
        last = invocation["mounts"] = (config, _mounts(config, invocation))
    found: list[dict[str, Any]] = last[1]
    return found


def _mounts(config: dict[str, Any], invocation: dict[str, Any]) -> list[dict[str, Any]]:
    look: Look = invocation["look"]
    listed = config.get("mounts") or ()
    mounts = [mount for mount in (listed if isinstance(listed, list) else ()) if isinstance(mount, dict)]
    landing = Landing(mounts, invocation["land"])
    found = [_judged(mount, look, landing, number) for number, mount in enumerate(mounts)]
    root = root_mount(config, is_whole=invocation["is_whole"])
    return found if root is None else [*found, {**root, "source": Source.of(root, look, is_root=True)}]


def _judged(mount: dict[str, Any], look: Look, landing: Landing, number: int) -> dict[str, Any]:
    found = {**mount, "source": Source.of(mount, look)}
    if isinstance(mount.get("destination"), str):
        found["destination"] = Destination.of(mount["destination"], landing, number)
    return found


def judged_parts(config: dict[str, Any], invocation: dict[str, Any]) -> dict[str, Any]:
    """The parts of a config that name sources, `mounts` and `root`, with these to be judged."""
    parts: dict[str, Any] = {name: config[name] for name in ("mounts", "root") if name in config}
    if isinstance(parts.get("mounts"), list):
        parts["mounts"] = mounts_of({"mounts": parts["mounts"]}, invocation)
    root = root_mount(config, is_whole=False)
    if root is not None:
        parts["root"] = {**parts["root"], "path": Source.of(root, invocation["look"])}
    return parts


def root_mount(config: dict[str, Any], *, is_whole: bool) -> dict[str, Any] | None:
    """The rootfs as a mount. Without a mount namespace of its own, the container has the host's "/".

    What a test gives of a config `is_whole` not: what it leaves out says nothing.
    """
    root = config.get("root")
    if not isinstance(root, dict) or not isinstance(root.get("path"), str):
        return None
    path = "/" if is_whole and not _has_own_mounts(config) else root["path"]
    return {"destination": "/", "type": "bind", "source": path, "options": ["rbind"]}


def _has_own_mounts(config: dict[str, Any]) -> bool:
    linux = config.get("linux")
    namespaces = (linux.get("namespaces") if isinstance(linux, dict) else None) or ()
    return any(
        isinstance(entry, dict) and entry.get("type") == "mount" and not entry.get("path") for entry in namespaces
    )
