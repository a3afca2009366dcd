"""Bundles that other tools make run unchanged: umoci's, and what docker exports with `hookrun spec`."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tests.engines.conftest import IMAGE
from tests.support.docker import Docker
from tests.support.runtimes import Runtime


def call(*words: str | Path) -> None:
    done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300, check=False)
    assert done.returncode == 0, f"{words}: {done.stdout}"


def without_terminal(bundle: Path, *arguments: str) -> None:
    """The one change that a test without a terminal needs."""
    config = json.loads((bundle / "config.json").read_text())
    config["process"]["terminal"] = False
    config["process"]["args"] = list(arguments)
    # This machine lacks CAP_SYS_RESOURCE: a limit can't be raised, by runc neither.
    config["process"].pop("rlimits", None)
    (bundle / "config.json").write_text(json.dumps(config))


def test_an_image_unpacked_by_umoci(docker: Docker, either: Runtime, tmp_path: Path) -> None:
    archive, layout, bundle = tmp_path / "image.tar", tmp_path / "oci", tmp_path / "bundle"
    docker.check("save", "--output", str(archive), IMAGE)
    call("skopeo", "--insecure-policy", "copy", f"docker-archive:{archive}", f"oci:{layout}:latest")
    call("umoci", "unpack", "--image", f"{layout}:latest", bundle)
    without_terminal(bundle, "sh", "-c", "echo unpacked; id -u; hostname")
    result = either.run(bundle)
    assert result.status == 0, result.err
    assert result.out.splitlines()[:2] == ["unpacked", "0"]


def test_a_root_that_docker_exports(docker: Docker, hookrun: Runtime, tmp_path: Path) -> None:
    rootfs = tmp_path / "rootfs"
    rootfs.mkdir()
    container = docker.check("create", "--network", "none", IMAGE, "true")
    try:
        docker.check("export", "--output", str(tmp_path / "export.tar"), container)
    finally:
        docker.check("rm", container)
    call("tar", "-C", rootfs, "-xf", tmp_path / "export.tar")
    assert hookrun.call("spec", "--bundle", str(tmp_path)).status == 0
    without_terminal(tmp_path, "sh", "-c", "echo exported; touch /x; echo $?")
    result = hookrun.run(tmp_path)
    assert result.out.split() == ["exported", "1"], result.err
