"""Configs as older and other tools write them run as they are: every ociVersion since 0.4.0, and odd but legal shapes."""

from __future__ import annotations

from typing import Any

import pytest

from tests.runtime.parity import Change, compare
from tests.support.bundles import Bundle
from tests.support.runtimes import Runtime

VERSIONS = (
    "0.4.0",
    "0.5.0",
    "0.6.0-dev",
    "1.0.0-rc1",
    "1.0.0-rc5",
    "1.0.0",
    "1.0.1",
    "1.0.2",
    "1.0.2-dev",
    "1.1.0",
    "1.2.0",
    "1.2.1",
    "1.3.0",
)
EVERYWHERE = "id -u; grep ^CapBnd /proc/self/status; hostname"


def top(**fields: Any) -> Change:
    return lambda bundle: bundle.config.update(fields)


def process(**fields: Any) -> Change:
    return lambda bundle: bundle.process.update(fields)


def platform(**fields: Any) -> Change:
    return lambda bundle: bundle.linux.update(fields)


# What Debian's runc takes too.
SHAPES: dict[str, Change] = {
    "platform": top(platform={"os": "linux", "arch": "amd64"}),
    "empty user": process(user={}),
    "no user": lambda bundle: bundle.process.pop("user"),
    "null everywhere": lambda bundle: (
        bundle.config.update(hooks=None, annotations=None, hostname="test"),
        bundle.process.update(rlimits=None, apparmorProfile=None, oomScoreAdj=None),
        bundle.linux.update(
            devices=None, seccomp=None, sysctl=None, uidMappings=None, gidMappings=None, cgroupsPath=None
        ),
    ),
    "empty hooks": top(hooks={}),
    "empty stages": top(hooks={"prestart": None, "poststop": []}),
    "empty lists": platform(devices=[], uidMappings=[], gidMappings=[], maskedPaths=[], readonlyPaths=[], sysctl={}),
    "empty resources": platform(resources={}),
    "other platforms": top(solaris={"milestone": "x"}, windows={"layerFolders": ["x"]}, vm={"kernel": {"path": "/x"}}),
    "unknown fields": lambda bundle: (
        bundle.config.update(future={"a": [1, {"b": None}]}),
        bundle.process.update(future=True),
        bundle.linux.update(future=1.5),
    ),
    "commandLine": process(commandLine="echo never"),
    "username": process(user={"uid": 0, "gid": 0, "username": "nobody"}),
}


@pytest.mark.parametrize("version", VERSIONS)
def test_versions(bundle: Bundle, hookrun: Runtime, runc: Runtime, version: str) -> None:
    bundle.config["ociVersion"] = version
    bundle.process["args"] = ["sh", "-c", EVERYWHERE]
    assert compare(bundle, hookrun, runc)[0] == "status 0"


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes(bundle: Bundle, hookrun: Runtime, runc: Runtime, shape: str) -> None:
    bundle.process["args"] = ["sh", "-c", EVERYWHERE]
    SHAPES[shape](bundle)
    assert compare(bundle, hookrun, runc)[0] == "status 0"


def test_capabilities_as_one_list(bundle: Bundle, hookrun: Runtime) -> None:
    """Before 1.0.0-rc5 there was one list for all sets, and no ambient set; runc gave that up long ago."""
    bundle.config["ociVersion"] = "0.4.0"
    bundle.process["capabilities"] = ["CAP_KILL", "CAP_NET_RAW"]
    result = hookrun.run(bundle.shell("grep -E '^Cap(Bnd|Eff|Prm|Inh)' /proc/self/status").path)
    assert {line.split()[1] for line in result.out.splitlines()} == {"0000000000002020"}, result
