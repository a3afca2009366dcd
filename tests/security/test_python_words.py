"""Every field of config.json and every flag with values that nobody means: no answer is in a Python exception's words.

Each value goes the whole way of a call, in a fork of this process: read, checked, and where it passes, run. And what
Debian's runc takes of it, hookrun takes, but for what is said below.

    .venv/bin/python -m tests.security.test_python_words SEED COUNT    # prints what it finds
"""

from __future__ import annotations

import builtins
import copy
import gc
import importlib
import json
import os
import random
import re
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import hookrun
from hookrun.runtime import jsonio
from hookrun.runtime.errors import Failure
from hookrun.runtime.spec import config as configs
from hookrun.runtime.spec import hooks, shape
from hookrun.wrapper import shim
from hookrun.wrapper.cli import grammar
from hookrun.wrapper.start import modules, seal
from tests.support.bundles import DEFAULT_CONFIG, Bundle, busybox_rootfs
from tests.support.runtimes import HOOKRUN, RUNC, Runtime

SEED = 16
QUICK, ALL = 60, 100_000
QUICK_AGAINST_RUNC, ALL_AGAINST_RUNC = 40, 3_000
SECONDS = 30
WHOLE_WAY = 0.1  # of the configs that are refused at once: the refusal has to reach the log

_EXCEPTIONS = [
    name for name, value in vars(builtins).items() if isinstance(value, type) and issubclass(value, BaseException)
]
_PHRASES = (
    "Traceback",
    "internal error",
    "embedded null",
    "codec can't",
    "surrogates not allowed",
    "too large to convert",
    "can't convert",
    "object is not",
    "object has no",
    "object cannot be",
    "not supported between",
    "unsupported operand",
    "not subscriptable",
    "unhashable",
    "timestamp",
    "invalid literal for",
    "string indices",
    "list indices",
    "argument must be",
    "argument should be",
    "should be string",
    "is not iterable",
    "too many groups",
    "int too",
    "Python int",
    "signed",
    "expected str, bytes",
    "positional argument",
    "argv first element",
    "keyword argument",
    "recursion",
    "not in list",
    "unpack",
)
PYTHONS = re.compile("|".join([rf"\b{name}\b" for name in _EXCEPTIONS] + [re.escape(phrase) for phrase in _PHRASES]))

NUMBERS = [
    -(1 << 63) - 1,
    -(1 << 63),
    -(1 << 31) - 1,
    -2,
    -1,
    0,
    1,
    2,
    7,
    4096,
    65535,
    65536,
    99_999,
    10**7,
    (1 << 31) - 1,
]
NUMBERS += [
    1 << 31,
    (1 << 32) - 2,
    (1 << 32) - 1,
    1 << 32,
    10**10,
    1 << 53,
    (1 << 63) - 1,
    1 << 63,
    (1 << 64) - 1,
    1 << 64,
]
TEXTS = [
    "",
    " ",
    "a",
    "/",
    "/nosuch",
    "/nosuch/x",
    "a\0b",
    "\0",
    "\ud800",
    "/a\udcff",
    "é",
    "\U0001f600",
    "a\nb",
    "\n",
    "=",
    "a=b",
]
TEXTS += [
    "=b",
    "-",
    "--",
    "-1",
    "0",
    "1",
    "4294967296",
    "0-",
    "0-1",
    "1-0",
    ",",
    "0,0",
    "a:b",
    ":",
    "%s",
    "{}",
    "x" * 255,
]
TEXTS += [
    "x" * 4096,
    "/x" * 2100,
    "/" + "x" * 256,
    ".",
    "./",
    "a/b",
    "/dev/null",
    "/proc/self",
    "/tmp",
    "SCMP_ACT_ALLOW",
    "true",
    "9" * 30,
]
OTHERS: list[Any] = [None, True, False, [], {}, 1.5, 1e300, -0.0, "1", [None], [[]], {"": None}, {"a": {}}, [0], ["a"]]
# What a field takes beside it to be looked at; a list's is its element.
BESIDE: dict[str, Any] = {
    "mounts": {"destination": "/m", "type": "tmpfs", "source": "tmpfs"},
    "linux.devices": {"path": "/dev/fuzz", "type": "c", "major": 1, "minor": 3},
    "linux.resources.devices": {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "r"},
    "linux.seccomp": {"defaultAction": "SCMP_ACT_ALLOW"},
    "linux.seccomp.syscalls": {"names": ["acct"], "action": "SCMP_ACT_ERRNO"},
    "linux.seccomp.syscalls.args": {"index": 0, "value": 1, "op": "SCMP_CMP_EQ"},
    "process.rlimits": {"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024},
    "process.scheduler": {"policy": "SCHED_OTHER"},
    "process.ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 4},
    "process.user": {"uid": 0, "gid": 0},
    "linux.resources.hugepageLimits": {"pageSize": "2MB", "limit": 0},
    "linux.personality": {"domain": "LINUX"},
    "linux.memoryPolicy": {"mode": "MPOL_DEFAULT"},
    **{f"hooks.{stage}": {"path": "/bin/true", "args": ["true"]} for stage in hooks.STAGES},
}
# What would reach beyond the container: these are read and checked, and not run.
NOT_RUN = (
    "root.path",
    "linux.cgroupsPath",
    "linux.namespaces",
    "linux.netDevices",
    "linux.intelRdt",
    "linux.rootfsPropagation",
)
# What Debian's runc does not know yet.
NEWER = (
    "domainname",
    "linux.memoryPolicy",
    "linux.personality",
    "linux.timeOffsets",
    "mounts.[].gidMappings",
    "mounts.[].uidMappings",
    "process.execCPUAffinity",
    "process.ioPriority",
    "process.scheduler",
    "linux.resources.cpu.burst",
    "linux.resources.cpu.idle",
)
# What hookrun takes and runc does not: a label of mounts without SELinux (crun takes it too), a hook's timeout beyond
# Go's clock, no /proc or /dev in the container, and a terminal, which the two have from different callers here.
TAKEN = ("linux.mountLabel", "hooks.", "mounts", "process.terminal")
# What runc passes on and hookrun refuses: values that mean something else by the time they reach the kernel, and hooks
# that only a directory of the moment would find.
REFUSED = re.compile(
    r"contains a null byte|is out of range|must be|must not|first argument is empty|cpu\.idle|kmem\.tcp"
)
# Commands of another program's; what leaves a container or a file; what waits.
NOT_CALLED = ("checkpoint", "restore", "create", "spec", "events")
ON_A_CONTAINER = ("exec", "update", "state", "ps")
NOT_GIVEN = (
    *("root", "log", "criu", "systemd-cgroup", "hook-config-path", "runtime-path", "tty", "bundle", "pid-file"),
    *("console-socket", "pidfd-socket", "detach", "keep", "console", "l3-cache-schema", "mem-bw-schema"),
)

Path_ = tuple[str, ...]


def leaves(form: Any, path: Path_ = ()) -> Iterator[tuple[Path_, Any]]:
    """Every place in config.json, `[]` for an element and `*` for any key, with its form."""
    yield path, form
    if isinstance(form, dict):
        for key, part in form.items():
            yield from leaves(part, (*path, key))
    elif isinstance(form, list):
        yield from leaves(form[0], (*path, "[]"))


FIELDS = [(path, form) for path, form in leaves(shape.CONFIG) if path]


def value_of(form: Any, dice: random.Random) -> Any:
    """A value for a place: mostly of its type, so that it is not refused for that alone."""
    if dice.random() < 0.15:
        return copy.deepcopy(dice.choice(OTHERS))
    if isinstance(form, tuple):
        return dice.choice(NUMBERS) if dice.random() < 0.8 else dice.randrange(-(1 << 70), 1 << 70)
    if form is str:
        return "".join(dice.choice(TEXTS) for _ in range(dice.choice((1, 1, 1, 2))))
    if form is bool:
        return dice.random() < 0.5
    if isinstance(form, list):
        return [
            value_of(form[0], dice)
            for _ in range(dice.choice((0, 1, 2, 3, 3, 70_000 if isinstance(form[0], tuple) else 3)))
        ]
    return {
        dice.choice(TEXTS) if key == "*" else key: value_of(part, dice)
        for key, part in form.items()
        if dice.random() < 0.4
    }


def mutated(dice: random.Random, rootfs: Path) -> tuple[str, dict[str, Any]]:
    """A config with one place changed, and that place's name."""
    config = copy.deepcopy(DEFAULT_CONFIG)
    config["root"]["path"] = str(rootfs)
    path, form = dice.choice(FIELDS)
    put(config, path, value_of(form, dice), dice)
    return ".".join(path), config


def put(config: dict[str, Any], path: Path_, value: Any, dice: random.Random) -> None:
    """Set a place, with what it takes beside it on the way."""
    here: Any = config
    for depth, key in enumerate(path[:-1]):
        following = path[depth + 1]
        plain = ".".join(step for step in path[: depth + 1] if step not in ("[]", "*"))
        made: Any = [] if following == "[]" else {} if key == "[]" else copy.deepcopy(BESIDE.get(plain, {}))
        if key == "[]":
            here.append(copy.deepcopy(BESIDE.get(plain, made)))
            here = here[-1]
        elif key == "*":
            here = here.setdefault(dice.choice(TEXTS), made)
        else:
            if not isinstance(here.get(key), list if following == "[]" else dict):
                here[key] = made
            here = here[key]
    if path[-1] == "[]":
        here.append(value)
    else:
        here[dice.choice(TEXTS) if path[-1] == "*" else path[-1]] = value


def command_line(dice: random.Random, root: Path, box: str) -> list[str]:
    """A command line with values that nobody means, of commands that end by themselves."""
    command = dice.choice([one for one in grammar.COMMANDS if one.name not in NOT_CALLED])
    words = ["--root", str(root), *flags(grammar.GLOBALS, dice, (0, 0, 1)), command.name]
    words += flags(command.flags, dice, (0, 1, 1, 2))
    words.append(box if command.name in ON_A_CONTAINER and dice.random() < 0.8 else dice.choice(("nosuch", text(dice))))
    return words + (["true"] if command.name == "exec" else [text(dice)] * dice.choice((0, 0, 0, 1)))


def flags(all_of_them: Sequence[grammar.Flag], dice: random.Random, counts: Sequence[int]) -> Iterator[str]:
    usable = [flag.name for flag in all_of_them if flag.name not in NOT_GIVEN]
    for name in dice.sample(usable, min(len(usable), dice.choice(counts))):
        yield f"--{name}={text(dice)}" if dice.random() < 0.9 else f"--{name}"


def text(dice: random.Random) -> str:
    """A word that execve(2) can pass."""
    value = str(dice.choice(NUMBERS)) if dice.random() < 0.3 else dice.choice(TEXTS)
    return value.replace("\0", "").replace("\ud800", "\udcd8")


class Fuzz:
    """One run of the fuzz, in a directory of its own."""

    def __init__(self, place: Path, seed: int) -> None:
        self.place = place
        self.dice = random.Random(seed)
        self.rootfs = busybox_rootfs(place / "rootfs")
        self.root = place / "root"
        self.bundle = place / "bundle"
        self.bundle.mkdir()
        packages = Path(next(iter(hookrun.__path__)))
        for name in modules.find(packages).ours:
            importlib.import_module(name)
        gc.freeze()  # a child's collection would touch, and so copy, every page
        self.number = self.tried = 0

    def findings(self, count: int) -> Iterator[str]:
        """What is wrong, a line each: the place or the command line, and what was said of it."""
        box = Bundle(self.place / "box").command("sleep", "100000")
        runtime = Runtime(HOOKRUN, self.root)
        name = runtime.run_detached(box.path)
        try:
            for number in range(count):
                self.tried = number
                yield from (
                    self.of_command_line(name) if number % 5 == 4 else self.of_config(*mutated(self.dice, self.rootfs))
                )
        finally:
            runtime.call("delete", "--force", name)

    def nulls(self) -> Iterator[str]:
        """Every field as null, which Go's decoder takes for one that is not given."""
        for path, form in FIELDS:
            config = copy.deepcopy(DEFAULT_CONFIG)
            config["root"]["path"] = str(self.rootfs)
            members = dict.fromkeys(form, None) if isinstance(form, dict) else None
            put(config, path, [None] if isinstance(form, list) else members, self.dice)
            yield from self.of_config(".".join(path), config)

    def differences(self, count: int) -> Iterator[str]:
        """What hookrun takes and runc does not, or the other way round, a line each."""
        for _ in range(count):
            place, config = mutated(self.dice, self.rootfs)
            if place.startswith((*NOT_RUN, *NEWER)):
                continue
            status, said = self.called(self.run(config))
            theirs = subprocess.run(
                [RUNC, *self.run(config)], capture_output=True, stdin=subprocess.DEVNULL, timeout=60
            )
            is_known = place.startswith(TAKEN) if status == 0 else REFUSED.search(said)
            if (status == 0) != (theirs.returncode == 0) and not is_known:
                yield f"{place}: {status} {said[-500:]} {theirs.returncode} {theirs.stderr[-500:]!r} <- {json.dumps(config)}"

    def run(self, config: dict[str, Any]) -> list[str]:
        """The words to run a config by, as a container of its own."""
        (self.bundle / "config.json").write_text(json.dumps(config))
        self.number += 1
        name = f"hr-words-{os.getpid()}-{self.number}"
        return ["--root", str(self.root), "run", "--bundle", str(self.bundle), name]

    def of_config(self, place: str, config: dict[str, Any]) -> Iterator[str]:
        words = self.run(config)
        said = self.refusal()
        if not place.startswith(NOT_RUN) and (not said or self.dice.random() < WHOLE_WAY):
            _, said = self.called(words)
        if PYTHONS.search(said):
            yield f"{place}: {said.strip()[:1000]} <- {json.dumps(config)[-3000:]}"

    def of_command_line(self, box: str) -> Iterator[str]:
        words = command_line(self.dice, self.root, box)
        _, said = self.called(words)
        if PYTHONS.search(said):
            yield f"{words}: {said.strip()[:1000]}"

    def refusal(self) -> str:
        """What is said of the config before anything is done with it, "" where it is taken."""
        try:
            configs.check(jsonio.read(str(self.bundle / "config.json")))
        except Failure as failure:
            return failure.text
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        return ""

    def called(self, words: list[str]) -> tuple[int, str]:
        """The exit status of a call and what it prints, made in a fork that is what hookrun is after its start."""
        line = [os.fsencode(word) for word in ("hookrun", *words)]
        return self.forked(lambda: shim.main(line, str(self.place / "state")))

    def forked(self, call: Callable[[], int]) -> tuple[int, str]:
        with open(self.place / "said", "w+b", buffering=0) as said:
            child = os.fork()
            if not child:
                _in_child(call, said.fileno(), self.bundle)
            pidfd = os.pidfd_open(child)
            ended = select.select([pidfd], [], [], SECONDS)[0]
            os.close(pidfd)
            if not ended:
                os.killpg(child, signal.SIGKILL)
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            said.seek(0)
            return status, said.read().decode(errors="replace") + ("" if ended else "Traceback: it did not end")


def _in_child(call: Callable[[], int], output: int, directory: Path) -> None:
    """Become what hookrun is after its start: sealed, with plain signals; never returns."""
    try:
        os.setsid()
        os.chdir(directory)
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor, target in ((null, 0), (output, 1), (output, 2)):
            os.dup2(descriptor, target)
        os.closerange(3, 256)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        seal.ensure = lambda state: None
        os._exit(call())
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}".encode(errors="backslashreplace"))
    os._exit(1)


@pytest.fixture
def place() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="hr-words-", dir="/var/tmp"))
    yield made
    subprocess.run(["rm", "-rf", made], check=True)  # shutil.rmtree does not go as deep as some values


def test_no_value_ends_in_pythons_words(place: Path, everything: bool) -> None:
    fuzz = Fuzz(place, SEED)
    assert [*fuzz.nulls(), *fuzz.findings(ALL if everything else QUICK)] == []


def test_what_runc_takes_is_taken(place: Path, everything: bool) -> None:
    fuzz = Fuzz(place, SEED)
    assert [*fuzz.differences(ALL_AGAINST_RUNC if everything else QUICK_AGAINST_RUNC)] == []


if __name__ == "__main__":
    directory = Path(tempfile.mkdtemp(prefix="hr-words-", dir="/var/tmp"))
    fuzz = Fuzz(directory, int(sys.argv[1]))
    try:
        for line in fuzz.findings(int(sys.argv[2])):
            print(line, flush=True)
    finally:
        print(f"{fuzz.tried + 1} values were tried")
        subprocess.run(["rm", "-rf", directory], check=True)
