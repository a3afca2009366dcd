"""Paths inside a root that is not to be trusted, and the flags of mounts, without a container."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from hookrun.runtime.linux import mount_options, mounts, paths
from hookrun.runtime.rootfs import copy_up


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "outside").mkdir()
    (tmp_path / "root/etc").mkdir(parents=True)
    (tmp_path / "root/etc/file").write_text("inside")
    for name, target in {
        "etc/absolute": "/etc/file",
        "etc/climbing": "../../../../etc/file",
        "etc/up": "..",
        "etc/nothing": "/no/such",
        "etc/chain": "absolute",
        "etc/loop": "loop",
        "out": "../outside",
    }.items():
        (tmp_path / "root" / name).symlink_to(target)
    descriptor = os.open(tmp_path / "root", os.O_PATH)
    yield descriptor
    os.close(descriptor)


@pytest.mark.parametrize(
    ("path", "plain"),
    [
        ("/etc/file", "etc/file"),
        ("//etc/./file/", "etc/file"),
        ("etc/absolute", "etc/file"),
        ("/etc/climbing", "etc/file"),
        ("/etc/chain", "etc/file"),
        ("/etc/up/etc/up", ""),
        ("/etc/../../..", ""),
        ("/../../../etc", "etc"),
        ("/etc/nothing/new/../er", "no/such/er"),
        ("/out/new", "outside/new"),
        ("/missing/../etc", "etc"),
        ("/", ""),
    ],
)
def test_a_path_is_brought_into_its_plain_form(root: int, path: str, plain: str) -> None:
    assert paths.plain(root, path) == plain


def test_a_loop_is_an_error(root: int) -> None:
    with pytest.raises(OSError, match="symbolic links") as caught:
        paths.plain(root, "/etc/loop/x")
    assert caught.value.errno == errno.ELOOP


def test_what_is_there_is_found_and_what_is_not_is_none(root: int) -> None:
    place, descriptor = paths.find(root, "/etc/chain")
    assert (place, descriptor is not None) == ("etc/file", True)
    assert paths.find(root, "/etc/nothing") == ("no/such", None)


def test_directories_are_made_inside(root: int, tmp_path: Path) -> None:
    os.close(paths.make_directory(root, paths.plain(root, "/out/a/b")))
    assert (tmp_path / "root/outside/a/b").is_dir()
    assert not list((tmp_path / "outside").iterdir())


def test_a_plain_path_is_not_plain_once_it_has_a_symlink(root: int) -> None:
    with pytest.raises(OSError, match="out"):
        paths.make_directory(root, "out/a")
    with pytest.raises(OSError, match="etc/absolute"):
        paths.open_plain(root, "etc/absolute")


def test_a_file_in_the_way_is_no_directory(root: int) -> None:
    with pytest.raises(NotADirectoryError):
        paths.make_directory(root, "etc/file/new")


def test_null_bytes_do_not_cut_a_path_off(root: int) -> None:
    with pytest.raises(OSError, match="null byte"):
        paths.open_inside(root, "/etc\0/file")


def test_unprintable_names_are_names(root: int) -> None:
    name = os.fsdecode(b"odd\xff\n")
    os.close(paths.make_directory(root, name))
    assert paths.find(root, f"/{name}")[1] is not None


@pytest.mark.parametrize(
    ("flags", "attributes"),
    [
        (mounts.MS_RDONLY | mounts.MS_NOSUID, mounts.ATTR_RDONLY | mounts.ATTR_NOSUID),
        (mounts.MS_NOATIME, mounts.ATTR_NOATIME),
        (mounts.MS_NOATIME | mounts.MS_RELATIME, mounts.ATTR_NOATIME),
        (mounts.MS_NOATIME | mounts.MS_STRICTATIME, mounts.ATTR_STRICTATIME),
        (mounts.MS_NODIRATIME, mounts.ATTR_NODIRATIME),
        (mounts.MS_SYNCHRONOUS, 0),
    ],
)
def test_flags_are_what_mount_makes_of_them(flags: int, attributes: int) -> None:
    assert mount_options.attributes(flags) == attributes


def test_a_change_leaves_access_times_alone_unless_it_speaks_of_them() -> None:
    _, cleared = mount_options.change(mounts.MS_RDONLY)
    assert not cleared & (mounts.ATTR_ATIME | mounts.ATTR_NODIRATIME)
    found, cleared = mount_options.change(mounts.MS_NOATIME)
    assert (found, cleared & mounts.ATTR_ATIME) == (mounts.ATTR_NOATIME, mounts.ATTR_ATIME)


def test_the_last_of_two_options_counts_for_recursive_ones_too() -> None:
    options = mount_options.Options(["rro", "rrw"])
    assert (options.recursive_set, options.recursive_clear) == (0, mounts.ATTR_RDONLY)


@pytest.mark.parametrize(
    ("options", "fits"),
    [
        (["size=1k", "mode=755"], True),
        (["x=" + "y" * 254], False),
        (['context="a:b,c"'], False),
        (["lowerdir=a\\,b"], False),
    ],
)
def test_options_that_fsconfig_can_not_take_are_known(options: list[str], fits: bool) -> None:
    assert mounts.fits_fsconfig(options) is fits


def test_a_directory_is_copied_as_it_is(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "deep").mkdir(parents=True)
    target.mkdir()
    (source / "deep/file").write_bytes(bytes(range(256)) * 8192)
    (source / "deep/file").chmod(0o4751)
    (source / "deep/link").symlink_to("/nowhere")
    os.mkfifo(source / "deep/pipe")
    os.chown(source / "deep", 7, 8)
    (source / "deep").chmod(0o1703)
    descriptors = os.open(source, os.O_PATH), os.open(target, os.O_PATH)
    copy_up.copy_directory(*descriptors)
    for descriptor in descriptors:
        os.close(descriptor)
    assert (target / "deep/file").read_bytes() == (source / "deep/file").read_bytes()
    assert os.readlink(target / "deep/link") == "/nowhere"
    for name in ("deep", "deep/file", "deep/link", "deep/pipe"):
        found, wanted = (target / name).lstat(), (source / name).lstat()
        assert (found.st_mode, found.st_uid, found.st_gid) == (wanted.st_mode, wanted.st_uid, wanted.st_gid)
