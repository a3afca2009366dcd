"""Calls from eight processes while a new heap is renamed into place every second: none may fail.

.venv/bin/python -m tests.wrapper.start.heap_soak [--calls 100000]
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hookrun.wrapper.start import program
from tests.support import warm
from tests.support.bundles import Bundle
from tests.support.runtimes import Runtime, fresh_id

WORKERS = 8
CALLS_OF_A_LIFE = 8


def soak(place: Path, calls: int) -> list[str]:
    """Make `calls` calls in lives of containers; returns what went wrong, a line each."""
    state = place / "state"
    state.mkdir()
    (place / "bundle").mkdir()
    bundle = Bundle(place / "bundle").command("sleep", "1000")
    launcher = warm.launcher(place / "hookrun", state)
    done = threading.Event()
    replacing = threading.Thread(target=_replace, args=(state, done))
    replacing.start()
    try:
        with ThreadPoolExecutor(WORKERS) as pool:
            lives = [pool.submit(_life, launcher, place, bundle) for _ in range(-(-calls // CALLS_OF_A_LIFE))]
            return [line for life in lives for line in life.result()]
    finally:
        done.set()
        replacing.join()


def _replace(state: Path, done: threading.Event) -> None:
    while not done.wait(1):
        fresh = state / "fresh"
        subprocess.run([warm.START, "--fill", fresh, program.packages()], timeout=120, check=True)
        fresh.rename(state / program.HEAP)


def _life(launcher: Path, place: Path, bundle: Bundle) -> list[str]:
    runtime = Runtime(launcher, place / "root")
    box = fresh_id("soak")
    wrong = []
    for words in (
        ("create", "--bundle", str(bundle.path), box),
        ("state", box),
        ("start", box),
        ("exec", box, "true"),
        ("list", "--quiet"),
        ("pause", box),
        ("resume", box),
        ("delete", "--force", box),
    ):
        with tempfile.TemporaryFile() as output:
            line = [runtime.program, *runtime.globals, *words]
            status = subprocess.run(
                line, stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=120, check=False
            ).returncode
            if status:
                output.seek(0)
                wrong.append(f"{words[0]}: exit status {status}: {output.read().decode(errors='replace')}")
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=100_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hr-soak-", dir="/var/tmp") as place:
        wrong = soak(Path(place), options.calls)
    print("\n".join(wrong) or f"{options.calls} calls, none failed")
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main()
