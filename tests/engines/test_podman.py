"""Podman with hookrun as its runtime, with hooks, a filter, the record, and beside `podman --hooks-dir` with runc."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.configured import ConfiguredHost
from tests.support.generations import Machine
from tests.support.podman import PODMAN, Podman
from tests.support.runtimes import RUNC, fresh_id, wait_for

IMAGE = "localhost/hookrun-test"

pytestmark = pytest.mark.skipif(not Path(PODMAN).exists(), reason="needs podman")


@pytest.fixture(scope="module")
def host(place: Path, machine: Machine) -> Iterator[ConfiguredHost]:
    """A host whose hooks note each stage of each container."""
    made = ConfiguredHost(place / "host", machine)
    note = made.script("note", f'cat >/dev/null; echo "$1" >>{made.log}/stages')
    for stage in ("prestart", "createRuntime", "createContainer", "poststart", "poststop"):
        made.hook(f"{stage}.json", note, stage, args=["note", stage])
    made.hook("filter.json", made.script("filter", "sed s/PODMAN_TEST=before/PODMAN_TEST=after/"), "precreate")
    made.apply()
    yield made
    made.close()


@pytest.fixture(scope="module")
def podman(place: Path, host: ConfiguredHost, image_rootfs: Path, machine: Machine) -> Iterator[Podman]:
    (place / "no-hooks").mkdir()
    made = Podman(place / "podman", host.launcher, "--hooks-dir", str(place / "no-hooks"), machine=machine)
    image_rootfs.chmod(0o755)  # other users come here too
    made.import_image(image_rootfs, IMAGE)
    yield made
    made.close()


@pytest.fixture
def box(podman: Podman) -> Iterator[str]:
    """A name for a container, which is removed afterwards."""
    name = fresh_id("podman")
    yield name
    podman("rm", "--force", "--time", "0", name)


def stages(host: ConfiguredHost) -> list[str]:
    """The stages noted since the last look."""
    file = host.log / "stages"
    found = file.read_text().split() if file.exists() else []
    file.unlink(missing_ok=True)
    return found


CREATED = ["prestart", "createRuntime", "createContainer", "poststart"]


def test_run(podman: Podman, host: ConfiguredHost, box: str) -> None:
    stages(host)
    script = "echo out; echo err >&2; echo $PODMAN_TEST; exit 7"
    result = podman("run", "--name", box, "--network", "none", "--env", "PODMAN_TEST=before", IMAGE, "sh", "-c", script)
    assert (result.status, result.out) == (7, "out\nafter\n")
    assert result.err.endswith("err\n")
    podman.check("rm", box)
    assert stages(host) == [*CREATED, "poststop"]
    line = host.lines("create")[-1]
    assert line["engine"] == "podman"
    assert sorted(hook["stage"] for hook in line["hooks"]) == sorted([*CREATED, "poststop", "precreate"])
    assert line["name"] == box
    listed = host.hookctl("trace", "list", "--container", box).out.splitlines()[1:]
    assert {row.split()[4] for row in listed} == {box}
    assert {row.split()[3] for row in listed} >= {"create", "start", "delete"}
    assert line["container"] in host.hookctl("trace", "show", box).out


def test_detached_with_exec_stop_start_restart(podman: Podman, host: ConfiguredHost, box: str) -> None:
    stages(host)
    script = "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.1; done"
    podman.check("run", "--detach", "--name", box, "--network", "none", IMAGE, "sh", "-c", script)
    podman.wait_for(box, "{{.State.Status}}", "running")
    wait_for(lambda: "up" in podman("logs", box).out, "the container to be up")
    assert podman("exec", box, "sh", "-c", "echo in; exit 5").status == 5
    assert podman.check("exec", "--user", "1000:1000", "--env", "A=1", box, "sh", "-c", "id -u; echo $A").split() == [
        "1000",
        "1",
    ]
    assert "sh" in podman.check("top", box, "comm")
    podman.check("stop", "--time", "60", box)
    podman.wait_for(box, "{{.State.Status}} {{.State.ExitCode}}", "exited 0")
    assert "bye" in podman("logs", box).out
    podman.check("start", box)
    podman.wait_for(box, "{{.State.Status}}", "running")
    podman.check("restart", "--time", "0", box)
    podman.wait_for(box, "{{.State.Status}}", "running")
    podman.check("pause", box)
    podman.wait_for(box, "{{.State.Status}}", "paused")
    podman.check("unpause", box)
    podman.check("kill", box)
    podman.wait_for(box, "{{.State.Status}} {{.State.ExitCode}}", "exited 137")
    podman.check("rm", box)
    assert stages(host).count("poststop") == 3
    assert {line["engine"] for line in host.lines() if line["container"].startswith(podman_id(host))} == {"podman"}


def podman_id(host: ConfiguredHost) -> str:
    found: str = host.lines("create")[-1]["container"]
    return found


@pytest.mark.matrix(engine="Podman", feature="limits")
def test_limits_are_seen_inside(podman: Podman, box: str) -> None:
    words = [
        "run",
        "--name",
        box,
        "--network",
        "none",
        "--read-only",
        "--cap-drop",
        "all",
        "--user",
        "1000",
        "--hostname",
        "inside",
    ]
    script = "hostname; id -u; grep CapEff /proc/self/status; touch /x || echo read-only"
    assert podman.check(*words, IMAGE, "sh", "-c", script).split() == [
        "inside",
        "1000",
        "CapEff:",
        "0000000000000000",
        "read-only",
    ]


@pytest.mark.matrix(engine="Podman", feature="health checks")
def test_health_check(podman: Podman, box: str) -> None:
    words = [
        "run",
        "--detach",
        "--name",
        box,
        "--network",
        "none",
        "--health-cmd",
        "test ! -e /sick",
        "--health-interval",
        "disable",
    ]
    podman.check(*words, IMAGE, "sleep", "600")
    assert podman("healthcheck", "run", box).status == 0
    podman.check("exec", box, "touch", "/sick")
    assert podman("healthcheck", "run", box).status == 1


@pytest.mark.matrix(engine="Podman", feature="pods")
def test_pod(podman: Podman) -> None:
    name = fresh_id("pod")
    words = ["--infra-image", IMAGE, "--infra-command", "sleep 600", "--hostname", "shared", "--network", "none"]
    podman.check("pod", "create", "--name", name, *words)
    try:
        podman.check("pod", "start", name)
        assert podman.check("run", "--rm", "--pod", name, IMAGE, "hostname") == "shared"
        podman.check("run", "--detach", "--pod", name, "--name", f"{name}-a", IMAGE, "sleep", "600")
        infra = podman.check("pod", "inspect", "--format", "{{.InfraContainerID}}", name)
        pids = [podman.inspect(container, "{{.State.Pid}}") for container in (infra, f"{name}-a")]
        for kind in ("net", "ipc", "uts"):
            assert len({Path(f"/proc/{pid}/ns/{kind}").readlink() for pid in pids}) == 1
        assert Path(f"/proc/{pids[0]}/ns/mnt").readlink() != Path(f"/proc/{pids[1]}/ns/mnt").readlink()
        podman.check("pod", "stop", "--time", "0", name)
    finally:
        podman("pod", "rm", "--force", "--time", "0", name)
    assert podman("pod", "exists", name).status == 1


def test_a_command_that_is_not_there(podman: Podman, box: str) -> None:
    assert podman("run", "--name", box, "--network", "none", IMAGE, "/nosuch").status == 127
    podman("rm", box)
    assert podman("run", "--name", box, "--network", "none", IMAGE, "/data").status == 126


def test_a_refusal_reaches_the_user(podman: Podman, host: ConfiguredHost, box: str) -> None:
    host.hook(
        "refuse.json",
        host.script("refuse", "echo not on my host >&2; exit 1"),
        "precreate",
        annotations={"^refused$": "."},
    )
    host.apply()
    try:
        result = podman("run", "--name", box, "--network", "none", "--annotation", "refused=yes", IMAGE, "true")
        assert result.status in {126, 127}
        assert "not on my host" in result.err
    finally:
        (host.config / "hooks.d/refuse.json").unlink()
        host.apply()


# The same directories of hooks as Podman reads them itself.


@pytest.fixture(scope="module")
def hook_directories(place: Path) -> list[Path]:
    """Two directories, the second masking files of the first, with conditions of all kinds."""
    first, second = place / "hooks-1", place / "hooks-2"
    note = place / "note-hook"
    note.write_text(f'#!/bin/sh\necho "$1" >>{place}/noted\n')
    note.chmod(0o755)

    def new(path: Path, stages: list[str], **when: Any) -> None:
        hook = {"path": str(note), "args": ["note", path.stem]}
        path.write_text(json.dumps({"version": "1.0.0", "hook": hook, "when": when, "stages": stages}))

    def old(path: Path, **more: Any) -> None:
        path.write_text(json.dumps({"hook": str(note), "arguments": [path.stem], "stages": ["createRuntime"], **more}))

    for directory in (first, second):
        directory.mkdir()
    new(first / "10-always.json", ["prestart", "createContainer", "poststop"], always=True)
    new(first / "09-Never.json", ["poststop"], always=False)
    new(first / "08-MASKED.json", ["poststop"], always=True)
    new(second / "08-MASKED.json", ["createRuntime"], always=True)
    new(first / "a-command.json", ["createRuntime"], commands=["sh$", "^nope"])
    new(first / "B-both.json", ["createRuntime"], commands=["true$"], annotations={"^team$": "^(a|b)$"})
    new(second / "c-annotations.json", ["createRuntime"], annotations={"^team$": "b", "^x": "[[:digit:]]+$"})
    new(second / "d-binds.json", ["createRuntime"], hasBindMounts=True)
    new(second / "e-no-binds.json", ["createRuntime"], hasBindMounts=False)
    new(second / "f-bind-and-command.json", ["poststop"], hasBindMounts=True, commands=["."])
    old(second / "g-old-any.json", cmds=["true$"], annotations=["^b$"])
    old(second / "h-old-binds.json", hasbindmounts=True, cmd=["nope"])
    old(second / "i-old-none.json")
    (second / "ignored.txt").write_text("{")
    return [first, second]


CONTAINERS = {
    "plain": ["IMAGE", "sh", "-c", "true"],
    "true": ["IMAGE", "true"],
    "absolute": ["IMAGE", "/bin/true"],
    "team a": ["--annotation", "team=a", "IMAGE", "true"],
    "team b": ["--annotation", "team=b", "--annotation", "x1=a12", "IMAGE", "sleep", "0"],
    "bind": ["--volume", "/usr/share:/share:ro", "IMAGE", "true"],
    "mount": [
        "--mount",
        "type=bind,source=/usr/share,destination=/share",
        "--annotation",
        "team=b",
        "IMAGE",
        "sh",
        "-c",
        "true",
    ],
    "init files": ["--add-host", "a:1.2.3.4", "--hostname", "x", "IMAGE", "true"],
    "tty": ["--tty", "IMAGE", "true"],
}


@pytest.fixture(scope="module")
def both(
    place: Path, hook_directories: list[Path], image_rootfs: Path, machine: Machine
) -> Iterator[tuple[Podman, Podman]]:
    """Podman with runc reading the directories itself, and hookrun reading them under a Podman that does not."""
    host = ConfiguredHost(place / "compared", machine)
    host.settings(directories=[str(directory) for directory in hook_directories])
    host.apply()
    empty = place / "empty"
    empty.mkdir()
    options = [word for directory in hook_directories for word in ("--hooks-dir", str(directory))]
    made = (
        Podman(place / "with-runc", RUNC, *options, machine=machine),
        Podman(place / "with-hookrun", host.launcher, "--hooks-dir", str(empty), machine=machine),
    )
    for podman in made:
        podman.import_image(image_rootfs, IMAGE)
    yield made
    for podman in made:
        podman.close()
    host.close()


def hooks_of(podman: Podman, name: str, *words: str) -> dict[str, Any]:
    """The hooks in a container's config while it is there: a deleted one leaves the bundle as Podman made it."""
    podman.check("create", "--name", name, "--network", "none", *words)
    podman.check("init", name)
    hooks: dict[str, Any] = podman.config(name)["hooks"]
    podman.check("start", "--attach", name)
    podman.check("rm", name)
    return hooks


@pytest.mark.parametrize("words", CONTAINERS.values(), ids=CONTAINERS)
def test_the_same_hooks_as_podmans_own(
    place: Path, both: tuple[Podman, Podman], words: list[str], machine: Machine
) -> None:
    found = []
    noted = place / "noted"
    for podman in both:
        noted.unlink(missing_ok=True)
        name = fresh_id("hooks")
        hooks = hooks_of(podman, name, *[IMAGE if word == "IMAGE" else word for word in words])
        hooks.pop("poststop", None)  # Podman runs those itself
        configured = {stage: [hook["args"][1] for hook in listed] for stage, listed in hooks.items()}
        ran = noted.read_text().split()
        found.append((configured, ran) if machine.release != "forky" else (_with_prestart(configured), sorted(ran)))
    assert found[0] == found[1]
    assert found[0][0]["createContainer"] == ["10-always"]


def _with_prestart(configured: dict[str, list[str]]) -> dict[str, list[str]]:
    """Podman 5.8 has a file's prestart hooks among those of createRuntime; the runtime runs either at the same point."""
    early = configured.get("prestart", []) + configured.get("createRuntime", [])
    return {**configured, "prestart": [], "createRuntime": sorted(early)}


def test_hooks_that_podman_added_are_not_added_again(
    place: Path, both: tuple[Podman, Podman], hook_directories: list[Path]
) -> None:
    options = [word for directory in hook_directories for word in ("--hooks-dir", str(directory))]
    podman = Podman(
        place / "with-hookrun", place / "compared/state/launchers/hookrun", *options, machine=both[1].machine
    )
    name = fresh_id("hooks")
    hooks = hooks_of(podman, name, IMAGE, "true")["createContainer"]
    assert [hook["args"] for hook in hooks] == [["note", "10-always"]]


# An ordinary user.

NOBODY = 65534


@pytest.fixture(scope="module")
def rootless(place: Path, image_rootfs: Path, machine: Machine) -> Iterator[Podman]:
    """Podman of a user without subordinate ids: in his containers, only root is mapped. A hook notes who it runs as."""
    host = ConfiguredHost(place / "shared", machine)
    host.log.chmod(0o1777)
    host.hook("1.json", host.script("note", f"id -u >>{host.log}/users"), "createRuntime")
    directory = place / "user"
    (host.config / "config.yaml").write_text(json.dumps({"record": {"directory": str(directory / "record")}}))
    host.apply()
    if subprocess.run(
        [host.launcher, "--version"], user=NOBODY, stdin=subprocess.DEVNULL, capture_output=True, timeout=60
    ).returncode:
        host.close()
        pytest.skip("the checkout is closed to other users")
    directory.mkdir()
    shutil.chown(directory, NOBODY, NOBODY)
    podman = Podman(directory, host.launcher, "--hooks-dir", str(place / "user"), user=NOBODY, machine=machine)
    image_rootfs.chmod(0o755)
    podman.import_image(image_rootfs, IMAGE)
    yield podman
    podman.close()
    host.close()


@pytest.mark.matrix(engine="Podman", feature="rootless")
def test_rootless(place: Path, rootless: Podman) -> None:
    name = fresh_id("rootless")
    script = "id -u; cat /proc/self/uid_map; echo up; exec sleep 600"
    rootless.check("run", "--detach", "--name", name, "--network", "none", IMAGE, "sh", "-c", script)
    wait_for(lambda: "up" in rootless("logs", name).out, "the container to be up")
    assert rootless("logs", name).out.split() == ["0", "0", str(NOBODY), "1", "up"]
    init = rootless.inspect(name, "{{.State.Pid}}")
    assert Path(f"/proc/{init}").stat().st_uid == NOBODY
    assert rootless("exec", name, "sh", "-c", "id -u; exit 4") == (4, "0\n", "")
    rootless.check("stop", "--time", "0", name)
    rootless.check("start", name)
    rootless.wait_for(name, "{{.State.Status}}", "running")
    rootless.check("rm", "--force", "--time", "0", name)
    lines = [json.loads(line) for line in (place / "user/record/record.jsonl").read_text().splitlines()]
    assert {line["engine"] for line in lines} == {"podman"}
    assert {"create", "start", "exec", "kill", "delete"} <= {line["command"] for line in lines}
    # Root of the user's own namespace: nobody on the host.
    users = place / "shared/log/users"
    assert users.stat().st_uid == NOBODY
    assert users.read_text().split() == ["0", "0"]
