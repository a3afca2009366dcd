"""What a command line means; how it is read is compared with runc in tests/conformance/test_command_line.py."""

from __future__ import annotations

import pytest

from hookrun.wrapper.cli import argv

DOCKER = (
    b"/usr/bin/hookrun --root /run/runc/moby --log /b/log.json --log-format json create --bundle /b --pid-file "
    b"/b/init.pid --console-socket=/tmp/pty.sock 0123"
).split()


def test_dockers_create() -> None:
    call = argv.parse(DOCKER)
    assert call.answer is None
    assert call.globals["root"] == "/run/runc/moby"
    assert call.globals["log-format"] == "json"
    assert call.command == "create"
    assert call.options["bundle"] == "/b"
    assert call.options["no-pivot"] is False
    assert call.options["preserve-fds"] == 0
    assert call.given == {"bundle", "pid-file", "console-socket"}
    assert call.arguments == ["0123"]
    assert call.container == "0123"


def test_every_word_has_a_role() -> None:
    call = argv.parse([b"runc", b"--debug", b"--root=/r", b"kill", b"box", b"-a", b"--", b"-9"])
    assert call.roles == [
        ("program", ""),
        ("option", "debug"),
        ("option", "root"),
        ("command", ""),
        ("argument", ""),
        ("option", "all"),
        ("terminator", ""),
        ("argument", ""),
    ]
    assert call.arguments == ["box", "-9"]


@pytest.mark.parametrize(
    ("words", "options"),
    [
        # containerd 0.2's shim
        ([b"exec", b"-d", b"--process", b"/p", b"--console", b"/dev/pts/3", b"box"], {"detach": True, "process": "/p"}),
        (
            [b"restore", b"--image-path", b"/i", b"--shell-job", b"--empty-ns", b"network", b"box"],
            {"image-path": "/i", "shell-job": True, "empty-ns": ["network"]},
        ),
        (
            [b"create", b"--bundle", b"/b", b"--console", b"/dev/pts/3", b"--no-pivot", b"box"],
            {"console": "/dev/pts/3"},
        ),
        # runc 1.2 and later
        ([b"update", b"box", b"--cpu-burst", b"5", b"--cpu-idle=1"], {"cpu-burst": "5", "cpu-idle": "1"}),
        ([b"run", b"--pidfd-socket", b"/s", b"--keep", b"box"], {"pidfd-socket": "/s", "keep": True}),
        # lists and numbers
        ([b"exec", b"-e", b"A=1", b"-e", b"B=2", b"-g", b"4", b"-g", b"5", b"box", b"sh"], {"env": ["A=1", "B=2"]}),
        ([b"exec", b"-e", b"A=1", b"-e", b"", b"box", b"sh"], {"env": ["A=1"]}),
        ([b"events", b"--interval", b"1m", b"box"], {"interval": 60_000_000_000}),
    ],
)
def test_flags_of_all_ages(words: list[bytes], options: dict[str, object]) -> None:
    call = argv.parse([b"runc", *words])
    assert call.answer is None
    assert call.arguments[0] == "box"
    for name, value in options.items():
        assert call.options[name] == value


def test_flags_after_the_arguments_belong_to_execs_command() -> None:
    call = argv.parse([b"runc", b"exec", b"-t", b"box", b"ls", b"-l", b"--tty=false"])
    assert call.arguments == ["box", "ls", "-l", "--tty=false"]
    assert call.options["tty"] is True


@pytest.mark.parametrize(
    "line",
    [
        DOCKER,
        [b"runc", b"nosuch", b"\xff", b"--"],
        [b"runc", b"create", b"--bundle"],
        [b"runc", b"delete", b"\xff\xfe", b"--force", b"", b"x" * 10_000],
        [b""],
    ],
)
def test_written_back_byte_for_byte(line: list[bytes]) -> None:
    assert argv.parse(line).written() == line


def test_written_with_other_values() -> None:
    line = [b"runc", b"--root=/r", b"create", b"--bundle", b"/b", b"--pid-file=/p", b"/b"]
    changed = argv.parse(line).written({"bundle": "/other", "pid-file": "/n\udcff", "root": "/s"})
    assert changed == [b"runc", b"--root=/s", b"create", b"--bundle", b"/other", b"--pid-file=/n\xff", b"/b"]


def test_flags_of_oci_add_hooks() -> None:
    line = [
        b"runc",
        b"--hook-config-path",
        b"/h.json",
        b"--runtime-path=/usr/bin/crun",
        b"--root",
        b"/r",
        b"state",
        b"x",
    ]
    call = argv.parse(line)
    assert call.globals["hook-config-path"] == "/h.json"
    assert call.globals["runtime-path"] == "/usr/bin/crun"
    assert call.written() == [b"runc", b"--root", b"/r", b"state", b"x"]
