"""Hooks for the snapshot: directories, oci-add-hooks' files, and what is refused."""

from __future__ import annotations

import json
import marshal
import os
from pathlib import Path
from typing import Any, cast

import pytest

from hookrun.hooks import inject, select
from hookrun.hooks.compiler import compile as hooks
from hookrun.wrapper import ownership

ALWAYS = {"always": True}
OTHER = 4323


class Place:
    """A configuration directory of the test's own."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, name: str, value: Any) -> Path:
        path = self.path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(value if isinstance(value, str) else json.dumps(value, indent=2))
        return path

    def hook(self, name: str, path: str = "/bin/true", **more: Any) -> Path:
        value = {"version": "1.0.0", "hook": {"path": path}, "when": ALWAYS, "stages": ["prestart"], **more}
        return self.write(name, value)

    def compiled(self, **settings: Any) -> tuple[inject.Compiled, list[str]]:
        return hooks.compiled(cast(hooks.Settings, {**hooks.DEFAULTS, **settings}), self.path, ownership.untrusted)

    def problem(self, **settings: Any) -> str:
        (problem,) = self.compiled(**settings)[1]
        return problem

    def origins(self, **settings: Any) -> list[str]:
        compiled, problems = self.compiled(**settings)
        assert problems == []
        return [f"{Path(entry['file']).relative_to(self.path)}:{entry['line']}" for entry in compiled["entries"]]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_nothing_there(place: Place) -> None:
    compiled, problems = place.compiled()
    assert (compiled["entries"], problems) == ([], [])


def test_files_go_by_their_names_in_lower_case(place: Place) -> None:
    for name in ("02-b.json", "01-a.json", "01-A2.json", "1.txt", "README"):
        place.hook(f"hooks.d/{name}")
    assert place.origins() == ["hooks.d/01-a.json:3", "hooks.d/01-A2.json:3", "hooks.d/02-b.json:3"]


def test_a_later_directory_masks_by_name(place: Place) -> None:
    for name in ("a/1.json", "a/2.json", "b/2.json", "b/0.json"):
        place.hook(name)
    assert place.origins(directories=["a", "b", "nosuch"]) == ["b/0.json:3", "a/1.json:3", "b/2.json:3"]
    assert place.origins(directories=["b", "a"]) == ["b/0.json:3", "a/1.json:3", "a/2.json:3"]


def test_a_masked_file_need_not_be_in_order(place: Place) -> None:
    place.write("a/1.json", "{")
    place.hook("b/1.json")
    assert place.origins(directories=["a", "b"]) == ["b/1.json:3"]


def test_the_old_schema(place: Place) -> None:
    place.write(
        "hooks.d/old.json", {"cmds": ["a"], "hook": "/bin/true", "arguments": ["-x"], "stage": ["poststop", "prestart"]}
    )
    (entry,) = place.compiled()[0]["entries"]
    assert entry["hook"] == {"path": "/bin/true", "args": ["/bin/true", "-x"]}
    assert entry["stages"] == ["poststop", "prestart"]
    assert entry["line"] == 5


def test_a_file_of_oci_add_hooks_comes_before_the_directories(place: Place) -> None:
    place.hook("hooks.d/1.json")
    place.write(
        "add.json", {"hooks": {"poststop": [{"path": "/bin/a"}], "prestart": [{"path": "/bin/true", "args": ["x"]}]}}
    )
    compiled, problems = place.compiled(addHooks=["add.json"])
    assert [entry["stages"] for entry in compiled["entries"]] == [["poststop"], ["prestart"], ["prestart"]]
    assert [entry["line"] for entry in compiled["entries"]] == [5, 10, 3]
    assert problems == [f"{place.path}/add.json:5: /bin/a: No such file or directory"]


def test_it_goes_into_a_snapshot(place: Place) -> None:
    place.hook("hooks.d/1.json", when={"annotations": {"(?P<a>x)": "^y$"}})
    compiled = marshal.loads(marshal.dumps(dict(place.compiled()[0])))
    config = {"annotations": {"ax": "y"}}
    _, injected = select.injected(config, compiled["entries"])
    assert injected == [
        {
            "stage": "prestart",
            "path": "/bin/true",
            "source": "hooks.d",
            "file": f"{place.path}/hooks.d/1.json",
            "line": 3,
        }
    ]
    assert "hooks" not in config


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"version": "2.0.0"}, "unrecognized hook version: '2.0.0'"),
        ({"hook": {}}, "path is missing"),
        ({"hook": {"path": "bin/true"}}, "path must be absolute"),
        ({"hook": {"path": "/nosuch/hook"}}, "/nosuch/hook: No such file or directory"),
        ({"hook": {"path": "/bin/true", "timeout": 0}}, "timeout must be greater than zero"),
        ({"hook": {"path": "/bin/true", "timeout": True}}, "timeout must be a whole number"),
        ({"hook": {"path": "/bin/true", "args": "x"}}, "args must be a list"),
        ({"hook": {"path": "/bin/true", "args": [1]}}, "args must be a list of strings"),
        ({"hook": {"path": "/bin/true", "arg": []}}, "no field 'arg'"),
        ({"hook": {"path": "/bin/true", "env": ["x"]}}, "'x' is not NAME=VALUE"),
        ({"hook": []}, "a hook must be an object"),
        ({"when": {}}, "at least one condition"),
        ({"when": None}, "at least one condition"),
        ({"when": {"allways": True}}, "unknown condition 'allways'"),
        ({"when": {"always": "yes"}}, "always has the wrong type"),
        ({"when": {"commands": ["("]}}, "regular expression '('"),
        ({"when": {"annotations": {"(?=a)": ""}}}, "regular expression '(?=a)'"),
        ({"when": {"commands": [1]}}, "must be a string"),
        ({"stages": None}, "missing required property: stages"),
        ({"stages": ["prestop"]}, "unknown stage 'prestop'"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(place: Place, change: dict[str, Any], text: str) -> None:
    place.hook("hooks.d/1.json", **change)
    problem = place.problem()
    assert problem.startswith(f"{place.path}/hooks.d/1.json:3: ")
    assert text in problem


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"stage": ["prestart"]}, "cannot set both 'stage' and 'stages'"),
        ({"cmd": [], "cmds": []}, "cannot set both 'cmd' and 'cmds'"),
        ({"hook": None}, "missing required property: hook"),
        (
            {"hook": {"path": "/bin/true"}},
            'hook: in the old format it is the path of a program: add "version": "1.0.0"',
        ),
        ({"arguments": "x"}, "arguments must be a list of strings"),
        ({"stages": None}, "missing required property: stages"),
    ],
)
def test_what_is_wrong_in_the_old_schema(place: Place, change: dict[str, Any], text: str) -> None:
    place.write("hooks.d/1.json", {"hook": "/bin/true", "stages": ["prestart"], **change})
    assert text in place.problem()


@pytest.mark.parametrize(
    ("text", "where"), [('{\n"a": }', ":2:6: "), ("[]", ":1: not an object"), ("", ":1:1: "), ("[" * 100_000, ": ")]
)
def test_what_is_no_json(place: Place, text: str, where: str) -> None:
    place.write("hooks.d/1.json", text)
    assert place.problem().startswith(f"{place.path}/hooks.d/1.json{where}")


@pytest.mark.parametrize(
    "value",
    [[], {}, {"hooks": []}, {"hooks": {"nope": []}}, {"hooks": {"prestart": {}}}, {"hooks": {"prestart": [{}]}}],
)
def test_files_that_are_not_oci_add_hooks(place: Place, value: Any) -> None:
    place.write("add.json", value)
    assert place.problem(addHooks=["add.json"]).startswith(f"{place.path}/add.json:")


def test_one_bad_file_hides_no_other(place: Place) -> None:
    place.write("hooks.d/1.json", "{")
    place.hook("hooks.d/2.json", stages=["nope"])
    place.hook("hooks.d/3.json")
    compiled, problems = place.compiled()
    assert len(problems) == 2
    assert len(compiled["entries"]) == 1


def test_a_start_container_hook_lies_in_the_container(place: Place) -> None:
    place.hook("hooks.d/1.json", path="/only/in/the/container", stages=["startContainer"])
    assert place.origins() == ["hooks.d/1.json:3"]


@pytest.mark.parametrize("mode", [0o664, 0o646])
@pytest.mark.parametrize("which", ["file", "program", "its directory"])
def test_what_others_can_write_is_refused(place: Place, mode: int, which: str) -> None:
    program = place.write("bin/hook", "#!/bin/sh\n")
    program.chmod(0o755)
    file = place.hook("hooks.d/1.json", path=str(program))
    assert place.compiled()[1] == []
    {"file": file, "program": program, "its directory": program.parent}[which].chmod(mode | 0o111)
    assert "users other than root can write" in place.problem()


def test_a_directory_that_others_can_write_is_refused(place: Place) -> None:
    file = place.hook("hooks.d/1.json")
    file.parent.chmod(0o777)
    problems = place.compiled()[1]
    assert problems and all("users other than root can write" in problem for problem in problems)


def test_a_link_to_a_file_of_others_is_refused(place: Place) -> None:
    file = place.hook("elsewhere/1.json")
    file.parent.chmod(0o777)
    link = place.path / "hooks.d/1.json"
    link.parent.mkdir()
    link.symlink_to(file)
    assert "users other than root can write" in place.problem()


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a directory to somebody")
def test_a_program_by_a_link_that_others_can_exchange_is_refused(place: Place) -> None:
    theirs = place.path / "theirs"
    theirs.mkdir()
    (theirs / "link").symlink_to("/bin/true")
    place.hook("hooks.d/1.json", path=str(theirs / "link"))
    assert place.compiled()[1] == []
    os.chown(theirs, OTHER, OTHER)
    assert f"users other than root can write {theirs} " in place.problem()


def test_a_sticky_directory_takes_hooks_from_all(place: Place) -> None:
    place.hook("hooks.d/1.json").parent.chmod(0o1777)
    (problem,) = place.compiled()[1]
    assert "users other than root can write it" in problem


def test_a_cdi_directory_that_others_can_write_is_refused(place: Place) -> None:
    (place.path / "cdi").mkdir()
    (place.path / "cdi").chmod(0o777)
    cdi = {"directories": ["cdi"], "environment": ""}
    assert "users other than root can write" in place.problem(cdi=cdi)
