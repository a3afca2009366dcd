"""hookrun as a process: what it prints, logs and records, and what it does in front of another runtime."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from hookrun.wrapper import entry, settings, snapshot
from tests.support.bundles import Bundle

SOURCE = str(Path(entry.__file__).parents[2])
PYTHON = os.path.realpath(sys.executable)

# Without a usable snapshot, the record goes where a host has it: to a /var/log of these tests' own.
APART = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs none /var/log && exec "$0" "$@"'] if os.geteuid() == 0 else []

LAUNCHER = """#!{python} -ISXutf8
import sys
sys.path.append({source!r})
from hookrun.wrapper.entry import main
main({state!r})
"""

# A runtime that tells how it was called.
RUNTIME = """#!/bin/sh
printf '%s\\n' "$0" "$@" >>{log}
grep SigIgn /proc/$$/status >{log}.signals
exit 42
"""


class Host:
    """A launcher with a state directory and a record of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.state = directory / "state"
        self.record = directory / "record"
        self.state.mkdir()
        self.launcher = self.make_launcher("hookrun")
        self.apply({})

    def make_launcher(self, name: str) -> Path:
        path = self.directory / name
        path.write_text(LAUNCHER.format(python=PYTHON, source=SOURCE, state=str(self.state)))
        path.chmod(0o755)
        return path

    def apply(self, values: dict[str, Any], **profiles: dict[str, Any]) -> None:
        own = {"record": {"directory": str(self.record)}}
        content: snapshot.Content = {
            "settings": settings.completed({**own, **values}),
            "profiles": {name.replace("_", "-"): settings.completed({**own, **one}) for name, one in profiles.items()},
        }
        path = self.state / snapshot.NAME
        path.write_bytes(snapshot.packed(content))
        path.chmod(0o644)

    def run(
        self, *words: str | bytes, launcher: Path | None = None, environment: Mapping[str, str] = {}
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*APART, str(launcher or self.launcher), "--root", str(self.directory / "root"), *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=60,
            check=False,
            cwd=self.directory,
            env={"PATH": os.environ["PATH"], **environment},
        )

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.record / "record.jsonl").read_text().splitlines()]


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_an_error_reaches_log_stderr_and_record(host: Host) -> None:
    log = host.directory / "log.json"
    done = host.run("--log", str(log), "--log-format=json", "state", "nosuch")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "container does not exist\n")
    entry = json.loads(log.read_text())
    assert (entry["level"], entry["msg"]) == ("error", "container does not exist")
    (line,) = host.lines()
    assert (line["command"], line["container"], line["status"]) == ("state", "nosuch", 1)
    assert line["error"] == "container does not exist"


def test_lines_that_make_no_sense_are_recorded_too(host: Host) -> None:
    assert host.run("create").returncode == 1
    assert host.run("nosuch").returncode == 3
    assert host.run("delete", "--nosuch", "x").returncode == 1
    assert [line["status"] for line in host.lines()] == [1, 3, 1]
    assert host.lines()[2]["error"] == "flag provided but not defined: -nosuch"


def test_words_that_are_not_utf8_survive(host: Host) -> None:
    for locale in ("C", "C.UTF-8", "en_US.ISO-8859-1"):
        done = host.run(
            "kill", "b\udcff\xe9x".encode("utf-8", "surrogateescape"), "KILL", environment={"LC_ALL": locale}
        )
        assert done.returncode == 1
    for line in host.lines():
        assert [os.fsencode(word) for word in line["argv"]][4:] == [b"b\xff\xc3\xa9x", b"KILL"]


def test_the_environment_does_not_reach_python(host: Host) -> None:
    (host.directory / "os.py").write_text("raise SystemExit('hijacked')")
    done = host.run(
        "--version",
        environment={"PYTHONPATH": str(host.directory), "PYTHONSTARTUP": "/nosuch", "PYTHONVERBOSE": "1"},
    )
    assert done.stdout.startswith("hookrun version ")
    assert done.stderr == ""


def test_version_as_dockerd_reads_it(host: Host) -> None:
    first, *rest = host.run("--version").stdout.splitlines()
    assert first.split(" version ")[0] == "hookrun"
    assert "spec: 1.3.0" in rest


def test_a_damaged_snapshot_stops_what_enters_a_container(host: Host) -> None:
    (host.state / snapshot.NAME).write_bytes(b"damaged")
    environment = {"HOME": str(host.directory)}
    for command in (["create", "x"], ["run", "x"], ["exec", "x", "true"]):
        done = host.run(*command, environment=environment)
        assert done.returncode == 1
        assert f"cannot use the snapshot {host.state}/snapshot" in done.stderr
        assert "hookctl apply" in done.stderr
    assert "container does not exist" in host.run("delete", "x", environment=environment).stderr


def test_a_damaged_snapshot_stops_nothing_where_the_operator_chose_so(host: Host) -> None:
    (host.state / snapshot.NAME).write_bytes(b"damaged")
    (host.state / snapshot.ON_ERROR).write_text("allow")
    assert "JSON specification file config.json not found" in host.run("create", "x").stderr


@pytest.fixture
def runtime(host: Host) -> Path:
    path = host.directory / "other-runtime"
    path.write_text(RUNTIME.format(log=host.directory / "called"))
    path.chmod(0o755)
    return path


def called(host: Host) -> list[str]:
    return (host.directory / "called").read_text().splitlines()


def test_another_runtime_gets_the_very_same_words(host: Host, runtime: Path) -> None:
    host.apply({"runtime": str(runtime)})
    words = ["--log=/l", "delete", "-force", "--", "x"]
    assert host.run(*words).returncode == 42
    assert called(host) == [str(runtime), "--root", str(host.directory / "root"), *words]
    ignored = int((host.directory / "called.signals").read_text().split()[1], 16)
    assert not ignored & (1 << 12 | 1 << 24)  # SIGPIPE, SIGXFSZ
    (line,) = host.lines()
    assert (line["delegate"], line["status"]) == (str(runtime), None)


@pytest.mark.parametrize(
    ("words", "container"),
    [
        ("--platform=kvm --debug-log=/l state x", "x"),  # runsc
        ("--network sandbox --strace state x", "x"),
        ("--kata-config /k.toml --show-default-config-paths state x", "x"),  # kata-runtime
        ("state --user-log /u x", "x"),
        ("state --user-log=/u -- x", "x"),
        ("state x --brand-new", "x"),
        ("kata-env --json", ""),
        ("--platform kvm do --force-overlay=false true", ""),
        ("boot --bundle /b x", ""),
    ],
)
def test_words_that_only_another_runtime_knows(host: Host, runtime: Path, words: str, container: str) -> None:
    raw = [*words.split(), b"\xff'\" ".decode("utf-8", "surrogateescape")]
    if container:
        raw.pop()
    assert host.run(*raw).returncode in (1, 3)
    host.apply({"runtime": str(runtime)})
    assert host.run(*raw).returncode == 42
    assert (host.directory / "called").read_bytes() == b"".join(
        os.fsencode(word) + b"\n" for word in [str(runtime), "--root", str(host.directory / "root"), *raw]
    )
    line = host.lines()[-1]
    assert (line["delegate"], line["container"] or "") == (str(runtime), container)


def test_a_policy_sees_a_bundle_behind_foreign_words(host: Host, runtime: Path, bundle: Bundle) -> None:
    host.apply({"runtime": str(runtime)})
    bundle.write()
    words = ["--platform", "kvm", "create", "--user-log", "/u", "--bundle", str(bundle.path), "x"]
    assert host.run(*words).returncode == 42
    line = host.lines()[-1]
    assert (line["command"], line["bundle"], line["container"]) == ("create", str(bundle.path), "x")
    assert line["config"]


def test_the_name_of_the_program_chooses_the_profile(host: Host, runtime: Path) -> None:
    host.apply({}, hookrun_other={"runtime": str(runtime)})
    assert host.run("state", "x").returncode == 1
    other = host.directory / "hookrun-other"
    other.symlink_to(host.launcher)
    assert host.run("state", "x", launcher=other).returncode == 42
    assert [line["profile"] for line in host.lines()] == ["", "hookrun-other"]


def test_flags_of_oci_add_hooks_name_the_runtime(host: Host, runtime: Path) -> None:
    done = host.run("--hook-config-path", "/h.json", "--runtime-path", str(runtime), "state", "x")
    assert done.returncode == 42
    assert called(host) == [str(runtime), "--root", str(host.directory / "root"), "state", "x"]


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("runc", "--runtime-path runc: must be the absolute path of a runtime"),
        ("/nosuch", "runtime /nosuch: no such file or directory; see --runtime-path"),
    ],
)
def test_a_runtime_path_that_is_none(host: Host, path: str, problem: str) -> None:
    done = host.run("--runtime-path", path, "state", "x")
    assert (done.returncode, problem in done.stderr) == (1, True), done.stderr


def test_a_runtime_that_is_not_there(host: Host) -> None:
    host.apply({"runtime": "/nosuch/runtime"})
    done = host.run("state", "x")
    assert done.returncode == 1
    assert "runtime /nosuch/runtime: no such file or directory" in done.stderr


def test_our_own_faults_reach_the_engine(host: Host) -> None:
    (host.directory / "bundle").mkdir()
    (host.directory / "bundle" / "config.json").write_text("{}")
    broken = host.make_launcher("hookrun-broken")
    text = broken.read_text()
    broken.write_text(text.replace("main(", "from hookrun.wrapper import shim\nshim._run = lambda *a: 1 / 0\nmain("))
    done = host.run("state", "x", launcher=broken)
    assert done.returncode == 1
    assert 'level=error msg="internal error: ZeroDivisionError: division by zero"' in done.stderr
    assert host.lines()[0]["error"] == "internal error: ZeroDivisionError: division by zero"


def test_an_unwritable_record_is_a_warning(host: Host) -> None:
    host.record.write_text("in the way")
    done = host.run("state", "x")
    assert done.returncode == 1
    assert "level=warning" in done.stderr
    assert "cannot write the record" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes somebody else")
def test_a_users_state_is_in_the_runtime_directory() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:  # pytest's own directories are root's alone
        os.chmod(directory, 0o755)
        home = Path(directory) / "home"
        home.mkdir()
        os.chown(home, 65534, 65534)
        source = Path(directory) / "source" / "hookrun"
        source.mkdir(parents=True)
        for folder in ("hooks", "policies", "runtime", "wrapper"):
            origin = Path(SOURCE, "hookrun", folder).resolve()
            shutil.copytree(origin, source / folder, ignore=shutil.ignore_patterns("admin", "__pycache__"))
        program = f"import sys; sys.path.append({str(source.parent)!r}); from hookrun.wrapper.entry import main; main()"
        done = subprocess.run(
            ["/usr/bin/python3", "-ISXutf8", "-c", program, "state", "x"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            user=65534,
            group=65534,
            extra_groups=[],
            env={"XDG_RUNTIME_DIR": str(home / "run"), "HOME": str(home)},
        )
        assert done.returncode == 1
        assert "container does not exist" in done.stderr
        assert (home / "run" / "hookrun").stat().st_mode & 0o7777 == 0o1700
        assert (home / ".local" / "state" / "hookrun" / "record.jsonl").exists()


def test_the_interrupt_key_ends_it_without_a_word(host: Host) -> None:
    waiting = host.make_launcher("hookrun-waiting")
    text = waiting.read_text()
    sleep = "from hookrun.wrapper import shim\nimport time\nshim._run = lambda *a: print('up', flush=True) or time.sleep(60)\n"
    waiting.write_text(text.replace("main(", sleep + "main("))
    process = subprocess.Popen(
        [str(waiting), "--root", str(host.directory / "root"), "state", "x"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait(timeout=60)
    assert (process.returncode, stderr) == (-signal.SIGINT, b"")


def test_root_is_never_the_hosts_root(host: Host) -> None:
    done = host.run("--root", "/", "list")
    assert done.returncode == 1
    assert "Option --root argument should not be set to /" in done.stderr
