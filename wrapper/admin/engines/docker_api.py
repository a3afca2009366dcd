"""What dockerd says of itself over its socket (Docker Engine API, `GET /info`)."""

from __future__ import annotations

import http.client
import json
import socket
from typing import Any

from hookrun.runtime.errors import Failure, reason
from hookrun.wrapper.admin.engines.engine import option

_DEFAULT = "/var/run/docker.sock"
_PATIENCE = 30  # seconds
_UNIX = "unix://"


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_PATIENCE)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_PATIENCE)
        self.sock.connect(self._path)


def socket_of(words: list[str], config: dict[str, Any]) -> str:
    """The path of a dockerd's socket, by its command line and its daemon.json."""
    hosts = [option(words, "--host", "-H"), *config.get("hosts", [])]
    return next((host.removeprefix(_UNIX) for host in hosts if host.startswith(_UNIX)), _DEFAULT)


def info(path: str) -> dict[str, Any]:
    """The daemon's `info`. Raises Failure."""
    connection = _UnixConnection(path)
    try:
        connection.request("GET", "/info")
        found: dict[str, Any] = json.load(connection.getresponse())
    except OSError as error:
        raise Failure(f"cannot ask dockerd at {path}: {reason(error)}") from None
    except (http.client.HTTPException, ValueError):
        raise Failure(f"cannot ask dockerd at {path}: what answers there does not speak its API") from None
    finally:
        connection.close()
    return found
