"""Hooks of all stages, as under runc: what they read on stdin, where they run and with what environment."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from hookrun.runtime import SPEC_VERSION
from tests.support.bundles import Bundle
from tests.support.runtimes import Runtime, fresh_id, wait_for

STAGES = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
SCRIPT = "{{ cat; echo; pwd; readlink /proc/self/ns/mnt; readlink /proc/self/ns/net; env | grep -v ^PWD= | sort; }} > {path}.new; mv {path}.new {path}"
MOUNTED = "/out"


def with_hooks(bundle: Bundle, out: Path) -> None:
    """A hook for each stage that writes what it sees into `out`, which the container has too."""
    bundle.add_mount(MOUNTED, "bind", str(out), "bind")
    bundle.config["annotations"] = {"test.example/key": "value"}
    bundle.config["hooks"] = {
        stage: [_hook(stage, MOUNTED if stage == "startContainer" else str(out))] for stage in STAGES
    }


def _hook(stage: str, directory: str) -> dict[str, Any]:
    script = SCRIPT.format(path=f"{directory}/{stage}")
    return {"path": "/bin/sh", "args": ["sh", "-c", script], "env": [f"STAGE={stage}", "PATH=/bin:/usr/bin"]}


def seen_by_hooks(runtime: Runtime, bundle: Bundle, out: Path) -> dict[str, dict[str, Any]]:
    """What each stage's hook saw, without what differs from run to run."""
    out.mkdir()
    with_hooks(bundle, out)
    container_id = fresh_id("hooks")
    runtime.create(bundle.command("sleep", "1000").path, container_id=container_id)
    pid = runtime.state(container_id)["pid"]
    names = {os.readlink(f"/proc/{pid}/ns/{kind}"): "the container's" for kind in ("mnt", "net")}
    names |= {os.readlink(f"/proc/self/ns/{kind}"): "the host's" for kind in ("mnt", "net")}
    runtime.start(container_id)
    wait_for((out / "poststart").exists, "the poststart hook")
    assert runtime.call("delete", "--force", container_id).status == 0
    texts = {
        stage: (out / stage).read_text().replace(container_id, "ID").replace(f'"pid":{pid}', '"pid":PID')
        for stage in STAGES
    }
    for link, name in names.items():
        texts = {stage: text.replace(link, name) for stage, text in texts.items()}
    return {stage: _parts(text.replace(":PID", ":-1")) for stage, text in texts.items()}


def _parts(text: str) -> dict[str, Any]:
    state, directory, mount, network, *env = text.splitlines()
    return {"state": json.loads(state), "cwd": directory, "mnt": mount, "net": network, "env": env}


@pytest.fixture
def seen(bundle: Bundle, hookrun: Runtime, runc: Runtime, tmp_path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """hookrun's and runc's."""
    ours = seen_by_hooks(hookrun, bundle, tmp_path / "ours")
    bundle.config["mounts"].pop()
    return ours, seen_by_hooks(runc, bundle, tmp_path / "theirs")


def test_hooks_see_what_they_see_under_runc(seen: tuple[dict[str, Any], dict[str, Any]]) -> None:
    ours, theirs = seen
    for stage in STAGES:
        assert ours[stage]["state"].pop("ociVersion") == SPEC_VERSION
        theirs[stage]["state"].pop("ociVersion")
    # The spec's validation suite and crun have it so; runc says "creating".
    assert ours["prestart"]["state"].pop("status") == "created"
    assert theirs["prestart"]["state"].pop("status") == "creating"
    # runc runs poststart hooks at the end of `create` already.
    assert (ours["poststart"]["state"].pop("status"), theirs["poststart"]["state"].pop("status")) == (
        "running",
        "created",
    )
    assert (ours["poststart"].pop("cwd"), theirs["poststart"].pop("cwd")) == (os.getcwd(), ours["createRuntime"]["cwd"])
    assert ours == theirs
