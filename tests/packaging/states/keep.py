"""Keeps the state that this version writes, once for each release:  .venv/bin/python -m tests.packaging.states.keep

The files are what a running container leaves under --root, byte for byte.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hookrun.wrapper import VERSION
from tests.support.bundles import Bundle
from tests.support.runtimes import HOOKRUN, Runtime

HERE = Path(__file__).parent
FILES = ("state.json", "config.json", "creating.json")


def main() -> None:
    """Run a container and copy its files."""
    place = Path(tempfile.mkdtemp(prefix="hr-keep-", dir="/var/tmp"))
    runtime = Runtime(HOOKRUN, place / "root")
    try:
        bundle = example(Bundle(place / "bundle"))
        container_id = runtime.run_detached(bundle.path, container_id="kept")
        (HERE / VERSION).mkdir()
        for name in FILES:
            shutil.copyfile(place / "root" / container_id / name, HERE / VERSION / name)
    finally:
        runtime.delete_all()
        shutil.rmtree(place)


def example(bundle: Bundle) -> Bundle:
    """A bundle whose state has a hook, an annotation, limits and a mount in it."""
    bundle.config["annotations"] = {"org.example.kept": "yes"}
    bundle.config["hooks"] = {"poststop": [{"path": "/bin/true", "args": ["true"]}]}
    bundle.linux["resources"]["pids"] = {"limit": 20}
    bundle.add_mount("/tmp", "tmpfs", "tmpfs", "nosuid")
    return bundle.command("sleep", "1000")


if __name__ == "__main__":
    main()
