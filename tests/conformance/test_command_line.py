"""hookrun reads a command line as Debian's runc does: some thousand generated lines, good and bad, given to both.

Compared are the exit status, stdout, the error on stderr, the lines of --log, and the files left. Help texts are
hookrun's own words; of them the headings and the flags shown are compared.
"""

from __future__ import annotations

import json
import marshal
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hookrun.wrapper import settings, snapshot
from hookrun.wrapper.cli import argv, grammar
from tests.support.runtimes import HOOKRUN

RUNC = shutil.which("runc")
LINES = 3000
SEED = 20240229
RUNC_MINOR = (1, 1)

# Runs each case in a child of its own: one interpreter start for all of them. With a program as second argument it
# executes that one, else hookrun's shim.
WORKER = """
import marshal, os, sys
sys.path.append(sys.argv[1])
program = sys.argv[2]
from hookrun.wrapper import shim
from hookrun.wrapper.start import seal
seal.ensure = lambda state: None  # it would execute this worker's own command line again
statuses = []
for directory, argv in marshal.load(sys.stdin.buffer):
    child = os.fork()
    if not child:
        status = 99
        try:
            os.chdir(directory)
            flags = os.O_WRONLY | os.O_CREAT
            os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
            os.dup2(os.open("../" + os.path.basename(directory) + ".out", flags), 1)
            os.dup2(os.open("../" + os.path.basename(directory) + ".err", flags), 2)
            if program:
                os.execv(program, argv)
            status = shim.main(argv, sys.argv[3])
        finally:
            os._exit(status)
    statuses.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
marshal.dump(statuses, sys.stdout.buffer)
"""

WORDS = [
    b"",
    b"x",
    b"a b",
    b"box-1",
    "größe".encode(),
    b"\xff\xfe",
    b'q"u\\o',
    b"nosuch/dir",
    b"a\nb",
    b"=",
    b"a=b",
    b"l" * 10_000,
]
NUMBERS = [b"0", b"1", b"-1", b"+5", b"007", b"0x1F", b"0b101", b"0o17", b"1_000", b"_1", b"1__0", b"0x", b"1e3", b" 1"]
NUMBERS += [b"9223372036854775807", b"9223372036854775808", b"-9223372036854775808", b"x", b"", b"9" * 60]
DURATIONS = [
    b"5s",
    b"1h15m30.5s",
    b"0",
    b"-1s",
    b"1",
    b"s",
    b"1.s",
    b".5s",
    b".s",
    b"300ms",
    b"1d",
    b"",
    b"+3us",
    b"1s1",
]
BOOLEANS = [b"true", b"false", b"1", b"0", b"T", b"F", b"TRUE", b"False", b"yes", b"", b"tRUE"]
STRANGE = [
    b"--nosuch",
    b"-n",
    b"--nosuch=1",
    b"---x",
    b"-=x",
    b"--=x",
    b"-",
    b"--",
    b"-\xff",
    b"--help=false",
    b"--Bundle=x",
]
VALUES = {
    grammar.STRING: WORDS,
    grammar.STRINGS: WORDS,
    grammar.INT: NUMBERS,
    grammar.INT64S: NUMBERS,
    grammar.DURATION: DURATIONS,
    grammar.BOOL: BOOLEANS,
}
# Their values change what runc 1.1 itself does about containers, not how it reads the line.
LEFT_OUT = {"root", "log", "log-format", "rootless", "systemd-cgroup", "debug"}


def known_to_oracle(flag: grammar.Flag) -> bool:
    def minor(version: str) -> tuple[int, int]:
        numbers = re.findall(r"\d+", version)
        return int(numbers[0]), int(numbers[1])

    return minor(flag.since) <= RUNC_MINOR and (not flag.until or minor(flag.until) > RUNC_MINOR)


def flag_words(choose: random.Random, flag: grammar.Flag) -> list[bytes]:
    """A flag in one of its spellings, with a good or a bad value, or without one."""
    dashes = choose.choice([b"--", b"--", b"-"])
    name = dashes + choose.choice(flag.names).encode()
    value = choose.choice(VALUES[flag.kind])
    if flag.kind == grammar.BOOL:
        return [name if choose.random() < 0.6 else name + b"=" + value]
    spelling = choose.random()
    if spelling < 0.45:
        return [name, value]
    return [name + b"=" + value] if spelling < 0.9 else [name]


def global_words(choose: random.Random) -> list[bytes]:
    words = [b"--root", b"root"]
    words += choose.choice(
        [[], [], [b"--log", b"log"], [b"--log=log", b"--log-format=json"], [b"-log", b"log", b"-log-format", b"text"]]
    )
    pool = [flag for flag in grammar.GLOBALS if known_to_oracle(flag) and flag.name not in LEFT_OUT]
    pool = [flag for flag in pool if flag.name not in argv.ADD_HOOKS_OPTIONS]
    if choose.random() < 0.08:
        words += flag_words(choose, choose.choice(pool))
    if choose.random() < 0.04:
        words += choose.choice(
            [[b"--log-format", b"xml"], [b"--log", b"no/such/log"], [b"--debug"], [b"--log"], [b"--rootless=false"]]
        )
    if choose.random() < 0.03:
        words.append(choose.choice(STRANGE))
    return words


def generated(choose: random.Random) -> list[bytes]:
    """One command line without the program's name."""
    words = global_words(choose)
    if choose.random() < 0.06:
        return words + choose.choice(
            [
                [],
                [b"nosuch"],
                [b""],
                [b"help"],
                [b"h", b"create"],
                [b"help", b"nosuch"],
                [b"help", b""],
                [b"help", b"-h"],
                [b"\xff"],
            ]
        )
    command = choose.choice(grammar.COMMANDS)
    flags = [flag for flag in (*command.flags, grammar.HELP) if known_to_oracle(flag)]
    parts = [flag_words(choose, choose.choice(flags)) for _ in range(choose.choice([0, 0, 1, 1, 2, 3]))]
    if choose.random() < 0.1:
        parts.append([choose.choice(STRANGE)])
    if choose.random() < 0.05 and parts:
        parts.append(choose.choice(parts))
    count = command.least if choose.random() < 0.85 else choose.randrange(4)
    parts += [[choose.choice(WORDS)] for _ in range(count)]
    choose.shuffle(parts)
    return [*words, command.name.encode(), *(word for part in parts for word in part)]


class Outcome:
    """What a command line led to."""

    def __init__(self, status: int, directory: Path) -> None:
        self.status = status
        self.stdout = text_of(directory.with_suffix(".out"), directory)
        self.stderr = text_of(directory.with_suffix(".err"), directory)
        self.log = text_of(directory / "log", directory)
        self.files = sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))

    def compared(self) -> dict[str, Any]:
        return {
            "status": self.status,
            "stdout": shape_of_help(self.stdout),
            "stderr": [messages(line) for line in self.stderr.splitlines()],
            "log": [messages(line) for line in self.log.splitlines()],
            "files": self.files,
        }


def text_of(path: Path, directory: Path) -> str:
    """A file's text with paths relative to the case's directory: runc leaves some relative that hookrun makes absolute.

    Which system call it was that found a name too long, and for which file below it, is the runtime's own affair.
    """
    if not path.is_file():
        return ""
    text = path.read_bytes().decode("utf-8", "backslashreplace").replace(f"{directory}/", "")
    return re.sub(r"(l?stat|open|mkdir|readlink|chdir) [^:]*l{1000}[^: ]*", "call LONG", text)


def messages(line: str) -> str:
    """A line of a log or of stderr without what differs from run to run: time, and runc's own source lines."""
    if line.startswith("{"):
        entry = json.loads(line)
        return f"{entry['level']}: {entry['msg']}"
    return re.sub(r' (func|file)="[^"]*"', "", re.sub(r'^time="[^"]*"', "", line))


def shape_of_help(text: str) -> list[str]:
    """The headings, usage lines' beginnings and flags of a help text; any other text as it is."""
    if text.startswith("{"):
        return [f"JSON {type(json.loads(text)).__name__}"]  # `features`: each tells of itself
    head, found, body = text.partition("NAME:\n")
    if not found:
        return [re.sub(r"^(runc|hookrun) version [^$]*", "version", text)]
    headings = re.findall(r"^[A-Z ]+:$", body, re.MULTILINE)
    flags = re.findall(r"^   (-[-\w, ]*?)(?:  |$)", body, re.MULTILINE)
    kept = [heading for heading in headings if heading in ("USAGE:", "COMMANDS:")]
    return [head, *kept, *sorted(flag for flag in flags if not hidden_somewhere(flag))]


def hidden_somewhere(shown: str) -> bool:
    """Flags that one of the two hides or does not know: hookrun's help is that of the newest runc."""
    name = shown.replace(",", " ").split()[0].lstrip("-")
    every = [*grammar.GLOBALS, *(flag for command in grammar.COMMANDS for flag in command.flags)]
    return any(name in flag.names and (flag.hidden or not known_to_oracle(flag)) for flag in every)


def run_all(program: str, lines: list[list[bytes]], place: Path) -> list[Outcome]:
    directories = [place / str(number) for number in range(len(lines))]
    for directory in directories:
        (directory / "root").mkdir(parents=True)
    cases = [(str(directory), [b"runc", *line]) for directory, line in zip(directories, lines, strict=True)]
    source = str(Path(argv.__file__).parents[3])
    process = subprocess.run(
        [sys.executable, "-I", "-S", "-X", "utf8", "-c", WORKER, source, program, str(state_without_record(place))],
        input=marshal.dumps(cases),
        stdout=subprocess.PIPE,
        timeout=600,
        check=True,
        env={"PATH": os.environ["PATH"]},
    )
    statuses = marshal.loads(process.stdout)
    return [Outcome(status, directory) for status, directory in zip(statuses, directories, strict=True)]


def state_without_record(place: Path) -> Path:
    """A state directory with a snapshot that keeps the calls out of this host's record."""
    state = place.with_suffix(".state")
    state.mkdir()
    content: snapshot.Content = {"settings": settings.completed({"record": {"enabled": False}}), "profiles": {}}
    (state / snapshot.NAME).write_bytes(snapshot.packed(content))
    (state / snapshot.NAME).chmod(0o644)
    return state


@pytest.fixture(scope="module")
def lines() -> list[list[bytes]]:
    choose = random.Random(SEED)
    return [generated(choose) for _ in range(LINES)]


def is_restore(line: list[bytes]) -> bool:
    """runc makes the images' directory first of all, and looks at the flags before it looks for a bundle."""
    call = argv.parse([b"runc", *line])
    return call.answer is None and call.command == "restore"


def test_lines_cover_all_sides(lines: list[list[bytes]]) -> None:
    answers = [argv.parse([b"runc", *line]).answer for line in lines]
    assert sum(answer is None for answer in answers) > LINES // 4
    assert sum(answer is not None and answer.status == 1 for answer in answers) > LINES // 4
    assert {answer.status for answer in answers if answer} == {0, 1, 3}


@pytest.mark.skipif(RUNC is None, reason="needs Debian's runc as the oracle")
def test_every_line_ends_as_with_runc(lines: list[list[bytes]], tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(2) as pool:
        theirs = pool.submit(run_all, str(RUNC), lines, tmp_path / "runc")
        ours = pool.submit(run_all, "", lines, tmp_path / "hookrun")
    wrong = list(differences(lines, theirs.result(), ours.result()))
    assert not wrong, f"{len(wrong)} of {len(lines)} lines differ\n" + "\n".join(wrong[:20])


def differences(lines: list[list[bytes]], theirs: list[Outcome], ours: list[Outcome]) -> Iterator[str]:
    for line, their, our in zip(lines, theirs, ours, strict=True):
        expected, got = their.compared(), our.compared()
        if is_restore(line):
            expected = {"status": expected["status"]}
        for what, value in expected.items():
            if got[what] != value:
                short = [word if len(word) < 60 else word[:20] + b"..." for word in line]
                yield f"{short}: {what}\n    runc:    {value!r:.300}\n    hookrun: {got[what]!r:.300}"


def test_the_root_help_is_laid_out_as_runcs() -> None:
    """The same headings, commands and flags, in the same order and with what they do in the same column."""

    def layout(program: str) -> list[str]:
        text = subprocess.run([program, "-h"], capture_output=True, text=True, timeout=60, check=True).stdout
        text = text.replace(Path(program).name, "NAME")
        rows = re.findall(r"^   (?:-|[a-z]+(?:, h)?  ).*|^[A-Z ]+:$|^   NAME \[.*", text, re.MULTILINE)
        rows = [row for row in rows if "--criu" not in row]  # which newer runcs hide, and hookrun
        return [re.sub(r"^(   [-a-z, ]*?  +)\w.*", r"\1", row) for row in rows]

    assert layout(str(HOOKRUN)) == layout(str(RUNC))
