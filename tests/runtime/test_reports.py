"""What public bug reports of other runtimes showed to go wrong here too; what is right holds for runc as well."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.support.bundles import Bundle
from tests.support.runtimes import Runtime

STAGES = ("prestart", "createRuntime", "poststart", "poststop")


def test_a_bundle_that_is_given_by_a_link(either: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    """containers/crun#2025, #2263: every hook and the state name one directory, the one where the bundle really is."""
    log = tmp_path / "log"
    for stage in STAGES:
        script = f'cat >{tmp_path}/state; echo {stage} $(grep -o \'"bundle":"[^"]*"\' {tmp_path}/state) >>{log}'
        bundle.config.setdefault("hooks", {})[stage] = [{"path": "/bin/sh", "args": ["sh", "-c", script]}]
    bundle.command("sleep", "1000")
    link = tmp_path / "link"
    link.symlink_to(bundle.path)
    name = either.run_detached(link)
    assert either.state(name)["bundle"] == str(bundle.path)
    assert either.call("delete", "--force", name).status == 0
    assert log.read_text().splitlines() == [f'{stage} "bundle":"{bundle.path}"' for stage in STAGES]
    bundle.command("true")
    assert either.run(Path("link"), cwd=tmp_path).status == 0


def test_a_working_directory_that_is_too_deep(either: Runtime, bundle: Bundle) -> None:
    """The fuzz of tests/security found it: the reason is the kernel's, however many directories it would take."""
    bundle.process["cwd"] = "/x" * 2100
    done = either.run(bundle.write().path)
    subprocess.run(["rm", "-rf", bundle.rootfs / "x"], check=True)  # deeper than shutil.rmtree goes
    assert (done.status, "file name too long" in done.err) == (1, True), done.err
