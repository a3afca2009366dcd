"""The dockerd of a Debian 12 with systemd and cgroup v2, hookrun registered by hookctl with `--default`."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.bundles import busybox_rootfs
from tests.support.runtimes import HOOKCTL, wait_for

IMAGE = "hookrun-test"


def docker(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["docker", *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    place = tmp_path_factory.mktemp("docker")
    subprocess.run([HOOKCTL, "apply", "--yes"], stdin=subprocess.DEVNULL, check=True, timeout=300)
    subprocess.run(
        [HOOKCTL, "engine", "register", "docker", "--default"], stdin=subprocess.DEVNULL, check=True, timeout=300
    )
    subprocess.run(["systemctl", "restart", "docker"], stdin=subprocess.DEVNULL, check=True, timeout=300)
    rootfs = busybox_rootfs(place)
    tar = subprocess.run(
        ["tar", "-C", rootfs, "-c", "."], stdin=subprocess.DEVNULL, capture_output=True, check=True, timeout=300
    )
    subprocess.run(["docker", "import", "-", IMAGE], input=tar.stdout, capture_output=True, check=True, timeout=300)
    yield place
    subprocess.run([HOOKCTL, "engine", "unregister", "docker"], stdin=subprocess.DEVNULL, check=True, timeout=300)


def test_docker_runs_by_hookrun_under_systemd(daemon: Path) -> None:
    info = json.loads(docker("info", "--format", "{{json .}}").stdout)
    assert (info["CgroupDriver"], info["CgroupVersion"], info["DefaultRuntime"]) == ("systemd", "2", "hookrun")
    done = docker(
        "run",
        "--rm",
        "--memory",
        "64m",
        "--cpus",
        "0.5",
        "--pids-limit",
        "40",
        IMAGE,
        "sh",
        "-c",
        "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/cpu.max /sys/fs/cgroup/pids.max; cat /proc/self/attr/current",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["67108864", "50000 100000", "40", "docker-default (enforce)"]


def test_a_container_s_life(daemon: Path) -> None:
    name = f"life-{time.monotonic_ns()}"
    assert (
        docker(
            "run", "-d", "--name", name, IMAGE, "sh", "-c", "trap 'exit 3' TERM; echo up; while :; do sleep 0.2; done"
        ).returncode
        == 0
    )
    assert docker("exec", name, "echo", "inside").stdout == "inside\n"
    assert docker("pause", name).returncode == 0
    assert docker("unpause", name).returncode == 0
    assert docker("update", "--memory", "48m", "--memory-swap", "96m", name).returncode == 0
    assert docker("exec", name, "cat", "/sys/fs/cgroup/memory.max").stdout == "50331648\n"
    assert "48MiB" in docker("stats", "--no-stream", "--format", "{{.MemUsage}}", name).stdout
    assert docker("restart", "-t", "30", name).returncode == 0
    wait_for(lambda: docker("logs", name).stdout.count("up") == 2, "the second start", 120)
    assert docker("stop", "-t", "60", name).returncode == 0
    assert docker("inspect", "--format", "{{.State.ExitCode}}", name).stdout == "3\n"
    assert docker("rm", name).returncode == 0


def test_privileged_and_raised_limits(daemon: Path) -> None:
    done = docker(
        "run",
        "--rm",
        "--privileged",
        "--ulimit",
        "nofile=200000:200000",
        IMAGE,
        "sh",
        "-c",
        "ulimit -n; grep CapEff /proc/self/status; mount -t tmpfs none /tmp && echo mounted",
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "200000"
    assert lines[1] == "CapEff:\t0000003fffffffff"
    assert lines[2] == "mounted"
