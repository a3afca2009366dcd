"""config.json is read once and rewritten whole."""

from __future__ import annotations

import json
import os
import shutil
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from hookrun.runtime.errors import Failure
from hookrun.wrapper.patch import bundle as bundles
from hookrun.wrapper.patch.bundle import Bundle

BEFORE = '{"ociVersion": "1.0.2", "process": {"args": ["größe"]}, "unknown": {"kept": [1.5, null]}}'


@pytest.fixture
def notes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where hookrun keeps what it knows; made by the first note."""
    return tmp_path_factory.mktemp("state") / "notes"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "config.json"
    path.write_text(BEFORE)
    path.chmod(0o640)
    return tmp_path


def opened(directory: Path, notes: Path) -> Bundle:
    return Bundle(str(directory), str(notes))


def in_another_process(directory: Path, notes: Path, config: dict[str, Any]) -> None:
    child = os.fork()
    if not child:
        try:
            opened(directory, notes).rewrite(config)
        finally:
            os._exit(0)
    os.waitpid(child, 0)


def test_rewritten_with_owner_and_mode(directory: Path, notes: Path) -> None:
    path = directory / "config.json"
    if os.geteuid() == 0:
        os.chown(path, 1234, 5678)
    status = path.stat()
    bundle = opened(directory, notes)
    written = bundle.rewrite({**bundle.config, "hostname": "new"})
    assert path.read_bytes() == written
    assert json.loads(written) == {**json.loads(BEFORE), "hostname": "new"}
    after = path.stat()
    assert (after.st_uid, after.st_gid, after.st_mode) == (status.st_uid, status.st_gid, status.st_mode)
    assert after.st_ino != status.st_ino
    assert [entry.name for entry in directory.iterdir()] == ["config.json"]


def test_a_second_hookrun_in_the_same_process_finds_it_done(directory: Path, notes: Path) -> None:
    opened(directory, notes).rewrite({"patched": True})
    second = opened(directory, notes)
    assert second.is_patched
    assert not second.is_outdated
    assert second.config == {"patched": True}


def test_a_create_that_is_tried_again_starts_from_the_original(directory: Path, notes: Path) -> None:
    in_another_process(directory, notes, {"patched": True})
    again = opened(directory, notes)
    assert again.is_outdated
    assert not again.is_patched
    assert again.original == BEFORE.encode()
    assert again.config == json.loads(BEFORE)
    again.rewrite({"patched": 2})
    assert opened(directory, notes).is_patched


def test_an_engine_that_writes_a_new_config_is_believed(directory: Path, notes: Path) -> None:
    opened(directory, notes).rewrite({"patched": True})
    (directory / "config.json").write_text('{"new": 1}')
    bundle = opened(directory, notes)
    assert (bundle.config, bundle.is_patched, bundle.is_outdated) == ({"new": 1}, False, False)


def test_a_deleted_container_leaves_the_bundle_as_it_was(directory: Path, notes: Path) -> None:
    in_another_process(directory, notes, {"patched": True})
    bundles.restore(str(directory), str(notes))
    assert (directory / "config.json").read_text() == BEFORE
    assert list(notes.iterdir()) == []
    in_another_process(directory, notes, {"patched": True})
    (directory / "config.json").write_text('{"new": 1}')
    bundles.restore(str(directory), str(notes))
    assert (directory / "config.json").read_text() == '{"new": 1}'
    assert list(notes.iterdir()) == []


def test_what_lies_in_the_bundle_says_nothing(directory: Path, notes: Path) -> None:
    """Whoever can write the bundle could say "already judged" there: in 0.1.0 by this file."""
    digest = sha256((directory / "config.json").read_bytes()).hexdigest()
    start = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
    for writer in (f"{os.getpid()}", f"{os.getpid()}.{start} {directory}"):
        (directory / ".hookrun-original").write_text(f"{digest} {writer}\n{{}}")
        bundle = opened(directory, notes)
        assert (bundle.is_patched, bundle.is_outdated, bundle.config) == (False, False, json.loads(BEFORE))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be another user")
def test_notes_that_others_could_have_written_say_nothing(directory: Path, notes: Path) -> None:
    opened(directory, notes).rewrite({"patched": True})
    notes.chmod(0o777)
    assert not opened(directory, notes).is_patched
    assert not opened(directory, notes).is_outdated
    opened(directory, notes).rewrite({"again": True})
    assert not opened(directory, notes).is_patched
    notes.chmod(0o700)
    os.chown(notes, 1234, 1234)
    assert not opened(directory, notes).is_patched


def test_notes_do_not_grow_for_ever(tmp_path: Path, notes: Path) -> None:
    """Bundles that went without a `delete`."""
    for number in range(40):
        bundle = tmp_path / f"b{number}"
        bundle.mkdir()
        (bundle / "config.json").write_text(BEFORE)
        Bundle(str(bundle), str(notes)).rewrite({"patched": number})
        shutil.rmtree(bundle)
    assert len(list(notes.iterdir())) < 10


@pytest.mark.parametrize("junk", [b"", b"\n", b"x y\nz", b"\xff\xfe 12 \n"])
def test_a_damaged_note_is_ignored(directory: Path, notes: Path, junk: bytes) -> None:
    opened(directory, notes).rewrite({"patched": True})
    (note,) = notes.iterdir()
    note.write_bytes(junk)
    assert opened(directory, notes).config == {"patched": True}
    assert not opened(directory, notes).is_patched


def test_a_failed_rewrite_leaves_everything(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = Bundle(str(directory))

    def refuse(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(Failure, match=r"cannot rewrite .*/config\.json: no space left on device"):
        bundle.rewrite({})
    assert (directory / "config.json").read_text() == BEFORE
    assert [entry.name for entry in directory.iterdir()] == ["config.json"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "JSON specification file config.json not found"),
        ("", "config.json: "),
        ("[]", "config.json: not a JSON object"),
        ('{"a": }', "config.json: "),
    ],
)
def test_configs_that_cannot_be_read(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(Failure, match=f"^{message}"):
        Bundle(str(tmp_path))


def test_a_bundle_that_is_not_there() -> None:
    with pytest.raises(Failure, match=r"^chdir /nosuch/bundle: no such file or directory$"):
        Bundle("/nosuch/bundle")
