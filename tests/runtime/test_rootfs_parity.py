"""The rest of a container's file system: /dev, the root itself, masks, sysctls; hookrun beside Debian's runc."""

from __future__ import annotations

import os
import pty
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.filesystem_rows import Arrange, Row, check, public_directory, show
from tests.support.bundles import Bundle
from tests.support.runtimes import PATIENCE, Runtime, fresh_id, wait_for


def as_it_is(bundle: Bundle, _: Path) -> None:
    """The default config."""


def linux(**fields: Any) -> Arrange:
    return lambda bundle, _: bundle.linux.update(fields)


def device(path: str, kind: str, major: int, minor: int, **fields: Any) -> Arrange:
    return linux(devices=[{"path": path, "type": kind, "major": major, "minor": minor, **fields}])


def no_dev_mounts(bundle: Bundle, _: Path) -> None:
    """/dev is a directory of the rootfs."""
    bundle.config["mounts"] = [one for one in bundle.config["mounts"] if not one["destination"].startswith("/dev")]


def old_dev(bundle: Bundle, _: Path) -> None:
    no_dev_mounts(bundle, _)
    for name in ("fd", "ptmx"):
        (bundle.rootfs / "dev" / name).write_text("old")


def linked_root(bundle: Bundle, _: Path) -> None:
    (bundle.path / "link").symlink_to("rootfs")
    bundle.config["root"]["path"] = "link"


def read_only_root(bundle: Bundle, _: Path) -> None:
    bundle.config["root"]["readonly"] = True


def read_only_dev(bundle: Bundle, _: Path) -> None:
    next(one for one in bundle.config["mounts"] if one["destination"] == "/dev")["options"].append("ro")


def host_dev(bundle: Bundle, _: Path) -> None:
    no_dev_mounts(bundle, _)
    bundle.add_mount("/dev", "bind", "/dev", "rbind")


def without_user_rights(kind: str, **fields: Any) -> Arrange:
    def arrange(bundle: Bundle, _: Path) -> None:
        bundle.without_namespace(kind)
        bundle.linux.update(fields)

    return arrange


def hidden(bundle: Bundle, _: Path) -> None:
    """Masked: a file, a directory, something missing."""
    (bundle.rootfs / "etc/secrets").mkdir()
    (bundle.rootfs / "etc/secrets/file").write_text("secret")
    (bundle.rootfs / "home/deep").mkdir()
    (bundle.rootfs / "home/deep/file").write_text("secret")
    bundle.linux["maskedPaths"] = ["/etc/secrets", "/etc/passwd", "/no/such", "/home/deep"]


def guarded(bundle: Bundle, _: Path) -> None:
    bundle.add_mount("/etc/below", "tmpfs", "tmpfs")
    bundle.linux["readonlyPaths"] = ["/etc", "/no/such", "/home"]


ALL_DEV = "cd /dev; for f in null zero full random urandom tty; do stat -c '%n %F %a %u %g %t:%T' $f; done"
LINKS = "cd /dev; for f in fd stdin stdout stderr ptmx core; do readlink $f; done; ls -A /dev | sort"
ROWS = [
    Row("default devices", as_it_is, ALL_DEV, "null character special file 666 0 0 1:3"),
    Row("links in /dev", as_it_is, LINKS, "pts/ptmx"),
    Row("what /dev/null is good for", as_it_is, "echo x >/dev/null; head -c 4 /dev/zero | wc -c", "4"),
    Row(
        "character device",
        device("/dev/own", "c", 10, 229, fileMode=0o600, uid=7, gid=8),
        "stat -c '%F %a %u %g %t:%T' /dev/own",
        "character special file 600 7 8 a:e5",
    ),
    Row(
        "block device",
        device("/dev/own", "b", 7, 0, fileMode=0o660),
        "stat -c '%F %a %u %g %t:%T' /dev/own",
        "block special file 660 0 0 7:0",
    ),
    Row("fifo", device("/dev/own", "p", 0, 0, fileMode=0o640), "stat -c '%F %a' /dev/own", "fifo 640"),
    Row("unbuffered device", device("/dev/own", "u", 1, 3), "stat -c '%F %a' /dev/own", "character special file 666"),
    Row(
        "device below a new directory",
        device("/dev/a/b/own", "c", 1, 3),
        "stat -c '%F %a' /dev/a/b/own /dev/a/b",
        "character special file 666\ndirectory 755",
    ),
    Row("device outside of /dev", device("/etc/own", "c", 1, 3), "stat -c '%F %t:%T' /etc/own", "1:3"),
    Row(
        "device in place of a default one",
        device("/dev/zero", "c", 1, 5, fileMode=0o600),
        "stat -c %a /dev/zero",
        "600",
    ),
    Row("device of no type", device("/dev/own", "x", 1, 3), "true", r'invalid device type \\?"x', status=1),
    Row(
        "device with a file type in its mode",
        device("/dev/own", "c", 1, 3, fileMode=0o20644),
        "stat -c '%F %a' /dev/own",
        "character special file 644",
    ),
    Row("/dev/ptmx as a device", device("/dev/ptmx", "c", 5, 2), "readlink /dev/ptmx", "pts/ptmx"),
    Row("/dev of the rootfs", no_dev_mounts, ALL_DEV, "null character special file 666 0 0 1:3"),
    Row(
        "what is in /dev of the rootfs stays",
        old_dev,
        "cat /dev/fd; readlink /dev/ptmx",
        "oldpts/ptmx",
    ),
    Row(
        "/dev of the host",
        host_dev,
        "test -c /dev/null && test -e /dev/vda -o -e /dev/loop-control -o -e /dev/kmsg && echo there",
        "there",
    ),
    Row("devices: null", linux(devices=None), ALL_DEV, "1:3"),
    Row("new files in /dev", as_it_is, "echo x >/dev/new && echo made", "made"),
    Row(
        "/dev read-only",
        read_only_dev,
        f"touch /dev/new; {show('/dev')}; stat -c %t:%T /dev/null",
        "ro,nosuid(.|\n)*1:3",
    ),
    Row(
        "tmpfs read-only with its mode",
        lambda bundle, _: bundle.add_mount("/home", "tmpfs", "tmpfs", "ro", "mode=711"),
        f"touch /home/x; stat -c %a /home; {show('/home')}",
        "711\n/home ro",
        in_runc=False,  # Debian's takes the mode of the directory below, newer ones that of the options
    ),
    Row("root read-only", read_only_root, f"touch /x; touch /dev/shm/x && echo made; {show('/')}", "made\n/ ro"),
    Row("root writable", as_it_is, "touch /x && ls /x", "/x"),
    Row(
        "masked paths",
        hidden,
        "cat /etc/passwd; ls -A /etc/secrets /home/deep; touch /etc/secrets/x; stat -c %F /etc/passwd",
        "/etc/secrets:\n(.|\n)*character special file",
    ),
    Row("masks of the kernel's files", as_it_is, "head -c 10 /proc/kcore | wc -c; ls -A /sys/firmware | wc -l", "0\n0"),
    Row(
        "read-only paths",
        guarded,
        "touch /home/x; touch /etc/below/x && echo below; touch /etc/x",
        "below",
        status=1,
    ),
    Row(
        "read-only paths of the kernel",
        as_it_is,
        f"echo x >/proc/sys/kernel/domainname; {show('/proc/sys')}",
        "/proc/sys ro",
    ),
    Row(
        "read-only path keeps its flags",
        lambda bundle, _: (
            bundle.add_mount("/home", "tmpfs", "tmpfs", "nosuid", "noexec", "nodev", "noatime", "mode=755"),
            bundle.linux.update(readonlyPaths=["/home"]),
        ),
        show("/home"),
        "ro,nosuid,nodev,noexec",
    ),
    Row(
        "sysctl",
        linux(sysctl={"net.ipv4.ip_forward": "1", "kernel.shm_rmid_forced": "1", "fs.mqueue.msg_max": "42"}),
        "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shm_rmid_forced /proc/sys/fs/mqueue/msg_max",
        "1\n1\n42",
    ),
    Row("sysctl with slashes", linux(sysctl={"net/ipv4/ip_forward": "1"}), "cat /proc/sys/net/ipv4/ip_forward", "1"),
    Row(
        "sysctl with a dot in a part",
        linux(sysctl={"net/ipv4/conf/lo/rp_filter": "2"}),
        "cat /proc/sys/net/ipv4/conf/lo/rp_filter",
        "2",
    ),
    Row(
        "sysctl kernel.domainname",
        linux(sysctl={"kernel.domainname": "here"}),
        "cat /proc/sys/kernel/domainname",
        "here",
    ),
    Row(
        "sysctl of the host",
        linux(sysctl={"kernel.core_pattern": "x"}),
        "true",
        "is not in a separate kernel namespace",
        status=1,
    ),
    Row(
        "sysctl in the host's network",
        without_user_rights("network", sysctl={"net.ipv4.ip_forward": "1"}),
        "true",
        "not allowed in host network namespace",
        status=1,
    ),
    Row(
        "sysctl in the host's ipc",
        without_user_rights("ipc", sysctl={"kernel.msgmax": "8192"}),
        "true",
        "not allowed in the hosts ipc namespace",
        status=1,
    ),
    Row(
        "sysctl kernel.hostname",
        linux(sysctl={"kernel.hostname": "x"}),
        "true",
        "conflicts with the OCI|is not allowed",
        status=1,
    ),
    Row(
        "sysctl of user namespaces",
        linux(sysctl={"user.max_user_namespaces": "1"}),
        "true",
        "setting ucounts without a user namespace not allowed|not in a separate kernel namespace",
        status=1,
    ),
    Row("sysctl that is missing", linux(sysctl={"net.no.such": "1"}), "true", "no such file or directory", status=1),
    Row("sysctl with a bad value", linux(sysctl={"net.ipv4.ip_forward": "many"}), "true", "invalid argument", status=1),
    Row(
        "rootfsPropagation unknown",
        linux(rootfsPropagation="odd"),
        "true",
        "rootfsPropagation=odd is not supported",
        status=1,
    ),
    *(
        Row(f"rootfsPropagation {name}", linux(rootfsPropagation=name), show("/"), "^/ rw[^-]* -")
        for name in ("private", "rprivate", "slave", "rslave")
    ),
    # Debian's runc loses these on the way to "/"; newer ones do not.
    *(
        Row(f"rootfsPropagation {name}", linux(rootfsPropagation=name), show("/"), shown, in_runc=False)
        for name, shown in {
            "shared": "^/ rw.* shared",
            "rshared": "^/ rw.* shared",
            "unbindable": "^/ rw.* unbindable",
            "runbindable": "^/ rw.* unbindable",
        }.items()
    ),
    Row("--no-pivot", as_it_is, "ls /; cut -d' ' -f2 /proc/mounts | sort", "^bin", options=("--no-pivot",)),
    Row(
        "--no-pivot with a private root",
        linux(rootfsPropagation="rprivate"),
        "true",
        "rootfsPropagation of \\[r\\]private is not safe without pivot_root",
        status=1,
        options=("--no-pivot",),
    ),
    Row("the whole view", as_it_is, "cut -d' ' -f5- /proc/self/mountinfo | grep -v cgroup", "/ rw"),
    Row("nothing of the host", as_it_is, "ls -A /; ls /proc/1/root/; cd /..; pwd", "bin"),
    Row(
        "rootfs missing",
        lambda bundle, _: bundle.config["root"].update(path="missing"),
        "true",
        "invalid rootfs: stat .*missing: no such file or directory",
        status=1,
    ),
    Row(
        "rootfs is a symlink",
        linked_root,
        "true",
        "invalid rootfs: not an absolute path, or a symlink",
        status=1,
    ),
    Row(
        "rootfs by its whole path",
        lambda bundle, _: bundle.config["root"].update(path=str(bundle.rootfs)),
        "ls /",
        "bin",
    ),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: str(row.name).replace("/", "_"))
def test_the_file_system_is_as_in_runc(row: Row, hookrun: Runtime, runc: Runtime) -> None:
    check(row, hookrun, runc)


def _run_in_terminal(runtime: Runtime, bundle: Bundle) -> str:
    """Run a container whose terminal is a pseudo-terminal of ours; what it wrote."""
    master, slave = pty.openpty()
    try:
        with subprocess.Popen(
            [runtime.program, *runtime.globals, "run", "--bundle", str(bundle.path), fresh_id()],
            stdin=slave,
            stdout=slave,
            stderr=slave,
        ) as process:
            os.close(slave)
            said = b""
            while True:
                try:
                    part = os.read(master, 4096)
                except OSError:  # EIO: nobody holds the other end any more
                    break
                if not part:
                    break
                said += part
            assert process.wait(PATIENCE) == 0, said
    finally:
        os.close(master)
    return said.decode().replace("\r", "")


def test_the_console_is_the_container_s_own_terminal(hookrun: Runtime, runc: Runtime, bundle: Bundle) -> None:
    bundle.process["terminal"] = True
    bundle.shell(
        "tty; stat -c '%F %t' /dev/console; test /dev/console -ef /dev/pts/0 && echo same; "
        "grep /dev/console /proc/self/mountinfo | cut -d' ' -f4-"
    )
    found = _run_in_terminal(hookrun, bundle)
    assert re.search("^/dev/pts/0\ncharacter special file 88\nsame\n/0 /dev/console ", found)
    assert found == _run_in_terminal(runc, bundle)


def test_there_is_no_console_without_a_terminal(either: Runtime, bundle: Bundle) -> None:
    assert either.run(bundle.shell("ls /dev/console").path).status == 1


def test_a_container_joins_the_mount_namespace_of_another(either: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    """Its rootfs is found inside that namespace, becomes "/" there, and so the other's mounts are gone with the old."""
    with public_directory() as place:
        holder = subprocess.Popen(
            [
                "unshare",
                "--mount",
                "sh",
                "-c",
                'mount -t tmpfs tmpfs "$1" && cp -a "$2" "$1/" && echo ready && exec sleep 1000',
                "sh",
                place,
                bundle.rootfs,
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"ready\n"
            bundle.without_namespace("mount")
            bundle.linux["namespaces"].append({"type": "mount", "path": f"/proc/{holder.pid}/ns/mnt"})
            bundle.config["root"]["path"] = f"{place}/rootfs"
            (place / "rootfs").mkdir()
            result = either.run(bundle.shell("echo inside; stat -fc %T /").path)
            assert (result.status, result.out) == (0, "inside\ntmpfs\n"), result
        finally:
            holder.kill()
            holder.wait()


@pytest.mark.parametrize("user", [False, True], ids=["host's user namespace", "own user namespace"])
def test_a_rootfs_with_a_dev_of_its_own_can_be_used_again(hookrun: Runtime, user: bool) -> None:
    """The nodes and links of the first time are there then, among them those that lead to /proc/self/fd/0."""
    with public_directory() as place:
        (place / "bundle").mkdir()
        bundle = Bundle(place / "bundle")
        if user:
            bundle.with_user_namespace()
        no_dev_mounts(bundle, place)
        bundle.shell(f"{ALL_DEV}; {LINKS}")
        first, second = hookrun.run(bundle.path), hookrun.run(bundle.path)
    assert "null character special file 666" in first.out
    assert "/proc/self/fd/0\n" in first.out
    assert first == second


def test_stdin_becomes_the_container_s_own_dev_null(either: Runtime, bundle: Bundle) -> None:
    bundle.shell("test /proc/self/fd/0 -ef /dev/null && echo own; sleep 1000").write()
    container = either.run_detached(bundle.path)
    output = bundle.path / f"{container}.output"
    wait_for(lambda: output.read_text() != "", "the container's output")
    assert output.read_text() == "own\n"


def without_mount_namespace(bundle: Bundle) -> list[str]:
    """The bundle's container has its mounts in the host's namespace; what the host has before."""
    bundle.without_namespace("mount").linux.update(maskedPaths=[], readonlyPaths=[])
    return hosts_mounts(bundle)


def hosts_mounts(bundle: Bundle) -> list[str]:
    """The root's mount, with its propagation, and those below the bundle; what other tests mount comes and goes."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line for line in lines if line.split()[4] == "/" or str(bundle.path) in line]


def test_without_a_mount_namespace_the_mounts_are_the_host_s_until_the_end(hookrun: Runtime, bundle: Bundle) -> None:
    """As under runc, which leaves them there for ever."""
    before = without_mount_namespace(bundle)
    container = hookrun.run_detached(bundle.command("sleep", "1000").path)
    inside = hookrun.exec(
        container, "sh", "-c", "ls -A /; test -e /proc/self && echo proc; echo x > /dev/null && echo null"
    )
    assert {"bin", "proc", "null"} <= set(inside.out.split()), inside
    mounted = [line.split()[4] for line in hosts_mounts(bundle)]
    assert {str(bundle.rootfs), f"{bundle.rootfs}/proc", f"{bundle.rootfs}/dev"} <= set(mounted)
    assert hookrun.call("delete", "--force", container).status == 0
    assert hosts_mounts(bundle) == before


def test_without_a_mount_namespace_a_failed_create_leaves_no_mount(hookrun: Runtime, bundle: Bundle) -> None:
    before = without_mount_namespace(bundle)
    bundle.add_mount("/tmp/x", "nosuchfs", "none")
    assert hookrun.run(bundle.write().path).status == 1
    assert hosts_mounts(bundle) == before


def test_without_a_mount_namespace_a_terminal(hookrun: Runtime, bundle: Bundle) -> None:
    before = without_mount_namespace(bundle)
    bundle.process["terminal"] = True
    result = hookrun.run(bundle.shell("tty; test -c /dev/console && echo console").path)
    assert result.out.split() == ["/dev/pts/0", "console"], result
    assert hosts_mounts(bundle) == before


@pytest.mark.parametrize(
    "propagation", ["", "private", "rprivate", "slave", "rslave", "shared", "rshared", "unbindable"]
)
def test_no_mount_of_a_container_reaches_the_host(hookrun: Runtime, bundle: Bundle, propagation: str) -> None:
    """Not even where the rootfs lies on a shared mount."""
    with public_directory() as place:
        script = (
            'mount -t tmpfs tmpfs "$1" && mount --make-shared "$1" && cp -a "$2" "$1/bundle" && shift 2 && '
            'cat /proc/self/mountinfo | wc -l && timeout 60 "$@" </dev/null && cat /proc/self/mountinfo | wc -l'
        )
        if propagation:
            bundle.linux["rootfsPropagation"] = propagation
        bundle.command("true")
        run = [hookrun.program, *hookrun.globals, "run", "--bundle", f"{place}/bundle", fresh_id()]
        done = subprocess.run(
            ["unshare", "--mount", "sh", "-c", script, "sh", place, bundle.path, *run],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=PATIENCE,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    before, after = map(int, done.stdout.split())
    # Fewer there may be: a directory that somebody removes elsewhere takes what was mounted on it along.
    assert after <= before


def test_a_volume_s_mounts_come_and_go_as_its_propagation_says(hookrun: Runtime) -> None:
    """rslave: what the host mounts later in a shared volume is seen inside; what the container mounts stays inside."""
    with public_directory() as place:
        volume = place / "volume"
        volume.mkdir()
        (place / "bundle").mkdir()
        bundle = Bundle(place / "bundle").add_mount("/tmp/t", "bind", str(volume), "rbind", "rslave")
        bundle.command("sleep", "1000").write()
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", volume], check=True, stdin=subprocess.DEVNULL, timeout=60)
        try:
            subprocess.run(["mount", "--make-shared", volume], check=True, stdin=subprocess.DEVNULL, timeout=60)
            (volume / "sub").mkdir()
            container = hookrun.run_detached(bundle.path)
            subprocess.run(
                ["mount", "-t", "tmpfs", "tmpfs", volume / "sub"], check=True, stdin=subprocess.DEVNULL, timeout=60
            )
            (volume / "sub/later").write_text("seen")
            wait_for(lambda: hookrun.exec(container, "cat", "/tmp/t/sub/later").out == "seen", "the host's later mount")
        finally:
            hookrun.delete_all()
            subprocess.run(["umount", "-R", "-l", volume], check=True, stdin=subprocess.DEVNULL, timeout=60)
