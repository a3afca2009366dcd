"""Lists from files: what is read, what is refused and where it is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hookrun.policies import compiler, decide, plausible, testing
from hookrun.policies.document import Invalid
from tests.policies.support import document

IMAGES = "- nginx:1\n- redis # kept\n- '0'\n- 7\n- true\n"


def compiled(place: Path, **spec: Any) -> compiler.Source:
    (source,) = compiler.load(document(**spec), str(place / "p.yaml"))
    return source


def denied(source: compiler.Source, config: dict[str, Any] | None = None, **facts: Any) -> bool:
    return bool(decide.decide(compiler.plan([source]), config or {}, testing.invocation(facts)).denied)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists/images.yaml").write_text(IMAGES)
    return tmp_path


@pytest.mark.parametrize("name", ["lists/images.yaml", "./lists/../lists/images.yaml", "/absolute"])
def test_in_and_not_in(place: Path, name: str) -> None:
    file = {"file": name.replace("/absolute", str(place / "lists/images.yaml"))}
    source = compiled(place, match={"image": {"in": file}}, deny=[{"message": "m"}])
    assert denied(source, image="nginx:1") and denied(source, image="redis") and not denied(source, image="other")
    assert source.document.files == {str(place / "lists/images.yaml"): IMAGES}
    source = compiled(place, deny=[{"when": {"field": "/process/user/uid", "notIn": file}, "message": "m"}])
    uids = (7, 8, "7", True, 1, "0", 0)
    assert [denied(source, {"process": {"user": {"uid": uid}}}) for uid in uids] == [
        False,
        True,
        True,
        False,
        True,
        False,
        True,
    ]


def test_what_is_compiled_does_not_need_the_file(place: Path) -> None:
    source = compiled(place, deny=[{"when": {"image": {"in": {"file": "lists/images.yaml"}}}, "message": "m"}])
    (place / "lists/images.yaml").unlink()
    assert denied(source, image="nginx:1")


def test_json_is_a_list_too_and_the_words_take_it(place: Path) -> None:
    (place / "l.json").write_text(json.dumps(["/a", "/b"]))
    source = compiled(place, mounts={"forbid": [{"destination": {"in": {"file": "l.json"}}}]})
    assert denied(source, {"mounts": [{"destination": "/b"}]}) and not denied(
        source, {"mounts": [{"destination": "/c"}]}
    )


WRONG: list[tuple[Any, str | bytes | None, str]] = [
    ({"file": "l"}, None, "{p}:1:121: spec.match.image.in.file: there is no file {l}"),
    ({"file": "."}, None, "spec.match.image.in.file: {d} is not a file"),
    ({"file": "/dev/zero"}, None, "/dev/zero is not a file"),
    ({"file": 5}, None, "it must be a string"),
    ({"fil": "l"}, None, "there is no 'fil' here; did you mean 'file'?"),
    ({}, None, "file is missing: it must be a list, or {{file: PATH}}"),
    ("l", None, "it must be a list, not a string"),
    ({"file": "l"}, "", "{l}:1:1: it must be one list: `- VALUE` in each line, or []"),
    ({"file": "l"}, "- a\n---\n- b\n", "{l}:1:1: it must be one list"),
    ({"file": "l"}, "nginx\nredis\n", "{l}:1:1: it must be a list, not a string"),
    ({"file": "l"}, "- a\n- b: c\n", "{l}:2:3: [1]: it must be a single value"),
    ({"file": "l"}, "- a\n-\n", "[1]: it must be a single value"),
    ({"file": "l"}, "- a\n- 'b\n", "{l}:3:1: found unexpected end of stream"),
    ({"file": "l"}, b"- a\n- \xff\n", "{l} is not UTF-8 at byte 6"),
    ({"file": "l"}, "- " + "x" * (1 << 20), "{l} is larger than 1 MiB"),
]


@pytest.mark.parametrize(("value", "content", "message"), WRONG)
def test_what_is_wrong(tmp_path: Path, value: Any, content: str | bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "l").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(Invalid) as caught:
        compiled(tmp_path, match={"image": {"in": value}})
    assert message.format(p=tmp_path / "p.yaml", d=tmp_path, l=tmp_path / "l") in caught.value.text


def test_lint_looks_into_the_file(tmp_path: Path) -> None:
    (tmp_path / "l").write_text("- docker\n- dokcer\n")
    (tmp_path / "n").write_text("- 0\n- '0'\n")
    file = {"file": "l"}
    (doubt,) = plausible.findings(compiled(tmp_path, match={"engine": {"in": file}}))
    assert doubt.text == f"{tmp_path}/l:2:3: [1]: unknown engine 'dokcer'; did you mean 'docker'?"
    (doubt,) = plausible.findings(compiled(tmp_path, match={"field": "/process/user/uid", "in": {"file": "n"}}))
    assert doubt.text == f"{tmp_path}/n:2:3: [1]: /process/user/uid is an integer, and never '0'"
