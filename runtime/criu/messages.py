"""The messages of CRIU's RPC and of its statistics, by the library protobuf."""

from __future__ import annotations

import site
import sys

import hookrun
from hookrun.runtime.errors import Failure
from hookrun.runtime.linux import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

if sys.flags.no_site:  # as the launchers start: the library lies beside hookrun, or where the system's are
    sys.path += [os.path.dirname(next(iter(hookrun.__path__))), *site.getsitepackages()]

try:
    from hookrun.runtime.criu import rpc_pb2, stats_pb2
except (ImportError, TypeError) as problem:  # TypeError: a protobuf that does not take what protoc made
    raise Failure(
        f"checkpoint and restore need Python's protobuf, 3.20 or later: install python3-protobuf ({problem})"
    ) from None

rpc: Any = rpc_pb2
stats: Any = stats_pb2
