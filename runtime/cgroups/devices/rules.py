"""Which devices a container may use: the rules of a config as one state, and the way from one state to another.

The state behaves like a v1 devices cgroup: a default, and exceptions from it. v1 files and the v2 program are both
made from it, so that a config means the same on either (runc: cgroups/devices/devices_emulator.go).
"""

from __future__ import annotations

from collections.abc import Iterable

from hookrun.runtime.cgroups import files
from hookrun.runtime.documents import Config, DeviceRule
from hookrun.runtime.errors import Failure
from hookrun.runtime.linux.namespaces import in_user_namespace

Device = tuple[str, int, int]
"""Type ("b", "c"), major and minor number, -1 for any."""
Rule = tuple[bool, str, int, int, str]
"""Allow, type ("a", "b", "c"), major, minor, access."""

ANY = -1
EVERY_DEVICE = ("a", ANY, ANY)

# What every container may use besides its own rules: mknod of anything, and the devices of the default /dev
# (runc: specconv.AllowedDevices).
_DEFAULTS: tuple[tuple[str, str, int, int, str], ...] = (
    ("", "c", ANY, ANY, "m"),
    ("", "b", ANY, ANY, "m"),
    ("/dev/null", "c", 1, 3, "rwm"),
    ("/dev/random", "c", 1, 8, "rwm"),
    ("/dev/full", "c", 1, 7, "rwm"),
    ("/dev/tty", "c", 5, 0, "rwm"),
    ("/dev/zero", "c", 1, 5, "rwm"),
    ("/dev/urandom", "c", 1, 9, "rwm"),
    ("", "c", 136, ANY, "rwm"),
    ("", "c", 5, 2, "rwm"),
    ("", "c", 10, 200, "rwm"),
)


def rules_of(config: Config) -> list[Rule]:
    """The rules of a container: those of its config, then the defaults that its own devices do not replace."""
    linux = config.get("linux") or {}
    rules = [_rule(index, entry) for index, entry in enumerate((linux.get("resources") or {}).get("devices") or ())]
    own = {device.get("path") for device in linux.get("devices") or ()}
    rules += [(True, kind, major, minor, access) for path, kind, major, minor, access in _DEFAULTS if path not in own]
    return rules


def _rule(index: int, entry: DeviceRule) -> Rule:
    access = entry.get("access") or ""
    if not access:
        raise Failure(f"device access at {index} field cannot be empty")
    kind = entry.get("type") or "a"
    if kind not in ("a", "b", "c"):
        raise Failure(f'invalid cgroup device type "{kind}"')
    known = _letters(frozenset(access))
    return bool(entry.get("allow")), kind, _wildcard(entry.get("major")), _wildcard(entry.get("minor")), known


def _wildcard(number: int | None) -> int:
    return ANY if number is None else number


class Access:
    """A default, and the devices that are excepted from it with the kinds of access."""

    __slots__ = ("allows", "exceptions")

    def __init__(self, rules: Iterable[Rule] = ()) -> None:
        self.allows = False
        self.exceptions: dict[Device, frozenset[str]] = {}
        for rule in rules:
            self.apply(rule)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Access) and (self.allows, self.exceptions) == (other.allows, other.exceptions)

    __hash__ = None  # type: ignore[assignment]

    def apply(self, rule: Rule) -> None:
        """Take one more rule. Raises Failure for one that would except a part of an exception."""
        allow, kind, major, minor, access = rule
        if kind == "a":
            self.allows = allow
            self.exceptions = {}
        elif not access:
            return
        elif allow == self.allows:
            self._remove((kind, major, minor), frozenset(access))
        else:
            device = (kind, major, minor)
            self.exceptions[device] = self.exceptions.get(device, frozenset()) | frozenset(access)

    def _remove(self, device: Device, access: frozenset[str]) -> None:
        kind, major, minor = device
        for wider in ((kind, ANY, minor), (kind, major, ANY), (kind, ANY, ANY)):
            present = self.exceptions.get(wider, frozenset())
            if wider != device and present & access:
                verb = "deny" if self.allows else "allow"
                raise Failure(
                    f"unable to remove '{verb}' exception: requested rule [{_shown(device)} {_letters(access)}] not "
                    "supported by devices cgroupv1 (cannot punch hole in existing wildcard rule "
                    f"[{_shown(wider)} {_letters(present)}])"
                )
        left = self.exceptions.pop(device, frozenset()) - access
        if left:
            self.exceptions[device] = left

    def ordered(self) -> list[tuple[Device, frozenset[str]]]:
        """The exceptions in the order in which they are written."""
        return sorted(self.exceptions.items(), key=lambda item: (item[0][1], item[0][2], item[0][0]))

    def transition(self, target: Access) -> list[Rule]:
        """The rules that lead from here to `target` and take away as little as possible on the way.

        The kernel does not list the exceptions of a cgroup that allows by default, so such a one starts anew.
        """
        steps: list[Rule] = []
        present = self.exceptions
        if self.allows or self.allows != target.allows:
            steps.append((target.allows, *EVERY_DEVICE, "rwm"))
            present = {}
        else:
            for device, access in self.ordered():
                dropped = access - target.exceptions.get(device, frozenset())
                if dropped:
                    steps.append((target.allows, *device, _letters(dropped)))
        # In the order of the config: the kernel's list keeps it.
        for device, access in target.exceptions.items():
            gained = access - present.get(device, frozenset())
            if gained:
                steps.append((not target.allows, *device, _letters(gained)))
        return steps


def _letters(access: frozenset[str]) -> str:
    return "".join(letter for letter in "rwm" if letter in access)


def _shown(device: Device) -> str:
    return f"{{{ord(device[0])} {device[1]} {device[2]}}}"


def line(rule: Rule) -> str:
    """A rule as devices.allow and devices.deny take it: `c 1:3 rwm`."""
    _, kind, major, minor, access = rule
    return f"{kind} {'*' if major == ANY else major}:{'*' if minor == ANY else minor} {access}"


def read_v1(directory: str) -> Access:
    """The state of a v1 devices cgroup, from devices.list."""
    access = Access()
    for text in files.read(directory, "devices.list").splitlines():
        kind, numbers, letters = text.split(" ")
        major, minor = (ANY if number == "*" else int(number) for number in numbers.split(":"))
        access.apply((True, kind, major, minor, letters))
    return access


def _by_file(steps: list[Rule]) -> list[tuple[str, list[str]]]:
    """The files to be written one after the other, each with its lines: one open for all that go to it in a row."""
    writes: list[tuple[str, list[str]]] = []
    for step in steps:
        name = "devices.allow" if step[0] else "devices.deny"
        if not writes or writes[-1][0] != name:
            writes.append((name, []))
        writes[-1][1].append(line(step))
    return writes


def set_v1(directory: str, rules: Iterable[Rule]) -> None:
    """Bring a v1 devices cgroup into the state of the rules. Raises Failure where it does not get there."""
    if in_user_namespace():
        return
    target = Access(rules)
    for name, lines in _by_file(read_v1(directory).transition(target)):
        files.write(directory, name, *lines)
    reached = read_v1(directory)
    if not target.allows and reached != target:
        raise Failure("resulting devices cgroup doesn't precisely match target")
    if target.allows != reached.allows:
        raise Failure("resulting devices cgroup doesn't match target mode")
