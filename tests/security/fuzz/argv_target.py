"""Coverage-guided fuzzing of the command line's parser:

    .venv/bin/python -m tests.security.fuzz.argv_target tests/security/fuzz/corpus/argv -max_total_time=60

The input's words are separated by null bytes. Whatever they are, the parser answers and keeps every byte of them.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["hookrun"]):
    from hookrun.runtime.errors import Failure
    from hookrun.wrapper.cli import argv


def one_input(data: bytes) -> None:
    words = [b"hookrun", *data.split(b"\0")]
    try:
        call = argv.parse(words)
    except Failure:
        return
    assert call.argv == words


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
