"""Where a user's record is, whoever calls: with HOME, without it, and as root of a user namespace."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
from pathlib import Path

import pytest

from hookrun.wrapper import settings
from tests.support.bundles import Bundle
from tests.support.configured import ConfiguredHost
from tests.support.runtimes import Runtime

SOURCE = str(Path(settings.__file__).parents[2])
MAIN = f"import sys; sys.path.append({SOURCE!r}); from hookrun.wrapper import settings; print(settings.default_record_directory(settings.STATE))"
NOBODY = pwd.getpwnam("nobody")

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="becomes somebody else")


def place(*prefix: str, **environment: str) -> str:
    done = subprocess.run(
        [*prefix, "/usr/bin/python3", "-IS", "-c", MAIN],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": os.environ["PATH"], **environment},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


AS_NOBODY = ("setpriv", "--reuid", str(NOBODY.pw_uid), "--regid", str(NOBODY.pw_gid), "--clear-groups")
IN_NAMESPACE = (*AS_NOBODY, "unshare", "--user", "--map-root-user")


def test_root() -> None:
    assert place() == "/var/log/hookrun"


@pytest.mark.parametrize("prefix", [AS_NOBODY, IN_NAMESPACE], ids=["user", "root of a namespace"])
def test_a_user(prefix: tuple[str, ...]) -> None:
    if subprocess.run([*prefix, "ls", SOURCE], stdin=subprocess.DEVNULL, capture_output=True, timeout=60).returncode:
        pytest.skip("no user namespaces, or the checkout is closed to other users")
    assert place(*prefix, HOME="/h") == "/h/.local/state/hookrun"
    assert place(*prefix, HOME="/h", XDG_STATE_HOME="/s") == "/s/hookrun"
    assert place(*prefix) == f"{NOBODY.pw_dir}/.local/state/hookrun"


def test_a_read_only_record_is_no_matter_of_the_engines(host: ConfiguredHost, bundle: Bundle) -> None:
    """A shim logs what `delete` prints or ends with, and it calls it a second time, for a container that is gone."""
    host.apply()
    name = host.runtime.run_detached(bundle.command("sleep", "1000").path)
    record = host.state / "record"
    for words in (("--bind", record, record), ("-o", "remount,bind,ro", record)):
        subprocess.run(["mount", *words], stdin=subprocess.DEVNULL, check=True, timeout=60)
    log = host.log / "log.json"
    try:
        shim = Runtime(host.launcher, host.runtime.root, "--log", str(log), "--log-format", "json")
        for _ in range(2):
            done = shim.call("delete", "--force", name)
            assert (done.status, done.out, done.err) == (0, "", "")
    finally:
        subprocess.run(["umount", record], stdin=subprocess.DEVNULL, check=True, timeout=60)
    said = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    assert [line for line in said if line["level"] not in ("debug", "info", "warning")] == []
