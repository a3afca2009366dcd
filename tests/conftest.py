"""Fixtures that all tests share."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from hookrun.wrapper.start import program
from tests.support.bundles import Bundle
from tests.support.configured import ConfiguredHost, configured_host
from tests.support.places import short_place
from tests.support.runtimes import CHECKOUT, HOOKRUN, RUNC, Runtime

pytest_plugins = ["tests.parallel", "tests.matrix"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help="also what CI leaves to the days before a release")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--all"):
        left = [item for item in items if is_for_a_release(item)]
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in left]


def is_for_a_release(item: pytest.Item) -> bool:
    """Whether a test waits for the days before a release: of later engines, a few run every day."""
    markers = {marker.name for marker in item.iter_markers()}
    return "release" in markers or ("later" in markers and "daily" not in markers)


@pytest.fixture
def everything(request: pytest.FixtureRequest) -> bool:
    """Whether the run was asked for all there is."""
    return bool(request.config.getoption("--all"))


@pytest.fixture(scope="session", autouse=True)
def heap() -> None:
    """The checkout's hookrun starts warm, whatever was edited since its heap was filled: by its own Python."""
    state = CHECKOUT / ".venv/state"
    if Path(sys.prefix) == CHECKOUT / ".venv" and program.find() and program.problem(state):
        assert program.fill(state) == ""


@pytest.fixture
def bundle() -> Iterator[Bundle]:
    """A bundle with a busybox root whose container runs `true`, in a place that other users reach too."""
    path = Path(tempfile.mkdtemp(prefix="hr-bundle-", dir="/var/tmp"))
    path.chmod(0o755)
    yield Bundle(path).write()
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def hookrun(tmp_path: Path) -> Iterator[Runtime]:
    """hookrun with a state root of its own; what it made is removed afterwards."""
    runtime = Runtime(HOOKRUN, tmp_path / "hookrun-root")
    yield runtime
    runtime.delete_all()


@pytest.fixture
def runc(tmp_path: Path) -> Iterator[Runtime]:
    """Debian's runc, the oracle, with a state root of its own."""
    runtime = Runtime(RUNC, tmp_path / "runc-root")
    yield runtime
    runtime.delete_all()


@pytest.fixture
def host() -> Iterator[ConfiguredHost]:
    """A host that hookctl has configured, with its launcher."""
    with configured_host() as host:
        yield host


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A directory for the sockets and the configuration of an engine."""
    with short_place() as place:
        yield place


@pytest.fixture(params=["hookrun", "runc"])
def either(request: pytest.FixtureRequest) -> Runtime:
    """Each of the two runtimes in turn: what the test expects holds for runc too."""
    runtime: Runtime = request.getfixturevalue(request.param)
    return runtime
