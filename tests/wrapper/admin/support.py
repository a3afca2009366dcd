"""hookctl on directories of the test's own."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from hookrun.wrapper import snapshot
from tests.support.runtimes import HOOKCTL, Result


class Desk:
    """A configuration directory, a state directory, and hookctl on both."""

    def __init__(self, place: Path) -> None:
        self.config = place / "etc"
        self.state = place / "state"
        self.policies = self.config / "policies.d"
        self.policies.mkdir(parents=True)

    def __call__(self, *words: str | Path) -> Result:
        done = subprocess.run(
            [HOOKCTL, "--config", self.config, "--state", self.state, *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    def check(self, *words: str | Path) -> str:
        """What a command prints that must succeed."""
        result = self(*words)
        assert result.status == 0, result.err + result.out
        return result.out

    def policy(self, name: str, spec: dict[str, Any], **others: Any) -> Path:
        """Write a policy in a file of its own."""
        path = self.policies / f"{name}.yaml"
        path.write_text(
            json.dumps(
                {"apiVersion": "hookrun/v1", "kind": "Policy", "metadata": {"name": name}, "spec": spec, **others}
            )
        )
        return path

    def settings(self, text: str) -> None:
        (self.config / "config.yaml").write_text(text)

    def in_force(self) -> snapshot.Content:
        """The content of the snapshot in force."""
        content = snapshot.load(str(self.state)).content
        assert content is not None
        return content
