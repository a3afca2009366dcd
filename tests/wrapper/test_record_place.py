"""Where a user's record is, whoever calls: with HOME, without it, and as root of a user namespace."""

from __future__ import annotations

import os
import pwd
import subprocess
from pathlib import Path

import pytest

from hookrun.wrapper import settings

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
