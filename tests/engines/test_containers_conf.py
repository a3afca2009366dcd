"""Podman and Buildah by the drop-in that hookctl writes, in a mount namespace with an /etc/containers of the test's own."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines.conftest import IMAGE
from tests.support.bundles import busybox_rootfs
from tests.support.configured import ConfiguredHost
from tests.support.generations import Machine
from tests.support.podman import PODMAN
from tests.support.runtimes import Result

BUILDAH = "/usr/bin/buildah"
NAME = "hr-default"
POLICY = """apiVersion: hookrun/v1
kind: Policy
metadata: {{name: marked}}
spec:
  deny:
    - when: {{field: /process/args/*, matches: refused}}
      message: not in my build
  hooks:
    createRuntime:
      - {{path: /bin/sh, args: [sh, -c, 'echo x >>{log}/hooks']}}
"""
# No journal, no systemd, and limits that need no CAP_SYS_RESOURCE, which the build machine lacks.
MAIN = """# the administrator's
[engine]
events_logger = "file"
cgroup_manager = "cgroupfs"
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
log_driver = "k8s-file"
"""


class Etc:
    """Commands that see `place`/etc as /etc/containers, with storage of their own."""

    def __init__(self, place: Path, machine: Machine) -> None:
        self.directory = place / "etc"
        self._machine = machine
        copy = machine.command("cp", "-r", "/etc/containers", str(self.directory))
        subprocess.run(copy, stdin=subprocess.DEVNULL, check=True, timeout=60)
        (self.directory / "containers.conf").write_text(MAIN)
        self.drop_in = self.directory / "containers.conf.d/50-hookrun.conf"
        self._place = place
        self._storage = ["--root", f"{place}/root", "--runroot", f"{place}/run", "--storage-driver", "vfs"]

    def __call__(self, program: str, *words: str) -> Result:
        script = f'mount --bind {self.directory} /etc/containers && exec "$@"'
        own = ["--tmpdir", f"{self._place}/tmp"] if program == PODMAN else []
        done = subprocess.run(
            self._machine.command(
                *("unshare", "--mount", "--propagation", "slave", "sh", "-c", script, "sh"),
                *(program, *self._storage, *own, *words),
            ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            env={"PATH": os.environ["PATH"], "HOME": str(self._place), "XDG_RUNTIME_DIR": str(self._place)},
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    def check(self, program: str, *words: str) -> str:
        result = self(program, *words)
        assert result.status == 0, f"{program} {' '.join(words)}: {result.err}{result.out}"
        return result.out.strip()


@pytest.fixture(scope="module")
def host(place: Path, machine: Machine) -> Iterator[ConfiguredHost]:
    made = ConfiguredHost(place / "host", machine)
    (made.config / "policies.d").mkdir()
    (made.config / "policies.d/policy.yaml").write_text(POLICY.format(log=made.log))
    made.apply()
    yield made
    made.close()


@pytest.fixture(scope="module")
def etc(place: Path, machine: Machine) -> Etc:
    return Etc(place, machine)


@pytest.fixture
def default(etc: Etc, host: ConfiguredHost) -> Iterator[None]:
    """hookrun as the default runtime of both."""
    host.register("podman", etc.drop_in, "--name", NAME, "--default")
    yield
    assert host.hookctl("engine", "unregister", "buildah", "--file", str(etc.drop_in), "--name", NAME).status == 0
    assert not etc.drop_in.exists()
    assert (etc.directory / "containers.conf").read_text() == MAIN


@pytest.fixture
def container(etc: Etc, place: Path) -> Iterator[str]:
    """A working container of Buildah's with busybox."""
    rootfs = place / "rootfs"
    if not rootfs.exists():
        busybox_rootfs(rootfs)
    name = etc.check(BUILDAH, "from", "scratch")
    etc.check(BUILDAH, "copy", "--quiet", name, str(rootfs), "/")
    yield name
    etc.check(BUILDAH, "rm", name)


@pytest.mark.matrix(engine="Podman", feature=("registered by `hookctl engine`", "default runtime"))
@pytest.mark.skipif(not Path(PODMAN).exists(), reason="needs podman")
@pytest.mark.usefixtures("default")
def test_podman_by_default(etc: Etc, host: ConfiguredHost, place: Path) -> None:
    rootfs = busybox_rootfs(place / "podman-rootfs")
    subprocess.run(
        ["tar", "-C", rootfs, "-cf", place / "image.tar", "."], stdin=subprocess.DEVNULL, check=True, timeout=60
    )
    etc.check(PODMAN, "import", str(place / "image.tar"), f"localhost/{IMAGE}")
    before = len(host.lines("create"))
    for options in ([], ["--runtime", NAME]):
        words = [*options, "run", "--rm", "--network", "none", f"localhost/{IMAGE}", "echo", "in"]
        assert etc.check(PODMAN, *words) == "in"
    lines = host.lines("create")[before:]
    assert [line["engine"] for line in lines] == ["podman", "podman"]
    assert {line["argv"][0] for line in lines} == {str(host.launchers / NAME)}


@pytest.mark.matrix(
    engine="Buildah",
    feature=("registered by `hookctl engine`", "default runtime", "hooks and the record", "a denial reaches the user"),
)
@pytest.mark.skipif(not Path(BUILDAH).exists(), reason="needs buildah")
@pytest.mark.parametrize("chosen", ["default", "path"])
def test_buildah_run(
    etc: Etc, host: ConfiguredHost, container: str, chosen: str, request: pytest.FixtureRequest
) -> None:
    if chosen == "default":
        request.getfixturevalue("default")
    words = ["run", "--isolation", "oci", "--network", "host", container]
    if chosen == "path":
        words[1:1] = ["--runtime", str(host.launcher)]
    hooks = host.log / "hooks"
    hooks.unlink(missing_ok=True)
    before = len(host.lines())
    result = etc(BUILDAH, *words, "--", "sh", "-c", "echo out; exit 7")
    assert (result.status, result.out) == (7, "out\n")
    assert hooks.read_text() == "x\n"
    lines = host.lines()[before:]
    assert {line["engine"] for line in lines} == {"buildah"}
    assert {"create", "start", "state", "delete"} <= {line["command"] for line in lines}
    refused = etc(BUILDAH, *words, "--", "echo", "refused")
    assert refused.status != 0
    assert re.search(r"policy marked: not in my build \(hookctl trace show [0-9a-f]{12}\)", refused.err), refused.err


@pytest.mark.matrix(engine="Buildah", feature="image builds")
@pytest.mark.skipif(not Path(BUILDAH).exists(), reason="needs buildah")
@pytest.mark.usefixtures("default")
def test_buildah_builds(etc: Etc, host: ConfiguredHost, place: Path) -> None:
    """The RUN steps of a Dockerfile, as `podman build` has them too."""
    context = place / "context"
    if not context.exists():
        busybox_rootfs(context / "rootfs")
    (context / "Dockerfile").write_text(
        "FROM scratch\nCOPY rootfs /\nRUN echo first >/a\nRUN echo second >>/a && cat /a\n"
    )
    before = len(host.lines("create"))
    words = ["bud", "--isolation", "oci", "--network", "host", "--quiet", "--tag", "localhost/hr-built", str(context)]
    built = etc(BUILDAH, *words)
    assert built.status == 0, built.err
    assert "ambient" not in built.err  # Debian's runc warns of none of Buildah's capabilities
    image = built.out.splitlines()[-1]
    etc.check(BUILDAH, "rmi", "--force", image)
    assert len(host.lines("create")) == before + 2
