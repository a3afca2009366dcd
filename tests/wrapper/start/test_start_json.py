"""JSON in hookrun-start, which simplejson's C part reads and writes, beside the same under a plain Python."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path
from typing import Any

import pytest

from hookrun.runtime import jsonio
from hookrun.runtime.commands import spec
from tests.support import warm

pytestmark = pytest.mark.skipif(
    not warm.START.exists(), reason="hookrun-start was not built: see packaging/build-start.sh"
)

MAIN = """
import sys
from hookrun.runtime import jsonio

def main(state):
    assert jsonio._c.__name__ == "_speedups"
    with open(sys.argv[1], "rb") as texts, open(sys.argv[2], "w", encoding="utf-8", errors="surrogatepass") as answers:
        for text in texts.read().split(b"\\n--\\n"):
            print(answer(text), file=answers)
    sys.exit(0)

def answer(text):
    try:
        value = jsonio.loads(text)
    except ValueError as error:
        return f"ValueError: {error}"
    try:
        return repr(value) + jsonio.dumps(value) + (jsonio.string(value) if type(value) is str else "")
    except ValueError as error:
        return f"ValueError: {error}"
"""

PLAIN = r"""
{} [] "" 0 -0 1.5 -1e400 1e5 1E+2 0.1e-7 123456789012345678901234567890 true false null
{"a":1,"a":2} {"a":{"b":[1,{"c":null}]}} [1,2,3] [[[]]] "\u00e9\ud83d\ude00" "\ud800" "\n\t\"\\\/" "ü€😀"
NaN Infinity -Infinity [NaN] {"a":Infinity} 01 1. .5 +1 - 1e 1e+ tru nul "a "\x" "\u12" {"a" {"a":} {"a":1,} [1,] [,] {,} {1:2} {'a':1}
[1_2] {"a":1_"b":2} ] } : , "a"b 1,2 [1}
"""


def texts(count: int) -> list[bytes]:
    """Texts that are JSON, that are not, and that were until a few of their bytes were changed."""
    chance = random.Random(1)
    whole = jsonio.dumps(spec.example()).encode()
    found = [word.encode() for word in PLAIN.split()] + [
        b"",
        b" ",
        b'"\x01"',
        b"[1 2]",
        b"\t1 \n",
        b"\xff",
        b'"\xc3"',
        b"\xef\xbb\xbf1",
        b"[" * 200 + b"]" * 200,
    ]
    found += [b"[" * 100_000, b'{"a":' * 100_000, b"9" * 5000, b'{"k":' + whole + b"}", whole]
    alphabet = b'{}[]",:\\ntru0123456789.eE+- \x00\x1f\x7f\x80\xc3\xa9'
    for _ in range(count):
        text = bytearray(
            whole[: chance.randrange(20, 400)] if chance.random() < 0.5 else chance.choice(found[: len(PLAIN.split())])
        )
        for _ in range(chance.randrange(1, 4)):
            place = chance.randrange(len(text) + 1)
            text[place : place + chance.randrange(2)] = bytes([chance.choice(alphabet)])
        found.append(bytes(text))
    return [text for text in found if b"\n--\n" not in text]


@pytest.fixture
def answer() -> Any:
    """MAIN's function, under this Python."""
    names: dict[str, Any] = {}
    exec(MAIN, names)
    return names["answer"]


def test_it_takes_and_gives_what_pythons_does(tmp_path: Path, answer: Any) -> None:
    given = texts(4000)
    (tmp_path / "texts").write_bytes(b"\n--\n".join(given))
    packages = warm.with_entry(tmp_path / "packages", MAIN)
    warm.fill(tmp_path / "heap", packages)
    words = [str(warm.START), *(str(tmp_path / name) for name in ("heap", "launcher", "texts", "answers"))]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    answers = (tmp_path / "answers").read_text(encoding="utf-8", errors="surrogatepass").split("\n")
    assert len(answers) == len(given) + 1
    different = [
        (text[:200], ours, theirs)
        for text, ours, theirs in zip(given, answers, map(answer, given), strict=False)
        if ours != theirs
    ]
    assert not different, different[:5]
