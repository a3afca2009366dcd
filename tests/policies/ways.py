"""What each policy of the library says of sixty ways in: the table in policies/README.md.

python -m tests.policies.ways      # writes it anew; a stale one fails the run
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hookrun import policies
from hookrun.policies.merge import merged
from tests.policies.test_library import BROTHERS, DOCKER, DOCKERS, FILES, dockers_config, said

README = Path(policies.__file__).parent / "README.md"
BEGIN = "<!-- ways: written by python -m tests.policies.ways -->"
END = "<!-- end of the ways -->"

VOLUME = "/var/lib/docker/volumes/v/_data"
SOCKET = "/run/docker.sock"
# A mount's source as `-v` has it, and what it is on the host where that is not what it says.
MOUNTED: list[tuple[str, str, dict[str, Any]]] = [
    ("`-v /run/docker.sock:/s`", SOCKET, {}),
    ("`-v /var/run/docker.sock:/s`", "/var/run/docker.sock", {}),
    ("`-v /run:/h`", "/run", {}),
    ("`-v /:/h`", "/", {"mountsBelow": True}),
    ("`-v /proc/self/root/run:/h`", "/proc/self/root/run", {"realPath": "/run"}),
    ("a symlink to `/run`", "/home/me/link", {"realPath": "/run"}),
    ("a symlink to `/run` named like a volume", VOLUME, {"realPath": "/run"}),
    ("a volume with `o=bind,device=/run`", VOLUME, {"realPath": ["/run", VOLUME]}),
    ("an overlay volume over `/run`", VOLUME, {"names": [VOLUME, "/run"], "realPath": [VOLUME, "/run"]}),
    ("a hard link of the socket", "/run/me/other", {"realPath": "/run/me/other", "shows": {SOCKET: True}}),
    ("a volume that a slave mount keeps open", VOLUME, {"mayBeAnything": True}),
    ("a volume with `o=bind,device=/etc`", VOLUME, {"realPath": "/etc"}),
    ("a plain volume", VOLUME, {}),
    ("a volume with `type=debugfs`", VOLUME, {"fileSystem": "debugfs", "mountPoint": True}),
    ("a volume with `type=binfmt_misc`", VOLUME, {"fileSystem": "binfmt_misc", "mountPoint": True}),
    ("a tmpfs volume", VOLUME, {"fileSystem": "tmpfs", "mountPoint": True}),
    ("`-v /var/lib/hookrun:/h`", "/var/lib/hookrun", {}),
    ("a symlink to `/etc/docker`", "/home/me/link", {"realPath": "/etc/docker"}),
    ("`-v /home/me/work:/w`", "/home/me/work", {}),
    ("the engine's `/etc/hosts`", "/var/lib/docker/containers/" + "0" * 64 + "/hosts", {}),
]


def with_source(source: str) -> dict[str, Any]:
    plain = DOCKERS["plain"]
    mount = {"destination": "/h", "type": "bind", "source": source, "options": ["rbind", "rprivate"]}
    return {**plain, "mounts": [*plain["mounts"], mount]}


def rows() -> list[tuple[str, list[str]]]:
    """A way, and what each file of the library says of it."""
    names = [file.stem for file in FILES]
    found: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
        (f"`docker run {row[0]}`" if row[0] != "plain" else "`docker run`", dockers_config(row[0]), {})
        for row in DOCKER
    ]
    found += [(row[0], merged(DOCKERS["plain"], row[1]), {}) for row in BROTHERS]
    found += [(name, with_source(source), {source: facts}) for name, source, facts in MOUNTED]
    disk = {"mounts": [{"destination": "/d", "type": "ext4", "source": "/dev/vda1", "options": []}]}
    found.append(
        (
            "a disk's file system that the runtime mounts",
            merged(DOCKERS["plain"], disk),
            {"/dev/vda1": {"devices": "254:1"}},
        )
    )
    return [(name, [verdict(file, config, sources) for file in names]) for name, config, sources in found]


def verdict(file: str, config: dict[str, Any], sources: dict[str, Any]) -> str:
    outcome = said(file, config, sources=sources)
    if outcome.denied:
        return "refused"
    return "changed" if outcome.config is not config else ""


def table() -> str:
    """The table, with a line for each way."""
    head = "| | " + " | ".join(file.stem for file in FILES) + " |"
    lines = [head, "|" + " --- |" * (len(FILES) + 1)]
    lines += [f"| {name} | {' | '.join(cells)} |" for name, cells in rows()]
    return "\n".join(lines)


def written(text: str) -> str:
    """The README with the table as it is now."""
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n\n{table()}\n\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    README.write_text(written(README.read_text(encoding="utf-8")), encoding="utf-8")
