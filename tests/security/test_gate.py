"""The gate against people: every way to a forbidden file, and beside it the harmless neighbour that passes.

The forbidden file is a socket of the test's own, in a tmpfs as /run is one. What is refused must be refused by the
policy; what passes must run, and must not see the file.
"""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.bundles import Bundle
from tests.support.configured import ConfiguredHost, configured_host
from tests.support.places import short_place
from tests.support.runtimes import PATIENCE, RUNC, Result, fresh_id, wait_for
from tests.wrapper.decision.test_gate import in_force

SEEN = "the socket is here"


def system(*words: str | Path) -> None:
    subprocess.run(words, stdin=subprocess.DEVNULL, check=True, timeout=PATIENCE)


class Ground:
    """Directories of the host's: `run` is a tmpfs with the socket `docker.sock`, `good` is harmless."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.run = place / "run"
        self.good = place / "good"
        for directory in (self.run, self.good, place / "disk"):
            directory.mkdir()
        (self.good / "file").write_text("good\n")
        self.mount("-t", "tmpfs", "tmpfs", self.run)
        self.socket = self.run / "docker.sock"
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(self.socket))
        (self.run / "app").mkdir()
        (self.run / "app/file").write_text("app\n")
        self.secret = place / "disk/secret"
        self.secret.write_text("secret\n")

    def mount(self, *words: str | Path) -> None:
        system("mount", *words)

    def directory(self, name: str) -> Path:
        path = self.place / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def close(self) -> None:
        mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        for mount in reversed([mount for mount in mounts if mount.startswith(f"{self.place}/")]):
            system("umount", "-l", mount)


@pytest.fixture(scope="module")
def host() -> Iterator[ConfiguredHost]:
    with configured_host() as host:
        yield host


@contextmanager
def fresh_ground() -> Iterator[Ground]:
    with short_place("hr-ground-") as place:
        ground = Ground(place)
        try:
            yield ground
        finally:
            ground.close()


@pytest.fixture
def ground() -> Iterator[Ground]:
    with fresh_ground() as ground:
        yield ground


def judged(host: ConfiguredHost, bundle: Bundle, mounts: list[dict[str, Any]]) -> Result:
    """Run a container with these mounts besides the usual ones."""
    bundle.config["mounts"] += mounts
    bundle.shell(
        f"find / -xdev -name docker.sock -o -name secret 2>/dev/null; test -e /h && find /h -name docker.sock -exec echo {SEEN} ';'; true"
    )
    return host.runtime.run(bundle.path)


def bind(source: Path | str, *options: str) -> list[dict[str, Any]]:
    return [{"destination": "/h", "type": "bind", "source": str(source), "options": [*(options or ("rbind", "ro"))]}]


# The ways in. Each prepares the host as whoever is root there, or an engine at its user's word, may have it.

Way = Callable[[Ground], list[dict[str, Any]]]


def by_hard_link_that_a_mount_covers(ground: Ground) -> list[dict[str, Any]]:
    (ground.run / "down/in").mkdir(parents=True)
    os.link(ground.socket, ground.run / "down/in/docker.sock")
    ground.mount("--bind", ground.good, ground.run / "down/in")
    return bind(ground.run / "down", "bind")


def by_link(ground: Ground) -> list[dict[str, Any]]:
    (ground.place / "link").symlink_to(ground.socket)
    return bind(ground.place / "link")


def by_link_to_directory(ground: Ground) -> list[dict[str, Any]]:
    (ground.place / "link").symlink_to(ground.run)
    return bind(ground.place / "link")


def by_chain_of_links(ground: Ground) -> list[dict[str, Any]]:
    (ground.place / "one").symlink_to("two/../three")
    (ground.place / "two").mkdir()
    (ground.place / "three").symlink_to("../" * 20 + str(ground.run).lstrip("/"))
    return bind(ground.place / "one")


def by_link_named_like_a_volume(ground: Ground) -> list[dict[str, Any]]:
    (ground.directory("docker/volumes/v") / "_data").symlink_to(ground.run)
    return bind(ground.place / "docker/volumes/v/_data")


def by_proc_self_root(ground: Ground) -> list[dict[str, Any]]:
    return bind(f"/proc/self/root{ground.run}")


def by_proc_thread_root(ground: Ground) -> list[dict[str, Any]]:
    return bind(f"/proc/thread-self/root{ground.socket}")


def by_dots(ground: Ground) -> list[dict[str, Any]]:
    return bind(f"{ground.good}/..//./run/app/../docker.sock")


def by_relative_path(ground: Ground) -> list[dict[str, Any]]:
    return bind("../" * 20 + str(ground.socket).lstrip("/"))


def by_directory_above(ground: Ground) -> list[dict[str, Any]]:
    return bind(ground.place)


def by_root(ground: Ground) -> list[dict[str, Any]]:
    return bind("/")


def by_procfs(ground: Ground) -> list[dict[str, Any]]:
    return bind("/proc")


def by_bind_volume(ground: Ground) -> list[dict[str, Any]]:
    ground.mount("--bind", ground.run, ground.directory("volumes/v/_data"))
    return bind(ground.place / "volumes/v/_data")


def by_bind_of_file(ground: Ground) -> list[dict[str, Any]]:
    (ground.place / "innocent").touch()
    ground.mount("--bind", ground.socket, ground.place / "innocent")
    return bind(ground.place / "innocent")


def by_mount_below(ground: Ground) -> list[dict[str, Any]]:
    ground.mount("--bind", ground.run, ground.directory("outer/inner"))
    return bind(ground.place / "outer")


def by_overlay(ground: Ground) -> list[dict[str, Any]]:
    options = f"lowerdir={ground.run}:{ground.good}"
    ground.mount("-t", "overlay", "-o", options, "overlay", ground.directory("volumes/o/_data"))
    return bind(ground.place / "volumes/o/_data")


def by_file_in_overlay(ground: Ground) -> list[dict[str, Any]]:
    return bind(by_overlay(ground)[0]["source"] + "/docker.sock")


def by_overlay_of_overlay(ground: Ground) -> list[dict[str, Any]]:
    inner = by_overlay(ground)[0]["source"]
    ground.mount(
        "-t", "overlay", "-o", f"lowerdir={inner}:{ground.good}", "overlay", ground.directory("volumes/p/_data")
    )
    return bind(ground.place / "volumes/p/_data")


def by_upper_directory(ground: Ground) -> list[dict[str, Any]]:
    (ground.run / "work").mkdir()
    (ground.run / "upper").mkdir()
    os.link(ground.socket, ground.run / "upper/docker.sock")
    options = f"lowerdir={ground.good},upperdir={ground.run}/upper,workdir={ground.run}/work"
    ground.mount("-t", "overlay", "-o", options, "overlay", ground.directory("volumes/u/_data"))
    return bind(ground.place / "volumes/u/_data")


def by_overlay_with_a_layer_that_others_can_exchange(ground: Ground) -> list[dict[str, Any]]:
    ground.directory("theirs").chmod(0o777)
    ground.directory("theirs/layer")
    options = f"lowerdir={ground.place}/theirs/layer:{ground.good}"
    ground.mount("-t", "overlay", "-o", options, "overlay", ground.directory("volumes/x/_data"))
    return bind(ground.place / "volumes/x/_data")


def by_overlay_in_the_config(ground: Ground) -> list[dict[str, Any]]:
    options = [f"lowerdir={ground.run}:{ground.good}"]
    return [{"destination": "/h", "type": "overlay", "source": "overlay", "options": options}]


def by_hard_link(ground: Ground) -> list[dict[str, Any]]:
    os.link(ground.socket, ground.run / "other-name")
    return bind(ground.run / "other-name")


def by_directory_with_a_hard_link(ground: Ground) -> list[dict[str, Any]]:
    os.link(ground.socket, ground.run / "app/other-name")
    return bind(ground.run / "app")


def by_type_none(ground: Ground) -> list[dict[str, Any]]:
    return [{"destination": "/h", "type": "none", "source": str(ground.socket), "options": ["bind"]}]


def by_propagation(ground: Ground) -> list[dict[str, Any]]:
    """Nothing is below it yet; what an engine mounts there for the next container would appear in this one."""
    volumes = ground.directory("volumes")
    ground.mount("--bind", volumes, volumes)
    ground.mount("--make-shared", volumes)
    return bind(volumes, "rbind", "rslave")


def by_second_mount_of_the_file_system(ground: Ground) -> list[dict[str, Any]]:
    ground.mount("--bind", ground.place, ground.directory("again"))
    return [*bind(ground.place / "again", "bind"), {**bind(ground.run)[0], "destination": "/i"}]


WAYS: dict[str, Way] = {
    name.removeprefix("by_").replace("_", " "): way for name, way in list(globals().items()) if name.startswith("by_")
}


@pytest.mark.parametrize("way", WAYS)
def test_a_forbidden_file_is_refused_by_every_way(
    host: ConfiguredHost, bundle: Bundle, ground: Ground, way: str
) -> None:
    in_force(host, {"mounts": {"forbid": [{"source": str(ground.socket), "message": "no socket"}]}})
    result = judged(host, bundle, WAYS[way](ground))
    assert SEEN not in result.out
    assert result.status == 1, result.out
    assert "policy p0: no socket" in result.err


@pytest.mark.parametrize("way", WAYS)
def test_so_by_a_condition_on_the_field(host: ConfiguredHost, bundle: Bundle, ground: Ground, way: str) -> None:
    in_force(
        host, {"deny": [{"when": {"field": "/mounts/*/source", "equals": str(ground.socket)}, "message": "no socket"}]}
    )
    result = judged(host, bundle, WAYS[way](ground))
    assert "policy p0: no socket" in result.err, result.out


def test_the_rootfs_counts(host: ConfiguredHost, bundle: Bundle, ground: Ground) -> None:
    in_force(host, {"mounts": {"forbid": [{"source": str(ground.socket), "type": "bind", "message": "no socket"}]}})
    bundle.config["root"]["path"] = str(ground.run)
    assert "policy p0: no socket" in judged(host, bundle, []).err


def test_without_a_mount_namespace_all_is_shown(host: ConfiguredHost, bundle: Bundle, ground: Ground) -> None:
    in_force(host, {"mounts": {"forbid": [{"source": str(ground.socket), "message": "no socket"}]}})
    bundle.without_namespace("mount")
    assert "policy p0: no socket" in judged(host, bundle, []).err


def test_what_is_mounted_later_does_not_appear(host: ConfiguredHost, bundle: Bundle, ground: Ground) -> None:
    in_force(host, {"mounts": {"forbid": [{"source": str(ground.socket)}]}})
    source = by_propagation(ground)[0]["source"]
    (Path(source) / "v").mkdir()
    bundle.config["mounts"] += bind(source, "rbind")
    box = host.runtime.run_detached(bundle.command("sleep", "600").path)
    ground.mount("--bind", ground.run, f"{source}/v")
    assert host.runtime.exec(box, "ls", "/h/v").out == ""


def test_what_the_sources_were_is_on_record(
    host: ConfiguredHost, bundle: Bundle, ground: Ground, tmp_path: Path
) -> None:
    """A policy that is tried later on the recorded call judges the file that the link led to then."""
    in_force(host, {"mounts": {"forbid": [{"source": str(ground.socket)}]}})
    (ground.place / "link").symlink_to(ground.good)
    assert judged(host, bundle, bind(ground.place / "link")).status == 0
    (ground.place / "link").unlink()
    line = host.lines("run")[-1]
    assert line["sources"][f"{ground.place}/link"]["realPath"] == [str(ground.good)]
    spec = {"mounts": {"forbid": [{"source": str(ground.good / "file"), "message": "not good"}]}}
    assert "not good" in explained(host, spec, line["id"], tmp_path)


def explained(host: ConfiguredHost, spec: dict[str, Any], call: str, place: Path) -> str:
    """What a policy of this spec says of a recorded call."""
    policy = {"apiVersion": "hookrun/v1", "kind": "Policy", "metadata": {"name": "later"}, "spec": spec}
    (place / "later.yaml").write_text(json.dumps(policy))
    told = host.hookctl("policy", "explain", call, "--policies", str(place / "later.yaml"))
    assert told.status == 0, told.err
    return told.out


@pytest.mark.parametrize("mount", [{}, {"source": None}, {"source": ""}])
def test_a_bind_without_a_source_shows_the_bundle(host: ConfiguredHost, bundle: Bundle, mount: dict[str, Any]) -> None:
    in_force(host, {"mounts": {"forbid": [{"source": str(bundle.path / "config.json"), "message": "no config"}]}})
    result = judged(host, bundle, [{"destination": "/h", "type": "bind", "options": ["rbind"], **mount}])
    assert "policy p0: no config" in result.err


# The harmless neighbours.


def near_good_directory(ground: Ground) -> list[dict[str, Any]]:
    return bind(ground.good)


def near_plain_volume(ground: Ground) -> list[dict[str, Any]]:
    (ground.directory("volumes/v/_data") / "file").touch()
    return bind(ground.place / "volumes/v/_data")


def near_file_of_the_same_directory(ground: Ground) -> list[dict[str, Any]]:
    return bind(ground.run / "app/file")


def near_directory_beside_the_socket(ground: Ground) -> list[dict[str, Any]]:
    return bind(ground.run / "app")


def near_link_to_good(ground: Ground) -> list[dict[str, Any]]:
    (ground.place / "docker.sock").symlink_to(ground.good / "file")
    return bind(ground.place / "docker.sock")


def near_bind_volume_of_good(ground: Ground) -> list[dict[str, Any]]:
    ground.mount("--bind", ground.good, ground.directory("volumes/b/_data"))
    return bind(ground.place / "volumes/b/_data")


def near_hard_link_in_what_is_mounted_below(ground: Ground) -> list[dict[str, Any]]:
    os.link(ground.socket, ground.run / "app/docker.sock")
    (ground.run / "up/in").mkdir(parents=True)
    ground.mount("--bind", ground.run / "app", ground.run / "up/in")
    return bind(ground.run / "up", "bind")


def near_overlay_of_good(ground: Ground) -> list[dict[str, Any]]:
    options = f"lowerdir={ground.good}:{ground.directory('more')}"
    ground.mount("-t", "overlay", "-o", options, "overlay", ground.directory("volumes/o/_data"))
    return bind(ground.place / "volumes/o/_data")


def near_directory_above_without_what_is_mounted_there(ground: Ground) -> list[dict[str, Any]]:
    return bind(ground.place, "bind")


def near_engines_own_files(ground: Ground) -> list[dict[str, Any]]:
    (ground.directory("docker/containers/x") / "hosts").write_text("127.0.0.1 localhost\n")
    return [{**bind(ground.place / "docker/containers/x/hosts")[0], "destination": "/etc/hosts"}]


def near_private_bind_of_a_shared_directory(ground: Ground) -> list[dict[str, Any]]:
    return bind(by_propagation(ground)[0]["source"], "rbind", "rprivate")


def near_tmpfs(ground: Ground) -> list[dict[str, Any]]:
    return [{"destination": "/h", "type": "tmpfs", "source": str(ground.run), "options": ["size=64k"]}]


def near_kernel_files(ground: Ground) -> list[dict[str, Any]]:
    return [*bind("/proc/meminfo"), {**bind("/sys/kernel")[0], "destination": "/i"}]


NEIGHBOURS: dict[str, Way] = {
    name.removeprefix("near_").replace("_", " "): way
    for name, way in list(globals().items())
    if name.startswith("near_")
}


@pytest.mark.parametrize("way", NEIGHBOURS)
def test_what_cannot_reach_it_passes(host: ConfiguredHost, bundle: Bundle, ground: Ground, way: str) -> None:
    in_force(
        host,
        {"mounts": {"forbid": [{"source": str(ground.socket)}]}},
        {"deny": [{"when": {"field": "/mounts/*/source", "equals": str(ground.socket)}, "message": "no"}]},
    )
    result = judged(host, bundle, NEIGHBOURS[way](ground))
    assert result.status == 0, result.err
    assert SEEN not in result.out


def lands(place: str, *before: dict[str, Any]) -> list[dict[str, Any]]:
    return [*before, {**bind("{good}/file", "bind")[0], "destination": place}]


VOLUME = {"destination": "/vol", "type": "bind", "source": "{good}", "options": ["rbind"]}
COVERED = {"destination": "/vol", "type": "tmpfs", "source": "tmpfs", "options": []}
COPIED = {"destination": "/links", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"]}


@pytest.mark.parametrize(
    ("mounts", "is_refused"),
    [
        (lands("/etc/h"), True),
        (lands("/link/h"), True),  # a link of the image's
        (lands("/chain/../etc/h"), True),
        (lands("/vol/link/h", VOLUME), True),  # a link of the volume's
        (lands("/links/link/h", COPIED), True),  # copied into the tmpfs
        (lands("/vol/link/h", COVERED), False),  # a link of the image's, which the tmpfs covers
        (lands("/vol/h", VOLUME), False),
        (lands("/tmp/etc/h"), False),
    ],
    ids=lambda value: value[-1]["destination"] if isinstance(value, list) else str(value),
)
def test_a_destination_is_where_the_mount_lands(
    host: ConfiguredHost, bundle: Bundle, ground: Ground, mounts: list[dict[str, Any]], is_refused: bool
) -> None:
    in_force(host, {"mounts": {"forbid": [{"destination": {"startsWith": "/etc/"}, "message": "not there"}]}})
    for link in ("link", "vol/link", "links/link"):
        (bundle.rootfs / link).parent.mkdir(exist_ok=True)
        (bundle.rootfs / link).symlink_to("/etc")
    (bundle.rootfs / "chain").symlink_to("vol/link/../tmp")
    (ground.good / "link").symlink_to("../../../etc")
    bundle.config["mounts"] += [{**mount, "source": mount["source"].format(good=ground.good)} for mount in mounts]
    bundle.command("true").write()
    result = host.runtime.run(bundle.path)
    assert ("not there" in result.err) == is_refused, result.err
    assert (result.status == 1) == is_refused, result.err


def test_where_a_mount_landed_is_on_record(
    host: ConfiguredHost, bundle: Bundle, ground: Ground, tmp_path: Path
) -> None:
    """A policy that is tried later on the recorded call judges the place that the image's link led to then."""
    (bundle.rootfs / "link").symlink_to("etc")
    in_force(host, {"mounts": {"forbid": [{"destination": "/never"}]}})
    assert judged(host, bundle, [{**bind(ground.good)[0], "destination": "/link/h"}]).status == 0
    line = host.lines("run")[-1]
    assert line["lands"] == {"/link/h": "/etc/h"}
    spec = {"mounts": {"forbid": [{"destination": {"startsWith": "/etc/h"}, "message": "not there"}]}}
    assert "not there" in explained(host, spec, line["id"], tmp_path)


def test_a_link_in_the_rootfs_is_not_exchanged(
    host: ConfiguredHost, bundle: Bundle, ground: Ground, exchanging: Callable[[str], None]
) -> None:
    (bundle.rootfs / "link").symlink_to("tmp")
    exchanging(f"ln -sfn etc {bundle.rootfs}/link")
    in_force(host, {"mounts": {"forbid": [{"destination": {"startsWith": "/etc/"}}]}})
    result = judged(host, bundle, [{**bind(ground.good)[0], "destination": "/link/h"}])
    assert "it would be mounted at /etc/h, which the policies have not judged" in result.err
    assert result.status == 1


NO_DISKS: list[dict[str, Any]] = [
    {"devices": {"forbid": [{"type": "b"}], "message": "no disks"}},
    {"devices": {"allow": [], "message": "no disks"}},
]


@pytest.mark.parametrize("rule", NO_DISKS, ids=["forbid", "allow"])
def test_a_disk_whose_file_system_the_config_mounts_is_a_device(
    host: ConfiguredHost, bundle: Bundle, ground: Ground, rule: dict[str, Any]
) -> None:
    """The config has the runtime mount it: no node, and no rule of the cgroup's."""
    in_force(host, rule)
    disk = ground.place / "disk-node"
    os.mknod(disk, 0o600 | stat.S_IFBLK, os.makedev(7, 0))
    (ground.place / "link").symlink_to(disk)
    relative = os.path.relpath(disk, bundle.path)
    theirs = ground.directory("theirs")
    theirs.chmod(0o777)
    (theirs / "link").symlink_to(ground.good)
    refused = [
        ("ext4", str(disk), []),
        ("ext4", str(ground.place / "link"), []),
        ("xfs", f"{bundle.path}/./{relative}", ["ro"]),
        ("ext4", relative, []),
        ("ext4", "none", [f"journal_path={disk}"]),
        ("ext4", str(theirs / "link"), []),  # may be one when it is mounted
    ]
    ordinary = bundle.config["mounts"]
    for kind, source, options in refused:
        bundle.config["mounts"] = [*ordinary, {"destination": "/h", "type": kind, "source": source, "options": options}]
        bundle.command("true").write()
        assert "no disks" in host.runtime.run(bundle.path).err, (kind, source)
    for kind, source in (("tmpfs", str(disk)), ("overlay", "overlay")):
        options = ["lowerdir=" + str(ground.good) + ":" + str(ground.directory("more"))] if kind == "overlay" else []
        bundle.config["mounts"] = [*ordinary, {"destination": "/h", "type": kind, "source": source, "options": options}]
        bundle.write()
        assert host.runtime.run(bundle.path).status == 0, kind


def test_an_overlays_relative_layers_start_at_the_bundle(host: ConfiguredHost, bundle: Bundle, ground: Ground) -> None:
    """Where the core mounts, and wherever the caller stands."""
    in_force(host, {"mounts": {"forbid": [{"source": str(ground.socket), "message": "no socket"}]}})
    relative = os.path.relpath(ground.run, bundle.path)
    decoy = ground.directory("a/b/c/d/e/f/g/h")
    Path(os.path.normpath(decoy / relative)).mkdir(parents=True)
    bundle.config["mounts"] += [
        {
            "destination": "/h",
            "type": "overlay",
            "source": "overlay",
            "options": [f"lowerdir={relative}:{ground.directory('more')}"],
        }
    ]
    bundle.command("true").write()
    result = host.runtime.call("run", "--bundle", str(bundle.path), fresh_id(), cwd=decoy)
    assert "no socket" in result.err


def test_an_overlays_layer_by_way_of_a_process_is_nobodys(host: ConfiguredHost, bundle: Bundle, ground: Ground) -> None:
    """/proc/self/cwd is the caller's directory when it is judged, and the bundle when it is mounted."""
    in_force(host, {"mounts": {"forbid": [{"source": str(ground.socket), "message": "no socket"}]}})
    decoy = ground.directory("decoy")
    (decoy / "layer").mkdir()
    (bundle.path / "layer").symlink_to(ground.run)
    layers = f"lowerdir=/proc/self/cwd/layer:{ground.directory('more')}"
    bundle.config["mounts"] += [{"destination": "/h", "type": "overlay", "source": "overlay", "options": [layers]}]
    bundle.command("true").write()
    result = host.runtime.call("run", "--bundle", str(bundle.path), fresh_id(), cwd=decoy)
    assert "no socket" in result.err


# What was judged is what is mounted: a precreate filter, which runs between the two, plays who exchanges it.


@pytest.fixture
def exchanging(host: ConfiguredHost) -> Iterator[Callable[[str], None]]:
    def exchange(commands: str) -> None:
        host.hook("exchange.json", host.script("exchange", f"({commands}) >&2; cat"), "precreate")

    yield exchange
    (host.config / "hooks.d/exchange.json").unlink()
    host.apply()


LINK = bind("{place}/link")
IDS = [{"containerID": 0, "hostID": 100000, "size": 65536}]
Exchange = tuple[str, str, list[dict[str, Any]]]

EXCHANGES: dict[str, Exchange] = {
    "a link": ("ln -s good {place}/link", "ln -sfn run {place}/link", LINK),
    "a directory": ("mkdir {place}/link", "rmdir {place}/link; ln -s run {place}/link", LINK),
    "a directory above": ("mkdir -p {place}/up/link", "mv {place}/up {place}/down; ln -s . {place}/up; ln -s run {place}/link", bind("{place}/up/link")),
    "a file": ("touch {place}/link", "ln -sf run/docker.sock {place}/link", LINK),
    "nothing": ("true", "ln -s run {place}/link", LINK),
    "a mount over it": ("mkdir {place}/link", "mount --bind {place}/run {place}/link", LINK),
    "one more mount below it": ("mkdir -p {place}/link/in {place}/link/on; mount --bind {place}/good {place}/link/on", "mount --bind {place}/run {place}/link/in", LINK),
    "an id-mapped link": ("ln -s good {place}/link", "ln -sfn run {place}/link", [{**LINK[0], "options": ["bind"], "uidMappings": IDS, "gidMappings": IDS}]),
}  # fmt: skip
IN_TIME: dict[str, list[dict[str, Any]]] = {
    "a recursive bind": LINK,
    "an id-mapped one": [{**LINK[0], "options": ["rbind"], "uidMappings": IDS, "gidMappings": IDS}],
}


def placed(mounts: list[dict[str, Any]], place: Path) -> list[dict[str, Any]]:
    return [{**mount, "source": mount["source"].format(place=place)} for mount in mounts]


@pytest.mark.parametrize("in_user_namespace", [False, True])
@pytest.mark.parametrize("what", EXCHANGES)
def test_what_is_exchanged_after_the_decision_is_not_mounted(
    host: ConfiguredHost,
    bundle: Bundle,
    ground: Ground,
    exchanging: Callable[[str], None],
    what: str,
    in_user_namespace: bool,
) -> None:
    before, after, mounts = EXCHANGES[what]
    system("sh", "-c", before.format(place=ground.place))
    exchanging(after.format(place=ground.place))
    in_force(host, {"mounts": {"forbid": [{"source": str(ground.socket)}]}})
    if in_user_namespace:
        bundle.linux["namespaces"].append({"type": "user"})
        bundle.linux.update({"uidMappings": IDS, "gidMappings": IDS})
        system("chown", "-R", "100000:100000", bundle.rootfs)
    result = judged(host, bundle, placed(mounts, ground.place))
    assert SEEN not in result.out
    assert result.status == 1, result.out
    assert f"{ground.place}/" in result.err
    assert "is not what the policies judged: it was changed meanwhile" in result.err


@pytest.mark.parametrize("mounts", IN_TIME)
def test_the_first_mount_below_a_judged_source_comes_too_late(
    host: ConfiguredHost, bundle: Bundle, ground: Ground, exchanging: Callable[[str], None], mounts: str
) -> None:
    """As if it had been made after the bind: what was judged is what is mounted."""
    (ground.directory("link") / "in").mkdir()
    exchanging(f"mount --bind {ground.run} {ground.place}/link/in")
    in_force(host, {"mounts": {"forbid": [{"source": str(ground.socket)}]}})
    result = judged(host, bundle, placed(IN_TIME[mounts], ground.place))
    assert SEEN not in result.out
    assert result.status == 0, result.err


def test_a_namespace_is_not_exchanged(
    host: ConfiguredHost, bundle: Bundle, ground: Ground, exchanging: Callable[[str], None]
) -> None:
    """The policies see a namespace of its own at the path, and the host's lies there when it is joined."""
    own = subprocess.Popen(["unshare", "--uts", "sleep", "600"], stdin=subprocess.DEVNULL)
    try:
        host_uts = os.readlink("/proc/self/ns/uts")
        wait_for(lambda: os.readlink(f"/proc/{own.pid}/ns/uts") != host_uts, "the namespace")
        link = ground.place / "uts"
        link.symlink_to(f"/proc/{own.pid}/ns/uts")
        in_force(host, {"namespaces": {"forbidHost": ["uts"]}})
        bundle.without_namespace("uts")
        bundle.linux["namespaces"].append({"type": "uts", "path": str(link)})
        bundle.config.pop("hostname")
        assert judged(host, bundle, []).status == 0
        exchanging(f"ln -sfn /proc/self/ns/uts {link}")
        host.apply()
        result = judged(host, bundle, [])
        assert f"{link} is not the uts namespace that the policies judged: it was changed meanwhile" in result.err
        assert result.status == 1
    finally:
        own.kill()
        own.wait()


def test_the_rootfs_is_not_exchanged(
    host: ConfiguredHost, bundle: Bundle, ground: Ground, exchanging: Callable[[str], None]
) -> None:
    exchanging(
        f"mkdir -p {ground.run}/proc {ground.run}/dev {ground.run}/sys; mount --bind {ground.run} {bundle.rootfs}"
    )
    in_force(host, {"mounts": {"forbid": [{"source": str(ground.socket)}]}})
    try:
        result = judged(host, bundle, [])
    finally:
        system("umount", bundle.rootfs)
    assert "is not what the policies judged" in result.err


def test_a_source_that_others_can_exchange_is_not_left_to_another_runtime(
    host: ConfiguredHost, bundle: Bundle, ground: Ground
) -> None:
    in_force(host, {"mounts": {"forbid": [{"source": str(ground.socket)}]}})
    theirs = ground.directory("theirs")
    (theirs / "good").mkdir()
    bundle.config["mounts"] += [bind(theirs / "good")[0], {**bind(ground.good)[0], "destination": "/i"}]
    bundle.shell("ls /i").write()
    assert host.runtime.call("--runtime-path", RUNC, "run", "--bundle", str(bundle.path), fresh_id()).out == "file\n"
    theirs.chmod(0o777)
    result = host.runtime.call("--runtime-path", RUNC, "run", "--bundle", str(bundle.path), fresh_id())
    assert f"mount source {theirs}/good: users other than root can change where it leads" in result.err
    assert result.status == 1
