"""Every mount option and kind of mount, from inside a container: hookrun beside Debian's runc."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.cgroup_support import UNIFIED
from tests.runtime.filesystem_rows import Arrange, Row, check, host_tmpfs, public_directory, run, show
from tests.support.bundles import Bundle
from tests.support.runtimes import PATIENCE, Runtime

MAPPING = [{"containerID": 0, "hostID": 5000, "size": 100}]


def mount(kind: str, *options: str, at: str = "/tmp/t", source: str = "tmpfs", **fields: Any) -> Arrange:
    def arrange(bundle: Bundle, _: Path) -> None:
        bundle.add_mount(at, kind, source, *options)
        bundle.config["mounts"][-1].update(fields)

    return arrange


def bind(*options: str, at: str = "/tmp/t", inside: str = "", **fields: Any) -> Arrange:
    """A bind mount of the directory beside the bundle, or of a file in it."""

    def arrange(bundle: Bundle, source: Path) -> None:
        (source / "file").write_text("from the host\n")
        bundle.add_mount(at, "bind", str(source / inside), *options)
        bundle.config["mounts"][-1].update(fields)

    return arrange


def together(*steps: Arrange) -> Arrange:
    def arrange(bundle: Bundle, source: Path) -> None:
        for step in steps:
            step(bundle, source)

    return arrange


def namespace(kind: str) -> Arrange:
    return lambda bundle, _: bundle.linux["namespaces"].append({"type": kind})


def without(kind: str) -> Arrange:
    return lambda bundle, _: bundle.without_namespace(kind)


def user_namespace(bundle: Bundle, _: Path) -> None:
    bundle.with_user_namespace()


def link(path: str, target: str) -> Arrange:
    return lambda bundle, _: (bundle.rootfs / path).symlink_to(target)


def write(path: str, text: str = "") -> Arrange:
    def arrange(bundle: Bundle, _: Path) -> None:
        (bundle.rootfs / path).parent.mkdir(parents=True, exist_ok=True)
        (bundle.rootfs / path).write_text(text)

    return arrange


def overlay(bundle: Bundle, source: Path) -> None:
    for name in ("lower", "upper", "work"):
        (source / name).mkdir()
    (source / "lower/below").write_text("lower")
    options = f"lowerdir={source}/lower,upperdir={source}/upper,workdir={source}/work"
    bundle.add_mount("/tmp/t", "overlay", "overlay", options)


def overlay_of_many(bundle: Bundle, source: Path) -> None:
    """A lowerdir of more than the 255 bytes that fsconfig(2) takes."""
    layers = [source / f"{number:0>60}" for number in range(8)]
    for layer in layers:
        layer.mkdir()
    (layers[0] / "below").write_text("lower")
    bundle.add_mount("/tmp/t", "overlay", "overlay", "lowerdir=" + ":".join(map(str, layers)))


def close_to_others(_: Bundle, source: Path) -> None:
    (source / "in").mkdir()
    (source / "in/file").write_text("reached")
    source.chmod(0o700)


def mounts_without(destination: str) -> Arrange:
    def arrange(bundle: Bundle, _: Path) -> None:
        bundle.config["mounts"] = [one for one in bundle.config["mounts"] if one["destination"] != destination]

    return arrange


TMPFS_OPTIONS = {
    "ro": r"/tmp/t ro,relatime",
    "rw": r"/tmp/t rw,relatime",
    "nosuid": r"rw,nosuid,relatime",
    "suid": r"rw,relatime",
    "nodev": r"rw,nodev,relatime",
    "dev": r"rw,relatime",
    "noexec": r"rw,noexec,relatime",
    "exec": r"rw,relatime",
    "noatime": r"rw,noatime",
    "atime": r"rw,relatime",
    "nodiratime": r"rw,nodiratime,relatime",
    "diratime": r"rw,relatime",
    "relatime": r"rw,relatime",
    "norelatime": r"rw,relatime",
    "strictatime": r"/tmp/t rw - tmpfs",
    "nostrictatime": r"rw,relatime",
    "nosymfollow": r"rw,relatime,nosymfollow",
    "symfollow": r"rw,relatime - ",
    "sync": r"- tmpfs tmpfs rw,sync",
    "async": r"- tmpfs tmpfs rw",
    "dirsync": r"- tmpfs tmpfs rw,dirsync",
    "mand": r"- tmpfs tmpfs rw",
    "nomand": r"- tmpfs tmpfs rw",
    "lazytime": r"- tmpfs tmpfs rw,lazytime",
    "nolazytime": r"- tmpfs tmpfs rw",
    "iversion": r"- tmpfs tmpfs rw",
    "noiversion": r"- tmpfs tmpfs rw",
    "silent": r"- tmpfs tmpfs rw",
    "loud": r"- tmpfs tmpfs rw",
    "size=64k": r"size=64k",
    "mode=700": r"mode=700",
    "private": r"/tmp/t rw,relatime - tmpfs",
    "rprivate": r"/tmp/t rw,relatime - tmpfs",
    "shared": r"rw,relatime shared - tmpfs",
    "rshared": r"rw,relatime shared - tmpfs",
    "slave": r"rw,relatime - tmpfs",
    "rslave": r"rw,relatime - tmpfs",
    "unbindable": r"unbindable - tmpfs",
    "runbindable": r"unbindable - tmpfs",
}
BIND_OPTIONS = {
    "ro": r"/tmp/t ro",
    "rw": r"/tmp/t rw",
    "nosuid": r"nosuid",
    "nodev": r"nodev",
    "noexec": r"noexec",
    "noatime": r"rw,noatime",
    "nodiratime": r"nodiratime",
    "strictatime": r"/tmp/t rw (master )?- ",
    "relatime": r"rw,relatime",
    "nosymfollow": r"nosymfollow",
    "shared": r"shared",
    "rshared": r"shared",
    "slave": r"/tmp/t rw",
    "rslave": r"/tmp/t rw",
    "private": r"/tmp/t rw[^:]* - ",
    "rprivate": r"/tmp/t rw[^:]* - ",
    "unbindable": r"unbindable",
    "runbindable": r"unbindable",
}

OPTION_ROWS = [
    *(Row(f"tmpfs {option}", mount("tmpfs", option), show("/tmp/t"), shown) for option, shown in TMPFS_OPTIONS.items()),
    *(
        Row(f"{kind} {option}", bind(kind, option), show("/tmp/t"), shown)
        for kind in ("bind", "rbind")
        for option, shown in BIND_OPTIONS.items()
    ),
    # runc hands "defaults" to the file system, which refuses it; the spec lists it as an option of the table.
    Row("tmpfs defaults", mount("tmpfs", "defaults"), show("/tmp/t"), "rw,relatime", in_runc=False),
    Row("the last of two options counts", mount("tmpfs", "ro", "rw"), show("/tmp/t"), "/tmp/t rw"),
    Row("several in one string", mount("tmpfs", "size=64k,mode=711"), show("/tmp/t"), "size=64k,mode=711"),
    Row(
        "remount of a file system",
        together(mount("tmpfs"), mount("tmpfs", "remount", "nosuid")),
        show("/tmp/t"),
        "/tmp/t rw,nosuid",
    ),
]

RECURSIVE = {
    "rro": "ro",
    "rnosuid": "nosuid",
    "rnodev": "nodev",
    "rnoexec": "noexec",
    "rnoatime": "noatime",
    "rnodiratime": "nodiratime",
    "rstrictatime": "/tmp/t/sub rw - ",
    "rrelatime": "relatime",
    "rnosymfollow": "nosymfollow",
    "rrw": "rw",
    "rsuid": "rw",
    "rdev": "rw",
    "rexec": "rw",
    "rdiratime": "rw",
    "ratime": "rw",
    "rnorelatime": "rw",
    "rnostrictatime": "rw",
    "rsymfollow": "rw",
}

KIND_ROWS = [
    Row("bind of a directory", bind("bind"), "cat /tmp/t/file", "from the host"),
    Row(
        "bind of a file on a file",
        together(write("etc/x"), bind("bind", at="/etc/x", inside="file")),
        "cat /etc/x",
        "from the host",
    ),
    Row(
        "bind of a file on nothing",
        bind("bind", at="/new/dir/x", inside="file"),
        "cat /new/dir/x; stat -c %a /new/dir",
        "from the host\n755",
    ),
    Row("bind of a directory on nothing", bind("bind", at="/new/dir"), "cat /new/dir/file", "from the host"),
    Row("bind without a type", bind("bind", type=None), "cat /tmp/t/file", "from the host"),
    Row("bind of a type that means nothing", bind("rbind", type="ext4"), "cat /tmp/t/file", "from the host"),
    Row(
        "bind with a path relative to the bundle",
        lambda bundle, _: bundle.add_mount("/tmp/t", "bind", "rootfs/etc", "bind"),
        "ls /tmp/t",
        "passwd",
    ),
    Row(
        "missing source",
        bind("bind", inside="missing"),
        "true",
        r'error mounting \\?"\S+missing\\?" to rootfs at \\?"/tmp/t\\?": .*no such file or directory',
        status=1,
    ),
    Row("directory on a file", bind("bind", at="/etc/passwd"), "true", "not a directory", status=1),
    Row("file on a directory", bind("bind", at="/etc", inside="file"), "true", "not a directory", status=1),
    Row(
        "over a symlink",
        together(link("etc/l", "/home"), bind("bind", at="/etc/l")),
        "readlink /etc/l; cat /home/file",
        "from the host",
    ),
    Row(
        "over a symlink that leads out",
        together(link("etc/l", "../../../../../home"), bind("bind", at="/etc/l")),
        "cat /home/file",
        "from the host",
    ),
    Row(
        "over a symlink to nothing",
        together(link("etc/l", "/made/here"), bind("bind", at="/etc/l")),
        "cat /made/here/file",
        "from the host",
    ),
    Row(
        "below a symlink to nothing",
        together(link("var/run", "/run"), bind("bind", at="/var/run/x")),
        "cat /run/x/file",
        "from the host",
    ),
    Row(
        "through a circle of symlinks",
        together(link("etc/a", "b"), link("etc/b", "a"), bind("bind", at="/etc/a")),
        "true",
        "too many levels of symbolic links|too many links",
        status=1,
    ),
    Row("with .. in the destination", bind("bind", at="/etc/../home/../../home"), "cat /home/file", "from the host"),
    Row(
        "destination that names the rootfs",
        lambda bundle, source: bind("bind", at=f"{bundle.rootfs}/home")(bundle, source),
        "cat /home/file",
        "from the host",
    ),
    Row("relative destination", bind("bind", at="home"), "cat /home/file", "from the host"),
    Row("unknown file system", mount("nosuchfs"), "true", "no such device", status=1),
    Row("unknown option", mount("tmpfs", "foo=1"), "true", "invalid argument", status=1),
    Row(
        # Like runc 1.1 and crun; runc 1.2 refuses it.
        "option of a file system for a bind",
        bind("bind", "mode=755", "size=1k"),
        show("/tmp/t"),
        "/tmp/t rw",
    ),
    Row(
        "option of a file system for a bind is warned of",
        bind("bind", "mode=755", "size=1k"),
        "true",
        "mode=755,size=1k is ignored: bind mounts have no filesystem-specific options",
        in_runc=False,
    ),
    Row(
        # Like crun; runc fails.
        "label without SELinux",
        together(lambda bundle, _: bundle.linux.update(mountLabel="a:b:c:s0"), mount("tmpfs")),
        show("/tmp/t"),
        "/tmp/t rw(.|\n)*mountLabel a:b:c:s0 is ignored",
        in_runc=False,
    ),
    Row("no source", mount("tmpfs", source=""), show("/tmp/t"), "/tmp/t rw"),
    Row("no options", mount("tmpfs", options=None), show("/tmp/t"), "/tmp/t rw"),
    Row("no type", mount("tmpfs", type=None), "true", "no such device|invalid argument", status=1),
    Row("type bind without the option", mount("bind", source="/etc"), "true", "no such device", status=1),
    Row("option in the spec's words for a tmpfs", mount("tmpfs", "uid=7", "gid=8"), "stat -c '%u %g' /tmp/t", "7 8"),
    Row("null byte", mount("tmpfs", at="/tmp/\0t"), "true", "contains? a? ?null byte", status=1, in_runc=False),
    Row("on the whole root", bind("bind", at="/"), "true", "on the top of rootfs", status=1, in_runc=False),
    Row(
        "mode of the directory below a tmpfs",
        together(lambda bundle, _: (bundle.rootfs / "home").chmod(0o1751), mount("tmpfs", at="/home")),
        "stat -c %a /home",
        "1751",
    ),
    Row(
        "tmpcopyup",
        together(
            write("etc/deep/er/file", "kept"), link("etc/deep/link", "er/file"), mount("tmpfs", "tmpcopyup", at="/etc")
        ),
        "cat /etc/deep/link; ls -A /etc; stat -c '%a %u %n' /etc /etc/* /etc/deep/er; stat -fc %T /etc",
        "kept(.|\n)*tmpfs$",
    ),
    Row("proc", mounts_without("/none"), show("/proc"), "proc proc"),
    Row(
        "proc with an option",
        together(mounts_without("/proc"), mount("proc", "hidepid=2", at="/proc", source="proc")),
        show("/proc"),
        "hidepid=(2|invisible)",
    ),
    Row("mqueue", mounts_without("/none"), show("/dev/mqueue"), "mqueue"),
    Row("sysfs read-only", mounts_without("/none"), show("/sys"), "ro,nosuid,nodev,noexec"),
    Row("lxcfs' place in /proc", bind("bind", at="/proc/uptime", inside="file"), "cat /proc/uptime", "from the host"),
    Row(
        "bind over /proc of something else",
        together(mounts_without("/proc"), bind("bind", at="/proc")),
        "true",
        "is not of type proc|cannot be mounted",
        status=1,
    ),
    Row("bind inside /proc", bind("bind", at="/proc/sys/kernel"), "true", "it is inside /proc", status=1),
    Row(
        "bind of the host's proc",
        together(mounts_without("/proc"), lambda bundle, _: bundle.add_mount("/proc", "bind", "/proc", "rbind")),
        "test -d /proc/1 && echo seen",
        "seen",
    ),
    Row(
        "proc on a file",
        mount("proc", at="/etc/passwd", source="proc"),
        "true",
        "must be mounted on ordinary directory",
        status=1,
    ),
    Row(
        "overlay by options",
        overlay,
        "cat /tmp/t/below",
        "lower",
    ),
    Row(
        "option longer than fsconfig takes",
        overlay_of_many,
        "cat /tmp/t/below",
        "lower",
    ),
]

CGROUP = "grep cgroup /proc/self/mountinfo | cut -d' ' -f4-"
CGROUP_ROWS = [
    Row("cgroups read-only", mounts_without("/none"), CGROUP, r"/sys/fs/cgroup\S* \S*ro\S*"),
    Row(
        "cgroups writable",
        together(
            mounts_without("/sys/fs/cgroup"),
            mount("cgroup", "nosuid", "noexec", "nodev", at="/sys/fs/cgroup", source="cgroup"),
        ),
        CGROUP,
        r"/sys/fs/cgroup\S* \S*rw\S*",
    ),
    Row("cgroups in a cgroup namespace", namespace("cgroup"), CGROUP, r"/ /sys/fs/cgroup"),
    Row(
        "cgroups in a cgroup namespace, writable",
        together(
            namespace("cgroup"),
            mounts_without("/sys/fs/cgroup"),
            mount("cgroup", "nosuid", "noexec", "nodev", at="/sys/fs/cgroup", source="cgroup"),
        ),
        CGROUP,
        r"/ /sys/fs/cgroup",
    ),
    Row(
        "cgroups that propagate",
        together(mounts_without("/sys/fs/cgroup"), mount("cgroup", "shared", at="/sys/fs/cgroup", source="cgroup")),
        "grep cgroup /proc/self/mountinfo | cut -d' ' -f5-6,7 | sed -E 's/shared:[0-9]+/shared/'",
        "shared",
        in_runc=not UNIFIED,  # runc leaves the propagation of a v2 mount as it is
    ),
    Row("no cgroup mount", mounts_without("/sys/fs/cgroup"), "ls -A /sys/fs/cgroup; echo none", "none"),
]

USER_ROWS = [
    Row(
        "all mounts in a user namespace",
        user_namespace,
        "cut -d' ' -f5- /proc/self/mountinfo | grep -v cgroup",
        "uid=100000",
    ),
    Row(
        "devices in a user namespace",
        user_namespace,
        "cd /dev; stat -c '%n %a %u %t:%T' null zero full tty random urandom; echo x >/dev/null && echo written",
        "null 666 65534 1:3(.|\n)*written",
    ),
    Row(
        "bind in a user namespace",
        together(user_namespace, bind("bind", "ro", "nosuid")),
        f"cat /tmp/t/file; {show('/tmp/t')}",
        "from the host(.|\n)*ro,nosuid",
    ),
    Row(
        "bind of a place that its root can't reach",
        together(
            user_namespace,
            bind("bind", inside="in"),
            close_to_others,
        ),
        "cat /tmp/t/file",
        "reached",
    ),
    Row(
        "locked flags stay",
        # Not /proc/sys: systemd mounts below it, and the kernel binds no place apart from what is locked there.
        together(
            user_namespace, lambda bundle, _: bundle.add_mount("/tmp/t", "bind", "/proc/sys/kernel", "bind", "ro")
        ),
        show("/tmp/t"),
        "ro",
        in_runc=not os.statvfs("/proc").f_flag & os.ST_NOSUID,  # before 1.2 it tries to clear such flags, in vain
    ),
    Row(
        "cgroups in a user and a cgroup namespace",
        together(user_namespace, namespace("cgroup")),
        "grep cgroup /proc/self/mountinfo | cut -d' ' -f4-",
        "/ /sys/fs/cgroup",
    ),
    Row("masks in a user namespace", user_namespace, "cat /proc/keys; ls /sys/firmware; echo end", "^end"),
    # runc has no fallback, crun has.
    Row(
        "sysfs in a user namespace without a network namespace",
        together(user_namespace, without("network")),
        show("/sys"),
        "/sys ro,nosuid,nodev,noexec",
        in_runc=False,
    ),
]

OWNERS = "stat -c '%u %g' /tmp/t /tmp/t/file"
ID_ROWS = [
    Row(
        "mappings of its own",
        bind("bind", uidMappings=MAPPING, gidMappings=MAPPING),
        OWNERS,
        "^5000 5000\n5000 5000",
        in_runc=False,
    ),
    Row(
        "idmap with mappings",
        bind("bind", "idmap", uidMappings=MAPPING, gidMappings=MAPPING),
        OWNERS,
        "^5000 5000",
        in_runc=False,
    ),
    Row(
        "ridmap with mappings",
        bind("rbind", "ridmap", uidMappings=MAPPING, gidMappings=MAPPING),
        OWNERS,
        "^5000 5000",
        in_runc=False,
    ),
    Row(
        "idmap with the container's",
        together(user_namespace, bind("bind", "idmap")),
        OWNERS,
        "^0 0\n0 0",
        in_runc=False,
    ),
    Row(
        "idmap without any",
        bind("bind", "idmap"),
        "true",
        "must have both uid and gid mappings",
        status=1,
        in_runc=False,
    ),
    Row(
        "idmap of what is no bind",
        mount("tmpfs", "idmap", uidMappings=MAPPING, gidMappings=MAPPING),
        "true",
        "only supported for bind-mounts",
        status=1,
        in_runc=False,
    ),
    Row(
        "idmap of a missing source",
        bind("bind", inside="missing", uidMappings=MAPPING, gidMappings=MAPPING),
        "true",
        "no such file or directory",
        status=1,
        in_runc=False,
    ),
]


@pytest.mark.parametrize(
    "row", OPTION_ROWS + KIND_ROWS + CGROUP_ROWS + USER_ROWS + ID_ROWS, ids=lambda row: str(row.name).replace("/", "_")
)
def test_mounts_are_as_in_runc(row: Row, hookrun: Runtime, runc: Runtime) -> None:
    check(row, hookrun, runc)


@pytest.mark.parametrize("option", RECURSIVE)
def test_recursive_options_reach_the_mounts_below(option: str, hookrun: Runtime, runc: Runtime) -> None:
    below = Row(option, bind("rbind", option), show("/tmp/t/sub"), RECURSIVE[option])
    # Debian's runc leaves out that access times are changed as one field, and fails.
    runtimes = [hookrun] if option in ("ratime", "rnostrictatime") else [hookrun, runc]
    outputs = set()
    with public_directory() as place:
        for runtime in runtimes:
            source = place / runtime.name / "source"
            with host_tmpfs(source, source / "sub"):
                result, text = run(below, runtime, place)
            assert below.expect in text, result
            outputs.add(text)
    assert len(outputs) == 1, outputs


def test_a_plain_option_leaves_the_mounts_below_alone(hookrun: Runtime) -> None:
    row = Row("ro", bind("rbind", "ro"), f"{show('/tmp/t')}; {show('/tmp/t/sub')}", "")
    with public_directory() as place:
        source = place / hookrun.name / "source"
        with host_tmpfs(source, source / "sub"):
            _, text = run(row, hookrun, place)
    assert [line.split(" ")[1].split(",")[0] for line in text.splitlines()] == ["ro", "rw"]


def test_a_read_only_file_system_that_is_asked_for_with_rw(hookrun: Runtime, runc: Runtime) -> None:
    """In a user namespace, where the kernel has locked it, as Podman asks for every volume."""

    def volume(bundle: Bundle, source: Path) -> None:
        bundle.add_mount("/tmp/t", "bind", str(source), "rbind", "rw", "nosuid", "nodev")

    with public_directory() as place:
        for runtime in (hookrun, runc):
            source = place / runtime.name / "source"
            with host_tmpfs(source):
                subprocess.run(["mount", "-o", "remount,ro,nosuid,nodev", source], check=True, timeout=60)
                result, text = run(Row("rw", together(user_namespace, volume), show("/tmp/t"), ""), runtime, place)
            assert "ro,nosuid,nodev" in text, result


def test_bind_takes_one_mount_and_rbind_all(hookrun: Runtime) -> None:
    with public_directory() as place:
        source = place / hookrun.name / "source"
        with host_tmpfs(source, source / "sub"):
            for kind, seen in (("bind", 1), ("rbind", 2)):
                row = Row(kind, bind(kind), "grep -c /tmp/t /proc/self/mountinfo", "")
                _, text = run(row, hookrun, place)
                assert text == f"{seen}\n"


@pytest.mark.parametrize("kinds", [(), ("cgroup",), ("user",), ("user", "cgroup")], ids="-".join)
@pytest.mark.parametrize("access", ["ro", "rw"])
def test_cgroups_of_a_host_with_v2_alone(hookrun: Runtime, runc: Runtime, kinds: tuple[str, ...], access: str) -> None:
    """On a hybrid host, the v2 hierarchy is put in its place, in a mount namespace of the test's own."""
    script = (
        "if test -d /sys/fs/cgroup/unified; then mount --bind /sys/fs/cgroup/unified /sys/fs/cgroup; fi; "
        '"$@" </dev/null'
    )
    outputs = []
    with public_directory() as place:
        (place / "bundle").mkdir()
        bundle = Bundle(place / "bundle")
        if "user" in kinds:
            bundle.with_user_namespace()
        if "cgroup" in kinds:
            namespace("cgroup")(bundle, place)
        del bundle.linux["resources"]
        bundle.config["mounts"][-1]["options"][-1] = access
        bundle.shell(
            "grep cgroup /proc/self/mountinfo | cut -d' ' -f4-; test -e /sys/fs/cgroup/cgroup.events && echo own; true"
        )
        for runtime in (hookrun, runc):
            run_it = [runtime.program, *runtime.globals, "run", "--bundle", str(bundle.path), f"fs-{place.name}"]
            done = subprocess.run(
                ["unshare", "--mount", "sh", "-c", script, "sh", *run_it],
                capture_output=True,
                stdin=subprocess.DEVNULL,
                timeout=PATIENCE,
                check=False,
            )
            outputs.append((done.returncode, done.stdout.decode()))
    assert f" /sys/fs/cgroup {access}," in outputs[0][1], done
    assert outputs[0] == outputs[1]
