"""SHA-256 through Python's own C module: `import hashlib` would bring OpenSSL, and 4 ms."""

from __future__ import annotations


def sha256_hex(data: bytes) -> str:
    """The SHA-256 of some bytes in hexadecimal."""
    try:
        from _sha256 import sha256
    except ImportError:  # its name since Python 3.12
        from _sha2 import sha256
    digest: str = sha256(data).hexdigest()
    return digest
