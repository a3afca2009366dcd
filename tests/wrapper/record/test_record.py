"""The record: a line for each call, whoever writes at the same time, and nothing secret in it."""

from __future__ import annotations

import datetime
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from hookrun.policies.decide import Outcome
from hookrun.runtime.context import Context
from hookrun.runtime.errors import Failure
from hookrun.runtime.log import Log
from hookrun.wrapper import settings
from hookrun.wrapper.cli import argv
from hookrun.wrapper.patch.bundle import Bundle
from hookrun.wrapper.record import kept_configs, record, record_space

SECRET = "swordfish-7731"
LINE = [b"/usr/bin/hookrun", b"--log", b"/l", b"create", b"--bundle", b"/b\xff", b"--no-pivot", b"box"]


def made(directory: Path, **values: Any) -> settings.Settings:
    return settings.read("", settings.completed({"record": {"directory": str(directory), **values}}), str(directory))


def begun(chosen: settings.Settings, line: list[bytes] = LINE) -> record.Record:
    return record.Record(argv.parse(line), chosen, "no snapshot here")


def write(chosen: settings.Settings, line: list[bytes], status: int | None = 0, error: str = "") -> str:
    context = Context("/run/x", Log())
    context.phase("decide")
    return begun(chosen, line).close(context, status, error)


def lines(directory: Path) -> list[dict[str, Any]]:
    paths = sorted(directory.glob("record*.jsonl"))
    found = [json.loads(line) for path in paths for line in path.read_text().splitlines()]
    return [line for line in found if "notice" not in line]


def test_a_line_says_what_was_called(tmp_path: Path) -> None:
    directory = tmp_path / "log" / "hookrun"
    assert write(made(directory), LINE, 1, "it failed") == ""
    (line,) = lines(directory)
    assert [os.fsencode(word) for word in line["argv"]] == LINE
    assert line["command"] == "create"
    assert line["options"] == {"bundle": "/b\udcff", "no-pivot": True}
    assert line["globals"] == {"log": "/l"}
    assert line["container"] == "box"
    assert line["caller"]["pid"] == os.getppid()
    assert line["pid"] == os.getpid()
    assert (line["status"], line["error"]) == (1, "it failed")
    assert [name for name, _ in line["phases"]] == ["decide"]
    assert abs(time.time() - datetime.datetime.fromisoformat(line["time"]).timestamp()) < 600
    assert (directory / "record.jsonl").stat().st_mode & 0o777 == 0o600
    assert directory.stat().st_mode & 0o777 == 0o700


def test_the_notice_is_said_once(tmp_path: Path) -> None:
    for _ in range(3):
        write(made(tmp_path), LINE)
    text = (tmp_path / "record.jsonl").read_text()
    assert text.count("no snapshot here") == 1
    assert len(lines(tmp_path)) == 3


def test_nothing_secret_is_written(tmp_path: Path) -> None:
    bundle_directory = tmp_path / "bundle"
    bundle_directory.mkdir()
    config = {
        "process": {"env": [f"TOKEN={SECRET}"], "args": ["x", "--password", SECRET]},
        "annotations": {"secret": SECRET},
    }
    (bundle_directory / "config.json").write_text(json.dumps(config))
    bundle = Bundle(str(bundle_directory))
    outcome = Outcome({**bundle.config, "hooks": {"poststop": [{"path": "/h", "env": [f"API_KEY={SECRET}"]}]}})
    words = ["runc", "exec", "--env", f"DB_PASSWORD={SECRET}", "box", "mysql", f"--password={SECRET}"]
    line = begun(made(tmp_path / "log"), [word.encode() for word in words])
    line.decided(outcome, {})
    line.changed(bundle, outcome.config, json.dumps(outcome.config).encode())
    assert line.close(Context("/run/x", Log()), 0, "") == ""
    files = [path for path in (tmp_path / "log").rglob("*") if path.is_file()]
    assert len(files) == 2
    for path in files:
        assert SECRET not in path.read_text()
        assert path.stat().st_mode & 0o777 == 0o600


def test_a_change_is_kept_with_the_config_from_before(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"hostname": "a"}')
    bundle = Bundle(str(tmp_path))
    for _ in range(2):
        line = begun(made(tmp_path / "log"))
        line.changed(bundle, {"hostname": "b"}, b'{"hostname":"b"}')
        line.close(Context("/run/x", Log()), 0, "")
    first, second = lines(tmp_path / "log")
    assert first["config"] == second["config"]
    assert first["config"]["patch"] == [{"op": "replace", "path": "/hostname", "value": "b"}]
    assert first["id"] != second["id"]
    (kept,) = (tmp_path / "log" / "configs").iterdir()
    assert kept.name == first["config"]["before"] + ".json"
    assert json.loads(kept.read_text()) == {"hostname": "a"}


def test_a_record_that_cannot_be_written_stops_nothing_unless_required(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert write(made(blocked / "x"), LINE).startswith(f"cannot write the record in {blocked}/x: ")
    begun(made(blocked / "x")).require()
    with pytest.raises(Failure, match="which the settings require"):
        begun(made(blocked / "x", required=True)).require()


def test_no_record_is_no_file(tmp_path: Path) -> None:
    assert write(made(tmp_path / "log", enabled=False, required=True), LINE) == ""
    assert not (tmp_path / "log").exists()


def test_the_record_is_not_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("")
    (tmp_path / "record.jsonl").symlink_to(tmp_path / "target")
    assert write(made(tmp_path), LINE)
    assert (tmp_path / "target").read_text() == ""


def test_sixteen_writers_and_rotation_lose_no_line(tmp_path: Path) -> None:
    calls = 60
    chosen = made(tmp_path, maxSize=20_000)
    children = []
    for writer in range(16):
        child = os.fork()
        if not child:
            try:
                for number in range(calls):
                    write(chosen, [b"runc", b"state", f"{writer}-{number}".encode()])
            except BaseException:
                sys.excepthook(*sys.exc_info())
                os._exit(1)
            os._exit(0)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 16
    found = sorted(line["container"] for line in lines(tmp_path))
    assert found == sorted(f"{writer}-{number}" for writer in range(16) for number in range(calls))
    assert len(list(tmp_path.glob("record-*.jsonl"))) > 5


def test_rotated_files_are_capped_by_size_and_age(tmp_path: Path) -> None:
    chosen = made(tmp_path, maxSize=2_000, maxTotal=10_000)
    ancient = tmp_path / "record-1-1.jsonl"
    ancient.write_text("{}\n")
    os.utime(ancient, (1, 1))
    for _ in range(60):
        write(chosen, LINE)
    rotated = list(tmp_path.glob("record-*.jsonl"))
    assert ancient not in rotated
    assert 2 <= len(rotated) <= 6
    assert sum(path.stat().st_size for path in rotated) <= 10_000


def test_configs_count_for_the_cap_and_one_that_is_used_again_is_new(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"hostname": "a"}')
    directory = tmp_path / "log"

    def call() -> Path:
        bundle = Bundle(str(tmp_path))
        line = begun(made(directory))
        line.changed(bundle, bundle.config, None)
        assert line.close(Context("/run/x", Log()), 0, "") == ""
        (kept,) = (path for path in (directory / "configs").iterdir() if not path.name.startswith("old"))
        return kept

    kept = call()
    os.utime(kept, (1, 1))
    call()
    assert time.time() - kept.stat().st_mtime < 600
    old = directory / "configs" / "old.json"
    old.write_text("x" * 1000)
    os.utime(old, (1, 1))
    assert record_space.make_room(str(directory), 10_000, 86400) == (1, 1000)
    assert kept.exists() and not old.exists()
    compressed = kept.rename(kept.with_name(kept.name + kept_configs.PACKED))
    assert call() == compressed


def test_the_process_above_the_caller(tmp_path: Path) -> None:
    write(made(tmp_path), LINE)
    (line,) = lines(tmp_path)
    assert line["caller"]["above"] is None or line["caller"]["above"]["pid"] > 1
