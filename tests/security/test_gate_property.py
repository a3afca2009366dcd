"""The gate beside the kernel: random ways to a file, and what a container with them can really read.

Debian's runc, which judges nothing, says what the mounts of a case show. hookrun with a policy that forbids the file
must refuse exactly those cases in which the container could read it: never less, and never more.
HOOKRUN_GATE_CASES=2000 makes a night of it.
"""

from __future__ import annotations

import os
import random
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.security.test_gate import Ground, bind, fresh_ground, system
from tests.support.bundles import Bundle
from tests.support.configured import ConfiguredHost, configured_host
from tests.support.runtimes import PATIENCE, Runtime, fresh_id
from tests.wrapper.decision.test_gate import in_force

CASES = int(os.environ.get("HOOKRUN_GATE_CASES", "200"))
BATCH = 20
TOKEN = "the token that no container may read"
REFUSED = "policy p0: no token"
JUDGED = {True: 0, False: 0}
"""How many of the cases could read the file, and how many could not."""


class Case:
    """Names that lead to the forbidden file or to harmless ones, made by chance."""

    def __init__(self, ground: Ground, place: Path, chance: random.Random) -> None:
        self._place = place
        self._chance = chance
        self._count = 0
        self.steps: list[str] = []
        self.directories = [ground.run, ground.run / "app", ground.good, ground.place / "disk"]
        self.files = [ground.run / "token", ground.good / "file"]

    def build(self) -> None:
        makers = [
            self._link, self._link, self._bind, self._bind, self._bind_file, self._below, self._overlay, self._hard_link,
            self._rename, self._copy, self._volume,
        ]  # fmt: skip
        for _ in range(self._chance.randint(1, 5)):
            maker = self._chance.choice(makers)
            try:
                maker()
            except (OSError, subprocess.CalledProcessError):  # no such way on this file system
                self.steps.append(f"({maker.__name__} failed)")

    def source(self) -> str:
        """A path of the case, spelled by chance."""
        path = str(self._chance.choice(self.directories + self.files + self.directories[4:] * 2 + self.files[2:]))
        spelled = self._chance.choice(
            (
                path,
                path,
                f"/proc/self/root{path}",
                f"{self._place}/../{self._place.name}/./{'../' * 20}{path}",
                path.replace("/", "//"),
            )
        )
        self.steps.append(f"source {spelled}")
        return spelled

    def _new(self) -> Path:
        self._count += 1
        above = self._chance.choice([self._place, *(one for one in self.directories[4:] if one.is_dir())])
        return above / f"n{self._count}"

    def _any(self) -> Path:
        return self._chance.choice(self.directories + self.files)

    def _some_directory(self) -> Path:
        return self._chance.choice([one for one in self.directories if one.is_dir()])

    def _link(self) -> None:
        target, path = self._any(), self._new()
        text = str(target) if self._chance.random() < 0.5 else os.path.relpath(target, path.parent.resolve())
        path.symlink_to(text)
        (self.directories if target.is_dir() else self.files).append(path)
        self.steps.append(f"ln -s {text} {path}")

    def _bind(self) -> None:
        target, path = self._some_directory(), self._new()
        path.mkdir()
        how = self._chance.choice(("--bind", "--rbind"))
        system("mount", how, target, path)
        self.directories.append(path)
        self.steps.append(f"mount {how} {target} {path}")

    def _bind_file(self) -> None:
        target, path = self._chance.choice(self.files), self._new()
        path.touch()
        system("mount", "--bind", target, path)
        self.files.append(path)
        self.steps.append(f"mount --bind {target} {path}")

    def _below(self) -> None:
        target, path = self._some_directory(), self._new()
        (path / "in").mkdir(parents=True)
        system("mount", "--bind", target, path / "in")
        self.directories.append(path)
        self.steps.append(f"mount --bind {target} {path}/in")

    def _overlay(self) -> None:
        lower, path = {self._some_directory().resolve(), self._some_directory().resolve()}, self._new()
        empty = self._new()
        empty.mkdir()
        path.mkdir()
        options = f"lowerdir={':'.join(map(str, lower))}:{empty}"
        system("mount", "-t", "overlay", "-o", options, "overlay", path)
        self.directories.append(path)
        self.steps.append(f"mount -t overlay -o {options} {path}")

    def _hard_link(self) -> None:
        target, directory = self._chance.choice(self.files), self._some_directory()
        self._count += 1
        path = directory / f"hard{self._count}"
        os.link(target.resolve(), path)
        self.files.append(path)
        self.steps.append(f"ln {target} {path}")

    def _rename(self) -> None:
        movable = [one for one in self.directories[4:] if not one.is_symlink()]
        if movable:
            old, new = self._chance.choice(movable), self._new()
            os.rename(old, new)
            self.directories[self.directories.index(old)] = new
            self.steps.append(f"mv {old} {new}")

    def _copy(self) -> None:
        path = self._new()
        path.mkdir()
        (path / "file").write_text("harmless\n")
        self.directories.append(path)
        self.steps.append(f"mkdir {path}")

    def _volume(self) -> None:
        target, path = self._some_directory(), self._new() / "volumes/v/_data"
        path.mkdir(parents=True)
        system("mount", "--bind", target, path)
        self.directories.append(path)
        self.steps.append(f"mount --bind {target} {path}")


@pytest.fixture(scope="module")
def host() -> Iterator[ConfiguredHost]:
    with configured_host() as host:
        yield host


@contextmanager
def token_ground() -> Iterator[Ground]:
    with fresh_ground() as ground:
        (ground.run / "token").write_text(TOKEN)
        yield ground


def reads(runtime: Runtime, bundle: Bundle) -> tuple[int, bool, str]:
    """How a container ends, whether it could read the token, and what was said."""
    result = runtime.call("run", "--bundle", str(bundle.path), fresh_id("p"), timeout=PATIENCE)
    return result.status, "YES" in result.out, result.err


def wants(bundle: Bundle, source: str, *options: str) -> None:
    bundle.config["mounts"] = [one for one in bundle.config["mounts"] if one["destination"] != "/h"]
    bundle.config["mounts"] += bind(source, *options)
    bundle.shell(f"grep -rq '{TOKEN}' /h && echo YES; true")


@pytest.mark.parametrize("seed", range(0, CASES, BATCH))
def test_refused_is_what_could_read_the_file_and_nothing_else(
    host: ConfiguredHost, bundle: Bundle, runc: Runtime, seed: int
) -> None:
    with token_ground() as ground:
        in_force(host, {"mounts": {"forbid": [{"source": str(ground.run / "token"), "message": "no token"}]}})
        for number in range(seed, seed + BATCH):
            chance = random.Random(number)
            case = Case(ground, ground.directory(f"case{number}"), chance)
            case.build()
            wants(bundle, case.source(), chance.choice(("rbind", "rbind", "bind")))
            story = f"case {number}:\n" + "\n".join(case.steps) + f"\n{bundle.config['mounts'][-1]}"
            status, could_read, said = reads(runc, bundle)
            if status:  # a way that no runtime can mount
                continue
            status, has_read, said = reads(host.runtime, bundle)
            assert not has_read, story
            assert (REFUSED in said) == could_read, f"{story}\n{said}"
            assert (status == 0) != could_read, f"{story}\n{said}"
            JUDGED[could_read] += 1


def test_both_kinds_of_cases_were_judged() -> None:
    assert JUDGED[True] > CASES // 20, JUDGED
    assert JUDGED[False] > CASES // 20, JUDGED


def test_renames_during_the_call_let_nothing_through(host: ConfiguredHost, bundle: Bundle) -> None:
    """A link that leads to the good and to the bad directory in turn, as fast as its owner can turn it."""
    with token_ground() as ground:
        in_force(host, {"mounts": {"forbid": [{"source": str(ground.run / "token"), "message": "no token"}]}})
        link = ground.place / "link"
        link.symlink_to("good")
        is_over = threading.Event()

        def turn() -> None:
            number = 0
            while not is_over.is_set():
                number += 1
                new = ground.place / "new"
                new.symlink_to(("good", "run")[number % 2])
                os.rename(new, link)

        turning = threading.Thread(target=turn)
        turning.start()
        wants(bundle, str(link), "rbind")
        outcomes: dict[str, int] = {"refused": 0, "changed": 0, "passed": 0}
        try:
            for _ in range(60):
                status, has_read, said = reads(host.runtime, bundle)
                assert not has_read
                outcome = "passed" if not status else "refused" if REFUSED in said else "changed"
                outcomes[outcome] += 1
                assert outcome != "changed" or "is not what the policies judged" in said, said
        finally:
            is_over.set()
            turning.join()
    assert outcomes["refused"], outcomes
