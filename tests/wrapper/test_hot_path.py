"""The import budget: which modules a command may load, so that nobody adds milliseconds to every call by accident."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from hookrun.runtime.commands import spec
from hookrun.wrapper import entry, settings, snapshot
from tests.wrapper import import_budget

SOURCE = str(Path(entry.__file__).parents[2])
PYTHON = os.path.realpath(sys.executable)

# Modules of Python that the hot path may load, beyond what the interpreter itself starts with.
ALLOWED = {
    "__future__",
    "_ctypes",
    "_json",
    "_sha2",
    "_sha256",
    "_signal",
    "_socket",
    "errno",
    "fcntl",
    "gc",
    "grp",
    "io",
    "marshal",
    "posix",
    "pwd",
    "resource",
    "select",
    "sys",
    "time",
    "termios",
    "zlib",
}
COMMANDS = ["create", "start", "state", "kill", "delete", "exec", "run", "pause", "resume"]
MAIN_OF_COMMAND = """
import sys
sys.path.append({source!r})
before = set(sys.modules)
from hookrun.wrapper import shim
from hookrun.wrapper import seal
seal.ensure = lambda state: None
status = shim.main([word.encode() for word in sys.argv[2:]], {state!r})
with open(sys.argv[1], "w") as file:
    print(status, *sorted(set(sys.modules) - before), sep="\\n", file=file)
"""


@pytest.fixture
def state(tmp_path: Path) -> Path:
    content = {"settings": settings.completed({"record": {"directory": str(tmp_path / "record")}}), "profiles": {}}
    (tmp_path / snapshot.NAME).write_bytes(snapshot.packed(content))
    (tmp_path / snapshot.NAME).chmod(0o644)
    return tmp_path


class Loaded:
    """What a command loaded, and its exit status."""

    def __init__(self, state: Path, *words: str) -> None:
        program = MAIN_OF_COMMAND.format(source=SOURCE, state=str(state))
        report = state / "report"
        report.unlink(missing_ok=True)
        line = ["hookrun", "--root", str(state / "root"), *words]
        self.output = python("-X", "importtime", "-c", program, str(report), *line, directory=state)
        status, *self.modules = report.read_text().split()
        self.status = int(status)

    def surplus(self) -> list[str]:
        """What of Python's own modules is loaded that none of the commands may load."""
        return self._priced({name for name in self.modules if not name.startswith("hookrun")} - ALLOWED)

    def beyond(self, budget: set[str]) -> list[str]:
        """What is loaded that is not in the budget."""
        harness = {"hookrun", "hookrun.wrapper.seal", "errno", "fcntl"}
        return self._priced({name for name in self.modules if name.removeprefix("hookrun.") not in budget} - harness)

    def _priced(self, names: set[str]) -> list[str]:
        return [f"{name}, {cost(name, self.output.stderr)}" for name in sorted(names - set(start_modules()))]


def python(*arguments: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """Run the interpreter as launchers do, its output in files: a container's init keeps pipes open."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        done = subprocess.run(
            [PYTHON, "-ISXutf8", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            timeout=60,
            check=False,
            cwd=directory,
        )
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(done.args, done.returncode, out.read(), err.read())


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_loads_nothing_dear(command: str, state: Path) -> None:
    loaded = Loaded(state, command, "nosuch", *(["true"] if command == "exec" else []))
    assert loaded.status != 0
    assert not loaded.surplus(), f"{command} loads more than it may"
    assert "hookrun.wrapper.admin" not in loaded.modules


@pytest.fixture
def bundle(state: Path) -> Path:
    rootfs = state / "bundle" / "rootfs"
    (rootfs / "bin").mkdir(parents=True)
    shutil.copy2("/bin/busybox", rootfs / "bin" / "busybox")
    config = spec.example()
    config["process"].update(terminal=False, args=["/bin/busybox", "sleep", "300"])
    (state / "bundle" / "config.json").write_text(json.dumps(config))
    return state / "bundle"


@pytest.mark.skipif(os.geteuid() != 0 or not Path("/bin/busybox").exists(), reason="needs root and busybox")
def test_a_containers_life_keeps_the_budget(state: Path, bundle: Path) -> None:
    box = f"hot-path-{os.getpid()}"
    surplus = {}
    try:
        for words in (
            ["create", "--bundle", str(bundle), box],
            ["start", box],
            ["state", box],
            ["exec", box, "/bin/busybox", "true"],
            ["kill", box, "CONT"],
        ):
            loaded = Loaded(state, *words)
            assert loaded.status == 0, f"{words[0]}: {loaded.output.stderr}"
            surplus[words[0]] = loaded.beyond(import_budget.of(words[0]))
    finally:
        loaded = Loaded(state, "delete", "--force", box)
    assert loaded.status == 0, loaded.output.stderr
    surplus["delete"] = loaded.beyond(import_budget.of("delete"))
    assert not any(surplus.values()), {command: dear for command, dear in surplus.items() if dear}


def start_modules() -> list[str]:
    """What the interpreter has loaded before the first line."""
    return python("-c", "import sys; print(*sys.modules)", directory=Path("/")).stdout.split()


def cost(name: str, importtime: str) -> str:
    found = re.search(rf"\|\s+(\d+) \|\s+{re.escape(name)}$", importtime, re.MULTILINE)
    return f"which costs {int(found[1]) / 1000:.1f} ms" if found else "whose cost is unknown"


def test_the_budget_is_able_to_fail(state: Path) -> None:
    done = python("-X", "importtime", "-c", "import json, sys; print(*sys.modules)", directory=state)
    assert "json" in set(done.stdout.split()) - ALLOWED
    assert re.fullmatch(r"which costs \d+\.\d ms", cost("json", done.stderr))
