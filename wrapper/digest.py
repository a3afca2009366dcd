"""SHA-256 by Python's own C module: hookrun-start has no OpenSSL, which `hashlib` looks for."""

from __future__ import annotations

try:
    from _sha256 import sha256
except ImportError:  # its name since Python 3.12
    from _sha2 import sha256


def sha256_hex(data: bytes) -> str:
    """The SHA-256 of some bytes in hexadecimal."""
    digest: str = sha256(data).hexdigest()
    return digest
