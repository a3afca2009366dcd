"""The engines as a container's life sees them: one small driver each, all with the same few verbs."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any, Protocol

import grpc

from tests.engines.conftest import IMAGE
from tests.support.bundles import Bundle, busybox_rootfs
from tests.support.configured import ConfiguredHost
from tests.support.conmon import Crio
from tests.support.containerd import Containerd
from tests.support.cri import RUNNING, Cri, Pod
from tests.support.docker import Docker
from tests.support.podman import Podman
from tests.support.runtimes import Result, wait_for

SCRIPT = "trap 'exit 3' TERM; touch /up; while :; do sleep 0.1; done"
COMMAND = ("/bin/sh", "-c", SCRIPT)
REFUSED = "/refused"


class Driver(Protocol):
    """One engine. `engine` is its name in the record; a `runtime` is a name that it is registered under."""

    engine: str

    def up(self, name: str, runtime: str) -> None:
        """Start a container that runs COMMAND."""

    def exec(self, name: str, *words: str) -> Result:
        """Run a command in it."""

    def stop(self, name: str) -> int:
        """Have it end by SIGTERM; returns its exit status."""

    def again(self, name: str) -> None:
        """Start it again, or what the engine's users do instead."""

    def remove(self, name: str) -> None:
        """Remove it while it runs."""

    def refused(self, name: str, runtime: str) -> str:
        """Start a container that runs REFUSED; returns what the user is told."""


class DockerDriver:
    engine = "docker"

    def __init__(self, docker: Docker) -> None:
        self._docker = docker

    def up(self, name: str, runtime: str) -> None:
        self._docker.check("run", "-d", "--name", name, "--runtime", runtime, "--network", "none", IMAGE, *COMMAND)

    def exec(self, name: str, *words: str) -> Result:
        return self._docker("exec", name, *words)

    def stop(self, name: str) -> int:
        self._docker.check("stop", "-t", "60", name)
        return int(self._docker.inspect(name, "{{.State.ExitCode}}"))

    def again(self, name: str) -> None:
        self._docker.check("restart", name)

    def remove(self, name: str) -> None:
        self._docker("rm", "-f", name)

    def refused(self, name: str, runtime: str) -> str:
        return self._docker(
            "run", "--rm", "--name", name, "--runtime", runtime, "--network", "none", IMAGE, REFUSED
        ).err


class CtrDriver:
    """`ctr run --runc-binary`."""

    engine = "containerd"

    def __init__(self, containerd: Containerd, host: ConfiguredHost, place: Path) -> None:
        self._ctr = containerd
        self._host = host
        self._place = place

    def _run(self, name: str, runtime: str, *words: str) -> Result:
        launcher = self._host.launchers / runtime
        options = ["--runc-binary", str(launcher), "--runc-root", str(self._host.state / "runc"), "--env", "PATH=/bin"]
        rootfs = busybox_rootfs(self._place / name)
        return self._ctr("run", *options, "--detach", "--rootfs", str(rootfs), name, *words)

    def up(self, name: str, runtime: str) -> None:
        result = self._run(name, runtime, *COMMAND)
        assert result.status == 0, result.err

    def exec(self, name: str, *words: str) -> Result:
        return self._ctr("task", "exec", "--exec-id", "e", name, *words)

    def stop(self, name: str) -> int:
        self._ctr.check("task", "kill", "--signal", "SIGTERM", name)
        self._ctr.wait_for_status(name, "STOPPED")
        found = re.search(r"exit code (\d+)", self._ctr("task", "rm", name).err)
        return int(found[1]) if found else 0

    def again(self, name: str) -> None:
        self._ctr.check("task", "start", "--detach", name)

    def remove(self, name: str) -> None:
        self._ctr.remove(name)
        shutil.rmtree(self._place / name, ignore_errors=True)

    def refused(self, name: str, runtime: str) -> str:
        try:
            return self._run(name, runtime, REFUSED).err
        finally:
            self.remove(name)


class CriDriver:
    """A pod by a RuntimeClass's handler; a kubelet replaces a container that ended by a new one in the same pod."""

    engine = "kubernetes"

    def __init__(self, cri: Cri) -> None:
        self._cri = cri
        self._pods: dict[str, tuple[Pod, str]] = {}

    def up(self, name: str, runtime: str) -> None:
        pod = Pod(self._cri, "default", runtime)
        self._pods[name] = (pod, pod.start(pod.create(name, *COMMAND)))

    def exec(self, name: str, *words: str) -> Result:
        pod, container = self._pods[name]
        return Result(*pod.execute(container, *words))

    def stop(self, name: str) -> int:
        pod, container = self._pods[name]
        self._cri("StopContainer", {1: container, 2: 60})
        status: int = pod.status(container)[7]
        return status

    def again(self, name: str) -> None:
        pod, container = self._pods[name]
        self._cri("RemoveContainer", {1: container})
        self._pods[name] = (pod, pod.start(pod.create(name, *COMMAND)))
        pod.wait_for(self._pods[name][1], RUNNING)

    def remove(self, name: str) -> None:
        if name in self._pods:
            self._pods.pop(name)[0].remove()

    def refused(self, name: str, runtime: str) -> str:
        pod = Pod(self._cri, "default", runtime)
        try:
            pod.start(pod.create(name, REFUSED))
        except grpc.RpcError as refusal:
            return str(refusal)
        finally:
            pod.remove()
        return ""


class PodmanDriver:
    """`podman --runtime NAME`, the name being one of containers.conf."""

    engine = "podman"

    def __init__(self, podmans: dict[str, Podman]) -> None:
        self._podmans = podmans
        self._of: dict[str, Podman] = {}

    def up(self, name: str, runtime: str) -> None:
        self._of[name] = self._podmans[runtime]
        self._of[name].check("run", "--detach", "--name", name, "--network", "none", f"localhost/{IMAGE}", *COMMAND)

    def exec(self, name: str, *words: str) -> Result:
        return self._of[name]("exec", name, *words)

    def stop(self, name: str) -> int:
        self._of[name].check("stop", "--time", "60", name)
        return int(self._of[name].inspect(name, "{{.State.ExitCode}}"))

    def again(self, name: str) -> None:
        self._of[name].check("restart", name)

    def remove(self, name: str) -> None:
        if name in self._of:
            self._of[name]("rm", "--force", "--time", "0", name)

    def refused(self, name: str, runtime: str) -> str:
        return self._podmans[runtime](
            "run", "--rm", "--name", name, "--network", "none", f"localhost/{IMAGE}", REFUSED
        ).err


class CrioDriver:
    """CRI-O's own calls, replayed through conmon; like a kubelet, it makes a container of its own for a restart."""

    engine = "cri-o"

    def __init__(self, crio: Crio, host: ConfiguredHost, place: Path) -> None:
        self._crio = crio
        self._host = host
        self._place = place
        self._made: dict[str, tuple[str, Path, Bundle]] = {}

    def _bundle(self, container: str, *words: str) -> Bundle:
        return Bundle(self._place / container).command(*words)

    def up(self, name: str, runtime: str, attempt: int = 0) -> None:
        container = f"{name}-{attempt}"
        bundle = self._bundle(container, *COMMAND)
        launcher = self._host.launchers / runtime
        self._made[name] = (container, launcher, bundle)
        assert self._crio.create(container, bundle, launcher) > 0
        self._crio.check(launcher, "start", container)

    def exec(self, name: str, *words: str) -> Result:
        container, launcher, bundle = self._made[name]
        process: dict[str, Any] = {**bundle.process, "args": list(words)}
        return self._crio.exec_sync(container, process, launcher)

    def stop(self, name: str) -> int:
        container, launcher, _ = self._made[name]
        return self._crio.stop(container, launcher)

    def again(self, name: str) -> None:
        container, launcher, _ = self._made[name]
        self._crio.delete(container, launcher)
        self.up(name, launcher.name, int(container.rpartition("-")[2]) + 1)

    def remove(self, name: str) -> None:
        if name in self._made:
            container, launcher, bundle = self._made.pop(name)
            pid = int((bundle.path / "conmon-pidfile").read_text())
            self._crio.delete(container, launcher)
            wait_for(lambda: not Path(f"/proc/{pid}").exists(), "conmon's end")
            shutil.rmtree(bundle.path)

    def refused(self, name: str, runtime: str) -> str:
        bundle = self._bundle(name, REFUSED)
        try:
            self._crio.create(name, bundle, self._host.launchers / runtime)
        except RuntimeError as refusal:
            return str(refusal)
        finally:
            shutil.rmtree(bundle.path)
        return ""
