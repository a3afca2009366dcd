"""Directories for what pytest's own are too deep or too closed for: sockets' paths are short, and other users come in."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def short_place(prefix: str = "hr-place-") -> Iterator[Path]:
    """A new directory below /var/tmp that everybody may enter."""
    place = Path(tempfile.mkdtemp(prefix=prefix, dir="/var/tmp"))
    place.chmod(0o755)
    try:
        yield place
    finally:
        # Nothing below a mount that was left behind; a dying engine may still be writing beside it.
        subprocess.run(
            ["rm", "-rf", "--one-file-system", str(place)], stdin=subprocess.DEVNULL, check=False, timeout=120
        )
