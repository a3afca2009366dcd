"""config.json is read once and rewritten whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hookrun.runtime.errors import Failure
from hookrun.runtime.linux import os
from hookrun.wrapper.bundle import ORIGINAL, Bundle

BEFORE = '{"ociVersion": "1.0.2", "process": {"args": ["größe"]}, "unknown": {"kept": [1.5, null]}}'


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "config.json"
    path.write_text(BEFORE)
    path.chmod(0o640)
    return tmp_path


def test_rewritten_with_owner_and_mode(directory: Path) -> None:
    path = directory / "config.json"
    if os.geteuid() == 0:
        os.chown(path, 1234, 5678)
    status = path.stat()
    bundle = Bundle(str(directory))
    written = bundle.rewrite({**bundle.config, "hostname": "new"})
    assert path.read_bytes() == written
    assert json.loads(written) == {**json.loads(BEFORE), "hostname": "new"}
    after = path.stat()
    assert (after.st_uid, after.st_gid, after.st_mode) == (status.st_uid, status.st_gid, status.st_mode)
    assert after.st_ino != status.st_ino
    assert sorted(entry.name for entry in directory.iterdir()) == [ORIGINAL, "config.json"]


def test_a_second_hookrun_in_the_same_process_finds_it_done(directory: Path) -> None:
    first = Bundle(str(directory))
    first.rewrite({"patched": True})
    second = Bundle(str(directory))
    assert second.is_patched
    assert not second.is_outdated
    assert second.config == {"patched": True}


def test_a_create_that_is_tried_again_starts_from_the_original(directory: Path) -> None:
    child = os.fork()
    if not child:
        try:
            Bundle(str(directory)).rewrite({"patched": True})
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    again = Bundle(str(directory))
    assert again.is_outdated
    assert not again.is_patched
    assert again.original == BEFORE.encode()
    assert again.config == json.loads(BEFORE)


def test_an_engine_that_writes_a_new_config_is_believed(directory: Path) -> None:
    Bundle(str(directory)).rewrite({"patched": True})
    (directory / "config.json").write_text('{"new": 1}')
    bundle = Bundle(str(directory))
    assert (bundle.config, bundle.is_patched, bundle.is_outdated) == ({"new": 1}, False, False)


@pytest.mark.parametrize("junk", [b"", b"\n", b"x y\nz", b"\xff\xfe 12"])
def test_junk_in_place_of_the_original_is_ignored(directory: Path, junk: bytes) -> None:
    (directory / ORIGINAL).write_bytes(junk)
    assert Bundle(str(directory)).config == json.loads(BEFORE)


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
