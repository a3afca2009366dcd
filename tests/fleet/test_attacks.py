"""Somebody has the mirror, or the line to it: what he can't do (TUF specification 1.0, 1.5.2, its list of attacks).

After each try the snapshot in force is the one from before, to the byte, and the refusal is one line.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Self

import pytest

from hookrun.wrapper.admin.fleet import bundle, follow, repository
from hookrun.wrapper.admin.fleet import standing as standings
from tests.fleet.fleets import Follower, Publisher, policy
from tests.fleet.web import Web
from tests.support.runtimes import CHECKOUT


@pytest.fixture
def follower(tmp_path: Path, publisher: Publisher, web: Web) -> Follower:
    """A host with version 1.0 in force, while 2.0 is there for all."""
    publisher.publish("1.0")
    publisher.promote("1.0")
    found = Follower(tmp_path / "host", web.url, publisher.root)
    found.follow()
    return found


@pytest.fixture
def refuses(follower: Follower) -> Iterator[Callable[[str], None]]:
    before = follower.host.snapshot.read_bytes()

    def check(expected: str) -> None:
        assert expected in follower.refusal()
        assert follower.host.snapshot.read_bytes() == before
        assert follower.standing.problem

    yield check
    assert follower.host.snapshot.read_bytes() == before


def offer_next(publisher: Publisher) -> None:
    publisher.publish("2.0")
    publisher.promote("2.0", "1.0")


def newest(publisher: Publisher, role: str) -> Path:
    return max((publisher.public / "metadata").glob(f"*.{role}.json"), key=lambda path: int(path.name.split(".")[0]))


def test_arbitrary_software(publisher: Publisher, follower: Follower, refuses: Callable[[str], None]) -> None:
    """Another bundle under the signed one's name."""
    offer_next(publisher)
    (target,) = (publisher.public / "targets").glob("*.base-2.0.tar.gz")
    target.write_bytes(bundle.pack(publisher.bundle("2.0", files={"policies.d/x.yaml": "evil"})))
    refuses("offers a file that is not the one that was signed")


def test_another_rollout(publisher: Publisher, follower: Follower, refuses: Callable[[str], None]) -> None:
    offer_next(publisher)
    for target in (publisher.public / "targets").glob("*.rollout.json"):
        target.write_text(target.read_text().replace("2.0", "0.5"))
    refuses("not the one that was signed")


def test_metadata_that_others_signed(
    publisher: Publisher, tmp_path: Path, web: Web, refuses: Callable[[str], None]
) -> None:
    stranger = Publisher(tmp_path / "stranger")
    for version in ("1.0", "6.0", "6.1"):
        stranger.publish(version)
        stranger.promote(version)
    web.directory = stranger.public
    refuses("the fleet's keys did not sign")


@pytest.mark.parametrize("role", ["root", "timestamp", "snapshot", "targets"])
def test_metadata_that_was_changed(
    publisher: Publisher, follower: Follower, refuses: Callable[[str], None], role: str
) -> None:
    offer_next(publisher)
    path = publisher.public / "metadata/timestamp.json" if role == "timestamp" else newest(publisher, role)
    value = json.loads(path.read_text())
    if role == "root":
        path = path.with_name("2.root.json")
        value["signed"]["version"] = 2
    value["signed"]["expires"] = "2099-01-01T00:00:00Z"
    path.write_text(json.dumps(value))
    refuses("the fleet's keys did not sign")


def test_rollback_to_older_metadata(
    publisher: Publisher, follower: Follower, tmp_path: Path, web: Web, refuses: Callable[[str], None]
) -> None:
    shutil.copytree(publisher.public, tmp_path / "old")
    with repository.opened(publisher.directory) as fleet:
        fleet.refresh()
    assert "nothing to change" in follower.follow()
    web.directory = tmp_path / "old"
    refuses("offers older metadata than this host has seen")


def test_rollback_of_the_targets_alone(
    publisher: Publisher, follower: Follower, refuses: Callable[[str], None]
) -> None:
    """The newest snapshot, with the targets of before under its name."""
    old = newest(publisher, "targets").read_bytes()
    offer_next(publisher)
    newest(publisher, "targets").write_bytes(old)
    refuses("refused")


def test_mix_and_match(publisher: Publisher, follower: Follower, refuses: Callable[[str], None]) -> None:
    """A snapshot of before under the name that the newest timestamp gives."""
    old = newest(publisher, "snapshot").read_bytes()
    offer_next(publisher)
    newest(publisher, "snapshot").write_bytes(old)
    refuses("refused")


def test_freeze(
    publisher: Publisher, follower: Follower, refuses: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mirror that stands still: what it shows holds for days, not for ever."""
    later(monkeypatch, 10)
    refuses("metadata has expired: this host goes on with what it has")


def test_freeze_where_new_containers_are_refused(
    publisher: Publisher, follower: Follower, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    follower.source = follow.Source(**{**vars(follower.source), "on_expired": follow.DENY})
    with monkeypatch.context() as patched:
        later(patched, 10)
        assert "new containers are refused" in follower.refusal()
        assert "fleet-expired" in follower.policies
        assert "new containers are refused" in follower.refusal()
    with repository.opened(publisher.directory) as fleet:
        fleet.refresh()
    assert "nothing to change" in follower.follow()
    assert follower.policies == ["of-1.0"]


def test_a_line_that_was_cut_is_no_way_to_stay_behind(follower: Follower, web: Web, tmp_path: Path) -> None:
    """As with a mirror that stands still: it works as long as the metadata holds."""
    follower.source = follow.Source(**{**vars(follower.source), "on_expired": follow.DENY})
    web.directory = tmp_path / "nowhere"
    assert follower.refusal().endswith("answers with HTTP status 404")
    assert follower.policies == ["of-1.0"]
    found = follower.standing
    found.expires = 1
    standings.write(follower.host, found)
    assert "new containers are refused, as fleet.onExpired says; http" in follower.refusal()
    assert "fleet-expired" in follower.policies


def later(monkeypatch: pytest.MonkeyPatch, days: int) -> None:
    """The client's clock goes ahead: nobody waits for days."""
    from tuf.ngclient._internal import trusted_metadata_set

    class Later(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return super().now(tz) + timedelta(days=days)

    monkeypatch.setattr(trusted_metadata_set.datetime, "datetime", Later)


@pytest.mark.parametrize(
    "path", ["timestamp.json", ".snapshot.json", ".targets.json", ".rollout.json", ".tar.gz", "2.root.json"]
)
def test_endless_data(publisher: Publisher, web: Web, refuses: Callable[[str], None], path: str) -> None:
    offer_next(publisher)
    web.endless = path
    refuses("more bytes than were signed")


@pytest.mark.parametrize("path", ["timestamp.json", ".snapshot.json", ".targets.json"])
def test_half_a_file(
    publisher: Publisher, follower: Follower, web: Web, refuses: Callable[[str], None], path: str
) -> None:
    offer_next(publisher)
    web.cut[path] = 50
    refuses("cannot reach the fleet: the connection broke")


def test_half_a_bundle_goes_on_where_it_broke_off(publisher: Publisher, follower: Follower, web: Web) -> None:
    offer_next(publisher)
    web.cut[".tar.gz"] = 100
    assert follower.follow() == "base 2.0 is in force"
    assert [status for path, status in web.asked if path.endswith("base-2.0.tar.gz")] == [200, 206]


def test_a_server_that_is_gone(follower: Follower, web: Web, tmp_path: Path, refuses: Callable[[str], None]) -> None:
    web.directory = tmp_path / "nowhere"
    refuses("answers with HTTP status 404")
    follower.source = follow.Source("http://127.0.0.1:1", None)
    refuses("cannot reach the fleet: ")


def test_the_next_mirror_is_asked(publisher: Publisher, follower: Follower, web: Web) -> None:
    offer_next(publisher)
    follower.source = follow.Source("http://127.0.0.1:1", None, mirrors=(web.url,))
    assert follower.follow() == "base 2.0 is in force"


def test_what_has_not_changed_is_not_sent(follower: Follower, web: Web) -> None:
    web.asked.clear()
    follower.follow()
    assert [(path.rpartition("/")[2], status) for path, status in web.asked] == [
        ("2.root.json", 404),
        ("timestamp.json", 304),
    ]


def test_no_space(publisher: Publisher, web: Web, tmp_path: Path) -> None:
    """A file system of 400 KiB, on which the bundle does not fit."""
    noise = os.urandom(600 * 1024).hex()
    publisher.publish("1.0")
    publisher.promote("1.0")
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "none", place], check=True)
    try:
        follower = Follower(place / "host", web.url, publisher.root)
        follower.follow()
        before = follower.host.snapshot.read_bytes()
        publisher.publish("2.0", files={"noise": noise})
        publisher.promote("2.0", "1.0")
        assert "no space left on device" in follower.refusal().lower()
        assert follower.host.snapshot.read_bytes() == before
        assert follower.policies == ["of-1.0"]
    finally:
        subprocess.run(["umount", place], check=True)


def archive(*entries: tarfile.TarInfo) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as file:
        for entry in entries:
            file.addfile(entry, io.BytesIO(bytes(entry.size)))
    return packed.getvalue()


def entry(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.type, found.linkname = kind, target
    return found


ARCHIVES: dict[str, tuple[Callable[[], bytes], str]] = {
    "a path that climbs": (lambda: archive(entry("../../../etc/evil")), "plain names and regular files alone"),
    "an absolute path": (lambda: archive(entry("/etc/evil")), "plain names"),
    "a link": (lambda: archive(entry("a", tarfile.SYMTYPE, "/etc")), "plain names"),
    "a hard link": (lambda: archive(entry("a", tarfile.LNKTYPE, "/etc/passwd")), "plain names"),
    "a device": (lambda: archive(entry("a", tarfile.CHRTYPE)), "plain names"),
    "a bomb": (lambda: gzip.compress(bytes(bundle.MOST_UNPACKED + 1)), "bytes unpacked"),
    "nonsense": (lambda: b"nonsense", "it is damaged"),
    "half an archive": (lambda: archive(entry("bundle.yaml"))[:-20], "it is damaged"),
    "no manifest": (lambda: archive(entry("policies.d/a.yaml")), "bundle.yaml"),
}


@pytest.mark.parametrize("case", ARCHIVES)
def test_a_signed_archive_that_is_no_bundle(
    publisher: Publisher, follower: Follower, refuses: Callable[[str], None], case: str
) -> None:
    """The publisher's own mistake, or his key in other hands: still nothing is written outside."""
    make, expected = ARCHIVES[case]
    publisher.publish_as(bundle.Manifest("base", "2.0", "0", {}), make())
    publisher.promote("2.0", "1.0")
    refuses(expected)
    assert not Path("/etc/evil").exists()


def test_another_bundles_archive(publisher: Publisher, refuses: Callable[[str], None]) -> None:
    publisher.publish_as(bundle.Manifest("base", "2.0", "0", {}), bundle.pack(publisher.bundle("1.0")))
    publisher.promote("2.0", "1.0")
    refuses("it calls itself base 1.0")


# --- keys


def test_a_key_that_was_stolen_is_replaced(publisher: Publisher, follower: Follower) -> None:
    """Hosts follow the chain of roots; what the old key signs counts no more."""
    from hookrun.wrapper.admin.fleet import keys

    with repository.opened(publisher.directory) as fleet:
        (old,) = fleet.key_ids("targets")
        key = keys.new(publisher.directory / "keys/new.pem", "geheim")
        fleet.add_key("targets", key, "file:keys/new.pem", None)
        fleet.drop_key("targets", old)
    offer_next(publisher)
    assert follower.follow() == "base 2.0 is in force"
    signed = json.loads(newest(publisher, "targets").read_text())["signatures"]
    assert [one["keyid"] for one in signed] == [key.keyid]


def test_an_offline_root_is_not_needed_from_day_to_day(
    publisher: Publisher, follower: Follower, tmp_path: Path
) -> None:
    shutil.move(publisher.directory / "keys/root-1.pem", tmp_path / "safe.pem")
    offer_next(publisher)
    with repository.opened(publisher.directory) as fleet:
        fleet.refresh()
    assert follower.follow() == "base 2.0 is in force"


def test_a_program_that_signs(publisher: Publisher, follower: Follower, tmp_path: Path) -> None:
    """An external signer: here openssl with a key that hookctl never sees."""
    from hookrun.wrapper.admin.fleet import keys

    private, public, program = tmp_path / "k.pem", tmp_path / "p.pem", tmp_path / "sign"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", private], check=True, capture_output=True)
    subprocess.run(["openssl", "pkey", "-in", private, "-pubout", "-out", public], check=True, capture_output=True)
    program.write_text(
        f'#!/bin/sh\nset -e\nin=$(mktemp)\ntrap "rm $in" EXIT\ncat > "$in"\n'
        f'openssl pkeyutl -sign -inkey {private} -rawin -in "$in" | od -An -v -tx1 | tr -d " \\n"\n'
    )
    program.chmod(0o755)
    with repository.opened(publisher.directory) as fleet:
        (old,) = fleet.key_ids("targets")
        fleet.add_key("targets", keys.public(public), f"exec:{program}", None)
        fleet.drop_key("targets", old)
    offer_next(publisher)
    assert follower.follow() == "base 2.0 is in force"


# --- the end at any moment

_FOLLOW = """
import json, sys
from pathlib import Path
from typing import Self
from hookrun.wrapper.admin.fleet import follow
from hookrun.wrapper.admin.host import Host
place, url, root = sys.argv[1:]
print("ready", flush=True)
sys.stdin.readline()
follow.follow(Host(Path(place) / "etc", Path(place) / "state"), follow.Source(url, Path(root)))
"""


def test_killed_at_any_moment(publisher: Publisher, web: Web, tmp_path: Path, everything: bool) -> None:
    """Old or new in force, never neither, with the program that came with it; and the next try ends well."""
    import random
    import time

    follower = Follower(tmp_path / "host", web.url, publisher.root)
    chance = random.Random(5)

    def publish(version: str, *before: str) -> None:
        hooks = {"poststop": [{"path": "${bundle}/programs/version"}]}
        program = {"programs/version": f"#!/bin/sh\necho of-{version}\n"}
        publisher.publish(version, files={"policies.d/a.yaml": policy(f"of-{version}", hooks=hooks), **program})
        publisher.promote(version, *before)

    def version() -> str:
        """The version in force, of whose program runs."""
        (one,) = follower.plan
        ((_, hook, _),) = one.hooks
        said = subprocess.run([hook["path"]], capture_output=True, text=True, timeout=60, check=True).stdout.strip()
        assert said == one.name
        return said

    publish("0")
    follower.follow()
    seen = set()
    window = 0.25  # seconds; it follows the machine, so that both happen: ended before the kill, and not
    for number in range(1, (200 if everything else 12) + 1):
        publish(str(number), str(number - 1))
        process = subprocess.Popen(
            [CHECKOUT / ".venv/bin/python", "-c", _FOLLOW, follower.host.state.parent, web.url, publisher.root],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert process.stdin and process.stdout
        process.stdout.readline()
        process.stdin.write(b"\n")
        process.stdin.flush()
        time.sleep(chance.uniform(0, window))
        process.kill()
        process.communicate()
        found = version()
        assert found in (f"of-{number - 1}", f"of-{number}")
        has_ended = found == f"of-{number}"
        seen.add(has_ended)
        window *= 0.7 if has_ended else 1.4
        follower.follow()
        assert version() == f"of-{number}"
        assert not [path for path in follower.host.state.rglob(".*partial")]
    assert seen == {True, False}
