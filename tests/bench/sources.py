"""What judging mounts by what they expose costs a create.

    .venv/bin/python -m tests.bench.sources [--rounds 100] [--markdown FILE]

Two launchers take turns at a create with twelve mounts, five of them binds. Both have twenty policies in force, of which
three judge the mounts as `no-engine-socket` and `cis-docker` do: `asked` by their sources, `spelled` by a field that is
no more than a word, their type. The cost is the difference of the medians; the budget is 0.4 ms.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from tests.bench import docker_config, stopwatch
from tests.bench.contestants import Contestant, registered
from tests.support.bundles import Bundle
from tests.support.runtimes import HOOKCTL

SOCKETS = [
    "/run/docker.sock",
    "/run/docker/containerd",
    "/run/containerd",
    "/run/podman",
    "/run/crio",
    "/run/buildkit",
    "/run/user",
]
ASKING: list[dict[str, Any]] = [
    {"mounts": {"forbid": [{"source": {"in": SOCKETS}}, {"source": {"matches": r"^/run/user/\d+(/podman(/.*)?)?$"}}]}},
    {
        "mounts": {
            "forbid": [{"type": "bind", "source": {"in": ["/boot", "/dev", "/etc", "/lib", "/proc", "/sys", "/usr"]}}]
        }
    },
    {"deny": [{"when": {"field": "/mounts/*/source", "startsWith": "/root/"}, "message": "no"}]},
]
SPELLED: list[dict[str, Any]] = json.loads(json.dumps(ASKING).replace('"source"', '"type"').replace("/source", "/type"))


def with_mounts(bundle: Bundle) -> Bundle:
    """Dockerd's config with twelve mounts: the kernel's, three files of the engine's and two directories."""
    bundle.config = docker_config.written(bundle.path)
    kernels = [mount for mount in bundle.config["mounts"] if mount["type"] != "bind"][:7]
    binds = []
    for name in ("hosts", "hostname", "resolv.conf"):
        (bundle.path / name).touch()
        binds.append((f"/etc/{name}", bundle.path / name))
    for name in ("one", "two"):
        (bundle.path / name).mkdir(exist_ok=True)
        binds.append((f"/{name}", bundle.path / name))
    options = ["rbind", "rprivate"]
    bundle.config["mounts"] = kernels + [
        {"destination": place, "type": "bind", "source": str(source), "options": options} for place, source in binds
    ]
    return bundle.command("true")


def contestant(place: Path, name: str, bundle: Bundle, asking: list[dict[str, Any]]) -> Contestant:
    """A launcher with twenty policies in force, the last of which are `asking`."""
    launcher = registered(place / name, f"record: {{directory: {place}/{name}/record}}\n", with_policies=True)
    directory = place / name / "config/policies.d"
    for number, (path, spec) in enumerate(zip(sorted(directory.iterdir()), asking, strict=False)):
        policy = {"apiVersion": "hookrun/v1", "kind": "Policy", "metadata": {"name": f"asks-{number}"}, "spec": spec}
        path.write_text(json.dumps(policy))
    ctl = [
        str(HOOKCTL),
        "--config",
        str(place / name / "config"),
        "--state",
        str(place / name / "state"),
        "apply",
        "--yes",
    ]
    subprocess.run(ctl, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=120, check=True)
    made = Contestant(name, [launcher], place / name / "root", bundle)
    made.create("bench-warm")  # mounts the seal
    made.remove("bench-warm")
    return made


def measure(rounds: int) -> str:
    """The race as a Markdown table and a line on the cost."""
    place = Path(tempfile.mkdtemp(prefix="hr-bench-", dir="/var/tmp"))
    contestants: list[Contestant] = []
    try:
        bundle = with_mounts(Bundle(place / "bundle"))
        contestants = [contestant(place, "asked", bundle, ASKING), contestant(place, "spelled", bundle, SPELLED)]
        table = stopwatch.Table(["asked", "spelled"], subject="asked")

        def lap(runner: Contestant) -> None:
            table.add("create", runner.name, runner.create("bench-sources"))
            runner.remove("bench-sources")

        stopwatch.interleave(rounds, {runner.name: partial(lap, runner) for runner in contestants})
        asked, spelled = (table.median("create", runner.name) or 0.0 for runner in contestants)
        return f"{table.markdown()}\njudging sources costs a create {asked - spelled:.2f} ms; the budget is 0.40\n"
    finally:
        for one in contestants:
            one.close()
            subprocess.run(
                ["umount", "-l", str(place / one.name / "state/seal")],
                stdin=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                check=False,
            )
        shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    stopwatch.command_line(__doc__, measure, 100)
