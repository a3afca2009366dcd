"""The systemd driver: its D-Bus against jeepney's, its properties, and a made-up systemd that answers it.

Containers under the real systemd are tests/vm's.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jeepney import DBusAddress  # type: ignore[import-untyped]
from jeepney.low_level import HeaderFields, Message, MessageType, Parser  # type: ignore[import-untyped]
from jeepney.wrappers import new_error, new_method_return, new_signal  # type: ignore[import-untyped]

from hookrun.runtime.cgroups.devices import rules as devices
from hookrun.runtime.cgroups.entrance import Entrance
from hookrun.runtime.cgroups.systemd import dbus, gvariant
from hookrun.runtime.cgroups.systemd import manager as systemd
from hookrun.runtime.cgroups.systemd import properties as systemd_properties
from hookrun.runtime.cgroups.systemd.dbus import Variant
from hookrun.runtime.documents import Resources
from hookrun.runtime.errors import Failure
from hookrun.runtime.process import channel, init
from tests.support.runtimes import PATIENCE

TARGET = ("org.example", "/org/example", "org.example.Interface", "Method")

BODIES: list[tuple[str, list[Any]]] = [
    ("", []),
    ("s", ["text"]),
    ("ybnqiuxtd", [1, True, -2, 3, -4, 5, -6, 7, 0.5]),
    ("sog", ["söme", "/a/b", "a(sv)"]),
    ("as", [["a", "bcd", ""]]),
    ("au", [[]]),
    ("yat", [1, [2, 3]]),
    ("(ya(su))", [(1, [("x", 2), ("yy", 3)])]),
    ("a(ss)", [[("/dev/char/1:3", "rwm"), ("char-*", "m")]]),
    ("ay", [b"\x01\x02\x03"]),
]


def plain(value: Any) -> Any:
    """Variants as jeepney has them: (signature, value)."""
    if isinstance(value, Variant):
        return value.signature, plain(value.value)
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, tuple):
        return tuple(plain(item) for item in value)
    return value


@pytest.mark.parametrize(("signature", "body"), BODIES, ids=[signature or "none" for signature, _ in BODIES])
def test_calls_are_what_jeepney_reads(signature: str, body: list[Any]) -> None:
    message = Message.from_buffer(dbus.encode_call(7, TARGET, signature, body))
    fields = message.header.fields
    assert message.header.message_type is MessageType.method_call
    assert message.header.serial == 7
    assert fields[HeaderFields.destination], fields[HeaderFields.path] == TARGET[:2]
    assert fields[HeaderFields.interface], fields[HeaderFields.member] == TARGET[2:]
    assert list(message.body) == plain(body)


def test_variants_are_what_jeepney_reads() -> None:
    body = ["unit", [("A", Variant("t", 1 << 63)), ("B", Variant("a(ss)", [("x", "y")])), ("C", Variant("ay", b"ab"))]]
    message = Message.from_buffer(dbus.encode_call(1, TARGET, "sa(sv)", body))
    assert message.body == ("unit", [("A", ("t", 1 << 63)), ("B", ("a(ss)", [("x", "y")])), ("C", ("ay", b"ab"))])


@given(st.lists(st.tuples(st.text(st.characters(codec="utf-8", exclude_characters="\0")), st.integers(0, 2**64 - 1))))
def test_any_names_and_numbers(pairs: list[tuple[str, int]]) -> None:
    body = [[(name, Variant("t", number)) for name, number in pairs]]
    data = dbus.encode_call(1, TARGET, "a(sv)", body)
    assert Message.from_buffer(data).body == ([(name, ("t", number)) for name, number in pairs],)
    assert dbus.decode(data).body == body


@pytest.mark.parametrize(("signature", "body"), BODIES, ids=[signature or "none" for signature, _ in BODIES])
def test_replies_of_jeepney_are_read(signature: str, body: list[Any]) -> None:
    call = Message.from_buffer(dbus.encode_call(9, TARGET, "", []))
    reply = new_method_return(call, signature or None, tuple(body))
    decoded = dbus.decode(reply.serialise(serial=3))
    assert decoded.fields[5] == 9
    assert decoded.body == body


@pytest.mark.parametrize("signature", ["", "a", "(s", "z", "a{", "(az)"])
def test_bad_signatures(signature: str) -> None:
    with pytest.raises(ValueError, match=r"signature|type"):
        dbus.first_type(signature)


# --- values of annotations


TEXTS = [
    ("true", Variant("b", True)),
    ("5", Variant("i", 5)),
    ("-5", Variant("i", -5)),
    ("0x1f", Variant("i", 31)),
    ("uint64 600000000", Variant("t", 600000000)),
    ("uint32 7", Variant("u", 7)),
    ("byte 0x20", Variant("y", 32)),
    ("1.5", Variant("d", 1.5)),
    ("double 3", Variant("d", 3.0)),
    ("'inactive-or-failed'", Variant("s", "inactive-or-failed")),
    ('"a \\"quoted\\" word"', Variant("s", 'a "quoted" word')),
    ("objectpath '/a/b'", Variant("o", "/a/b")),
    ("['a.service', 'b.service']", Variant("as", ["a.service", "b.service"])),
    ("@as []", Variant("as", [])),
    ("[uint32 1, 2]", Variant("au", [1, 2])),
    ("@at [1, 2]", Variant("at", [1, 2])),
    ("[['a'], ['b', 'c']]", Variant("aas", [["a"], ["b", "c"]])),
    ("<'x'>", Variant("v", Variant("s", "x"))),
    (" 'x' ", Variant("s", "x")),
]
BAD_TEXTS = [
    "",
    "word",
    "'open",
    "[1, 'a']",
    "[]",
    "uint32 -1",
    "byte 256",
    "5 5",
    "@zz 5",
    "[1 2]",
    "true false",
    "@as 5",
]


@pytest.mark.parametrize(("text", "value"), TEXTS, ids=[text for text, _ in TEXTS])
def test_texts(text: str, value: Variant) -> None:
    assert gvariant.parse(text) == value


@pytest.mark.parametrize("text", BAD_TEXTS)
def test_bad_texts(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        gvariant.parse(text)


def test_annotations() -> None:
    found = systemd_properties.of_annotations(
        {
            "org.systemd.property.TimeoutStopSec": "uint64 10",
            "org.systemd.property.CollectMode": "'inactive-or-failed'",
            "org.other": "not a value",
        }
    )
    assert found == [("TimeoutStopUSec", Variant("t", 10_000_000)), ("CollectMode", Variant("s", "inactive-or-failed"))]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("ab", "1", "name incorrect: too short"),
        ("A-b", "1", "name incorrect: contains non-alphabetic character"),
        ("Name", "nonsense", "value parse error"),
        ("TimeoutStopSec", "'x'", "value parse error: not a number"),
    ],
)
def test_bad_annotations(name: str, text: str, message: str) -> None:
    with pytest.raises(Failure, match=message):
        systemd_properties.of_annotations({f"org.systemd.property.{name}": text})


# --- properties of resources

MOST = (1 << 64) - 1
RESOURCES_V2: list[tuple[dict[str, Any], list[tuple[str, Variant]]]] = [
    ({}, []),
    ({"memory": {"limit": 100}}, [("MemoryMax", Variant("t", 100))]),
    ({"memory": {"limit": -1}}, [("MemoryMax", Variant("t", MOST)), ("MemorySwapMax", Variant("t", MOST))]),
    (
        {"memory": {"limit": 100, "swap": 150, "reservation": 50}},
        [("MemoryMax", Variant("t", 100)), ("MemoryLow", Variant("t", 50)), ("MemorySwapMax", Variant("t", 50))],
    ),
    ({"cpu": {"shares": 1024}}, [("CPUWeight", Variant("t", 100))]),
    ({"cpu": {"shares": 1024, "idle": 1}}, [("CPUWeight", Variant("t", 0))]),
    ({"cpu": {"quota": 50000}}, [("CPUQuotaPerSecUSec", Variant("t", 500000))]),
    (
        {"cpu": {"quota": 33333, "period": 100000}},
        [("CPUQuotaPeriodUSec", Variant("t", 100000)), ("CPUQuotaPerSecUSec", Variant("t", 340000))],
    ),
    (
        {"cpu": {"quota": -1, "period": 100000}},
        [("CPUQuotaPeriodUSec", Variant("t", 100000)), ("CPUQuotaPerSecUSec", Variant("t", MOST))],
    ),
    ({"pids": {"limit": 0}}, [("TasksMax", Variant("t", 1))]),
    ({"pids": {"limit": -1}}, [("TasksMax", Variant("t", MOST))]),
    (
        {"cpu": {"cpus": "0-2,9", "mems": "1"}},
        [("AllowedCPUs", Variant("ay", b"\x07\x02")), ("AllowedMemoryNodes", Variant("ay", b"\x02"))],
    ),
    (
        {"unified": {"memory.max": "max", "pids.max": "0", "cpu.max": "50000 100000", "io.max": "8:0 rbps=1"}},
        [
            ("MemoryMax", Variant("t", MOST)),
            ("TasksMax", Variant("t", 1)),
            ("CPUQuotaPeriodUSec", Variant("t", 100000)),
            ("CPUQuotaPerSecUSec", Variant("t", 500000)),
        ],
    ),
    ({"unified": {"cpu.weight": "50", "cpu.idle": "1"}}, [("CPUWeight", Variant("t", 0))]),
    ({"unified": {"cpuset.cpus": "3"}}, [("AllowedCPUs", Variant("ay", b"\x08"))]),
]


@pytest.mark.parametrize(("resources", "properties"), RESOURCES_V2, ids=[str(r) for r, _ in RESOURCES_V2])
def test_properties_v2(resources: Resources, properties: list[tuple[str, Variant]]) -> None:
    assert systemd_properties.of_resources_v2(resources, 252) == properties


def test_properties_v1() -> None:
    resources: Resources = {
        "memory": {"limit": 100},
        "cpu": {"shares": 512},
        "blockIO": {"weight": 200},
        "pids": {"limit": 9},
    }
    assert systemd_properties.of_resources_v1(resources, 252) == [
        ("MemoryLimit", Variant("t", 100)),
        ("CPUShares", Variant("t", 512)),
        ("BlockIOWeight", Variant("t", 200)),
        ("TasksMax", Variant("t", 9)),
    ]


def test_old_systemd_gets_what_it_knows() -> None:
    resources: Resources = {"cpu": {"quota": 50000, "period": 100000, "cpus": "1", "idle": 1, "shares": 1024}}
    assert [name for name, _ in systemd_properties.of_resources_v2(resources, 241)] == [
        "CPUWeight",
        "CPUQuotaPerSecUSec",
    ]


@pytest.mark.parametrize(
    ("unified", "message"),
    [
        ({"a/b": "1"}, "must be a file name"),
        ({"memory": "1"}, "must be in the form CONTROLLER.PARAMETER"),
        ({"memory.max": "much"}, "value conversion error"),
        ({"cpu.max": "1 2 3"}, "value conversion error"),
        ({"cpuset.cpus": "x"}, "conversion error"),
    ],
)
def test_bad_unified(unified: dict[str, str], message: str) -> None:
    with pytest.raises(Failure, match=message):
        systemd_properties.of_resources_v2({"unified": unified}, 252)


def test_the_quota_that_the_cgroup_gets_is_systemds() -> None:
    assert systemd_properties.rounded({"cpu": {"quota": 33333, "period": 100000}})["cpu"]["quota"] == 34000
    assert systemd_properties.rounded({"cpu": {"quota": -1}})["cpu"]["quota"] == -1


def test_device_properties() -> None:
    rules = devices.rules_of({"linux": {"resources": {"devices": [{"allow": False, "access": "rwm"}]}}})
    found = systemd_properties.of_devices(rules)
    assert found[:2] == [("DeviceAllow", Variant("a(ss)", [])), ("DevicePolicy", Variant("s", "strict"))]
    allowed = found[2][1].value
    assert {("char-*", "m"), ("block-*", "m"), ("/dev/char/1:3", "rwm"), ("char-136", "rwm")} <= set(allowed)
    everything = systemd_properties.of_devices([(True, "a", -1, -1, "rwm")])
    hole = [(True, "a", -1, -1, "rwm"), (False, "c", -1, -1, "r"), (True, "c", 7, 3, "r")]
    with pytest.raises(Failure, match=r"^unable to apply rule for systemd: unable to remove 'deny' exception"):
        systemd_properties.of_devices(hole)
    assert everything == [("DeviceAllow", Variant("a(ss)", [])), ("DevicePolicy", Variant("s", "auto"))]


# --- units


@pytest.mark.parametrize(
    ("path", "slice_", "name"),
    [
        ("", "", "runc-c1.scope"),
        ("system.slice:docker:abc", "system.slice", "docker-abc.scope"),
        ("a-b.slice:cri:x", "a-b.slice", "cri-x.scope"),
        (":p:n", "", "p-n.scope"),
        ("system.slice:p:group.slice", "system.slice", "group.slice"),
    ],
)
def test_units(path: str, slice_: str, name: str) -> None:
    unit = systemd.unit_of(path, "c1")
    assert (unit.slice, unit.full_name) == (slice_, name)


@pytest.mark.parametrize("path", ["/docker/abc", "a:b", "a:b:c:d"])
def test_bad_units(path: str) -> None:
    with pytest.raises(Failure, match="expected cgroupsPath to be of format"):
        systemd.unit_of(path, "c1")


def test_slices() -> None:
    assert systemd.expand_slice("system.slice") == "/system.slice"
    assert systemd.expand_slice("a-b-c.slice") == "/a.slice/a-b.slice/a-b-c.slice"
    assert systemd.expand_slice("-.slice") == ""
    for name in ("a", "a/b.slice", "-a.slice", "a--b.slice", ".slice"):
        with pytest.raises(Failure, match="invalid slice name"):
            systemd.expand_slice(name)


class Systemd:
    """Answers on a socket as a bus with systemd on it would; jeepney speaks for it."""

    def __init__(self, path: Path) -> None:
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.errors: list[str] = []
        """Names of errors to answer StartTransientUnit with, one each time."""
        self.result = "done"
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(PATIENCE)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                self._talk(connection)

    def _talk(self, connection: socket.socket) -> None:
        assert connection.recv(1) == b"\0"
        line = connection.recv(100)
        assert line == b"AUTH EXTERNAL " + str(os.geteuid()).encode().hex().encode() + b"\r\n"
        connection.sendall(b"OK 1234deadbeef\r\n")
        assert connection.recv(7) == b"BEGIN\r\n"
        parser = Parser()
        serial = 0
        while True:
            message = parser.get_next_message()
            while message is None:
                data = connection.recv(65536)
                if not data:
                    return
                parser.add_data(data)
                message = parser.get_next_message()
            for answer in self._answers(message):
                serial += 1
                connection.sendall(answer.serialise(serial=serial))

    def _answers(self, message: Message) -> list[Message]:
        method = message.header.fields[HeaderFields.member]
        self.calls.append((method, message.body))
        if method == "StartTransientUnit" and self.errors:
            return [new_error(message, self.errors.pop(0), "s", ("no",))]
        if method in ("StartTransientUnit", "StopUnit"):
            emitter = DBusAddress("/org/freedesktop/systemd1", interface="org.freedesktop.systemd1.Manager")
            other = new_signal(emitter, "JobRemoved", "uoss", (1, "/job/1", "other.service", "failed"))
            removed = new_signal(emitter, "JobRemoved", "uoss", (2, "/job/2", message.body[0], self.result))
            # The signal may overtake the reply.
            return [other, removed, new_method_return(message, "o", ("/job/2",))]
        if method == "Get":
            value = {"Version": "252.22-1~deb12u1", "ControlGroup": "/user.slice/user@1000.service"}[message.body[1]]
            return [new_method_return(message, "v", (("s", value),))]
        if method == "Hello":
            return [new_method_return(message, "s", (":1.5",))]
        return [new_method_return(message)]

    def call(self, method: str) -> tuple[Any, ...]:
        return next(body for name, body in self.calls if name == method)


@pytest.fixture(name="bus")
def fixture_bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Systemd]:
    serving = Systemd(tmp_path / "bus")
    monkeypatch.setattr(systemd, "SYSTEM_BUS", str(tmp_path / "bus"))
    monkeypatch.setitem(os.environb, b"DBUS_SESSION_BUS_ADDRESS", os.fsencode(f"unix:path={tmp_path}/bus,guid=00"))
    yield serving
    serving.close()


def scope(path: str = "a-b.slice:p:n", *, rootless: bool = False) -> systemd._Scope:
    return systemd._Scope(systemd.unit_of(path, "c1"), rootless, [("CollectMode", Variant("s", "inactive"))])


def test_a_scope_is_started(bus: Systemd) -> None:
    scope().start(4711, "IOAccounting")
    name, mode, properties, auxiliary = bus.call("StartTransientUnit")
    assert (name, mode, auxiliary) == ("p-n.scope", "replace", [])
    assert dict(properties) == {
        "Description": ("s", "libcontainer container n"),
        "Slice": ("s", "a-b.slice"),
        "Delegate": ("b", True),
        "PIDs": ("au", [4711]),
        "MemoryAccounting": ("b", True),
        "CPUAccounting": ("b", True),
        "IOAccounting": ("b", True),
        "TasksAccounting": ("b", True),
        "DefaultDependencies": ("b", False),
        "CollectMode": ("s", "inactive"),
    }
    names = [name for name, _ in bus.calls]
    assert names.index("AddMatch") < names.index("StartTransientUnit")
    assert names.index("Subscribe") < names.index("StartTransientUnit")


def test_a_unit_that_failed_before_is_reset(bus: Systemd) -> None:
    bus.errors = ["org.freedesktop.systemd1.UnitExists"]
    scope().start(1, "IOAccounting")
    assert [name for name, _ in bus.calls][-3:] == ["StartTransientUnit", "ResetFailedUnit", "StartTransientUnit"]


def test_a_unit_that_exists(bus: Systemd) -> None:
    bus.errors = ["org.freedesktop.systemd1.UnitExists"] * 2
    with pytest.raises(Failure, match=r'unable to start unit "p-n.scope": no'):
        scope().start(1, "IOAccounting")


def test_a_job_that_fails(bus: Systemd) -> None:
    bus.result = "failed"
    with pytest.raises(Failure, match=r"error creating systemd unit `p-n\.scope`: got `failed`"):
        scope().start(1, "IOAccounting")


def test_the_users_own_systemd(bus: Systemd) -> None:
    users = scope("", rootless=True)
    assert users.control_group() == "/user.slice/user@1000.service"
    assert users.version() == 252
    users.start(1, "IOAccounting")
    assert dict(bus.call("StartTransientUnit")[2])["Slice"] == ("s", "user.slice")


def test_attach_set_and_stop(bus: Systemd) -> None:
    running = scope()
    running.attach("inner", 4711)
    assert bus.call("AttachProcessesToUnit") == ("p-n.scope", "/inner", [4711])
    running.set([("TasksMax", Variant("t", 5))])
    assert bus.call("SetUnitProperties") == ("p-n.scope", True, [("TasksMax", ("t", 5))])
    running.stop()
    assert bus.call("StopUnit") == ("p-n.scope", "replace")


def test_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(Failure, match=f"dial unix {tmp_path}/none: no such file or directory"):
        dbus.Connection(f"{tmp_path}/none")


def test_without_systemd_the_driver_says_so() -> None:
    if Path("/run/systemd/system").is_dir():
        pytest.skip("systemd runs here")
    with pytest.raises(Failure, match="systemd not running on this host, cannot use systemd cgroups manager"):
        systemd.new(systemd.unit_of("", "c1"), {}, [], rootless=False)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"DBUS_SESSION_BUS_ADDRESS": "unix:path=/run/a%20b/bus"}, "/run/a b/bus"),
        ({"DBUS_SESSION_BUS_ADDRESS": "tcp:host=x;unix:abstract=/tmp/x,guid=1"}, "\0/tmp/x"),
    ],
)
def test_address_of_the_users_bus(environment: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment.items():
        monkeypatch.setitem(os.environb, name.encode(), value.encode())
    assert dbus.user_bus() == expected


def test_no_address_of_the_users_bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(os.environb, b"DBUS_SESSION_BUS_ADDRESS", raising=False)
    monkeypatch.setitem(os.environb, b"XDG_RUNTIME_DIR", os.fsencode(str(tmp_path)))
    with pytest.raises(Failure, match="could not detect DBUS_SESSION_BUS_ADDRESS"):
        dbus.user_bus()
    (tmp_path / "bus").touch()
    assert dbus.user_bus() == str(tmp_path / "bus")


# --- a process that waits until systemd has its scope


def entering(entrance: Entrance) -> tuple[int, channel.ParentLine, int]:
    """A child on its way into the cgroups; its pid, the line to it, and where it says that it is in."""
    entered, told = os.pipe()
    ours, theirs = channel.open_pair()
    pid = os.fork()
    if pid == 0:
        ours.close()
        try:
            init.enter_cgroups(entrance, theirs)
            os.write(told, b"in")
        except Failure:
            os._exit(7)
        finally:
            os._exit(0)
    theirs.close()
    os.close(told)
    return pid, ours, entered


def test_the_child_waits_for_its_admission() -> None:
    entrance = Entrance()
    admitted: list[int] = []
    entrance.add_admission(admitted.append)
    pid, line, entered = entering(entrance)
    assert not select.select([entered], [], [], 0.2)[0]
    assert line.attend({channel.Message.CGROUPS: lambda text: entrance.admit(pid)}) == (None, "")
    assert os.read(entered, 10) == b"in"
    assert admitted == [pid]
    os.close(entered)
    line.close()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_the_child_ends_when_it_is_not_admitted() -> None:
    entrance = Entrance()
    entrance.add_admission(lambda pid: None)
    pid, line, entered = entering(entrance)
    assert line.receive() == (channel.Message.CGROUPS, "")
    line.close()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    assert os.read(entered, 10) == b""
    os.close(entered)


def test_a_child_that_needs_no_admission_asks_for_none() -> None:
    pid, line, entered = entering(Entrance())
    assert line.receive() == (None, "")
    assert os.read(entered, 10) == b"in"
    os.close(entered)
    line.close()
    os.waitpid(pid, 0)
