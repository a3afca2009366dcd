"""Each thing that `hookctl doctor` watches is broken once; its remedy, followed to the letter, makes doctor content."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hookrun.wrapper.admin import doctor, engines
from hookrun.wrapper.admin.app import app
from hookrun.wrapper.admin.finding import BAD, GOOD, Finding
from hookrun.wrapper.admin.host import Host
from hookrun.wrapper.start import program
from tests.wrapper.admin.support import Desk

_COMMAND = re.compile("`([^`]+)`")
_NOBODY = 65534


class Ward(Desk):
    """A host on which everything that doctor knows is in place: policies, hooks, registrations, a record."""

    def __init__(self, place: Path) -> None:
        super().__init__(place)
        self.place = place
        self.machine = Host(self.config, self.state)
        self.record = place / "record"
        self.record.mkdir(mode=0o700)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m,mode=700", "hookrun-test", self.record], check=True)
        self.units = place / "units"
        self.engine_file = place / "daemon.json"
        self.programs = {name: self._program(name) for name in ("policys", "hooksd")}
        self.profile = place / "seccomp.json"
        self.profile.write_text('{"defaultAction": "SCMP_ACT_ALLOW"}')
        self.policy("secure", {"seccomp": {"default": str(self.profile)}})
        self.policy("hooked", {"hooks": {"createRuntime": [{"path": str(self.programs["policys"])}]}})
        self.hook = self.config / "hooks.d/one.json"
        self.hook.parent.mkdir()
        hook = {"version": "1.0.0", "hook": {"path": str(self.programs["hooksd"])}, "when": {"always": True}}
        self.hook.write_text(json.dumps({**hook, "stages": ["prestart"]}))
        self.settings(f"record: {{directory: {self.record}}}\n")
        self.run("hookctl apply --yes")
        self.run(
            f"hookctl engine register docker --default --only --unit-directory {self.units} --file {self.engine_file}"
        )
        (self.record / "record.jsonl").touch(0o600)
        self.content = self.findings()

    def _program(self, name: str) -> Path:
        path = self.place / name
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
        return path

    def findings(self) -> list[Finding]:
        """What there is to say, beside what changes by itself: the snapshot's age, the record's size."""
        found = [one for one in doctor.examine(self.machine) if one.state != GOOD]
        return [one for one in found if one.subject not in ("CRIU", "sealed program")]

    def run(self, command: str) -> None:
        """Carry out a command as an advice has it, hookctl on this host."""
        words = command.split()
        if words[0] == "hookctl":
            asked = ["--yes"] if words[1] in ("apply", "rollback") and "--yes" not in words else []
            app(["--config", str(self.config), "--state", str(self.state), *words[1:], *asked], standalone_mode=False)
        else:
            subprocess.run(["sh", "-ec", command], stdin=subprocess.DEVNULL, check=True)

    def remount(self, options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", self.record], check=True)

    def rewrite(self, path: Path, old: str, new: str) -> None:
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def drop_in(self) -> Path:
        return self.units / "docker.service.d/50-hookrun.conf"


@pytest.fixture
def ward(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ward]:
    fill = program.fill  # which takes seconds: once is enough here, test_refresh.py is about the heap
    monkeypatch.setattr(program, "fill", lambda state: program.problem(state) and fill(state))
    monkeypatch.setattr(engines, "found", list)  # this machine's own belong to other tests
    made = Ward(tmp_path)
    yield made
    for place in (made.record, made.state / "seal"):
        subprocess.run(["umount", "-l", place], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)


Break = Callable[[Ward], object]
# What is broken, words of the finding, and what its advice leaves to people; else the advice's first command is run.
BREAKS: dict[str, tuple[Break, str, Break | None]] = {
    "a launcher that others can write": (lambda w: (w.state / "launchers/hookrun").chmod(0o777), "launchers/hookrun", None),
    "a launcher of somebody else": (lambda w: os.chown(w.state / "launchers/hookrun", _NOBODY, 0), "owner 65534", None),
    "a launcher that can't be executed": (lambda w: (w.state / "launchers/hookrun").chmod(0o644), "can't be executed", None),
    "a launcher that is gone": (lambda w: (w.state / "launchers/hookrun").unlink(), "can't be executed", None),
    "a launcher of other content": (lambda w: w.rewrite(w.state / "launchers/hookrun", "main", "niam"), "is not what", None),
    "a policy file that others can write": (lambda w: (w.policies / "secure.yaml").chmod(0o664), "secure.yaml", None),
    "a policy file of somebody else": (lambda w: os.chown(w.policies / "secure.yaml", _NOBODY, 0), "secure.yaml", None),
    "a sticky directory of policies": (lambda w: w.policies.chmod(0o1777), "policies.d", None),
    "a directory above all that": (lambda w: w.place.chmod(0o777), "mode 777", None),
    "a hook file that others can write": (lambda w: w.hook.chmod(0o666), "one.json", None),
    "settings that others can write": (lambda w: (w.config / "config.yaml").chmod(0o666), "config.yaml", None),
    "an onError that others can write": (lambda w: (w.state / "on-error").chmod(0o666), "on-error", None),
    "an earlier snapshot that others can write": (lambda w: (w.state / "history/1/snapshot").chmod(0o666), "history/1", None),
    "a snapshot that others can write": (lambda w: (w.state / "snapshot").chmod(0o666), "cannot use the snapshot", None),
    "a snapshot that is gone": (lambda w: (w.state / "snapshot").unlink(), "is gone, but one was in force", None),
    "a damaged snapshot": (lambda w: (w.state / "snapshot").write_bytes(b"x"), "cannot use the snapshot", None),
    "a hook's program that others can write": (lambda w: w.programs["hooksd"].chmod(0o777), "hooksd", None),
    "a policy's program that can't be executed": (lambda w: w.programs["policys"].chmod(0o644), "can't be executed", None),
    "a program that is gone": (lambda w: w.programs["policys"].unlink(), "no such file", lambda w: w._program("policys")),
    "a policy file that is changed": (lambda w: w.rewrite(w.policies / "secure.yaml", "default", "force"), "changed", None),
    "a hook file that is changed": (lambda w: w.rewrite(w.hook, "prestart", "poststop"), "one.json: changed", None),
    "a seccomp profile that is changed": (lambda w: w.rewrite(w.profile, "ALLOW", "ERRNO"), "seccomp.json", None),
    "settings that are changed": (lambda w: w.settings(f"record: {{directory: {w.record}, maxAge: 9}}"), "config.yaml: changed", None),
    "a policy file that is gone": (lambda w: (w.policies / "secure.yaml").unlink(), "secure.yaml: removed", None),
    "a policy that can't be read": (
        lambda w: (w.policies / "new.yaml").write_text("{"),
        "new.yaml",
        lambda w: (w.policies / "new.yaml").unlink(),
    ),
    "an engine's file that is gone": (lambda w: w.engine_file.unlink(), "which `register` put there, is gone", None),
    "another program of the name": (lambda w: w.rewrite(w.engine_file, "launchers/hookrun", "other"), "is gone", lambda w: w.rewrite(w.engine_file, "other", "launchers/hookrun")),
    "another default": (lambda w: w.rewrite(w.engine_file, '"default-runtime": "hookrun"', '"default-runtime": "runc"'), "not the default", None),
    "a drop-in that is gone": (lambda w: w.drop_in().unlink(), "is gone: image builds", None),
    "a drop-in that is changed": (lambda w: w.rewrite(w.drop_in(), "launchers", "elsewhere"), "is not what", None),
    "a full record": (lambda w: w.remount("size=512k"), "no space is left", lambda w: w.remount("size=8m")),
    "a read-only record": (lambda w: w.remount("ro"), "read-only", lambda w: w.remount("rw")),
    "a record that leads elsewhere": (
        lambda w: ((w.record / "record.jsonl").unlink(), (w.record / "record.jsonl").symlink_to("/dev/null")),
        "too many levels",
        lambda w: (w.record / "record.jsonl").rename(w.record / "aside"),
    ),
    "a record that others can read": (lambda w: w.record.chmod(0o755), "users other than root can look", None),
    "damaged notes of register": (
        lambda w: (w.state / "registrations.json").write_text("["),
        "damaged",
        lambda w: (
            (w.state / "registrations.json").unlink(),
            w.run(f"hookctl engine register docker --default --only --unit-directory {w.units} --file {w.engine_file}"),
        ),
    ),
}  # fmt: skip


def test_every_remedy_helps(ward: Ward) -> None:
    assert dict(filter(None, (unmended(ward, name, *row) for name, row in BREAKS.items()))) == {}


def unmended(
    ward: Ward, name: str, break_it: Break, words: str, by_hand: Break | None
) -> tuple[str, list[Finding]] | None:
    """What doctor misses of a fault, or still says after its remedy."""
    break_it(ward)
    news = [one for one in ward.findings() if one not in ward.content]
    telling = [one for one in news if (words in one.text or words in one.subject) and one.advice]
    if by_hand is not None:
        by_hand(ward)
    elif telling:
        ward.run(_COMMAND.findall(telling[0].advice)[0])
    if not telling:
        return name, news
    left = [one for one in ward.findings() if one not in ward.content]
    return (name, left) if left else None


def test_a_host_where_all_is_well(ward: Ward) -> None:
    assert [one for one in ward.content if one.state == BAD] == []
    subjects = {one.subject for one in doctor.examine(ward.machine) if one.state == GOOD}
    assert {"snapshot", "configuration", "hook programs", "files", "record", "docker", "launcher hookrun"} <= subjects
