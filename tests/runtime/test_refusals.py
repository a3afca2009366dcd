"""What the kernel refuses reaches the user as one line that says what and why, with nothing left behind."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from pytest_mock import MockerFixture

from hookrun.runtime.errors import Failure
from hookrun.runtime.linux import mountinfo
from hookrun.runtime.process import execution, net_devices, terminal
from hookrun.runtime.rootfs import rootfs
from tests.support.bundles import Bundle
from tests.support.runtimes import HOOKRUN, Runtime, fresh_id

# What runc passes over. The fuzz of tests/security found these by comparing with runc 1.5.
PASSED_OVER: dict[str, Callable[[Bundle], object]] = {
    "a null among arguments": lambda bundle: bundle.process.update(args=["true", None]),
    "a mount's option without a name": lambda bundle: bundle.config["mounts"].append(
        {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["=x"]}
    ),
    "a console larger than can be": lambda bundle: bundle.process.update(consoleSize={"height": 1 << 40, "width": 1}),
    "mappings without a user namespace": lambda bundle: bundle.linux.update(gidMappings=[{"size": 1}]),
}
NOBODY = 0x7FFFFFFF  # no pid


def send_to_nobody() -> None:
    ours, theirs = socket.socketpair()
    theirs.close()
    with ours:
        terminal.send(ours.fileno(), 0, "pidfd")


REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "a socket that was closed": (send_to_nobody, "can't send pidfd over its socket: broken pipe"),
    "devices for a process that has ended": (
        lambda: net_devices.move_in({}, NOBODY),
        f"open /proc/{NOBODY}/ns/net: no such file or directory",
    ),
    "the root of a process that has ended": (
        lambda: execution.open_root(NOBODY),
        f"open /proc/{NOBODY}/root: no such file or directory",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_told(name: str) -> None:
    call, told = REFUSED[name]
    with pytest.raises(Failure) as failure:
        call()
    assert failure.value.text == told


@pytest.mark.parametrize("name", PASSED_OVER)
def test_what_runc_passes_over(name: str, bundle: Bundle, either: Runtime) -> None:
    bundle.command("true")
    PASSED_OVER[name](bundle)
    assert either.run(bundle.write().path).status == 0


# And what later ones than Debian's refuse.
REFUSED_EMPTY: dict[str, Callable[[Bundle], object]] = {
    "invalid ioPriority.Class: ": lambda bundle: bundle.process.update(ioPriority={}),
    "time namespace offsets specified, but": lambda bundle: bundle.linux.update(timeOffsets={}),
}


@pytest.mark.parametrize("told", REFUSED_EMPTY)
def test_an_empty_object_is_one(told: str, bundle: Bundle, hookrun: Runtime) -> None:
    REFUSED_EMPTY[told](bundle)
    result = hookrun.run(bundle.write().path)
    assert (result.status, told in result.err) == (1, True), result.err


def test_mounts_that_cannot_be_read_are_told(mocker: MockerFixture) -> None:
    mocker.patch.object(mountinfo, "read", side_effect=OSError(24, "Too many open files"))
    with pytest.raises(Failure, match=r"^open /proc/self/mountinfo: too many open files$"):
        rootfs.mounts_at("/")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts")
def test_a_create_without_room_for_its_notify_socket_leaves_no_id(bundle: Bundle, tmp_path: Path) -> None:
    """A tmpfs with room for its root, the container's directory and no more."""
    runtime = Runtime(HOOKRUN, tmp_path / "full")
    runtime.root.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "nr_inodes=2,mode=700", "none", runtime.root], check=True, timeout=60)
    try:
        words = ["create", "--bundle", str(bundle.write().path), fresh_id("notify")]
        result = runtime.call(*words, env={"NOTIFY_SOCKET": str(tmp_path / "n")})
        assert result.status == 1
        assert "/notify: no space left on device" in result.err
        assert "internal error" not in result.err
        assert list(runtime.root.iterdir()) == []
    finally:
        subprocess.run(["umount", runtime.root], check=True, timeout=60)


def test_an_ioctl_that_a_signal_broke_off_is_made_again(mocker: MockerFixture) -> None:
    """As of `exec --tty` in the background that is brought to the front."""
    ioctl = mocker.patch.object(fcntl, "ioctl", side_effect=[InterruptedError, b""])
    terminal.restore(0, b"")
    assert ioctl.call_count == 2
