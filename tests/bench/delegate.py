"""What it costs to stand in front of runc: a `state` call through hookrun's profile that delegates, and through others.

    .venv/bin/python -m tests.bench.delegate [--rounds 60]

Beside hookrun: a two-line shell wrapper that execs runc, one that forks and waits for it (as oci-add-hooks does), runc
alone, and the floor of the interpreter.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.bench import stopwatch
from tests.bench.lifecycle import FLOOR
from tests.support.bundles import Bundle
from tests.support.runtimes import HOOKCTL, RUNC

WRAPPERS = {"exec wrapper": f'exec {RUNC} "$@"', "forking wrapper": f'{RUNC} "$@"\nexit $?'}


def registered(place: Path) -> str:
    """The launcher of a hookrun that delegates to runc."""
    config, state = place / "etc", place / "state"
    config.mkdir()
    (config / "config.yaml").write_text(f"runtime: {RUNC}\nrecord:\n  directory: {place}/record\n")
    ctl = [HOOKCTL, "--config", config, "--state", state]
    for words in (["apply", "--yes"], ["engine", "register", "docker", "--daemon-json", place / "daemon.json"]):
        subprocess.run([*ctl, *words], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=120, check=True)
    return str(state / "launchers/hookrun")


def wrapper(place: Path, name: str, body: str) -> str:
    path = place / name.replace(" ", "-")
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=60)
    options = parser.parse_args()
    place = Path(tempfile.mkdtemp(prefix="hr-bench-", dir="/var/tmp"))
    (place / "bundle").mkdir()
    name = f"bench-delegate-{place.name}"
    root = ["--root", str(place / "root")]
    try:
        bundle = Bundle(place / "bundle").command("sleep", "1000")
        programs = {"hookrun": registered(place), "runc": RUNC}
        programs.update({title: wrapper(place, title, body) for title, body in WRAPPERS.items()})
        stopwatch.spawn([RUNC, *root, "create", "--bundle", str(bundle.path), name])
        table = stopwatch.Table(["python", *programs])

        def lap(title: str, words: list[str]) -> Callable[[], None]:
            return lambda: table.add("state (ms)", title, stopwatch.spawn(words))

        laps = {title: lap(title, [program, *root, "state", name]) for title, program in programs.items()}
        stopwatch.interleave(options.rounds, {**laps, "python": lap("python", FLOOR)})
        print(table.markdown())
    finally:
        subprocess.run([RUNC, *root, "delete", "--force", name], stdin=subprocess.DEVNULL, check=False)
        subprocess.run(["umount", "-l", place / "state/seal"], stdin=subprocess.DEVNULL, capture_output=True, check=False)
        shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    main()
