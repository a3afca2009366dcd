"""config.md "Process", a row for each field: what the container sees under hookrun is what it sees under runc."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.runtime.parity import Change, compare
from tests.support.bundles import Bundle
from tests.support.runtimes import Runtime, fresh_id

STATUS = "grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp:|Umask)' /proc/self/status"


def process(**fields: Any) -> Change:
    return lambda bundle: bundle.process.update(fields)


def user(**fields: Any) -> Change:
    return lambda bundle: bundle.process["user"].update(fields)


def capabilities(**sets: list[str]) -> Change:
    return lambda bundle: bundle.process.update(capabilities=sets)


def env(*entries: str) -> Change:
    return lambda bundle: bundle.process.update(env=["PATH=/bin", *entries])


def rlimit(kind: str, soft: int, hard: int) -> Change:
    return process(rlimits=[{"type": kind, "soft": soft, "hard": hard}])


NET = ["CAP_NET_RAW", "CAP_KILL"]

ROWS: dict[str, tuple[Change, str]] = {
    "nothing special": (process(), f"{STATUS}; env; pwd; id"),
    "cwd": (process(cwd="/tmp"), "pwd"),
    "cwd made on the way": (process(cwd="/a/b/c"), "pwd; ls -ld /a /a/b /a/b/c | cut -c1-10"),
    "cwd as user": (
        lambda b: b.process.update(cwd="/home/made", user={"uid": 1000, "gid": 1000}),
        "pwd; ls -ld . | cut -c1-30",
    ),
    "cwd is a file": (process(cwd="/etc/passwd"), "pwd"),
    "cwd is relative": (process(cwd="etc"), "pwd"),
    "cwd is empty": (process(cwd=""), "pwd"),
    "env": (env("A=1", "B=", "C=x=y", "A=2"), "env | sort"),
    "env home of root": (env(), "echo $HOME"),
    "env home empty": (env("HOME="), "echo $HOME"),
    "env home given": (env("HOME=/h"), "echo $HOME"),
    "env home of user": (user(uid=1000, gid=1000), "echo $HOME"),
    "env home of nobody known": (user(uid=4321, gid=1), "echo $HOME"),
    "env without equals": (env("NOVALUE"), "env"),
    "env without name": (env("=x"), "env"),
    "uid and gid": (user(uid=1000, gid=100), STATUS),
    "additional gids": (user(uid=1000, gid=1000, additionalGids=[5, 10, 4000]), STATUS),
    "umask": (user(umask=0o27), "umask; touch /tmp/f; ls -l /tmp/f | cut -c1-10"),
    "capabilities in all sets": (
        capabilities(bounding=NET, effective=NET, permitted=NET, inheritable=NET, ambient=NET),
        STATUS,
    ),
    "capabilities bounding only": (capabilities(bounding=NET), STATUS),
    "capabilities of a user, ambient": (
        lambda b: b.process.update(
            user={"uid": 1000, "gid": 1000},
            capabilities={k: NET for k in ("bounding", "effective", "permitted", "inheritable", "ambient")},
        ),
        STATUS,
    ),
    "capabilities of a user without ambient": (
        lambda b: b.process.update(user={"uid": 1000, "gid": 1000}, capabilities={"bounding": NET, "permitted": NET}),
        STATUS,
    ),
    "capabilities empty": (capabilities(), STATUS),
    "capabilities absent": (lambda b: b.process.pop("capabilities"), STATUS),
    "capability unknown": (capabilities(bounding=["CAP_NO_SUCH", "CAP_KILL"]), STATUS),
    "new privileges allowed": (process(noNewPrivileges=False), STATUS),
    "rlimit nofile": (rlimit("RLIMIT_NOFILE", 64, 100), "ulimit -n; ulimit -Hn"),
    "rlimit core": (rlimit("RLIMIT_CORE", 0, 0), "ulimit -c"),
    "rlimit stack": (rlimit("RLIMIT_STACK", 1 << 20, 1 << 22), "ulimit -s"),
    "rlimit fsize": (rlimit("RLIMIT_FSIZE", 4096, 4096), "ulimit -f; head -c 9000 /dev/zero > /tmp/x; echo $?"),
    "rlimit nproc": (rlimit("RLIMIT_NPROC", 30, 30), "ulimit -u"),
    "rlimit soft above hard": (rlimit("RLIMIT_NOFILE", 200, 100), "ulimit -n"),
    "rlimit unknown": (rlimit("RLIMIT_NONE", 1, 1), "true"),
    "oom score": (process(oomScoreAdj=321), "cat /proc/self/oom_score_adj"),
    "args searched in the container's PATH": (
        lambda b: (
            b.process.update(args=["tool"], env=["PATH=/opt:/bin"])
            or (b.rootfs / "opt").mkdir()
            or _executable(b, "opt/tool", "#!/bin/sh\necho found in $0\n")
        ),
        "",
    ),
    "args not in PATH": (process(args=["no-such-program"]), ""),
    "args without PATH": (process(args=["sh"], env=[]), ""),
    "args missing file": (process(args=["/no/such/file"]), ""),
    "args a directory": (process(args=["/etc"]), ""),
    "args without x bit": (process(args=["/etc/passwd"]), ""),
    "args wrong format": (
        lambda b: _executable(b, "bin/broken", "\x7fELFnonsense") or b.process.update(args=["broken"]),
        "",
    ),
    "args script without interpreter": (
        lambda b: _executable(b, "bin/script", "#!/no/interpreter\n") or b.process.update(args=["script"]),
        "",
    ),
    "args empty": (process(args=[]), ""),
    "args absent": (lambda b: b.process.pop("args"), ""),
    "args with odd characters": (process(args=["printf", "%s|", "a b", "", "é", "*", "\n", '"']), ""),
    "process absent": (lambda b: b.config.pop("process"), ""),
    "exit status": (process(), "exit 42"),
    "killed by a signal": (process(), "kill -15 $$"),
    "apparmor profile without apparmor": (process(apparmorProfile="none-such"), "true"),
    "selinux label without selinux": (process(selinuxLabel="a:b:c"), "true"),
    "standard input is closed": (process(), "cat; echo end"),
    "descriptors": (process(), "ls /proc/self/fd | wc -l"),
    "signals are not ignored": (process(), "grep -E '^Sig(Blk|Ign)' /proc/self/status"),
    "session and group": (process(), "cut -d' ' -f5,6 /proc/self/stat"),
    "keyring": (process(), "cut -d' ' -f1 /proc/keys | wc -l"),
}


def _executable(bundle: Bundle, name: str, content: str) -> None:
    path = bundle.rootfs / name
    path.write_text(content)
    path.chmod(0o755)


@pytest.mark.parametrize("row", ROWS)
def test_the_process_is_as_under_runc(bundle: Bundle, hookrun: Runtime, runc: Runtime, row: str) -> None:
    change, script = ROWS[row]
    if script:
        bundle.process["args"] = ["/bin/sh", "-c", script]
    change(bundle)
    assert compare(bundle, hookrun, runc)


def test_no_new_keyring(bundle: Bundle, hookrun: Runtime, runc: Runtime) -> None:
    bundle.linux["maskedPaths"] = []
    for runtime in (runc, hookrun):
        for options, count in (((), "1\n"), (("--no-new-keyring",), "0\n")):
            container_id = fresh_id()
            bundle.shell(f"grep -c _ses.{container_id} /proc/keys")
            assert runtime.run(bundle.path, *options, container_id=container_id).out == count


def test_preserved_descriptors_arrive_and_no_others(bundle: Bundle, either: Runtime, tmp_path: Path) -> None:
    """A shell opens number 3: in this process it may be somebody else's, a pytest-xdist worker's line to its master for one."""
    bundle.shell("echo through >&3; ls /proc/self/fd | tr '\\n' ' '")
    shell = Runtime("/bin/sh", either.root)
    shell.globals = ["-c", 'exec "$@" 3> "$0"', str(tmp_path / "through"), either.program, *either.globals]
    result = shell.run(bundle.path, "--preserve-fds", "1")
    assert result.status == 0, result.err
    assert (tmp_path / "through").read_text() == "through\n"
    assert result.out.split()[:4] == ["0", "1", "2", "3"]


def test_preserved_descriptor_that_is_not_open(bundle: Bundle, hookrun: Runtime) -> None:
    """runc's own descriptors may stand in for the missing ones; here it is refused in runc's words."""
    result = hookrun.run(bundle.path, "--preserve-fds", "9")
    assert result.status == 1
    assert "unable to stat preserved-fd" in result.err


def test_a_home_with_a_null_byte(bundle: Bundle, either: Runtime) -> None:
    (bundle.path / "rootfs/etc").mkdir(exist_ok=True)
    (bundle.path / "rootfs/etc/passwd").write_bytes(b"user:x:1000:1000::/home/\0z:/bin/sh\n")
    bundle.process["user"] = {"uid": 1000, "gid": 1000}
    bundle.process["env"] = ["PATH=/bin"]
    result = either.run(bundle.command("true").path)
    assert result.status == 1
    assert "unable to setup user: setenv: invalid argument" in result.err
