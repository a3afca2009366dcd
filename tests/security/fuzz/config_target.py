"""Coverage-guided fuzzing of the reader and checker of config.json:

    .venv/bin/python -m tests.security.fuzz.config_target tests/security/fuzz/corpus/config -max_total_time=60

Whatever the bytes are: a value, a ValueError from the reader, or a Failure of one line from the checker.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["hookrun"]):
    from hookrun.runtime import jsonio
    from hookrun.runtime.errors import Failure
    from hookrun.runtime.spec import config as configs


def one_input(data: bytes) -> None:
    try:
        value = jsonio.loads(data)
    except ValueError:
        return
    try:
        configs.check(value)
    except Failure as failure:
        assert failure.text


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
