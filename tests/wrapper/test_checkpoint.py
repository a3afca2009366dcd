"""checkpoint and restore by a registered launcher: what policies and hooks make of them, and what the record says."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.checkpoint_support import (
    COUNTER,
    Saved,
    checkpoint,
    count,
    restore,
    start,
    try_restore,
    wait_for_more,
)
from tests.support import criu
from tests.support.bundles import Bundle
from tests.support.configured import ConfiguredHost
from tests.support.runtimes import HOOKCTL, fresh_id
from tests.support.warm import copied
from tests.wrapper.decision.test_gate import in_force


@pytest.fixture
def saved(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> Saved:
    monkeypatch.setenv("PATH", criu.path())
    if criu.problem():
        pytest.skip(f"CRIU does not work on this kernel: {criu.problem()}")
    return Saved(bundle.path / "images", bundle.path / "work")


def counter(bundle: Bundle) -> Bundle:
    bundle.add_mount("/scratch", "tmpfs", "tmpfs", "size=1m")
    return bundle.shell(COUNTER)


def test_the_record_has_crius_statistics(host: ConfiguredHost, bundle: Bundle, saved: Saved) -> None:
    host.apply()
    container_id = start(host.runtime, counter(bundle))
    wait_for_more(bundle, 3)
    assert checkpoint(host.runtime, container_id, saved).status == 0
    restore(host.runtime, bundle, saved, container_id=container_id)
    dump, back = host.lines("checkpoint")[-1], host.lines("restore")[-1]
    assert 0 < dump["criu"]["frozen_us"] < 60_000_000
    assert dump["criu"]["bytes"] == 4096 * dump["criu"]["pages"] > 0
    assert back["criu"]["restore_us"] > 0
    assert back["criu"]["pages"] > 0
    for line in (dump, back):
        assert line["cold"]  # no heap holds protobuf
        assert {"criu"} <= {name for name, _ in line["phases"]}
    shown = subprocess.run(
        [HOOKCTL, "--config", host.config, "--state", host.state, "trace", "show", dump["id"]],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "frozen " in shown.stdout, shown.stderr


def test_policies_and_hooks_see_a_restore(host: ConfiguredHost, bundle: Bundle, saved: Saved) -> None:
    container_id = start(host.runtime, counter(bundle))
    wait_for_more(bundle, 3)
    assert checkpoint(host.runtime, container_id, saved).status == 0
    seen = bundle.path / "seen"
    hook = {"path": "/bin/sh", "args": ["sh", "-c", f"cat > {seen}"]}
    deny: dict[str, Any] = {
        "match": {"command": ["restore"]},
        "deny": [{"when": {"field": "/hostname", "equals": "forbidden"}, "message": "not this one"}],
    }
    in_force(host, deny, {"hooks": {"createRuntime": [hook]}})
    bundle.config["hostname"] = "forbidden"
    bundle.write()
    refused = try_restore(host.runtime, bundle, saved, container_id=fresh_id("ckr"))
    assert (refused.status, "policy p0: not this one" in refused.err) == (1, True), refused.err
    bundle.config["hostname"] = "test"
    bundle.write()
    before = count(bundle)
    restore(host.runtime, bundle, saved, container_id=container_id)
    state = json.loads(seen.read_text())
    assert (state["id"], state["status"]) == (container_id, "creating")
    assert Path(f"/proc/{state['pid']}").exists()
    wait_for_more(bundle, before)


def test_without_protobuf_one_line_says_so(bundle: Bundle, tmp_path: Path) -> None:
    packages = copied(tmp_path / "hookrun")
    library = tmp_path / "google/protobuf"
    library.mkdir(parents=True)
    (library / "__init__.py").write_text("raise ImportError('not here')\n")
    (library.parent / "__init__.py").touch()
    state = tmp_path / "state"
    state.mkdir()
    code = f"""
import sys
package = type(sys)("hookrun")
package.__path__ = [{str(packages)!r}]
sys.modules["hookrun"] = package
from hookrun.wrapper.entry import main
main({str(state)!r})
"""
    words = [
        "/usr/bin/python3",
        "-ISXutf8",
        "-c",
        code,
        "--root",
        str(tmp_path / "root"),
        "restore",
        "--bundle",
        str(bundle.path),
        "none",
    ]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)
    assert "install python3-protobuf" in done.stderr
    assert not (tmp_path / "root/none").exists()
