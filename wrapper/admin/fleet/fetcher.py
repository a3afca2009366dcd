"""How a host downloads: by HTTP, from mirrors in turn, through a proxy, no more than has changed.

What was fetched before is asked for with its ETag. A bundle whose download broke off goes on where it ended; TUF checks
length and hash of the whole. Proxies are those of the environment (https_proxy, no_proxy).
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from tuf.api.exceptions import DownloadError, DownloadHTTPError, DownloadLengthMismatchError, SlowRetrievalError
from tuf.ngclient import FetcherInterface

from hookrun.wrapper import VERSION
from hookrun.wrapper.admin import files
from hookrun.wrapper.admin.fleet.bundle import MOST_PACKED

_BLOCK = 64 * 1024
_TRIES = 3
_SECONDS = 30  # without a byte
_LONGEST = 600  # seconds, for one file
_KEPT = 1024 * 1024  # bytes: metadata is smaller
_OK, _PARTIAL, _NOT_MODIFIED, _BAD_RANGE = 200, 206, 304, 416


class Fetcher(FetcherInterface):
    """Downloads for python-tuf. `bases` are the mirrors, the first one the URL that TUF was given."""

    def __init__(self, bases: list[str], cache: Path, ca: str = "", tries: int = _TRIES) -> None:
        self._bases = bases
        self._cache = cache
        self._ca = ca or None
        self._tries = tries
        # One for all requests of a look: a connection that is open spares the next one TLS's beginning.
        self._pools: dict[str, urllib3.PoolManager] = {}
        self.requests = 0
        self.received = 0  # bytes
        cache.mkdir(parents=True, exist_ok=True, mode=0o700)

    def _fetch(self, url: str) -> Iterator[bytes]:
        """Raises DownloadError."""
        problem: Exception = DownloadError(url)
        for base in self._bases:
            try:
                return self._fetched(base + url.removeprefix(self._bases[0]), url)
            except DownloadHTTPError as error:
                if error.status_code in (403, 404):  # how TUF finds the end of the chain of roots
                    raise
                problem = error
            except (urllib3.exceptions.HTTPError, OSError) as error:
                problem = error
        if isinstance(problem, DownloadHTTPError):
            raise problem
        raise DownloadError(f"{self._bases[0]}: {_told(problem)}") from None

    def _fetched(self, place: str, url: str) -> Iterator[bytes]:
        if "/targets/" in url:
            return self._bundle(place, self._cache / f"{_name(url)}.part")
        kept = self._cache / _name(url)
        tag, body = _tagged(kept)
        response = self._get(place, {"If-None-Match": tag} if tag else {})
        if response.status == _NOT_MODIFIED:
            response.release_conn()
            return iter([body])
        return self._kept(response, kept)

    def _kept(self, response: Any, kept: Path) -> Iterator[bytes]:
        """A small file's bytes, remembered with their ETag once they are whole."""
        parts = []
        size = 0
        for part in self._stream(response):
            parts.append(part)
            size += len(part)
            yield part
            if size > _KEPT:
                parts.clear()
        tag = response.headers.get("ETag", "")
        if tag and parts and size <= _KEPT:
            files.replace_bytes(kept, json.dumps({"tag": tag}).encode() + b"\n" + b"".join(parts))

    def _bundle(self, place: str, part: Path) -> Iterator[bytes]:
        """A large file's bytes; what arrived before a failure is not asked for again."""
        for left in range(self._tries - 1, -1, -1):
            have = part.stat().st_size if part.exists() else 0
            response = self._get(place, {"Range": f"bytes={have}-"} if have else {})
            try:
                with part.open("ab" if response.status == _PARTIAL else "wb") as file:
                    for block in self._stream(response):
                        if file.tell() > MOST_PACKED:
                            raise DownloadLengthMismatchError(f"{place}: more than {MOST_PACKED} bytes")
                        file.write(block)
                break
            except DownloadLengthMismatchError:
                part.unlink()
                raise
            except DownloadError:
                if not left:
                    raise
        data = part.read_bytes()
        part.unlink()
        return iter([data])

    def _get(self, place: str, headers: dict[str, str]) -> Any:
        self.requests += 1
        response = self._pool(place).request(
            "GET",
            place,
            headers={"User-Agent": f"hookrun/{VERSION}", **headers},
            preload_content=False,
            decode_content=False,
            enforce_content_length=False,  # urllib3 would throw away what came before the end: see _stream
            timeout=urllib3.Timeout(_SECONDS),
            retries=urllib3.Retry(1, redirect=3, status=0),
        )
        if response.status == _BAD_RANGE:  # what is kept is longer than the file: it is another one's
            response.release_conn()
            return self._get(place, {})
        if response.status not in (_OK, _PARTIAL, _NOT_MODIFIED):
            if int(response.headers.get("Content-Length", _BLOCK)) < _BLOCK:
                response.drain_conn()  # the connection is good for the next request
            response.close()
            raise DownloadHTTPError(f"{place}: HTTP status {response.status}", response.status)
        return response

    def _pool(self, place: str) -> urllib3.PoolManager:
        parts = urlsplit(place)
        proxy = "" if proxy_bypass(parts.hostname or "") else getproxies().get(parts.scheme, "")
        if proxy not in self._pools:
            options: dict[str, Any] = {"ca_certs": self._ca, "cert_reqs": "CERT_REQUIRED"}
            pool = urllib3.ProxyManager(proxy, **options) if proxy else urllib3.PoolManager(**options)
            self._pools[proxy] = pool
        return self._pools[proxy]

    def _stream(self, response: Any) -> Iterator[bytes]:
        end = time.monotonic() + _LONGEST
        missing = int(response.headers.get("Content-Length", 0))
        try:
            for block in response.stream(_BLOCK):
                if time.monotonic() > end:
                    raise SlowRetrievalError(f"not finished after {_LONGEST} seconds")
                self.received += len(block)
                missing -= len(block)
                yield block
            if missing > 0:
                raise DownloadError("the connection broke")
        except urllib3.exceptions.TimeoutError:
            raise SlowRetrievalError(f"no byte for {_SECONDS} seconds") from None
        except urllib3.exceptions.HTTPError as error:
            raise DownloadError(_told(error)) from None
        finally:
            response.release_conn()


def _told(error: BaseException) -> str:
    """What went wrong, without urllib3's own wrapping."""
    if isinstance(error, urllib3.exceptions.MaxRetryError) and error.reason is not None:
        return _told(error.reason)
    if isinstance(error, urllib3.exceptions.ProxyError):
        return f"the proxy: {_told(error.original_error)}"
    if isinstance(error, urllib3.exceptions.NewConnectionError):
        return "no connection"
    if isinstance(error, urllib3.exceptions.SSLError):
        return "TLS: its certificate is not one of the CA's"
    if isinstance(error, urllib3.exceptions.TimeoutError):
        return "no answer in time"
    return "the connection broke"


def _name(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()


def _tagged(path: Path) -> tuple[str, bytes]:
    try:
        head, _, body = path.read_bytes().partition(b"\n")
        return str(json.loads(head)["tag"]), body
    except (OSError, ValueError, KeyError, TypeError):
        return "", b""
