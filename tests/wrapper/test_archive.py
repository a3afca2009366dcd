"""The archive of the hot path's code: used where it fits, out of the way where it does not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import hookrun.runtime
import hookrun.wrapper
from hookrun.wrapper import archive

PYTHON = os.path.realpath(sys.executable)
SETUP = "import sys; package = type(sys)('hookrun'); package.__path__ = [{0!r}]; sys.modules['hookrun'] = package\n"
WRITE = SETUP + "from hookrun.wrapper import precompile; print(precompile.write({1!r}))"
LOADERS = SETUP + (
    "from hookrun.wrapper import archive; archive.install({1!r} + '/code')\n"
    "from hookrun.runtime import errors, linux; from hookrun.runtime.commands import state\n"
    "for module in (errors, linux, state):\n"
    "    spec = module.__spec__  # what is loaded along with another has none\n"
    "    print(type(spec.loader).__name__ if spec else '_Archive', module.__file__)\n"
    "print(errors.Failure('x', 7).status, linux.__path__, len(sys.meta_path))"
)


class Host:
    """A copy of the packages, and a state directory."""

    def __init__(self, directory: Path) -> None:
        self.packages = directory / "packages"
        for package in (hookrun.wrapper, hookrun.runtime):
            folder = Path(package.__path__[0]).resolve()
            shutil.copytree(folder, self.packages / folder.name, ignore=shutil.ignore_patterns("__pycache__", "admin"))
        self.state = directory / "state"
        self.state.mkdir()
        self.archive = Path(self.python(WRITE).strip())

    def python(self, program: str) -> str:
        done = subprocess.run(
            [PYTHON, "-IBXutf8", "-c", program.format(str(self.packages), str(self.state))],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def loaders(self) -> list[str]:
        """The kinds of loader that errors, linux and state came through."""
        *lines, last = self.python(LOADERS).splitlines()
        paths = ["errors.py", "linux/__init__.py", "commands/state.py"]
        assert [line.split()[1] for line in lines] == [f"{self.packages}/runtime/{path}" for path in paths]
        assert last.startswith(f"7 ['{self.packages}/runtime/linux'] ")
        return [line.split()[0] for line in lines]


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


ARCHIVED = ["_Archive"] * 3
FROM_FILES = ["SourceFileLoader"] * 3


def test_modules_come_from_the_archive(host: Host) -> None:
    assert host.archive == host.state / archive.NAME
    assert host.archive.stat().st_mode & 0o777 == 0o644
    assert [path.name for path in host.state.iterdir()] == [archive.NAME]
    assert host.loaders() == ARCHIVED


def test_a_source_that_changed_is_believed_instead(host: Host) -> None:
    source = host.packages / "runtime" / "errors.py"
    source.write_text(source.read_text() + "# changed\n")
    assert host.loaders() == ["SourceFileLoader", "_Archive", "_Archive"]


def test_a_source_with_another_time_is_believed_instead(host: Host) -> None:
    os.utime(host.packages / "runtime" / "commands" / "state.py", (5, 5))
    assert host.loaders() == ["_Archive", "_Archive", "SourceFileLoader"]


def test_a_package_that_changed_is_loaded_before_what_is_in_it(host: Host) -> None:
    os.utime(host.packages / "runtime" / "__init__.py", (5, 5))
    shim = "from hookrun.wrapper import archive; archive.install({1!r} + '/code'); from hookrun.wrapper import shim; "
    assert host.python(SETUP + shim + "print(shim.logs.__name__)") == "hookrun.runtime.log\n"


def test_a_module_that_is_gone_is_gone(host: Host) -> None:
    (host.packages / "runtime" / "errors.py").unlink()
    with pytest.raises(AssertionError, match=r"ImportError|ModuleNotFoundError"):
        host.loaders()


@pytest.mark.parametrize(
    "data", [b"", b"hookrun", b"hookrun code for cpython-27\n" + bytes(500), archive.MAGIC + bytes(8)]
)
def test_archives_of_another_kind_are_passed_over(host: Host, data: bytes) -> None:
    host.archive.write_bytes(data)
    assert host.loaders() == FROM_FILES


def test_an_archive_cut_short_is_passed_over(host: Host) -> None:
    host.archive.write_bytes(host.archive.read_bytes()[:2000])
    assert host.loaders() == FROM_FILES


def test_an_archive_that_others_can_write_is_passed_over(host: Host) -> None:
    host.archive.chmod(0o664)
    assert host.loaders() == FROM_FILES


@pytest.mark.skipif(os.geteuid() != 0, reason="gives the file to somebody")
def test_an_archive_of_somebody_else_is_passed_over(host: Host) -> None:
    os.chown(host.archive, 12345, 0)
    assert host.loaders() == FROM_FILES


def test_no_archive(host: Host) -> None:
    host.archive.unlink()
    assert host.loaders() == FROM_FILES


def test_the_control_plane_is_not_in_it(host: Host) -> None:
    assert b"hookrun.wrapper.shim" in host.archive.read_bytes()
    assert b"hookrun.wrapper.admin" not in host.archive.read_bytes()
