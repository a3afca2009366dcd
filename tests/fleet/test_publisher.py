"""A publisher's commands: what they say, what several people sign in turn, keys on a token."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hookrun.wrapper.admin.app import app
from hookrun.wrapper.admin.fleet import keys, repository
from tests.fleet.fleets import Follower, Publisher
from tests.fleet.web import served

SOFTHSM = "/usr/lib/softhsm/libsofthsm2.so"


def everything(directory: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def fleet(publisher: Publisher, *words: str | Path) -> str:
    """What `hookctl fleet` prints."""
    result = CliRunner().invoke(app, ["fleet", *map(str, words), "--fleet", str(publisher.directory)])
    assert result.exit_code == 0, (words, result.output, result.exception)
    return result.stdout


def refusal(publisher: Publisher, *words: str | Path) -> str:
    """Why `hookctl fleet` does not do it."""
    result = CliRunner().invoke(app, ["fleet", *map(str, words), "--fleet", str(publisher.directory)])
    assert result.exit_code == 1, (words, result.output)
    return str(result.exception)


def test_a_key_that_root_does_not_sign_for_leaves_nothing(publisher: Publisher, tmp_path: Path) -> None:
    shutil.move(publisher.directory / "keys/root-1.pem", tmp_path / "safe.pem")
    before = everything(publisher.directory)
    assert refusal(publisher, "keys", "add", "targets").startswith("root needs 1 signatures, here are keys for 0")
    assert everything(publisher.directory) == before


def test_what_a_publisher_is_told_in_json(publisher: Publisher, tmp_path: Path) -> None:
    def told(*words: str | Path) -> Any:
        result = CliRunner().invoke(app, [*map(str, words), "--json"])
        assert result.exit_code == 0, (words, result.output, result.exception)
        return json.loads(result.stdout)

    for version in ("1.0", "2.0"):
        built = told("bundle", "build", publisher.bundle(version), "-o", tmp_path)
        published = told("fleet", "publish", built["file"], "-d", publisher.directory)
        assert published == {"bundle": "base", "version": version}
    here = ("-d", publisher.directory)
    difference = told("bundle", "diff", *(publisher.directory / f"bundle-base-{version}" for version in ("1.0", "2.0")))
    assert difference["changed"] and difference["policies"]["added"] == ["of-2.0"]
    assert told("fleet", "promote", "base", "1.0", *here) == {"bundle": "base", "version": "1.0"}
    staged = told("fleet", "stage", "base", "2.0", "--share", "50%", "--hosts", "zone=a", *here)
    assert staged == {"bundle": "base", "version": "2.0", "share": 0.5, "hosts": {"zone": ["a"]}}
    assert told("fleet", "rollback", "base", *here) == {"bundle": "base", "version": "1.0"}
    assert told("fleet", "revoke", "base", "2.0", *here) == {"bundle": "base", "version": "2.0"}
    assert set(told("fleet", "refresh", *here)) == {"expires"}
    added = told("fleet", "keys", "add", "timestamp", *here)
    assert told("fleet", "keys", "remove", "timestamp", added["key"], *here) == added


# --- signatures of several people, in turn


class Holders:
    """Two people with a key each for root and for targets; `holds` says whose are here."""

    def __init__(self, tmp_path: Path) -> None:
        self.publisher = Publisher(tmp_path / "strict", root=2, targets=2)
        self._keys = self.publisher.directory / "keys"
        self._away = tmp_path / "away"
        shutil.copytree(self._keys, self._away)

    def holds(self, *numbers: int) -> None:
        for role in ("root", "targets"):
            for number in (1, 2):
                path = self._keys / f"{role}-{number}.pem"
                path.unlink(missing_ok=True)
                if number in numbers:
                    shutil.copy(self._away / path.name, path)

    def newest(self, role: str) -> list[str]:
        """Whose keys signed a role's newest metadata."""
        paths = (self.publisher.public / "metadata").glob(f"*.{role}.json")
        newest = max(paths, key=lambda path: int(path.name.partition(".")[0]))
        return [one["keyid"] for one in json.loads(newest.read_text())["signatures"]]


@pytest.fixture
def holders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Holders:
    monkeypatch.setenv(keys.PASSPHRASE, "geheim")
    return Holders(tmp_path)


def archive(publisher: Publisher, version: str) -> Path:
    words = ["bundle", "build", str(publisher.bundle(version)), "-o", str(publisher.directory)]
    assert CliRunner().invoke(app, words).exit_code == 0
    return publisher.directory / f"base-{version}.tar.gz"


def test_two_people_sign_in_turn(holders: Holders, tmp_path: Path) -> None:
    publisher = holders.publisher
    with served(publisher.public) as web:
        host = Follower(tmp_path / "host", web.url, publisher.root)
        for words in (("publish", archive(publisher, "1.0")), ("promote", "base", "1.0")):
            holders.holds(1)
            before = everything(publisher.public / "metadata")
            said = fleet(publisher, *words)
            assert (
                said.startswith("targets needs 2 signatures, here are keys for 1: ") and "`hookctl fleet sign`" in said
            )
            assert everything(publisher.public / "metadata") == before
            assert "waits for signatures of targets" in refusal(publisher, "publish", archive(publisher, "2.0"))
            assert "no key is here that has still to sign" in refusal(publisher, "sign", "--yes")
            holders.holds(2)
            assert "nobody to ask: add --yes" in refusal(publisher, "sign")
            said = fleet(publisher, "sign", "--yes")
            assert (
                "+ base-1.0.tar.gz "
                if words[0] == "publish"
                else '+ rollout of base: {"before": [], "revoked": [], "stable": "1.0"'
            ) in said
            assert "in effect: " in said
            assert len(holders.newest("targets")) == 2
        assert fleet(publisher, "sign").strip() == "nothing waits"
        assert host.follow() == "base 1.0 is in force"


def test_a_change_of_keys_is_signed_in_turn(holders: Holders, tmp_path: Path) -> None:
    publisher = holders.publisher
    publisher.publish("1.0")
    publisher.promote("1.0")
    with served(publisher.public) as web:
        host = Follower(tmp_path / "host", web.url, publisher.root)
        host.follow()
        holders.holds(1)
        assert "root needs 2 signatures" in fleet(publisher, "keys", "add", "timestamp")
        (new,) = (publisher.directory / "keys").glob("timestamp-2*")
        holders.holds(2)
        said = fleet(publisher, "sign", "--yes")
        assert "+ timestamp key " in said and "in effect: 2.root.json" in said
        signed = json.loads((publisher.public / "metadata/timestamp.json").read_text())["signatures"]
        assert len(signed) == 2 and new.exists()
        assert host.follow().startswith("base 1.0 ")


def test_what_waits_can_be_dropped_and_is_looked_at(holders: Holders) -> None:
    publisher = holders.publisher
    holders.holds(1)
    fleet(publisher, "publish", archive(publisher, "1.0"))
    (waiting,) = (publisher.directory / "pending").iterdir()
    assert fleet(publisher, "sign", "--drop").strip() == f"dropped: {waiting}"
    holders.holds(1, 2)
    fleet(publisher, "publish", archive(publisher, "1.0"))
    holders.holds(1)
    fleet(publisher, "promote", "base", "1.0")
    (waiting,) = (publisher.directory / "pending").iterdir()
    kept = waiting.read_text()
    (rollout,) = (publisher.public / "targets").glob("*.rollout.json")
    rollout.write_text(rollout.read_text().replace('"1.0"', '"0.9"'))
    holders.holds(2)
    assert "is not what was signed" in refusal(publisher, "sign", "--yes")
    waiting.write_text("{")
    assert f"{waiting} is damaged" in refusal(publisher, "sign", "--yes")
    rollout.write_text(rollout.read_text().replace('"0.9"', '"1.0"'))
    waiting.write_text(kept.replace('"version": 3', '"version": 7'))
    assert "does not follow version 2" in refusal(publisher, "sign", "--yes")


def test_who_signs_sees_a_key_that_was_exchanged_under_its_id(holders: Holders) -> None:
    publisher = holders.publisher
    holders.holds(1)
    fleet(publisher, "keys", "add", "timestamp")
    (waiting,) = (publisher.directory / "pending").iterdir()
    value = json.loads(waiting.read_text())
    victim = value["signed"]["roles"]["targets"]["keyids"][0]
    value["signed"]["keys"][victim]["keyval"]["public"] = "ab" * 32
    value["signed"]["expires"] = "2099-01-01T00:00:00Z"
    waiting.write_text(json.dumps(value))
    holders.holds(2)
    result = CliRunner().invoke(app, ["fleet", "sign", "--yes", "--fleet", str(publisher.directory)])
    assert f"+ targets key {victim} " in result.stdout and "ab" * 32 in result.stdout
    assert '+ expires: "2099-01-01T00:00:00Z"' in result.stdout


def test_a_refresh_renews_the_timestamp_whoever_has_still_to_sign(holders: Holders) -> None:
    publisher = holders.publisher
    settings = json.loads((publisher.directory / "fleet.json").read_text())
    settings["days"]["targets"] = 300  # so that those of today are due
    (publisher.directory / "fleet.json").write_text(json.dumps(settings))
    holders.holds(1)

    def version() -> int:
        number: int = json.loads((publisher.public / "metadata/timestamp.json").read_text())["signed"]["version"]
        return number

    before = version()
    assert "targets needs 2 signatures" in fleet(publisher, "refresh")
    assert version() == before + 1
    (waiting,) = (publisher.directory / "pending").iterdir()
    signed = waiting.read_bytes()
    assert fleet(publisher, "refresh").startswith("the timestamp holds until ")
    assert (version(), waiting.read_bytes()) == (before + 2, signed)
    holders.holds(2)
    assert "in effect: 2.targets.json" in fleet(publisher, "sign", "--yes")
    assert len(holders.newest("targets")) == 2


# --- a token


@pytest.fixture
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URI of a key on a PKCS #11 token, as SoftHSM makes one of a directory."""
    if not os.path.exists(SOFTHSM):
        pytest.skip("needs softhsm2")
    import pkcs11
    from pkcs11.util.ec import encode_named_curve_parameters

    (tmp_path / "tokens").mkdir()
    (tmp_path / "softhsm2.conf").write_text(f"directories.tokendir = {tmp_path}/tokens\n")
    monkeypatch.setenv("SOFTHSM2_CONF", str(tmp_path / "softhsm2.conf"))
    monkeypatch.setenv("PYKCS11LIB", SOFTHSM)
    monkeypatch.setenv(keys.PIN, "1234")
    words = ["softhsm2-util", "--init-token", "--free", "--label", "fleet", "--pin", "1234", "--so-pin", "5678"]
    subprocess.run(words, check=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=60)
    library = pkcs11.lib(SOFTHSM)
    library.reinitialize()
    with library.get_token(token_label="fleet").open(rw=True, user_pin="1234") as session:
        curve = {pkcs11.Attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1")}
        parameters = session.create_domain_parameters(pkcs11.KeyType.EC, curve, local=True)
        parameters.generate_keypair(id=b"\x02", store=True)
    return "hsm:2?label=fleet"


def test_a_key_on_a_token(publisher: Publisher, token: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publisher.publish("1.0")
    publisher.promote("1.0")
    with served(publisher.public) as web:
        host = Follower(tmp_path / "host", web.url, publisher.root)
        host.follow()
        fleet(publisher, "keys", "add", "targets", "--signer", token)
        with repository.opened(publisher.directory) as opened:
            (old, new) = opened.key_ids("targets")
        fleet(publisher, "keys", "remove", "targets", old)
        fleet(publisher, "publish", archive(publisher, "2.0"))
        fleet(publisher, "promote", "base", "2.0", "--force")
        assert host.follow() == "base 2.0 is in force"
    signed = json.loads(max((publisher.public / "metadata").glob("*.targets.json")).read_text())["signatures"]
    assert [one["keyid"] for one in signed] == [new]
    before = everything(publisher.directory)
    monkeypatch.setenv(keys.PIN, "9999")
    assert refusal(publisher, "rollback", "base") == f"cannot sign with {token}: pin incorrect"
    changed = {path for path, data in everything(publisher.directory).items() if before.get(path) != data}
    assert {path.parent.name for path in changed} <= {"targets"}
    monkeypatch.delenv(keys.PIN)
    assert refusal(publisher, "rollback", "base") == f"nobody to ask for the PIN of {token}: set {keys.PIN}"


def test_a_token_that_is_not_there(publisher: Publisher, token: str) -> None:
    before = everything(publisher.directory)
    said = refusal(publisher, "keys", "add", "targets", "--signer", "hsm:abc")
    assert said == "hsm:abc: give hsm:KEYID?label=TOKEN, the key's id a number"
    for uri, why in (
        ("hsm:2?label=other", "No PKCS#11 token found for label other"),
        ("hsm:9?label=fleet", "could not find ECDSA key"),
    ):
        assert f"cannot read the key of {uri}: {why}" in refusal(publisher, "keys", "add", "targets", "--signer", uri)
    assert everything(publisher.directory) == before
