"""`hookctl hook`: the list of all sources, and one hook run by hand."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.bundles import Bundle
from tests.support.configured import ConfiguredHost as Host

POLICY = """
apiVersion: hookrun/v1
kind: Policy
metadata: {name: audit}
spec:
  hooks:
    poststop:
      - {path: /bin/true}
"""


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path)
    yield made
    made.close()


def test_no_snapshot(host: Host) -> None:
    assert json.loads(host.hookctl("hook", "list", "--json").out) == []


def test_all_sources_in_their_order(host: Host) -> None:
    host.settings(addHooks=["add.json"], cdi={"directories": ["cdi"], "environment": "CDI"})
    (host.config / "policies.d").mkdir()
    (host.config / "policies.d/audit.yaml").write_text(POLICY)
    (host.config / "add.json").write_text('{"hooks": {"poststop": [{"path": "/bin/true"}]}}')
    host.hook("1.json", "/bin/false", "precreate", "prestart", commands=["/sh$", "^x"])
    host.hook("2.json", "/bin/true", "poststop", annotations={"^a$": "b"}, hasBindMounts=True)
    host.apply()
    rows = json.loads(host.hookctl("hook", "list", "--json").out)
    assert [(row["source"], row["stage"], row["when"]) for row in rows] == [
        ("policy audit", "poststop", "always"),
        ("cdi", "any", "annotation cdi.k8s.io/* or $CDI"),
        ("oci-add-hooks", "poststop", "always"),
        ("hooks.d", "prestart", "command /sh$ or ^x"),
        ("hooks.d", "poststop", "hasBindMounts true and annotation ^a$=b"),
        ("hooks.d", "precreate", "command /sh$ or ^x"),
    ]
    table = host.hookctl("hook", "list").out.splitlines()
    assert len(table) == 7
    assert f"{host.config}/hooks.d/1.json:3" in table[4]


def run(host: Host, *words: str) -> tuple[int, str, str]:
    return tuple(host.hookctl("hook", "run", "--root", str(host.runtime.root), *words))  # type: ignore[return-value]


@pytest.fixture
def container(host: Host, bundle: Bundle) -> str:
    """A container with a hook of each stage, which writes down what it gets and where it is."""
    say = f"cat >{host.log}/$1.state; readlink /proc/self/ns/net /proc/self/ns/mnt >{host.log}/$1.namespaces; echo said $1 >&2"
    note = host.script("note", say)
    for stage in ("prestart", "createRuntime", "createContainer", "poststart", "poststop"):
        host.hook(f"{stage}.json", note, stage, args=["note", stage])
    (bundle.rootfs / "hook").write_text("#!/bin/sh\ncat >/state; hostname; echo said >&2; exit $CODE\n")
    (bundle.rootfs / "hook").chmod(0o755)
    inside = {"path": "/hook", "env": ["CODE=0", "PATH=/bin"]}
    bundle.config["hooks"] = {"startContainer": [inside]}
    bundle.config["annotations"] = {"a": "b"}
    host.apply()
    return host.runtime.run_detached(bundle.command("sleep", "600").path)


def state(host: Host, stage: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((host.log / f"{stage}.state").read_text())
    return found


def namespaces(host: Host, stage: str) -> list[str]:
    return (host.log / f"{stage}.namespaces").read_text().split()


STATUSES = {"prestart": "created", "createRuntime": "creating", "poststart": "running", "poststop": "stopped"}


@pytest.mark.parametrize("stage", STATUSES)
def test_on_the_host(host: Host, bundle: Bundle, container: str, stage: str) -> None:
    first = state(host, stage) if stage != "poststop" else None
    (host.log / f"{stage}.state").unlink(missing_ok=True)
    status, out, err = run(host, stage, container)
    assert (status, err) == (0, f"said {stage}\n")
    assert out.startswith(f"{host.config}/note: exit status 0 (")
    again = state(host, stage)
    assert first in (again, None)
    assert (again["id"], again["status"], again["bundle"]) == (container, STATUSES[stage], str(bundle.path))
    assert again["annotations"] == {"a": "b"}
    assert ("pid" in again) == (stage != "poststop")
    assert namespaces(host, stage) == [os.readlink("/proc/self/ns/net"), os.readlink("/proc/self/ns/mnt")]


def test_json(host: Host, container: str) -> None:
    status, out, err = run(host, "createContainer", container, "--json")
    found = json.loads(out)
    assert (status, err, found.pop("milliseconds") > 0) == (0, "", True)
    assert found == {"path": f"{host.config}/note", "problem": "", "stderr": "said createContainer\n"}


def test_create_container_in_the_containers_namespaces(host: Host, container: str) -> None:
    first = state(host, "createContainer")
    (host.log / "createContainer.state").unlink()
    status, _, err = run(host, "createContainer", container)
    assert (status, err) == (0, "said createContainer\n")
    assert state(host, "createContainer") == first
    init = host.runtime.state(container)["pid"]
    assert namespaces(host, "createContainer") == [
        os.readlink(f"/proc/{init}/ns/net"),
        os.readlink("/proc/self/ns/mnt"),
    ]


def test_start_container_inside(host: Host, bundle: Bundle, container: str) -> None:
    first = json.loads((bundle.rootfs / "state").read_text())
    (bundle.rootfs / "state").unlink()
    status, out, err = run(host, "startContainer", container)
    assert (status, err) == (0, "said\n"), out
    assert json.loads((bundle.rootfs / "state").read_text()) == first


def test_one_that_fails(host: Host, container: str) -> None:
    host.script("note", "echo oh no >&2; exit 7")
    status, out, err = run(host, "createRuntime", container)
    assert status == 1
    assert "exit status 7" in out
    assert err == "oh no\n"
    status, out, _ = run(host, "createContainer", container)
    assert status == 1
    assert "exit status 7" in out


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["nope", "x"], "unknown stage 'nope'"),
        (["prestart", "nosuch"], "container does not exist"),
    ],
)
def test_what_is_not_there(host: Host, words: list[str], text: str) -> None:
    status, _, err = run(host, *words)
    assert status == 1
    assert text in err


def test_one_of_several_is_chosen_by_its_number(host: Host, bundle: Bundle) -> None:
    bundle.config["hooks"] = {"poststart": [{"path": "/bin/true"}]}
    for number in (1, 2):
        host.hook(f"{number}.json", host.script(f"note{number}", f"echo {number} >&2"), "poststart")
    host.apply()
    name = host.runtime.run_detached(bundle.command("sleep", "600").path)
    status, _, err = run(host, "poststart", name)
    assert status == 1
    assert f"1 is /bin/true; 2 is {host.config}/note1; 3 is {host.config}/note2" in err
    assert run(host, "poststart", name, "--number", "3")[2] == "2\n"
    assert run(host, "poststart", name, "--number", "4")[0] == 1
    assert "no createRuntime hook" in run(host, "createRuntime", name)[2]
