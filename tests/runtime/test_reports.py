"""What public bug reports of other runtimes showed to go wrong here too; what is right holds for runc as well."""

from __future__ import annotations

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
