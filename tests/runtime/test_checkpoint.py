"""checkpoint and restore by CRIU, with hookrun, with Debian's runc, and from one to the other."""

from __future__ import annotations

import json
import time

import pytest

from tests.runtime.checkpoint_support import Saved, checkpoint, count, inside, restore, rich, start, wait_for_more
from tests.support import leaks
from tests.support.bundles import Bundle

pytestmark = pytest.mark.usefixtures("working_criu")


@pytest.mark.parametrize(("saver", "restorer"), [("hookrun", "hookrun"), ("runc", "hookrun"), ("hookrun", "runc"), ("runc", "runc")])
def test_a_container_goes_on_where_it_was(bundle: Bundle, saved: Saved, request: pytest.FixtureRequest, saver: str, restorer: str) -> None:
    first, second = request.getfixturevalue(saver), request.getfixturevalue(restorer)
    container_id = start(first, rich(bundle))
    wait_for_more(bundle, 5)
    before = inside(first, container_id)
    result = checkpoint(first, container_id, saved)
    assert result.status == 0, result.err
    assert first.call("state", container_id).status == 1
    assert leaks.cgroups(container_id) == []
    assert json.loads((saved.images / "descriptors.json").read_text())[0] == "/dev/null"
    reached = count(bundle)
    time.sleep(0.2)
    assert count(bundle) == reached
    pid_file = bundle.path / "pid"
    container_id = restore(second, bundle, saved, "--pid-file", str(pid_file))
    wait_for_more(bundle, reached)
    assert count(bundle) < reached + 400  # it did not begin anew, nor jump
    after = inside(second, container_id)
    if saver != restorer:  # runc's state.json has more
        del before["state"], after["state"]
    assert after == before
    state = second.state(container_id)
    assert state["status"] == "running"
    assert int(pid_file.read_text()) == state["pid"]
    assert second.call("delete", "--force", container_id).status == 0
    assert leaks.cgroups(container_id) == []
    assert [mount for mount in leaks.mounts() if str(bundle.path) in mount or container_id in mount] == []
    stages = (bundle.path / "stages").read_text().split()
    assert stages == ["prestart", "createRuntime", "poststart", "poststop", "prestart", "createRuntime", "poststop"]
