"""Attacks on the making of a container's file system, each really mounted against hookrun.

The targets are files and directories of the test's own. Where Debian's runc 1.1.5 is old enough to fall, the test shows
on it that the attack is one.
"""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.runtime.filesystem_rows import public_directory
from tests.support.bundles import Bundle
from tests.support.runtimes import PATIENCE, Result, Runtime, fresh_id, wait_for

SECRET = "the host's\n"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A directory of the host's with one file, which no container may see, change or add to."""
    path = tmp_path / "outside"
    path.mkdir()
    (path / "secret").write_text(SECRET)
    return path


def climbing_to(path: Path) -> str:
    """The target of a symlink that would lead to a place of the host's, if it were followed outside of the root."""
    return "../" * 30 + str(path).lstrip("/")


def assert_untouched(outside: Path) -> None:
    assert [entry.name for entry in outside.iterdir()] == ["secret"]
    assert (outside / "secret").read_text() == SECRET


def without_dev_mounts(bundle: Bundle) -> Bundle:
    """Have the container use the image's own /dev."""
    bundle.config["mounts"] = [one for one in bundle.config["mounts"] if not one["destination"].startswith("/dev")]
    return bundle


# Symlinks of the image that lead to the host.


@pytest.mark.parametrize("target", ["{climbing}", "{absolute}"])
@pytest.mark.parametrize(
    ("kind", "destination"),
    [("tmpfs", "/etc/out"), ("tmpfs", "/etc/out/new/er"), ("bind", "/etc/out"), ("bind", "/etc/out/new"),
     ("file", "/etc/out/new-file"), ("mqueue", "/etc/out/queue"), ("cgroup", "/etc/out/cgroup"), ("copyup", "/etc/out")],
)  # fmt: skip
def test_a_mount_over_a_symlink_stays_inside(
    hookrun: Runtime, bundle: Bundle, outside: Path, tmp_path: Path, kind: str, destination: str, target: str
) -> None:
    (bundle.rootfs / "etc/out").symlink_to(target.format(climbing=climbing_to(outside), absolute=outside))
    (tmp_path / "volume").mkdir()
    (tmp_path / "volume/file").write_text("volume")
    match kind:
        case "bind":
            bundle.add_mount(destination, "bind", str(tmp_path / "volume"), "rbind")
        case "file":
            bundle.add_mount(destination, "bind", str(tmp_path / "volume/file"), "bind")
        case "copyup":
            bundle.add_mount(destination, "tmpfs", "tmpfs", "tmpcopyup")
        case _:
            bundle.add_mount(destination, kind, kind)
    result = hookrun.run(bundle.shell(f"cat {destination}/secret /etc/out/secret").path)
    assert SECRET not in result.out
    assert "No such file" in result.err
    assert_untouched(outside)


def _bundle_with_dev_as_symlink(bundle: Bundle, outside: Path) -> Bundle:
    without_dev_mounts(bundle)
    (bundle.rootfs / "dev").rmdir()
    (bundle.rootfs / "dev").symlink_to(climbing_to(outside))
    return bundle.command("true")


def test_devices_and_links_of_a_dev_that_is_a_symlink_stay_inside(
    hookrun: Runtime, bundle: Bundle, outside: Path
) -> None:
    assert hookrun.run(_bundle_with_dev_as_symlink(bundle, outside).path).status == 0
    assert_untouched(outside)


def test_runc_falls_for_a_dev_that_is_a_symlink(runc: Runtime, bundle: Bundle, outside: Path) -> None:
    runc.run(_bundle_with_dev_as_symlink(bundle, outside).path)
    assert "ptmx" in os.listdir(outside)


def test_a_device_below_a_symlink_stays_inside(either: Runtime, bundle: Bundle, outside: Path) -> None:
    (bundle.rootfs / "etc/out").symlink_to(climbing_to(outside))
    bundle.linux["devices"] = [{"path": "/etc/out/node", "type": "c", "major": 1, "minor": 3}]
    either.run(bundle.command("true").path)
    assert_untouched(outside)


# CVE-2019-16884, CVE-2019-19921, CVE-2023-27561, CVE-2023-28642: a /proc or /sys that is none.


@pytest.mark.parametrize("name", ["proc", "sys"])
@pytest.mark.parametrize("target", ["tmp/fake", "/tmp/fake", "{outside}"])
def test_proc_and_sys_as_symlinks_are_refused(
    either: Runtime, bundle: Bundle, outside: Path, name: str, target: str
) -> None:
    (bundle.rootfs / "tmp/fake/self/attr").mkdir(parents=True)
    (bundle.rootfs / name).rmdir()
    (bundle.rootfs / name).symlink_to(target.format(outside=climbing_to(outside)))
    result = either.run(bundle.command("true").path)
    assert result.status == 1
    assert "must be mounted on ordinary directory" in result.err
    assert_untouched(outside)


@pytest.mark.parametrize("destination", ["/proc", "/proc/self/attr", "/proc/sys", "/proc/../proc/1", "/etc/link/attr"])
def test_nothing_may_be_mounted_over_proc(hookrun: Runtime, bundle: Bundle, tmp_path: Path, destination: str) -> None:
    """What LSM labels are written to, and what masks cover, has to be the kernel's."""
    (tmp_path / "fake").mkdir()
    (bundle.rootfs / "etc/link").symlink_to("/proc/self")
    bundle.add_mount(destination, "bind", str(tmp_path / "fake"), "bind")
    result = hookrun.run(bundle.command("true").path)
    assert result.status == 1
    assert "cannot be mounted because it is" in result.err


# CVE-2025-31133: what masked paths are covered with.


def _bundle_with_null_as(bundle: Bundle, kind: str) -> Bundle:
    without_dev_mounts(bundle)
    (bundle.rootfs / "etc/target").write_text("of the attacker's choice\n")
    (bundle.rootfs / "etc/masked").write_text("masked\n")
    bundle.linux["maskedPaths"] = ["/etc/masked"]
    null = bundle.rootfs / "dev/null"
    match kind:
        case "symlink":
            null.symlink_to("../etc/target")
        case "file":
            null.write_text("of the attacker's choice\n")
        case "device":
            os.mknod(null, stat.S_IFCHR | 0o666, os.makedev(1, 7))
        case "fifo":
            os.mkfifo(null)
    return bundle.shell("test /etc/masked -ef /etc/target && touch /etc/fell; true")


@pytest.mark.parametrize("kind", ["symlink", "file", "device", "fifo"])
def test_a_replaced_dev_null_masks_nothing_and_ends_the_container(hookrun: Runtime, bundle: Bundle, kind: str) -> None:
    result = hookrun.run(_bundle_with_null_as(bundle, kind).path)
    assert result.status == 1
    assert "container's /dev/null is invalid" in result.err or "open /dev/null" in result.err
    assert not (bundle.rootfs / "etc/fell").exists()
    assert (bundle.rootfs / "etc/target").read_text() == "of the attacker's choice\n"


def test_runc_falls_for_a_replaced_dev_null(runc: Runtime, bundle: Bundle) -> None:
    runc.run(_bundle_with_null_as(bundle, "symlink").path)
    assert (bundle.rootfs / "etc/fell").exists()


def test_a_replaced_dev_null_does_not_get_the_standard_streams(hookrun: Runtime, bundle: Bundle) -> None:
    """Without any masked path too: hookrun's /dev/null is reopened as the container's, never as another file."""
    _bundle_with_null_as(bundle, "symlink").linux["maskedPaths"] = []
    bundle.shell("echo written; echo written >&2")
    output = bundle.path / "output"
    call = [hookrun.program, *hookrun.globals, "run", "--detach", "--bundle", str(bundle.path), fresh_id()]
    with output.open("wb") as log:
        done = subprocess.run(
            call, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log, timeout=PATIENCE, check=False
        )
    assert done.returncode == 1
    assert (bundle.rootfs / "etc/target").read_text() == "of the attacker's choice\n"


# CVE-2025-52565: what is mounted at /dev/console, and what is below it.


def _run_in_terminal(runtime: Runtime, bundle: Bundle) -> Result:
    bundle.process["terminal"] = True
    master, slave = os.openpty()
    try:
        done = subprocess.run(
            [runtime.program, *runtime.globals, "run", "--bundle", str(bundle.write().path), fresh_id()],
            stdin=slave,
            stdout=slave,
            stderr=subprocess.PIPE,
            timeout=PATIENCE,
            check=False,
        )
    finally:
        os.close(slave)
        os.close(master)
    return Result(done.returncode, "", done.stderr.decode())


def _bundle_with_console_as_symlink(bundle: Bundle) -> Bundle:
    without_dev_mounts(bundle)
    bundle.add_mount("/dev/pts", "devpts", "devpts", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5")
    (bundle.rootfs / "etc/target").write_text("precious\n")
    (bundle.rootfs / "dev/console").symlink_to("../etc/target")
    return bundle.shell("true")


def test_a_console_that_is_a_symlink_is_refused(hookrun: Runtime, bundle: Bundle) -> None:
    result = _run_in_terminal(hookrun, _bundle_with_console_as_symlink(bundle))
    assert result.status == 1
    assert "/dev/console" in result.err
    assert (bundle.rootfs / "etc/target").read_text() == "precious\n"


def test_runc_falls_for_a_console_that_is_a_symlink(runc: Runtime, bundle: Bundle) -> None:
    _run_in_terminal(runc, _bundle_with_console_as_symlink(bundle))
    assert (bundle.rootfs / "etc/target").read_text() == ""


@pytest.mark.parametrize("kind", ["file", "symlink", "zero"])
def test_a_dev_pts_that_is_no_devpts_gives_no_terminal(
    hookrun: Runtime, bundle: Bundle, outside: Path, kind: str
) -> None:
    without_dev_mounts(bundle)
    (bundle.rootfs / "dev/pts").mkdir()
    ptmx = bundle.rootfs / "dev/pts/ptmx"
    match kind:
        case "file":
            ptmx.write_text("")
        case "symlink":
            ptmx.symlink_to(climbing_to(outside / "secret"))
        case "zero":
            os.mknod(ptmx, stat.S_IFCHR | 0o666, os.makedev(1, 5))
    result = _run_in_terminal(hookrun, bundle.shell("true"))
    assert result.status == 1
    assert "ptmx" in result.err
    assert_untouched(outside)


# CVE-2025-52881: writes through a /proc that is not the kernel's.


def _run_with_fake_sysctl(runtime: Runtime, bundle: Bundle, fake: Path) -> Result:
    """A container whose /proc is the host's, with a file of the attacker's over one sysctl, in a mount namespace.

    Inside, a fresh procfs tells what the sysctl of the container's own namespace is.
    """
    fake.write_text("fake\n")
    bundle.config["mounts"] = [one for one in bundle.config["mounts"] if one["destination"] != "/proc"]
    bundle.config["mounts"].insert(0, {"destination": "/proc", "source": "/proc", "type": "bind", "options": ["rbind"]})
    bundle.linux.update(sysctl={"kernel.domainname": "here"}, maskedPaths=[], readonlyPaths=[])
    for kind in bundle.process["capabilities"]:
        bundle.process["capabilities"][kind] = ["CAP_SYS_ADMIN"]
    bundle.shell("mkdir /tmp/proc && mount -t proc proc /tmp/proc && cat /tmp/proc/sys/kernel/domainname")
    script = 'mount --bind "$1" /proc/sys/kernel/domainname && shift && exec "$@"'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", fake, runtime.program, *runtime.globals,
         "run", "--bundle", bundle.path, fresh_id()],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=PATIENCE,
        check=False,
    )  # fmt: skip
    return Result(done.returncode, done.stdout.decode(), done.stderr.decode())


def test_sysctls_go_to_the_kernel_whatever_covers_proc(hookrun: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    result = _run_with_fake_sysctl(hookrun, bundle, tmp_path / "fake")
    assert (tmp_path / "fake").read_text() == "fake\n"
    assert (result.status, result.out) == (0, "here\n"), result


def test_runc_falls_for_a_covered_sysctl(runc: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    _run_with_fake_sysctl(runc, bundle, tmp_path / "fake")
    assert (tmp_path / "fake").read_text() != "fake\n"


@pytest.mark.parametrize("name", ["net.//.kernel.ostype", "net/../kernel/ostype", "net.ipv4/../../kernel", "net."])
def test_a_sysctl_s_name_is_no_way_around_the_namespace_check(hookrun: Runtime, bundle: Bundle, name: str) -> None:
    bundle.linux["sysctl"] = {name: "x"}
    result = hookrun.run(bundle.command("true").path)
    assert result.status == 1
    assert name in result.err or "is not in a separate kernel namespace" in result.err


_FAKE_PROC = """
import os, sys
sys.path.append(sys.argv[1])
from hookrun.runtime.linux import procfs
def refused(work):
    try:
        work()
    except OSError:
        return
    sys.exit("a fake procfs was taken for the real one")
refused(lambda: procfs.Procfs(os.open("/proc", os.O_PATH)))            # a tmpfs
refused(lambda: procfs.Procfs(os.open("/proc/real/self", os.O_PATH)))  # not the root
real = procfs.Procfs(os.open("/proc/real", os.O_PATH))
refused(lambda: real.open("sys/kernel/ostype", os.O_RDONLY))           # covered
refused(lambda: real.open("self/root/etc/passwd", os.O_RDONLY))        # a magic link out of it
refused(lambda: real.open("../etc/passwd", os.O_RDONLY))
fresh = procfs.open_procfs()
print(os.read(fresh.open("sys/kernel/ostype", os.O_RDONLY), 100).decode().strip())
print(os.read(procfs.open_self("comm", os.O_RDONLY), 100).decode().strip())
"""


def test_a_fake_procfs_is_told_from_a_real_one(hookrun: Runtime, tmp_path: Path) -> None:
    (tmp_path / "fake").write_text("fake\n")
    (tmp_path / "attack.py").write_text(_FAKE_PROC)
    script = (
        "mount -t tmpfs tmpfs /proc && mkdir /proc/real /proc/self && mount -t proc proc /proc/real && "
        'mount --bind "$1" /proc/real/sys/kernel/ostype && shift && exec "$@"'
    )
    source = Path(hookrun.program).parents[1] / "src"
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", tmp_path / "fake", sys.executable, "-I",
         tmp_path / "attack.py", source],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=PATIENCE,
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout.split()[0]) == (0, b"Linux"), done


# CVE-2021-30465, CVE-2024-45310: a directory of a shared volume exchanged for a symlink while the runtime works there.

_EXCHANGE = """
import ctypes, platform, sys
renameat2 = {"x86_64": 316, "aarch64": 276}[platform.machine()]
call, one, other = ctypes.CDLL(None).syscall, sys.argv[1].encode(), sys.argv[2].encode()
print("exchanging", flush=True)
while True:
    call(renameat2, -100, one, -100, other, 2)
"""


@contextmanager
def exchanging(one: Path, other: Path) -> Iterator[None]:
    """A process that exchanges two names as fast as it can."""
    with subprocess.Popen(
        [sys.executable, "-I", "-c", _EXCHANGE, one, other], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"exchanging\n"
            yield
        finally:
            process.kill()


@pytest.mark.parametrize("below", ["", "/new/er"])
@pytest.mark.parametrize("kind", ["tmpfs", "bind", "proc"])
def test_an_exchanged_directory_leads_no_mount_outside(
    hookrun: Runtime, bundle: Bundle, outside: Path, tmp_path: Path, kind: str, below: str
) -> None:
    """A container either starts with its mount inside the root, or it does not start."""
    volume = tmp_path / "volume"
    (volume / "place").mkdir(parents=True)
    (volume / "swap").symlink_to(climbing_to(outside))
    (tmp_path / "marker").mkdir()
    bundle.add_mount("/vol", "bind", str(volume), "rbind")
    source = str(tmp_path / "marker") if kind == "bind" else "marker"
    bundle.add_mount(f"/vol/place{below}", kind, source, *(["bind"] if kind == "bind" else []))
    bundle.command("cat", "/proc/self/mountinfo")
    with exchanging(volume / "place", volume / "swap"):
        results = [hookrun.run(bundle.path) for _ in range(25)]
    for result in results:
        assert result.status in (0, 1)
        assert result.out.count("marker") == (1 if result.status == 0 else 0), result
    assert_untouched(outside)


def test_an_exchanged_directory_of_the_root_gets_no_device_outside(
    hookrun: Runtime, bundle: Bundle, outside: Path
) -> None:
    (bundle.rootfs / "etc/place").mkdir()
    (bundle.rootfs / "etc/swap").symlink_to(climbing_to(outside))
    bundle.linux["devices"] = [{"path": "/etc/place/a/b/node", "type": "c", "major": 1, "minor": 3}]
    bundle.command("true")
    with exchanging(bundle.rootfs / "etc/place", bundle.rootfs / "etc/swap"):
        for _ in range(25):
            assert hookrun.run(bundle.path).status in (0, 1)
    assert_untouched(outside)


# CVE-2023-25809, and what a user namespace may not undo.


@pytest.mark.parametrize("way", ["reachable", "unreachable", "id-mapped"])
def test_a_mount_of_the_host_s_keeps_its_locks_in_a_user_namespace(hookrun: Runtime, way: str) -> None:
    """A read-only mount of the host's can't be had writable by binding it, nor by remounting the bind inside.

    Unless the container's root can reach it, a helper opens it; the kernel's locks have to come along.
    """
    with public_directory() as place:
        volume = place / "closed/volume"
        volume.mkdir(parents=True)
        (place / "closed").chmod(0o700 if way == "unreachable" else 0o755)
        (place / "bundle").mkdir()
        bundle = Bundle(place / "bundle").with_user_namespace()
        for kind in bundle.process["capabilities"]:
            bundle.process["capabilities"][kind] = ["CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE"]
        bundle.add_mount("/tmp/t", "bind", str(volume), "bind", *(["idmap"] if way == "id-mapped" else []))
        bundle.shell("mount -o remount,bind,rw /tmp/t; touch /tmp/t/x")
        script = 'mount -t tmpfs -o mode=777 tmpfs "$1" && mount -o remount,bind,ro "$1" && shift && exec "$@"'
        run = [hookrun.program, *hookrun.globals, "run", "--bundle", str(bundle.path), fresh_id()]
        done = subprocess.run(
            ["unshare", "--mount", "sh", "-c", script, "sh", volume, *run],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=PATIENCE,
            check=False,
        )
    assert b"touch: /tmp/t/x: Read-only file system" in done.stderr, done
    assert done.returncode == 1


def test_cgroups_stay_read_only_in_a_user_namespace_without_a_cgroup_namespace(hookrun: Runtime) -> None:
    with public_directory() as place:
        (place / "bundle").mkdir()
        bundle = Bundle(place / "bundle").with_user_namespace().without_namespace("network")
        bundle.shell("for d in /sys/fs/cgroup/*; do mkdir $d/escaped && echo writable; done; true")
        result = hookrun.run(bundle.path)
    assert result.status == 0, result
    assert "writable" not in result.out


# What is left open.


def test_no_descriptor_of_the_rootfs_is_left(hookrun: Runtime, bundle: Bundle) -> None:
    """CVE-2024-21626 began with one; the init keeps none while it waits for `start` either."""
    bundle.command("sleep", "1000")
    container = hookrun.create(bundle.path)
    pid = hookrun.state(container)["pid"]
    targets = [os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()]
    assert not [target for target in targets if target.startswith(str(bundle.path)) and not target.endswith("output")]
    hookrun.start(container)
    wait_for(lambda: Path(f"/proc/{pid}/comm").read_text() == "sleep\n", "the container's program")
    assert sorted(entry.name for entry in Path(f"/proc/{pid}/fd").iterdir()) == ["0", "1", "2"]
