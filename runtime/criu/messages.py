"""The messages of CRIU's RPC and of its statistics, by the library protobuf."""

from __future__ import annotations

import contextlib
import os
import site
import sys
from collections.abc import Iterator
from typing import Any

import hookrun
from hookrun.runtime.errors import Failure

if sys.flags.no_site:  # as the launchers start: the library lies beside hookrun, or where the system's are
    sys.path += [os.path.dirname(next(iter(hookrun.__path__))), *site.getsitepackages()]

try:
    from google.protobuf.message import DecodeError

    from hookrun.runtime.criu import rpc_pb2, stats_pb2
except (ImportError, TypeError):  # TypeError: a protobuf that does not take what protoc made
    raise Failure(
        "checkpoint and restore need Python's library protobuf, 3.20 or later: install python3-protobuf"
    ) from None

rpc: Any = rpc_pb2
stats: Any = stats_pb2

__all__ = ["DecodeError", "filling", "rpc", "stats"]


@contextlib.contextmanager
def filling() -> Iterator[None]:
    """Raise Failure where a text that is put into a message is not UTF-8, which is all that protobuf takes."""
    try:
        yield
    except UnicodeEncodeError as error:
        raise Failure(f"{error.object!r} is not UTF-8: CRIU can't be told of it") from None
