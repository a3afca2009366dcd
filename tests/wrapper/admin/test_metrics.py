"""`hookctl metrics`: counts that only grow, as Prometheus reads them."""

from __future__ import annotations

import json
import random
import socket
import subprocess
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from hookrun.wrapper.admin import metrics
from hookrun.wrapper.admin.host import Host
from hookrun.wrapper.admin.record_position import Position
from tests.support import recorded
from tests.support.bundles import Bundle
from tests.support.configured import configured_host
from tests.support.runtimes import HOOKCTL, wait_for


@pytest.fixture
def host(tmp_path: Path) -> Host:
    found = Host(tmp_path / "etc", tmp_path / "state")
    found.config.mkdir()
    found.state.mkdir()
    return found


def samples(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (one.name, frozenset(one.labels.items())): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
    }


def numbered(first: int, count: int) -> list[dict[str, object]]:
    dice = random.Random(first)
    return [recorded.call(number, dice) for number in range(first, first + count)]


def test_each_call_is_counted_once_over_rotation_and_pruning(host: Host) -> None:
    record = host.state / "record"

    def total() -> int:
        return sum(metrics.counted(host).calls.values())

    recorded.write(record, numbered(0, 70))
    assert (total(), total()) == (70, 70)
    recorded.write(record, numbered(70, 7))
    (record / "record.jsonl").rename(record / "record-1.jsonl")
    recorded.write(record, numbered(77, 14))
    assert total() == 91
    (record / "record-1.jsonl").unlink()
    assert total() == 91
    # A file that takes over another one's place, and maybe its inode number.
    (record / "record.jsonl").unlink()
    recorded.write(record, numbered(200, 7))
    assert total() == 98


def test_a_line_in_the_making_is_counted_when_it_is_whole(tmp_path: Path) -> None:
    position = Position()
    recorded.write(tmp_path, numbered(0, 1))
    path = tmp_path / "record.jsonl"
    line = path.read_bytes()
    path.write_bytes(line + line[:50])
    assert len(list(position.new_calls(tmp_path))) == 1
    path.write_bytes(line + line + b"no record\n")
    assert len(list(position.new_calls(tmp_path))) == 1
    assert list(position.new_calls(tmp_path)) == []


def test_a_damaged_count_starts_anew(host: Host) -> None:
    recorded.write(host.state / "record", numbered(0, 7))
    for text in ("", "{", "[]", '{"tally": 5}', '{"tally": {}, "ends": {"1": 5}}'):
        (host.state / "metrics.json").write_text(text)
        assert sum(metrics.counted(host).calls.values()) == 7


def test_what_a_hosts_containers_leave(bundle: Bundle) -> None:
    """Calls, durations, a policy's denial, a hook that fails: all of it by the real hookrun."""
    with configured_host() as host:
        policy = {
            "metadata": {"name": "p"},
            "spec": {"deny": [{"when": {"field": "/hostname", "equals": "evil"}, "message": "no"}]},
        }
        (host.config / "policies.d").mkdir()
        (host.config / "policies.d/p.yaml").write_text(
            json.dumps({"apiVersion": "hookrun/v1", "kind": "Policy", **policy})
        )
        hook = host.script("hook", "exit 7")
        host.hook("a.json", hook, "poststop", args=["hook"])
        host.apply()
        assert host.runtime.run(bundle.path).status == 0
        bundle.config["hostname"] = "evil"
        assert host.runtime.run(bundle.write().path).status == 1
        result = host.hookctl("metrics")
        assert result.status == 0, result.err
        found = samples(result.out)

    def value(name: str, **labels: str) -> float:
        return found[name, frozenset(labels.items())]

    engine = next(dict(labels)["engine"] for name, labels in found if name == "hookrun_calls_total")
    assert value("hookrun_calls_total", command="run", engine=engine, result="denied") == 1
    assert value("hookrun_policy_decisions_total", policy="p", effect="denied") == 1
    assert value("hookrun_call_duration_seconds_count", command="run", engine=engine) == 2
    assert value("hookrun_hook_failures_total", hook=hook, stage="poststop") == 1
    assert 0 < value("hookrun_hook_duration_seconds_sum", hook=hook, stage="poststop") < 60
    assert value("hookrun_record_size_bytes") > 1000
    assert [dict(labels)["number"] for name, labels in found if name == "hookrun_snapshot_info"] == ["1"]


def hookctl(host: Host, *words: str) -> list[str]:
    return [str(HOOKCTL), "--config", str(host.config), "--state", str(host.state), "metrics", *words]


@pytest.mark.parametrize(
    "address", ["0.0.0.0:9477", "10.0.0.1:1", "localhost:1", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:70000", ":1"]
)
def test_nobody_else_is_answered(host: Host, address: str) -> None:
    done = subprocess.run(hookctl(host, "--listen", address), capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (
        1,
        f"hookctl: --listen: {address!r}: give 127.0.0.1:PORT, [::1]:PORT or unix:PATH\n",
    )


def test_served_and_written(host: Host, tmp_path: Path) -> None:
    recorded.write(host.state / "record", numbered(0, 7))
    textfile = tmp_path / "hookrun.prom"
    subprocess.run(hookctl(host, "--textfile", str(textfile)), check=True, timeout=60)
    assert "hookrun_calls_total" in textfile.read_text()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    path = tmp_path / "s"
    assert calls_served(host, f"127.0.0.1:{port}", port, None) == 7
    assert calls_served(host, f"unix:{path}", 0, path) == 7


def test_what_is_no_socket_is_not_listened_on(host: Host, tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("kept")
    done = subprocess.run(
        hookctl(host, "--listen", f"unix:{path}"), capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (1, f"hookctl: cannot listen on unix:{path}: address already in use\n")
    assert path.read_text() == "kept"


def calls_served(host: Host, address: str, port: int, path: Path | None) -> float:
    server = subprocess.Popen(hookctl(host, "--listen", address), stdin=subprocess.DEVNULL)
    try:
        wait_for(lambda: answer(port, path) != "", "an answer")
        return sum(value for (name, _), value in samples(answer(port, path)).items() if name == "hookrun_calls_total")
    finally:
        server.terminate()
        server.wait(60)


def answer(port: int, path: Path | None) -> str:
    try:
        if path is None:
            return str(urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30).read().decode())
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            return b"".join(iter(lambda: client.recv(65536), b"")).decode().partition("\r\n\r\n")[2]
    except OSError:
        return ""
