"""Values of the call in messages: what they look like, and what they can't do."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hookrun.policies import compiler, plausible, testing
from hookrun.policies.document import Invalid
from hookrun.wrapper import settings
from hookrun.wrapper.record.masking import Mask
from tests.policies.support import document, judged

CONFIG: dict[str, Any] = {
    "hostname": "h",
    "process": {
        "user": {"uid": 7},
        "args": ["sh", "-c", "x"],
        "env": ["A=b", "DB_PASSWORD=hunter22", "C=d", "E=f", "G=h", "I=j"],
    },
    "root": {"readonly": False},
    "annotations": {"a/b": "note", "api-token": "s3cretly"},
}
FACTS = {"image": "nginx:1", "labels": {"team": "red", "auth": "swordfish"}, "container": "box"}


def told(message: str, config: dict[str, Any] = CONFIG, **facts: Any) -> str:
    outcome = judged(config, document(deny=[{"message": message}]), **{**FACTS, **facts})
    return outcome.denied.removeprefix("policy one: ")


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ("uid ${/process/user/uid}", "uid 7"),
        ("${/process/user/gid}${/nosuch/x}", "(none)(none)"),
        ("${image} in ${container} by ${engine}, ${command}, ${runtime}", "nginx:1 in box by docker, create, hookrun"),
        ("${namespace} ${pod}", "(none) (none)"),
        ("${label:team} ${label:nosuch} ${annotation:a/b} ${/annotations/a~1b}", "red (none) note note"),
        ("${/process/args/*}", "sh, -c, x"),
        ("${/process/env/*}", "A=b, DB_PASSWORD=hunter22, C=d, E=f and 2 more"),
        ("${/process/nosuch/*}", "(none)"),
        ("${/process/user} ${/root/readonly}", '{"uid":7} false'),
        ("$ $$ {x} $x 5$", "$ $$ {x} $x 5$"),
        ("$${image} is ${image}", "${image} is nginx:1"),
        ("$${", "${"),
    ],
)
def test_what_is_told(message: str, text: str) -> None:
    assert told(message) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a\nb\r\t\x1b[31m\0", r"a\nb\r\t\x1b[31m\x00"),
        ("\u202egnp\u2028\udcff\U000e0001", r"\u202egnp\u2028\udcff\U000e0001"),
        ("x" * 1_000_000, "x" * 119 + "…"),
        ("${image}", "${image}"),
        ("é ✓", "é ✓"),
        ({"k": "v\n"}, r'{"k":"v\n"}'),
        ([1, "z" * 500], ('[1,"' + "z" * 500)[:119] + "…"),
    ],
)
def test_values_are_the_attackers(value: Any, text: str) -> None:
    assert told("${/hostname}", {"hostname": value}) == text


def test_a_words_own_message_is_harmless_too() -> None:
    sysctl = document(sysctl={"forbid": ["kernel.*"]})
    assert (
        judged({"linux": {"sysctl": {"kernel.\nx": "1"}}}, sysctl).denied
        == r"policy one: the sysctl kernel.\nx is not allowed"
    )


def test_secrets_are_masked_as_in_the_record() -> None:
    def mask() -> Mask:
        return Mask(settings.read("", settings.completed({"mask": {"salt": "s"}}), "/nosuch"))

    shown = told(
        "${/process/env/1} ${/annotations/api-token} ${annotation:api-token} ${label:auth} ${label:team} ${/process/env/0}",
        mask=mask,
    )
    assert not any(secret in shown for secret in ("hunter22", "s3cretly", "swordfish"))
    assert shown.startswith("DB_PASSWORD=***") and shown.endswith(" red A=b")
    assert "s3cret" not in told("${/hostname}", {"hostname": "https://user:s3cret@host/"}, mask=mask), "by its looks"
    args = {"process": {"args": ["--password", "hunter22", "--token=abcdefg"]}}
    assert told("${/process/args/*}", args, mask=mask).count("***") == 2
    assert "hunter" not in told(
        "${/process/args/2}", {"process": {"args": ["--password", "hunter22", "x" * 117 + " hunter22"]}}, mask=mask
    )


@pytest.mark.parametrize(
    ("spec", "config"),
    [
        (
            {"mounts": {"forbid": [{"destination": "/x", "message": "${image} at ${/mounts/0/destination}"}]}},
            {"mounts": [{"destination": "/x"}]},
        ),
        (
            {"devices": {"forbid": [{"type": "b", "message": "${image} at ${/linux/devices/0/path}"}]}},
            {"linux": {"devices": [{"type": "b", "path": "/x", "major": 8, "minor": 0}]}},
        ),
        (
            {"devices": {"allow": [], "message": "${image} at ${/linux/devices/0/path}"}},
            {"linux": {"devices": [{"type": "c", "path": "/x", "major": 8, "minor": 0}]}},
        ),
    ],
)
def test_messages_of_words(spec: dict[str, Any], config: dict[str, Any]) -> None:
    assert judged(config, document(**spec), **FACTS).denied == "policy one: nginx:1 at /x"
    (source,) = compiler.load(document(**spec), "p.yaml")
    assert compiler.plan([source])["asks"] == ["image", "mask"]
    wrong = compiler.load(document(**spec).replace("${image}", "${/procces/x}"), "p.yaml")[0]
    assert "config.json has no 'procces' there; did you mean 'process'?" in plausible.findings(wrong)[0].text


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ("${imge}", "nothing is called ${imge}; did you mean 'image'?; write `$${` for the text itself"),
        ("${}", "nothing is called ${}"),
        ("${label:}", "nothing is called ${label:}"),
        ("${image", "`${` has no `}`"),
        ("${/a~2}", "'~' is written '~0'"),
    ],
)
def test_what_is_wrong(message: str, text: str) -> None:
    with pytest.raises(Invalid) as caught:
        compiler.load(document(deny=[{"message": message}]), "p.yaml")
    assert text in caught.value.text and "spec.deny[0].message" in caught.value.text


def test_lint_and_what_is_asked() -> None:
    def doubts(message: str) -> list[str]:
        return [
            doubt.text
            for doubt in plausible.findings(compiler.load(document(deny=[{"message": message}]), "p.yaml")[0])
        ]

    assert doubts("${/process/user/uid} ${/process/env/0} ${/annotations/x} $${/nosuch}") == []
    assert (
        "spec.deny[0].message: config.json has no 'usr' there; did you mean 'user'?" in doubts("${/process/usr/uid}")[0]
    )
    asks = [
        compiler.plan(compiler.load(document(deny=[{"message": text}]), "p.yaml"))["asks"]
        for text in ("plain", "$${image}", "${label:a}")
    ]
    assert asks == [[], [], ["label", "mask"]]


def test_the_test_of_a_refusal_is_found_by_its_rendered_message() -> None:
    values = json.loads(
        document(deny=[{"when": {"field": "/hostname"}, "message": "not ${/hostname}"}, {"message": "nor ${image}"}])
    )
    values["tests"] = [{"name": "t", "config": {"hostname": "h"}, "expect": {"denied": "not h"}}]
    (source,) = compiler.load(json.dumps(values), "p.yaml")
    assert [outcome.problem for outcome in testing.run(source)] == [""]
    assert testing.unreached(source) == ["p.yaml:1:1: policy one: no test comes to the refusal 'nor ${image}'"]
