"""The table of ways in policies/README.md is what the library says today."""

from __future__ import annotations

from tests.policies import ways
from tests.policies.test_library import FILES


def test_the_table_is_up_to_date() -> None:
    text = ways.README.read_text(encoding="utf-8")
    assert ways.written(text) == text, "run `python -m tests.policies.ways`"


def test_it_has_sixty_ways_refused_and_allowed() -> None:
    found = dict(ways.rows())
    assert len(found) >= 60
    column = [file.stem for file in FILES].index("no-engine-socket")
    told = {name: found[name][column] for name, _, _ in ways.MOUNTED}
    assert [name for name, cell in told.items() if not cell] == [
        "a volume with `o=bind,device=/etc`",
        "a plain volume",
        "a volume with `type=debugfs`",
        "a volume with `type=binfmt_misc`",
        "a tmpfs volume",
        "`-v /var/lib/hookrun:/h`",
        "a symlink to `/etc/docker`",
        "`-v /home/me/work:/w`",
        "the engine's `/etc/hosts`",
    ]
