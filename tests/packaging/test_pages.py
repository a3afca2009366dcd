"""The man pages say what `--help` says, and roff takes them without a warning; the completions know the same words."""

from __future__ import annotations

import os
import pty
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hookrun.wrapper.admin.app import app
from hookrun.wrapper.cli import grammar, help
from tests.packaging.conftest import call
from tests.support.runtimes import CHECKOUT, HOOKCTL

WIDE = {"COLUMNS": "400", "TERMINAL_WIDTH": "400", "NO_COLOR": "1"}
PAGES = ("hookrun.8", "hookctl.1", "hookrun-policy.5")
FLAG = re.compile(r"(?<![\w/-])--?[a-z][a-z0-9-]*(?![\w/])")
needs_shell = {
    name: pytest.mark.skipif(not shutil.which(name), reason=f"no {name}") for name in ("bash", "zsh", "fish")
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory that the generators wrote into."""
    place = tmp_path_factory.mktemp("pages")
    for script in ("man.py", "completions.py"):
        call(sys.executable, CHECKOUT / "packaging" / script, place)
    return place


def rendered(page: Path) -> str:
    done = subprocess.run(
        ["man", "--warnings=w", "--local-file", page], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60, check=True,
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "MANWIDTH": "500"},
    )  # fmt: skip
    assert done.stderr == ""
    return done.stdout


def sections(text: str) -> dict[str, str]:
    """Heading to text; a command's heading is its name alone."""
    parts = re.split(r"^(?: {3})?(\S.*)$", text, flags=re.MULTILINE)
    return {
        re.sub(r"(?<=[a-z]) [A-Z<\[].*", "", heading): body
        for heading, body in zip(parts[1::2], parts[2::2], strict=True)
    }


@pytest.mark.parametrize("page", PAGES)
def test_roff_has_no_complaint(made: Path, page: str) -> None:
    done = subprocess.run(
        ["groff", "-man", "-ww", "-Tutf8", "-Kutf8", made / page],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
        check=True,
    )
    assert done.stderr == ""
    text = rendered(made / page)
    assert "NAME" in text
    assert page.partition(".")[0] in text


def test_hookruns_page_has_its_commands_and_flags(made: Path) -> None:
    found = sections(rendered(made / "hookrun.8"))
    assert set(FLAG.findall(help.text("", "hookrun").partition("GLOBAL OPTIONS:")[2])) <= set(
        FLAG.findall(found["GLOBAL OPTIONS"])
    )
    for command in (*grammar.COMMANDS, grammar.HELP_COMMAND):
        assert command.name in found
        options = help.text(command.name, "hookrun").partition("OPTIONS:")[2]
        assert set(FLAG.findall(options)) == set(FLAG.findall(found[command.name].partition("FILES")[0])), command.name


def helps(path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Each of hookctl's commands and what its --help prints."""
    shown = CliRunner().invoke(app, [*path, "--help"], env=WIDE, prog_name="hookctl").output
    _, _, commands = shown.partition("─ Commands ─")
    names = re.findall(r"^│ ([a-z][a-z-]*)", commands, re.MULTILINE)
    if not names or not path:
        yield path, shown
    for name in names:
        yield from helps((*path, name))


def test_hookctls_page_has_its_commands_and_flags(made: Path) -> None:
    found = sections(rendered(made / "hookctl.1"))
    seen = dict(helps())
    assert ("policy", "lint") in seen
    for path, shown in seen.items():
        text = found[" ".join(("hookctl", *path))] if path else found["OPTIONS"]
        missing = set(FLAG.findall(shown)) - set(FLAG.findall(text + "--help -h"))
        assert not missing, path


def test_the_policies_page_has_the_guides_words(made: Path) -> None:
    guide = (CHECKOUT / "policies/README.md").read_text()
    text = " ".join(rendered(made / "hookrun-policy.5").split())
    for heading in re.findall(r"^## (.*)$", guide, re.MULTILINE):
        assert heading.upper() in text
    for code in re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", guide, flags=re.DOTALL)):
        assert " ".join(code.split()) in text


def bash(made: Path, name: str, function: str, *words: str) -> set[str]:
    script = f'source {made}/{name}.bash; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); {function} "$1"; printf "%s\\n" "${{COMPREPLY[@]}}"'
    return set(call("bash", "-c", script, "bash", *words).split())


@needs_shell["bash"]
def test_bash(made: Path) -> None:
    assert bash(made, "hookrun", "_hookrun", "hookrun", "re") == {"restore", "resume"}
    for command in grammar.COMMANDS:
        shown = set(FLAG.findall(help.text(command.name, "hookrun").partition("OPTIONS:")[2])) | {"--help", "-h"}
        assert bash(made, "hookrun", "_hookrun", "hookrun", "--debug", command.name, "-") == shown


@needs_shell["bash"]
def test_bash_asks_hookctl(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{HOOKCTL.parent}:{os.environ['PATH']}")
    assert bash(made, "hookctl", "_hookctl_completion", "hookctl", "policy", "lin") == {"lint"}


@needs_shell["fish"]
@pytest.mark.parametrize(
    ("line", "word"),
    [("hookrun cre", "create"), ("hookrun exec --no-n", "--no-new-privs"), ("hookctl policy lin", "lint")],
)
def test_fish(made: Path, monkeypatch: pytest.MonkeyPatch, line: str, word: str) -> None:
    monkeypatch.setenv("PATH", f"{HOOKCTL.parent}:{os.environ['PATH']}")
    shown = call("fish", "--no-config", "-c", f"source {made}/{line.split(maxsplit=1)[0]}.fish; complete -C '{line}'")
    assert [found.split("\t")[0] for found in shown.splitlines()] == [word]


@needs_shell["zsh"]
@pytest.mark.parametrize(
    ("line", "word"),
    [("hookrun cre", "create"), ("hookrun create --bun", "create --bundle"), ("hookctl policy lin", "policy lint")],
)
def test_zsh(made: Path, tmp_path: Path, line: str, word: str) -> None:
    """zsh completes a typed line, and runs what became of it."""
    name = line.split(maxsplit=1)[0]
    shutil.copy(made / f"{name}.zsh", tmp_path / f"_{name}")
    master, slave = pty.openpty()
    set_up = f"fpath=({tmp_path} $fpath); autoload -Uz compinit; compinit -u -D; {name}() {{ echo RAN: $*; exit }}\r"
    environment = {
        "PATH": f"{HOOKCTL.parent}:/usr/bin:/bin",
        "TERM": "dumb",
        "HOME": str(tmp_path),
        "LC_ALL": "C.UTF-8",
    }
    with subprocess.Popen(
        ["zsh", "-f", "-i"], stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True
    ) as zsh:
        os.close(slave)
        os.write(master, f"{set_up}{line}\t\r".encode())
        shown = "".join(read_all(master))
        zsh.wait(60)
    os.close(master)
    assert f"RAN: {word}" in shown.splitlines()


def read_all(master: int) -> Iterator[str]:
    try:
        while data := os.read(master, 4096):
            yield data.decode(errors="replace")
    except OSError:  # the terminal's other end is closed
        pass
