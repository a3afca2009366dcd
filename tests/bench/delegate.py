"""What it costs to stand in front of runc: a `state` call through hookrun's profile that delegates, and through others.

    .venv/bin/python -m tests.bench.delegate [--rounds 60] [--markdown FILE]

Beside hookrun: a two-line shell wrapper that execs runc, one that forks and waits for it (as oci-add-hooks does), runc
alone, and the floor of the interpreter.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.bench import stopwatch
from tests.bench.contestants import registered
from tests.bench.lifecycle import FLOOR
from tests.support.bundles import Bundle
from tests.support.runtimes import RUNC

WRAPPERS = {"exec wrapper": f'exec {RUNC} "$@"', "forking wrapper": f'{RUNC} "$@"\nexit $?'}


def wrapper(place: Path, name: str, body: str) -> str:
    path = place / name.replace(" ", "-")
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


def measure(rounds: int) -> str:
    """The race as a Markdown table."""
    place = Path(tempfile.mkdtemp(prefix="hr-bench-", dir="/var/tmp"))
    (place / "bundle").mkdir()
    name = f"bench-delegate-{place.name}"
    root = ["--root", str(place / "root")]
    try:
        bundle = Bundle(place / "bundle").command("sleep", "1000")
        settings = f"runtime: {RUNC}\nrecord: {{directory: {place}/record}}\n"
        programs = {"hookrun": registered(place, settings, with_policies=True), "runc": RUNC}
        programs.update({title: wrapper(place, title, body) for title, body in WRAPPERS.items()})
        stopwatch.spawn([RUNC, *root, "create", "--bundle", str(bundle.path), name])
        table = stopwatch.Table(["python", *programs])

        def lap(title: str, words: list[str]) -> Callable[[], None]:
            return lambda: table.add("state (ms)", title, stopwatch.spawn(words))

        laps = {title: lap(title, [program, *root, "state", name]) for title, program in programs.items()}
        stopwatch.interleave(rounds, {**laps, "python": lap("python", FLOOR)})
        added = (table.median("state (ms)", "hookrun") or 0) - (table.median("state (ms)", "runc") or 0)
        floor = table.median("state (ms)", "python") or 1
        return f"{table.markdown()}\nDelegating adds {added:.1f} ms to a state: {added / floor:.2f} of the interpreter's {floor:.1f} ms.\n"
    finally:
        subprocess.run([RUNC, *root, "delete", "--force", name], stdin=subprocess.DEVNULL, check=False)
        subprocess.run(
            ["umount", "-l", place / "state/seal"], stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
        shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    stopwatch.command_line(__doc__, measure, rounds=60)
