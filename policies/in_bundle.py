"""`${bundle}/PATH` in a policy: a file of the fleet's bundle that the policy's own file is part of."""

from __future__ import annotations

from pathlib import Path

from hookrun.policies.document import Node

WORD = "${bundle}/"
MANIFEST = "bundle.yaml"


def absolute(node: Node) -> str:
    """The path that a text is, absolute where it leads into the bundle. Raises Invalid.

    A bundle is the directory above the policy's, and has a bundle.yaml.
    """
    path = node.text()
    if not path.startswith(WORD):
        return path
    directory = Path(node.file).absolute().parent.parent
    if not (directory / MANIFEST).is_file():
        node.fail(f"there is no {directory / MANIFEST}: {WORD.rstrip('/')} is for policies of a fleet's bundle")
    below = path.removeprefix(WORD)
    if not all(part.strip(".") for part in below.split("/")):
        node.fail("it must name a file of the bundle")
    return str(directory / below)
