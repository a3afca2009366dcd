"""A web server for a fleet's public directory: with ETag and Range like any, and with faults on demand."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Web:
    """What is served from where, what was asked for, and what is to go wrong."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.asked: list[tuple[str, int]] = []  # path and status
        self.cut: dict[str, int] = {}  # by the path's end: the connection breaks after so many bytes, once
        self.endless: str = ""  # what ends so has no end
        self.url = ""


class _Handler(BaseHTTPRequestHandler):
    web: Web

    def log_message(self, *words: object) -> None:
        pass

    def do_GET(self) -> None:
        path = self.web.directory / self.path.lstrip("/")
        if self.web.endless and self.path.endswith(self.web.endless):
            self._send_for_ever()
        elif not path.is_file():
            self._answer(404, b"")
        else:
            self._send(path.read_bytes())

    def _send(self, data: bytes) -> None:
        tag = f'"{hashlib.sha256(data).hexdigest()}"'
        if self.headers.get("If-None-Match") == tag:
            self._answer(304, b"", tag)
            return
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        if start and start >= len(data):
            self._answer(416, b"")
        else:
            self._answer(206 if start else 200, data[start:], tag)

    def _answer(self, status: int, data: bytes, tag: str = "") -> None:
        self.web.asked.append((self.path, status))
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        if tag:
            self.send_header("ETag", tag)
        self.end_headers()
        end = next((self.web.cut.pop(word) for word in list(self.web.cut) if self.path.endswith(word)), None)
        self.wfile.write(data[:end])
        if end is not None:
            self.close_connection = True

    def _send_for_ever(self) -> None:
        self.send_response(200)
        self.end_headers()
        try:
            while True:
                self.wfile.write(bytes(65536))
        except OSError:
            pass


@contextmanager
def served(directory: Path) -> Iterator[Web]:
    """A directory, served on a port of the system's choice."""
    web = Web(directory)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"web": web}))
    web.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield web
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
