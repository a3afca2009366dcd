"""The snapshot file: what is packed comes back, and whatever is wrong with it is found out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast

import pytest

from hookrun.runtime.errors import Failure
from hookrun.wrapper import settings, snapshot

CONTENT: dict[str, Any] = {
    "settings": settings.DEFAULTS,
    "profiles": {"hookrun-audit": settings.completed({"runtime": "/usr/sbin/runc", "record": {"maxSize": 5}})},
    "policies": [("name", 1, None, b"bytes", 1.5, True)],
}


@pytest.fixture
def state(tmp_path: Path) -> Path:
    path = tmp_path / snapshot.NAME
    path.write_bytes(snapshot.packed(cast(snapshot.Content, CONTENT)))
    path.chmod(0o644)
    return tmp_path


def test_what_is_packed_comes_back(state: Path) -> None:
    found = snapshot.load(str(state))
    assert found.content == CONTENT
    assert not found.notice
    found.demand()


def test_without_one_everything_goes_on(tmp_path: Path) -> None:
    found = snapshot.load(str(tmp_path))
    assert found.content is None
    assert "no snapshot" in found.notice
    found.demand()


def test_one_that_is_gone_is_no_host_without_one(state: Path) -> None:
    (state / snapshot.HISTORY).mkdir()
    (state / snapshot.NAME).unlink()
    found = snapshot.load(str(state))
    with pytest.raises(Failure, match=rf"^the snapshot {state}/snapshot is gone, .*`hookctl rollback`"):
        found.demand()
    (state / snapshot.ON_ERROR).write_text("allow\n")
    found.demand()
    assert found.content is None


def test_every_damaged_byte_is_found(state: Path) -> None:
    path = state / snapshot.NAME
    data = path.read_bytes()
    for position in range(0, len(data), 7):
        path.write_bytes(data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])
        assert snapshot.load(str(state)).is_damaged, position


@pytest.mark.parametrize("cut", [0, 1, 30, 60, 90, -1])
def test_every_cut_is_found(state: Path, cut: int) -> None:
    path = state / snapshot.NAME
    path.write_bytes(path.read_bytes()[:cut])
    assert snapshot.load(str(state)).is_damaged


def test_damage_names_the_file_and_what_mends_it(state: Path) -> None:
    (state / snapshot.NAME).write_bytes(b"HOOKRUN")
    with pytest.raises(Failure, match=rf"^cannot use the snapshot {state}/snapshot: .*`hookctl apply`"):
        snapshot.load(str(state)).demand()


@pytest.mark.parametrize(("word", "goes_on"), [("allow\n", True), ("allow", True), ("deny", False), ("", False)])
def test_the_operator_may_choose_to_go_on(state: Path, word: str, goes_on: bool) -> None:
    (state / snapshot.NAME).write_bytes(b"HOOKRUN")
    (state / snapshot.ON_ERROR).write_text(word)
    found = snapshot.load(str(state))
    if goes_on:
        found.demand()
    else:
        with pytest.raises(Failure):
            found.demand()


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
def test_one_that_others_can_write_is_refused(state: Path, mode: int) -> None:
    (state / snapshot.NAME).chmod(mode)
    assert "users other than root can write it" in snapshot.load(str(state)).notice


@pytest.mark.skipif(os.geteuid() != 0, reason="gives the file to somebody")
def test_one_of_somebody_else_is_refused(state: Path) -> None:
    os.chown(state / snapshot.NAME, 12345, 0)
    assert snapshot.load(str(state)).is_damaged


def test_the_programs_name_chooses_the_profile() -> None:
    audit = settings.chosen(CONTENT, "/usr/local/bin/hookrun-audit")
    assert (audit.profile, audit.runtime, audit.record_max_size) == ("hookrun-audit", "/usr/sbin/runc", 5)
    assert audit.record_max_total == settings.DEFAULTS["record"]["maxTotal"]
    plain = settings.chosen(CONTENT, "hookrun")
    assert (plain.profile, plain.runtime) == ("", "")
    assert settings.chosen(None, "hookrun-audit").runtime == ""
