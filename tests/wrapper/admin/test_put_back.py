"""After `unregister` an engine's file is what it was before `register`, byte for byte."""

from __future__ import annotations

import json
import os
import subprocess
import tomllib
from pathlib import Path

import pytest

from hookrun.runtime.errors import Failure
from hookrun.wrapper.admin.engines.engine import Change
from tests.wrapper.admin.support import Desk

CRI = 'plugins."io.containerd.grpc.v1.cri"'
TEXTS = {
    "docker, nothing": ("docker", "{}"),
    "docker, of no use": ("docker", "{ }\n\n"),
    "docker, on one line": ("docker", '{"debug":true,"runtimes":{}}'),
    "docker, by hand": (
        "docker",
        '{\n\t"debug" : true,   "log-opts": {"max-size": "1m"},\r\n\t"shutdown-timeout": 1e1\n}',
    ),
    "docker, another default": (
        "docker",
        '{"default-runtime": "crun", "runtimes": {"crun": {"path": "/usr/bin/crun"}}}',
    ),
    "podman, nothing": ("podman", ""),
    "podman, a default of one's own": ("podman", '# mine\n[engine]\n  runtime = "crun"  # not runc\n\n[network]\n'),
    "podman, lines of Windows": ("podman", '[engine]\r\nruntime = "crun"\r\n'),
    "crio, a default of one's own": ("crio", '[crio.runtime]\ndefault_runtime = "crun" # ours\n'),
    "containerd, a comment alone": ("containerd", "# nothing yet\n"),
    "containerd, by hand": ("containerd", f'version = 2\n[{CRI}.containerd]\ndefault_runtime_name = "crun"   # ours\n'),
}


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@pytest.mark.parametrize(("engine", "text"), TEXTS.values(), ids=TEXTS)
def test_a_file_is_as_before(desk: Desk, tmp_path: Path, engine: str, text: str) -> None:
    file = tmp_path / "engine.conf"
    file.write_bytes(text.encode())
    file.chmod(0o440)
    os.setxattr(file, "user.note", b"kept")
    desk.check("engine", "register", engine, "--file", file, "--default")
    assert file.read_bytes() != text.encode()
    desk.check("engine", "unregister", engine, "--file", file)
    assert file.read_bytes() == text.encode()
    assert (file.stat().st_mode & 0o7777, os.getxattr(file, "user.note")) == (0o440, b"kept")
    assert not (desk.state / "registrations.json").exists()
    assert list((desk.state / "launchers").iterdir()) == []


def test_two_names_in_any_order(desk: Desk, tmp_path: Path) -> None:
    file = tmp_path / "daemon.json"
    for text in ("{}", '{"debug":   true}', None):
        if text is not None:
            file.write_text(text)
        for name in ("hookrun", "hookrun-audit"):
            desk.check("engine", "register", "docker", "--file", file, "--name", name)
        for name in ("hookrun", "hookrun-audit"):
            desk.check("engine", "unregister", "docker", "--file", file, "--name", name)
        left = json.loads(file.read_text()) if file.exists() else None
        assert left == (json.loads(text) if text is not None else None)
        file.unlink(missing_ok=True)


def test_a_link_stays_a_link(desk: Desk, tmp_path: Path) -> None:
    real, link = tmp_path / "real.json", tmp_path / "daemon.json"
    real.write_text('{"debug":true}')
    link.symlink_to("real.json")
    desk.check("engine", "register", "docker", "--file", link)
    assert link.is_symlink() and "hookrun" in real.read_text()
    desk.check("engine", "unregister", "docker", "--file", link)
    assert (os.readlink(link), real.read_text()) == ("real.json", '{"debug":true}')


def test_what_was_edited_since_stays(desk: Desk, tmp_path: Path) -> None:
    file = tmp_path / "daemon.json"
    file.write_text('{"debug":true}')
    desk.check("engine", "register", "docker", "--file", file, "--default")
    values = json.loads(file.read_text())
    file.write_text(json.dumps({**values, "debug": False, "live-restore": True}))
    desk.check("engine", "unregister", "docker", "--file", file)
    assert json.loads(file.read_text()) == {"debug": False, "live-restore": True}


def test_a_default_of_ones_own_comes_back_to_an_edited_file(desk: Desk, tmp_path: Path) -> None:
    file = tmp_path / "containers.conf"
    file.write_text('[engine]\nruntime = "crun"  # mine\n')
    desk.check("engine", "register", "podman", "--file", file, "--default")
    file.write_text(f"{file.read_text()}[network]\nnetwork_backend = 'cni'\n")
    desk.check("engine", "unregister", "podman", "--file", file)
    lines = [line for line in file.read_text().splitlines() if line]
    assert lines == ["[engine]", 'runtime = "crun"  # mine', "[network]", "network_backend = 'cni'"]


def test_podman_asks_hookrun_for_json(desk: Desk, tmp_path: Path) -> None:
    """Errors in JSON reach Podman's users as plain words; it asks only the runtimes of a list for it."""
    file = tmp_path / "containers.conf"
    for text, known in (("", ["crun", "runc"]), ('[engine]\nruntime_supports_json = ["mine"]\n', ["mine"])):
        file.write_text(text)
        for name in ("hookrun", "hookrun-audit"):
            desk.check("engine", "register", "podman", "--file", file, "--name", name)
        names = tomllib.loads(file.read_text())["engine"]["runtime_supports_json"]
        assert (names[: len(known)], names[-2:]) == (known, ["hookrun", "hookrun-audit"])
        for name in ("hookrun", "hookrun-audit"):
            desk.check("engine", "unregister", "podman", "--file", file, "--name", name)
        assert tomllib.loads(file.read_text()) == tomllib.loads(text)


def test_a_file_that_changes_meanwhile_is_not_written(tmp_path: Path) -> None:
    file = tmp_path / "daemon.json"
    file.write_text('{"new": 1}')
    for before in ("{}", None):
        with pytest.raises(Failure, match="changed in the meantime"):
            Change(file, before, '{"ours": 1}').make()
    assert file.read_text() == '{"new": 1}'


def test_a_file_that_cannot_be_written_leaves_no_launcher(desk: Desk, tmp_path: Path) -> None:
    place = tmp_path / "engine"
    place.mkdir()
    (place / "daemon.json").write_text("{}")
    subprocess.run(["mount", "--bind", place, place], check=True, timeout=60)
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", place], check=True, timeout=60)
        refused = desk("engine", "register", "docker", "--file", place / "daemon.json")
    finally:
        subprocess.run(["umount", place], check=True, timeout=60)
    assert (refused.status, refused.err.count("\n")) == (1, 1), refused.err
    assert "read-only file system" in refused.err.lower()
    assert (place / "daemon.json").read_text() == "{}"
    assert not (desk.state / "launchers/hookrun").exists()
    assert not (desk.state / "registrations.json").exists()


STRANGERS = {
    "docker": '{"runtimes": {"hookrun": {"path": "/opt/theirs/runtime"}}}',
    "podman": '[engine.runtimes]\nhookrun = ["/opt/theirs/runtime"]\n',
    "crio": '[crio.runtime.runtimes.hookrun]\nruntime_path = "/opt/theirs/runtime"\n',
    "containerd": f'version = 2\n[{CRI}.containerd.runtimes.hookrun]\nruntime_type = "io.containerd.runsc.v1"\n',
}


@pytest.mark.parametrize(("engine", "text"), STRANGERS.items(), ids=STRANGERS)
def test_a_runtime_of_somebody_elses_is_not_taken_over(desk: Desk, tmp_path: Path, engine: str, text: str) -> None:
    file = tmp_path / "engine.conf"
    file.write_text(text)
    refused = desk("engine", "register", engine, "--file", file)
    assert (refused.status, "choose another by --name" in refused.err) == (1, True), refused.err
    assert file.read_text() == text
    assert not (desk.state / "launchers").exists()


def test_a_launcher_stays_for_another_file(desk: Desk, tmp_path: Path) -> None:
    one, two = tmp_path / "one.json", tmp_path / "two.json"
    for file in (one, two):
        desk.check("engine", "register", "docker", "--file", file)
    assert "kept for docker" in desk.check("engine", "unregister", "docker", "--file", one)
    assert (desk.state / "launchers/hookrun").exists()
    desk.check("engine", "unregister", "docker", "--file", two)
    assert not (desk.state / "launchers/hookrun").exists()


def test_a_damaged_note_is_named(desk: Desk, tmp_path: Path) -> None:
    file = tmp_path / "daemon.json"
    desk.check("engine", "register", "docker", "--file", file)
    note = desk.state / "registrations.json"
    for text in ("{", '["x"]', '[{"engine": "docker"}]'):
        note.write_text(text)
        refused = desk("engine", "unregister", "docker", "--file", file)
        assert (refused.status, refused.err.count("\n")) == (1, 1) and f"{note}: damaged" in refused.err
    note.unlink()
    desk.check("engine", "unregister", "docker", "--file", file)
    assert not file.exists()
