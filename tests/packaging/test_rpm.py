"""The .rpm builds from its spec and the tarball, has the .deb's layout, and its scriptlets do on a host what they should."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.packaging.conftest import call
from tests.support.bundles import Bundle
from tests.support.node import Node

# Where the two distributions differ.
OF_DEBIAN = {
    "/lib/systemd/system": "/usr/lib/systemd/system",
    "/usr/share/zsh/vendor-completions": "/usr/share/zsh/site-functions",
}
DOCUMENTS = ("/usr/share/doc/", "/usr/share/lintian/", "/usr/share/licenses/", "/usr/share/python3/")
DAEMON = "/tmp/daemon.json"


@pytest.fixture(scope="module")
def rpm(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(call("sh", sources / "packaging/build-rpm.sh", tmp_path_factory.mktemp("rpm"), "--nodeps").strip())


def test_it_has_the_debs_files(rpm: Path, deb: Path) -> None:
    ours = {line.split()[-1] for line in call("rpm", "-qlvp", rpm).splitlines() if line.startswith("-")}
    contents = [line.split() for line in call("dpkg-deb", "--contents", deb).splitlines() if line.startswith("-")]
    theirs = {elsewhere(words[5].removeprefix(".").removesuffix(".gz")) for words in contents}
    assert {path for path in ours if not path.startswith(DOCUMENTS)} == {
        path for path in theirs if not path.startswith(DOCUMENTS)
    }


def elsewhere(path: str) -> str:
    """Where a file of Debian's is on other distributions."""
    for debians, others in OF_DEBIAN.items():
        path = path.replace(debians, others) if path.startswith(debians) else path
    return path


def test_it_asks_for_what_it_imports(rpm: Path) -> None:
    wanted = {line.split()[0] for line in call("rpm", "-qp", "--requires", rpm).splitlines()}
    assert {
        "python3-typer",
        "python3-loguru",
        "python3-ruamel-yaml",
        "python3-jsonpatch",
        "python3-rich",
        "python3-jsonschema",
        "python3-tomlkit",
        "libseccomp",
    } <= wanted


def test_its_life(rpm: Path, node: Node, bundle: Bundle) -> None:
    """Installed on this Debian, whose rpm knows none of the packages that it depends on."""
    node.copy(rpm, "/tmp/rpms")
    node.copy(bundle.shell("echo hello").path, "/tmp/bundles")
    node.check("rpm", "--install", "--nodeps", f"/tmp/rpms/{rpm.name}")
    assert node.check("hookrun", "run", "--bundle", f"/tmp/bundles/{bundle.path.name}", "c1") == "hello\n"
    node.check("hookctl", "engine", "register", "docker", "--daemon-json", DAEMON)
    node.check("rpm", "--install", "--nodeps", "--replacepkgs", f"/tmp/rpms/{rpm.name}")
    refused = node("rpm", "--erase", "hookrun")
    assert refused.status
    assert "hookctl engine unregister" in refused.err
    node.check("hookctl", "engine", "unregister", "docker", "--daemon-json", DAEMON)
    node.check("rpm", "--erase", "hookrun")
    for path in ("/var/lib/hookrun", "/usr/share/hookrun", "/usr/bin/hookctl", "/etc/hookrun"):
        assert node("test", "-e", path).status == 1, path
    assert node("grep", "hookrun", "/proc/self/mountinfo").out == ""
