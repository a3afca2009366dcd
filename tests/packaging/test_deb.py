"""The .deb: what lintian says, where it puts things, and its life on a Debian: installed, upgraded, removed, purged."""

from __future__ import annotations

import re
from pathlib import Path

from hookrun.wrapper import VERSION
from tests.packaging.conftest import call, copy_sources
from tests.support.bundles import Bundle
from tests.support.node import Node
from tests.support.runtimes import CHECKOUT

FILES = {
    "/usr/sbin/hookrun",
    "/usr/bin/hookctl",
    "/usr/lib/hookrun/hookrun-start",
    "/usr/share/hookrun/wrapper/entry.py",
    "/usr/share/hookrun/policies/library/no-engine-socket.yaml",
    "/usr/share/hookrun/wrapper/admin/trace/export/report.html",
    "/usr/share/man/man8/hookrun.8.gz",
    "/usr/share/man/man1/hookctl.1.gz",
    "/usr/share/man/man5/hookrun-policy.5.gz",
    "/usr/share/bash-completion/completions/hookrun",
    "/usr/share/bash-completion/completions/hookctl",
    "/usr/share/zsh/vendor-completions/_hookrun",
    "/usr/share/zsh/vendor-completions/_hookctl",
    "/usr/share/fish/vendor_completions.d/hookrun.fish",
    "/usr/share/fish/vendor_completions.d/hookctl.fish",
    "/lib/systemd/system/var-lib-hookrun-seal.mount",
    "/lib/systemd/system/hookrun-prune.service",
    "/lib/systemd/system/hookrun-prune.timer",
}
LAUNCHER = "/var/lib/hookrun/launchers/hookrun"
DAEMON = "/tmp/daemon.json"
# Directories whose content the installation of any package changes, or other tests while this one runs.
ELSEWHERE = f"/var/lib/dpkg|/var/lib/apt|/var/cache|/var/log/(dpkg.log|apt)|/work|/root|/var/tmp|/tmp|{re.escape(str(CHECKOUT))}"
LISTING = f"find / -xdev -regextype egrep -regex '({ELSEWHERE})' -prune -o -print | sort"


def test_lintian_has_nothing_to_say(deb: Path) -> None:
    assert call("lintian", "--allow-root", "--fail-on=error,warning", "--pedantic", deb).strip() == ""


def test_where_things_are(deb: Path) -> None:
    listed = call("dpkg-deb", "--contents", deb)
    assert {line.split()[5].removeprefix(".") for line in listed.splitlines()} >= FILES
    assert "__pycache__" not in listed


def test_programs_name_an_absolute_interpreter(deb: Path, tmp_path: Path) -> None:
    call("dpkg-deb", "--extract", deb, tmp_path)
    assert (tmp_path / "usr/bin/hookctl").read_text().startswith("#!/usr/bin/python3 -I")
    warm, cold = (tmp_path / "usr/sbin/hookrun").read_text().splitlines()[:2]
    assert warm == "#!/usr/lib/hookrun/hookrun-start /var/lib/hookrun/heap"
    assert cold.startswith("#!/usr/bin/python3 -I")


def test_units_and_pages_are_found(deb: Path, node: Node) -> None:
    install(node, deb)
    assert node("sh", "-c", "systemd-analyze verify /lib/systemd/system/*hookrun*").err == ""
    for page in ("hookrun", "hookctl", "hookrun-policy"):
        assert page in node.check("man", "-w", page)


def test_hookctl_works_with_debians_own_libraries(deb: Path, node: Node, bundle: Bundle) -> None:
    install(node, deb)
    node.check("hookctl", "policy", "new", "no-engine-socket")
    for words in (
        "policy lint",
        "policy test",
        "apply --yes",
        "history",
        "hook list",
        "engine register docker --dry-run --daemon-json /tmp/x.json",
    ):
        node.check("hookctl", *words.split())
    place = put(node, bundle.shell("echo hello; exit 3"))
    result = node("hookrun", "run", "--bundle", place, "c1")
    assert (result.status, result.out) == (3, "hello\n")
    assert " ro," in node.check("grep", "/var/lib/hookrun/seal", "/proc/self/mountinfo")
    for words in (
        "trace list",
        "trace show c1",
        "trace diff c1",
        "trace stats",
        "report",
        "trace export --format csv",
        "trace prune",
        "rollback --yes 1",
        "doctor",
    ):
        node.check("hookctl", *words.split())
    assert node("hookctl", "nonsense").status == 2


def test_the_hot_path_needs_the_standard_library_alone(deb: Path, node: Node, bundle: Bundle) -> None:
    install(node, deb)
    node.check("sh", "-c", "rm -r /usr/lib/python3/dist-packages/*")
    place = put(node, bundle.shell("echo hello"))
    assert node.check("hookrun", "run", "--bundle", place, "c1") == "hello\n"


def test_another_python_means_other_launchers(deb: Path, node: Node) -> None:
    """dpkg tells of a changed /usr/bin/python3, whichever package brings it."""
    install(node, deb)
    node.check("hookctl", "engine", "register", "docker", "--daemon-json", DAEMON)
    wanted = node.check("cat", LAUNCHER)
    node.write(LAUNCHER, "#!/usr/bin/python3.2\n")
    node.check("dpkg-trigger", "--by-package=python3-minimal", "/usr/bin/python3")
    node.check("dpkg", "--configure", "--pending")
    assert node.check("cat", LAUNCHER) == wanted


def test_its_life(deb: Path, node: Node, bundle: Bundle, tmp_path: Path) -> None:
    """Upgraded under a running container, not removed while registered, purged without a trace but for what a user wrote."""
    before = node.check("sh", "-c", LISTING)
    install(node, deb)
    node.write("/etc/hookrun/policies.d/mine.yaml", "")
    node.check("hookctl", "engine", "register", "docker", "--daemon-json", DAEMON)
    place = put(node, bundle.command("sleep", "1000"))
    node.check("sh", "-c", f"{LAUNCHER} run --detach --bundle {place} c1 > /dev/null 2>&1")
    try:
        install(node, newer_deb(tmp_path))
        assert node.check(LAUNCHER, "--version").startswith("hookrun version 99.0\n")
        assert node.check(LAUNCHER, "exec", "c1", "echo", "still here") == "still here\n"
        assert '"status": "running"' in node.check(LAUNCHER, "state", "c1")
        node.check(LAUNCHER, "kill", "c1", "KILL")
    finally:
        node.check(LAUNCHER, "delete", "--force", "c1")
    refused = node("apt-get", "purge", "-y", "hookrun")
    assert refused.status
    assert "hookctl engine unregister" in refused.out
    node.check("hookctl", "engine", "unregister", "docker", "--daemon-json", DAEMON)
    node.check("apt-get", "purge", "-y", "hookrun")
    left = set(node.check("sh", "-c", LISTING).splitlines()) - set(before.splitlines())
    assert left == {"/etc/hookrun", "/etc/hookrun/policies.d", "/etc/hookrun/policies.d/mine.yaml"}
    assert node("grep", "hookrun", "/proc/self/mountinfo").out == ""


def install(node: Node, deb: Path) -> None:
    node.copy(deb, "/tmp/debs")
    node.check("apt-get", "install", "-y", f"/tmp/debs/{deb.name}")


def put(node: Node, bundle: Bundle) -> str:
    node.copy(bundle.path, "/tmp/bundles")
    return f"/tmp/bundles/{bundle.path.name}"


def newer_deb(place: Path) -> Path:
    """The package of a later version, built from sources that say so."""
    newer = place / "newer"
    newer.mkdir()
    copy_sources(newer)
    for name in ("wrapper/__init__.py", "packaging/debian/changelog"):
        path = newer / name
        path.write_text(path.read_text().replace(VERSION, "99.0", 1))
    return Path(call("sh", newer / "packaging/build-deb.sh", place).strip())
