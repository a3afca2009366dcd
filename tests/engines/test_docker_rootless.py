"""Docker of an ordinary user (rootlesskit): its containers beside those of its own runc, and what hookrun says of them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.bundles import busybox_rootfs
from tests.support.configured import ConfiguredHost
from tests.support.docker import DOCKER, DOCKERD, Docker
from tests.support.places import short_place
from tests.support.runtimes import fresh_id, wait_for

STARTER = Path("/usr/share/docker.io/contrib/dockerd-rootless.sh")
USER, FIRST_ID, IDS = 23456, 2_000_000, 65536
IMAGE = "tiny"
# hookrun's hint at its record, and what the client says or not, as it happens, of a container that did not start.
BESIDES = re.compile(r" \(hookctl trace show \w+\)|^time=.*\n", re.MULTILINE)
# The user and his subordinate ids are there in a mount namespace alone: nothing of the host's is changed.
AS_USER = f"""set -eu
cd "$0"
for file in passwd group; do cp /etc/$file .; done
echo "hr-user:x:{USER}:{USER}::$0/home:/bin/sh" >> passwd
echo "hr-user:x:{USER}:" >> group
echo "hr-user:{FIRST_ID}:{IDS}" > subuid
cp subuid subgid
for file in passwd group subuid subgid; do mount --bind $file /etc/$file; done
exec setpriv --reuid {USER} --regid {USER} --init-groups "$@"
"""
NET = {"DOCKERD_ROOTLESS_ROOTLESSKIT_NET": "host", "DOCKERD_ROOTLESS_ROOTLESSKIT_PORT_DRIVER": "none"}

pytestmark = pytest.mark.skipif(
    not (STARTER.exists() and Path(DOCKERD).exists() and Path(DOCKER).exists() and shutil.which("rootlesskit")),
    reason="needs docker and rootlesskit",
)


class RootlessDocker(Docker):
    """A dockerd in a user namespace of its own, with hookrun beside its runc."""

    def __init__(self, directory: Path, launcher: Path) -> None:
        super().__init__(directory, Path())
        self.socket = f"unix://{directory}/run/d.sock"
        self._launcher = launcher

    def start(self) -> None:
        for name in ("home", "run"):
            (self.directory / name).mkdir(mode=0o700)
            os.chown(self.directory / name, USER, USER)
        daemon = [
            *("--data-root", f"{self.directory}/home/data", "--exec-root", f"{self.directory}/run/docker"),
            *("--host", self.socket, "--storage-driver", "vfs", "--iptables=false", "--bridge=none"),
            *("--add-runtime", f"hookrun={self._launcher}"),
        ]
        home = {"HOME": f"{self.directory}/home", "XDG_RUNTIME_DIR": f"{self.directory}/run"}
        with self.log.open("ab") as log:
            self._daemon = subprocess.Popen(
                ["unshare", "--mount", "sh", "-c", AS_USER, self.directory, "sh", STARTER, *daemon],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **home, **NET},
            )
        wait_for(lambda: self("version").status == 0, f"dockerd to answer: {self.log}", 120)


@pytest.fixture(scope="module")
def host() -> Iterator[ConfiguredHost]:
    with short_place("hr-rl-") as place:
        host = ConfiguredHost(place)
        record = {"record": {"directory": f"{place}/home/record"}}
        (host.config / "config.yaml").write_text(json.dumps(record))
        policy = {"deny": [{"when": {"field": "/process/args/*", "equals": "forbidden"}, "message": "not that word"}]}
        (host.config / "policies.d").mkdir()
        (host.config / "policies.d/words.yaml").write_text(
            json.dumps({"apiVersion": "hookrun/v1", "kind": "Policy", "metadata": {"name": "words"}, "spec": policy})
        )
        host.apply()
        yield host
        host.close()


@pytest.fixture(scope="module")
def docker(host: ConfiguredHost, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RootlessDocker]:
    docker = RootlessDocker(host.config.parent, host.launcher)
    try:
        docker.start()
        rootfs = busybox_rootfs(tmp_path_factory.mktemp("rootless"))
        rootfs.chmod(0o755)
        docker.import_image(rootfs, IMAGE)
        yield docker
    finally:
        docker.stop()


CALLS = [
    ("run", "--rm", IMAGE, "sh", "-c", "id; cat /proc/self/uid_map; exit 5"),
    ("run", "--rm", "--user", "1000:7", "--cap-drop", "all", "--security-opt", "no-new-privileges", IMAGE, "id"),
    (
        "run",
        "--rm",
        "--read-only",
        "--tmpfs",
        "/t",
        "--memory",
        "64m",
        IMAGE,
        "sh",
        "-c",
        "echo x > /t/x && echo x > /x",
    ),
    ("run", "--rm", "--volume", "/etc:/h:ro", IMAGE, "sh", "-c", "ls /h/hostname; touch /h/x"),
    ("run", "--rm", IMAGE, "nosuch"),
    ("run", "--rm", "--privileged", IMAGE, "sh", "-c", "mount -t tmpfs t /mnt && echo mounted"),
    ("run", "--rm", "--device", "/dev/kmsg", IMAGE, "sh", "-c", "stat -c %A /dev/kmsg"),
]


@pytest.mark.parametrize("call", CALLS, ids=lambda call: " ".join(call)[9:60])
def test_a_call_ends_as_with_runc(docker: RootlessDocker, call: tuple[str, ...]) -> None:
    results = [docker(call[0], "--network", "none", "--runtime", runtime, *call[1:]) for runtime in ("hookrun", "runc")]
    ours, theirs = ((result.status, result.out, BESIDES.sub("", result.err)) for result in results)
    assert ours == theirs


def test_a_life(docker: RootlessDocker, host: ConfiguredHost) -> None:
    name = fresh_id("rootless")
    docker.check("run", "--detach", "--network", "none", "--runtime", "hookrun", "--name", name, IMAGE, "sleep", "1000")
    result = docker("exec", name, "sh", "-c", "id -u; exit 3")
    assert (result.status, result.out) == (3, "0\n")
    init = docker.inspect(name, "{{.State.Pid}}")
    assert os.stat(f"/proc/{init}").st_uid == USER
    docker.check("restart", "--time", "0", name)
    docker.check("rm", "--force", name)
    record = Path(host.config.parent, "home/record/record.jsonl")
    lines = [line for line in map(json.loads, record.read_text().splitlines()) if line["name"] == name]
    assert {line["engine"] for line in lines} == {"rootless-docker"}
    assert [line["command"] for line in lines].count("create") == 2
    assert {line["status"] for line in lines} == {0}


def test_a_policy_denies(docker: RootlessDocker) -> None:
    result = docker("run", "--rm", "--network", "none", "--runtime", "hookrun", IMAGE, "echo", "forbidden")
    assert "policy words: not that word" in result.err
    assert result.status == 125
