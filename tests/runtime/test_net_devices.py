"""linux.netDevices (runtime-spec 1.3): moved in, renamed, with their addresses, and back when the container ends.

Debian's runc is older. When the namespace ends the kernel hands physical devices back by itself and destroys virtual
ones; in a namespace that is joined by path its owner gets the device back.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.bundles import Bundle
from tests.support.runtimes import Runtime

MAC = "02:00:00:0a:0b:0c"


def ip(*words: str) -> str:
    done = subprocess.run(
        ["ip", *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def device() -> Iterator[str]:
    """One end of a pair, up, with addresses of both kinds, a link-local one, an MTU and a hardware address."""
    name = f"hrn{os.getpid() % 100000}"
    # With its hardware address from the start: udev, where it runs, gives others one of its own.
    ip("link", "add", name, "address", MAC, "type", "veth", "peer", "name", f"{name}p")
    ip("link", "set", name, "mtu", "1400", "up")
    ip("link", "set", f"{name}p", "up")
    ip("address", "add", "10.99.1.2/24", "dev", name)
    ip("address", "add", "10.99.2.2/24", "dev", name, "scope", "link")
    ip("-6", "address", "add", "fd99::2/64", "dev", name, "nodad")
    yield name
    subprocess.run(
        ["ip", "link", "delete", f"{name}p"], stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False
    )


def shown(bundle: Bundle, runtime: Runtime, name: str) -> str:
    """What a container's own `ip` says of a device."""
    result = runtime.run(bundle.shell(f"ip address show {name}; ip link | grep -c ^[0-9]").path)
    assert result.status == 0, result.err
    return result.out


def test_a_device_is_moved_in_with_what_it_has(bundle: Bundle, hookrun: Runtime, device: str) -> None:
    bundle.linux["netDevices"] = {device: {}}
    out = shown(bundle, hookrun, device)
    for part in ("10.99.1.2/24", "fd99::2/64", f"link/ether {MAC}", "mtu 1400", ",UP,"):
        assert part in out
    # Only global addresses go along (config-linux.md).
    assert "10.99.2.2" not in out
    assert out.splitlines()[-1] == "2"


def test_a_device_gets_its_new_name(bundle: Bundle, hookrun: Runtime, device: str) -> None:
    bundle.linux["netDevices"] = {device: {"name": "ctr0"}}
    out = shown(bundle, hookrun, "ctr0")
    assert "10.99.1.2/24" in out
    assert f"link/ether {MAC}" in out
    assert device not in out


def test_a_device_that_is_down_is_set_up(bundle: Bundle, hookrun: Runtime, device: str) -> None:
    ip("link", "set", device, "down")
    bundle.linux["netDevices"] = {device: {"name": "ctr0"}}
    assert ",UP," in shown(bundle, hookrun, "ctr0")


def test_a_device_goes_into_a_network_namespace_that_is_joined_and_comes_back(
    bundle: Bundle, hookrun: Runtime, device: str
) -> None:
    """The namespace outlives the container: the device is there until its owner takes it back."""
    space = f"hr-net-{os.getpid()}"
    ip("netns", "add", space)
    try:
        bundle.linux["namespaces"] = [entry for entry in bundle.linux["namespaces"] if entry["type"] != "network"]
        bundle.linux["namespaces"].append({"type": "network", "path": f"/run/netns/{space}"})
        bundle.linux["netDevices"] = {device: {"name": "ctr0"}}
        assert "10.99.1.2/24" in shown(bundle, hookrun, "ctr0")
        assert "ctr0" in ip("-n", space, "link")
        ip("-n", space, "link", "set", "ctr0", "netns", "1", "name", device)
        assert MAC in ip("link", "show", device)
    finally:
        ip("netns", "delete", space)


def test_a_container_that_fails_after_the_move_is_undone(bundle: Bundle, hookrun: Runtime, device: str) -> None:
    bundle.linux["netDevices"] = {device: {"name": "ctr0"}}
    bundle.config["hooks"] = {"createRuntime": [{"path": "/bin/false"}]}
    result = hookrun.run(bundle.write().path)
    assert result.status == 1
    assert "error running createRuntime hook #0" in result.err


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"no-such0": {}}, "no such device"),
    ({"x" * 16: {}}, "invalid network device name"),
    ({"lo": {"name": "a/b"}}, 'invalid network device name \\"a/b\\"'),
    ({"lo": {"name": ".."}}, "invalid network device name"),
]


@pytest.mark.parametrize(("devices", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_devices_that_cannot_be(bundle: Bundle, hookrun: Runtime, devices: dict[str, Any], message: str) -> None:
    bundle.linux["netDevices"] = devices
    result = hookrun.run(bundle.write().path)
    assert (result.status, message in result.err) == (1, True), result.err


def test_without_a_network_namespace(bundle: Bundle, hookrun: Runtime, device: str) -> None:
    bundle.without_namespace("network").linux["netDevices"] = {device: {}}
    result = hookrun.run(bundle.write().path)
    assert (result.status, "unable to move network devices without a NET namespace" in result.err) == (1, True)
    assert MAC in ip("link", "show", device)
