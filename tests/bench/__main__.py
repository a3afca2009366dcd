"""All benches one after the other; their tables are kept from release to release, so that a slowdown shows.

    .venv/bin/python -m tests.bench [--rounds 60]

Writes tests/bench/results/VERSION.md, and says which ratios have grown by more than a tenth since the release before.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from hookrun.wrapper import VERSION
from tests.bench import results

BENCHES = {
    "lifecycle": "The life of a container",
    "costs": "What commands cost",
    "docker_run": "docker run",
    "delegate": "In front of another runtime",
    "policies": "Policies",
    "sources": "Mounts judged by what they expose",
    "record": "The record",
    "following": "With a fleet",
    "checkpoint": "Checkpoint and restore of 200 MB",
    "scale": "Many containers",
}


def section(bench: str, title: str, rounds: int | None) -> str:
    """One bench's tables under its title."""
    with tempfile.NamedTemporaryFile("r") as file:
        words = [sys.executable, "-m", f"tests.bench.{bench}", "--markdown", file.name]
        if rounds and bench != "scale":
            words += ["--rounds", str(rounds)]
        subprocess.run(words, stdin=subprocess.DEVNULL, check=True)
        return f"## {title}\n\n{Path(file.name).read_text()}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, help="instead of each bench's own number")
    options = parser.parse_args()
    sections = [section(bench, title, options.rounds) for bench, title in BENCHES.items()]
    text = f"# hookrun {VERSION}\n\n" + "\n".join(sections)
    before = results.of_release_before(VERSION)
    results.path_of(VERSION).write_text(text)
    for line in results.slower(before, text):
        print(line)


if __name__ == "__main__":
    main()
