"""The decision's imports: policies add nothing of Python's library to a create but the regular expressions' engine."""

from __future__ import annotations

import marshal
import subprocess
import sys
from pathlib import Path

from hookrun import policies
from tests.policies.support import document, plan
from tests.wrapper.test_hot_path import ALLOWED, start_modules

PROGRAM = """
import marshal, sys
sys.path.append({source!r})
from hookrun.policies import decide, sources
call = dict(engine="docker", command="create", runtime="hookrun", container="x", labels=dict(), host_namespaces=None)
call.update(look=sources.stated(dict()), is_whole=True)
plan = marshal.loads(sys.stdin.buffer.read())
outcome = decide.decide(plan, dict(process=dict(env=["A=b"]), mounts=[]), call)
assert not outcome.denied, outcome.denied
assert outcome.config["process"]["env"] == ["A=b", "C=d", "E=f"], outcome.config
print(*sys.modules)
"""


def test_a_decision_loads_nothing_dear() -> None:
    made = plan(
        document(
            match={"field": "/process/env/*", "matches": "^A="},
            deny=[{"when": {"field": "/mounts/*/source", "matches": "sock$"}, "message": "no"}],
            env={"default": {"C": "d"}},
            mounts={"forbid": [{"source": {"matches": "sock$"}}]},
            patch=[{"op": "add", "path": "/process/env/-", "value": "E=f"}],
            merge={"linux": {}},
        )
    )
    done = subprocess.run(
        [sys.executable, "-ISXutf8", "-c", PROGRAM.format(source=str(Path(policies.__file__).parents[2]))],
        input=marshal.dumps(made),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    others = {name for name in done.stdout.decode().split() if not name.startswith("hookrun")}
    assert others - set(start_modules()) - ALLOWED <= {"_sre"}
