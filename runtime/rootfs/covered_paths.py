"""linux.maskedPaths and linux.readonlyPaths, inside the container's root.

Source: config-linux.md "Masked Paths", "Readonly Paths"; runc: rootfs_linux.go maskPaths, readonlyPath.
"""

from __future__ import annotations

import os

from hookrun.runtime.errors import Failure, failing, reason
from hookrun.runtime.linux import mounts, paths
from hookrun.runtime.rootfs import dev


def make_read_only(root: int, wanted: list[str]) -> None:
    """Make each of these paths read-only; those that are missing are skipped. Raises Failure."""
    for path in wanted:
        with failing(f'can\'t make "{path}" read-only'):
            target = _find(root, path)
            if target is None:
                continue
            tree = mounts.copy_tree(target, recursive=True)
            mounts.set_attributes(tree, mounts.ATTR_RDONLY)
            mounts.attach(tree, target)
        os.close(tree)
        os.close(target)


def mask(root: int, wanted: list[str], label: str) -> None:
    """Cover each of these paths: a file by /dev/null, a directory by an empty read-only tmpfs.

    Missing ones are skipped. Raises Failure.
    """
    if not wanted:
        return
    masks = _Masks(root, label)
    try:
        for path in dict.fromkeys(map(paths.lexical, wanted)):
            masks.cover(f"/{path}")
    finally:
        masks.close()


class _Masks:
    """What masked paths are covered with: copies of one /dev/null and of one tmpfs."""

    __slots__ = ("_label", "_null", "_root", "_tmpfs")

    def __init__(self, root: int, label: str) -> None:
        self._root = root
        self._label = label
        self._tmpfs = -1
        try:
            self._null = dev.open_null(root, os.O_PATH)
        except (OSError, Failure) as error:
            text = error.text if isinstance(error, Failure) else f"open /dev/null: {reason(error)}"
            raise Failure(f"can't mask paths: {text}") from None

    def cover(self, path: str) -> None:
        with failing(f'can\'t mask path "{path}"'):
            target = _find(self._root, path)
            if target is None:
                return
            is_directory = os.path.isdir(target)
            tree = self._empty_directory() if is_directory else mounts.copy_tree(self._null)
            mounts.attach(tree, target)
        os.close(target)
        if is_directory and self._tmpfs < 0:
            self._tmpfs = tree
        else:
            os.close(tree)

    def _empty_directory(self) -> int:
        if self._tmpfs >= 0:
            return mounts.copy_tree(self._tmpfs)
        options = ["ro", "nr_blocks=1", "nr_inodes=1"]
        if self._label:
            options.append(f"context={self._label}")
        return mounts.new_filesystem("tmpfs", "tmpfs", options, mounts.ATTR_RDONLY)

    def close(self) -> None:
        os.close(self._null)
        if self._tmpfs >= 0:
            os.close(self._tmpfs)


def _find(root: int, path: str) -> int | None:
    try:
        return paths.open_inside(root, path)
    except FileNotFoundError:
        return None
