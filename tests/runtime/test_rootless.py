"""An ordinary user's containers: `spec --rootless`, a whole life, and what the user may not have (runc: rootless.bats)."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runtime.test_seccomp import MKDIR, agent, profile
from tests.support.bundles import Bundle
from tests.support.runtimes import BY_SYSTEMD, HOOKRUN, RUNC, Result, Runtime, fresh_id, wait_for

pytestmark = pytest.mark.skipif(BY_SYSTEMD, reason="a user has a systemd to ask in a login session alone")
USER = 4321


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory of the user's."""
    directory = Path(tempfile.mkdtemp(prefix="hr-rootless-", dir="/var/tmp"))
    os.chown(directory, USER, USER)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(params=[HOOKRUN, RUNC], ids=["hookrun", "runc"])
def runtime(request: pytest.FixtureRequest, place: Path) -> Runtime:
    return Runtime(request.param, place / "root")


@pytest.fixture
def own(place: Path, runtime: Runtime) -> Bundle:
    """The user's bundle, its config by `spec --rootless`."""
    bundle = Bundle(place / "bundle")
    (bundle.path / "config.json").unlink(missing_ok=True)
    for directory, _, files in os.walk(bundle.path):
        for name in (directory, *(os.path.join(directory, file) for file in files)):
            os.chown(name, USER, USER, follow_symlinks=False)
    result = runtime.call("spec", "--rootless", "--bundle", str(bundle.path), user=USER)
    assert result.status == 0, result.err
    bundle.config = json.loads((bundle.path / "config.json").read_text())
    bundle.process["terminal"] = False
    bundle.config["root"]["readonly"] = False
    bundle.process.pop("rlimits", None)
    return bundle


def call(runtime: Runtime, *words: str) -> Result:
    return runtime.call(*words, user=USER, env={"XDG_RUNTIME_DIR": str(runtime.root.parent)})


def test_a_life(own: Bundle, runtime: Runtime) -> None:
    container = fresh_id("rootless")
    own.command("sleep", "1000")
    words = ["setpriv", "--reuid", str(USER), "--regid", str(USER), "--clear-groups", runtime.program, *runtime.globals]
    starter = Runtime("/usr/bin/setpriv", runtime.root)
    starter.globals = words[1:]
    done = starter.call_leaving("create", "--bundle", str(own.path), container, output=own.path / "out")
    assert done.status == 0, done.out
    try:
        assert json.loads(call(runtime, "state", container).out)["status"] == "created"
        saving = call(runtime, "checkpoint", "--image-path", str(own.path / "images"), container)
        assert saving.status == 1
        if runtime.name == "hookrun":
            assert "CRIU can't checkpoint rootless containers" in saving.err
        early = call(runtime, "exec", container, "sh", "-c", "id -u")
        assert (early.status, early.out) == (0, "0\n"), early
        assert call(runtime, "start", container).status == 0
        inside = call(runtime, "exec", container, "sh", "-c", "id -u; cat /proc/self/uid_map; touch /tmp/mine")
        assert inside.out.split() == ["0", "0", str(USER), "1"], inside
        assert (own.rootfs / "tmp/mine").stat().st_uid == USER
        assert container in call(runtime, "list").out
        assert call(runtime, "kill", container, "KILL").status == 0
        wait_for(lambda: json.loads(call(runtime, "state", container).out)["status"] == "stopped", "its end")
        assert call(runtime, "kill", "--all", container, "0").status == 0
    finally:
        gone = call(runtime, "delete", "--force", container)
    assert gone.status == 0, gone.err
    assert "does not exist" in call(runtime, "state", container).err


def test_run_tells_its_exit_status(own: Bundle, runtime: Runtime) -> None:
    own.shell("echo here; exit 7")
    result = call(runtime, "run", "--bundle", str(own.path), fresh_id("rootless"))
    assert (result.status, result.out) == (7, "here\n"), result


def test_a_seccomp_agent(own: Bundle, runtime: Runtime, place: Path) -> None:
    """It gets the descriptor whether the filter is installed before the process gives up its privileges, or after."""
    own.linux["seccomp"] = profile({"names": MKDIR, "action": "SCMP_ACT_NOTIFY"}, listenerPath=str(place / "agent"))
    with agent(place / "agent") as serving:
        (place / "agent").chmod(0o777)
        for number, no_new_privileges in enumerate((True, False), 1):
            own.process["noNewPrivileges"] = no_new_privileges
            own.shell("mkdir /tmp/x 2>&1")
            result = call(runtime, "run", "--bundle", str(own.path), fresh_id("rootless"))
            assert "No space left on device" in result.out, result
            assert len(serving.messages) == number


@pytest.mark.parametrize("runtime", [HOOKRUN], ids=["hookrun"], indirect=True)
def test_what_runc_warns_of_since_1_2(own: Bundle, runtime: Runtime, place: Path) -> None:
    """It is for engines that came after that; of what older ones send, Debian's runc 1.1 warns nobody."""
    own.without_namespace("pid").shell("true")
    own.config["mounts"] = [mount for mount in own.config["mounts"] if mount["type"] != "proc"]
    own.add_mount("/proc", "none", "/proc", "rbind", "nosuid", "nodev", "noexec")
    own.process["capabilities"] = {kind: ["CAP_KILL"] for kind in ("bounding", "effective", "permitted", "ambient")}

    def said(runtime: Runtime, version: str, *flags: str) -> str:
        own.config["ociVersion"] = version
        result = call(runtime, *flags, "run", "--bundle", str(own.write().path), fresh_id("rootless"))
        assert result.status == 0, result
        return result.err

    of_1_2 = ("strongly discouraged", "can't raise ambient capability CAP_KILL")
    for version in ("1.0.2-dev", "1.2.0"):
        assert said(runtime, version) == ""
        assert not any(warning in said(Runtime(RUNC, place / "runc-root"), version) for warning in of_1_2)
    for version in ("1.2.1", "1.3.0"):
        assert all(warning in said(runtime, version) for warning in of_1_2)
    assert all(warning in said(runtime, "1.2.0", "--debug") for warning in of_1_2)


def test_limits_that_the_user_may_not_set(own: Bundle, runtime: Runtime) -> None:
    own.linux["resources"] = {"memory": {"limit": 50 << 20}}
    own.write()
    result = call(runtime, "run", "--bundle", str(own.path), fresh_id("rootless"))
    assert result.status == 1
    assert "cgroup" in result.err


def test_ids_that_the_user_may_not_map(own: Bundle, runtime: Runtime) -> None:
    own.linux["uidMappings"] = [{"containerID": 0, "hostID": 0, "size": 10}]
    result = call(runtime, "run", "--bundle", str(own.write().path), fresh_id("rootless"))
    assert result.status == 1


def test_what_an_ordinary_user_cannot_have(own: Bundle, runtime: Runtime) -> None:
    """runc's words: validate/rootless.go, setupUser."""

    def refusal() -> str:
        result = call(runtime, "run", "--bundle", str(own.write().path), fresh_id("rootless"))
        assert result.status == 1
        return result.err

    own.process["user"] = {"uid": 0, "gid": 0, "additionalGids": [5]}
    assert "cannot set any additional groups in a rootless container" in refusal()
    own.process["user"] = {"uid": 1000, "gid": 0}
    assert "cannot set uid to unmapped user in user namespace" in refusal()
    own.process["user"] = {"uid": 0, "gid": 0}
    own.linux["devices"] = [{"path": "/dev/hr-nosuch", "type": "c", "major": 1, "minor": 3}]
    refused = refusal()
    assert "dev/hr-nosuch" in refused
    assert "no such file or directory" in refused
    assert "mknodat" not in refused
    own.linux["devices"] = []
    own.without_namespace("user").linux.update(uidMappings=None, gidMappings=None)
    assert "rootless container requires user namespaces" in refusal()
