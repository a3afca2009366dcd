"""Who signs: keys in files with a passphrase, a program of one's own, or any signer that securesystemslib knows.

A signer is named by a URI: `file:PATH` (PEM, PKCS #8, encrypted), `exec:PATH` (a program that gets the payload on its
standard input and prints the signature in hexadecimal), `hsm:KEYID?label=TOKEN` (a PKCS #11 token, whose library the
environment's PYKCS11LIB names), and others as securesystemslib has them.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from getpass import getpass
from pathlib import Path
from urllib.parse import unquote_plus

from cryptography.hazmat.primitives import serialization
from securesystemslib.signer import CryptoSigner, HSMSigner, Key, SecretsHandler, Signature, Signer, SSlibKey

from hookrun.runtime.errors import Failure, reason

PASSPHRASE, PIN = "HOOKCTL_FLEET_PASSPHRASE", "HOOKCTL_FLEET_PIN"
TOKEN = "hsm:"
_FILE, _EXEC = "file:", "exec:"
_PATIENCE = 300  # seconds, for a program that asks somebody

Ask = Callable[[], str]


class Program(Signer):
    """A program that signs."""

    def __init__(self, path: str, key: Key) -> None:
        self._path = path
        self._key = key

    @classmethod
    def from_priv_key_uri(
        cls, priv_key_uri: str, public_key: Key, secrets_handler: SecretsHandler | None = None
    ) -> Program:
        """From `exec:PATH`; the program asks for its secrets itself."""
        return cls(priv_key_uri.removeprefix(_EXEC), public_key)

    @property
    def public_key(self) -> Key:
        return self._key

    def sign(self, payload: bytes) -> Signature:
        """Raises Failure."""
        try:
            done = subprocess.run([self._path], input=payload, capture_output=True, timeout=_PATIENCE, check=False)
        except OSError as error:
            raise Failure(f"cannot run {self._path}: {reason(error)}") from None
        except subprocess.TimeoutExpired:
            raise Failure(f"{self._path} did not sign within {_PATIENCE} seconds") from None
        if done.returncode:
            raise Failure(
                f"{self._path} failed with status {done.returncode}: {done.stderr.decode(errors='replace').strip()}"
            )
        signature = done.stdout.decode("ascii", "replace").strip()
        if not signature or set(signature) - set("0123456789abcdefABCDEF"):
            raise Failure(f"{self._path}: it must print the signature in hexadecimal and nothing else")
        return Signature(self._key.keyid, signature)


def new(path: Path, passphrase: str) -> SSlibKey:
    """Make an Ed25519 key and write it, encrypted; returns its public half. Raises Failure."""
    signer = CryptoSigner.generate_ed25519()
    key = serialization.load_pem_private_key(signer.private_bytes, None)
    data = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(passphrase.encode()),
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with open(path, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(data)
    except FileExistsError:
        raise Failure(f"{path} already exists") from None
    except OSError as error:
        raise Failure(f"cannot write {path}: {reason(error)}") from None
    return signer.public_key


def public(path: Path) -> SSlibKey:
    """A public key in a PEM file. Raises Failure."""
    try:
        return SSlibKey.from_crypto(serialization.load_pem_public_key(path.read_bytes()))
    except OSError as error:
        raise Failure(f"cannot read {path}: {reason(error)}") from None
    except ValueError:
        raise Failure(f"{path}: not a public key in PEM") from None


def signer(uri: str, key: Key, directory: Path, ask: Ask) -> Signer | None:
    """Who signs for a key; None for a file that is elsewhere, as an offline root's is.

    Relative paths are below `directory`; `ask` gives the passphrase. Raises Failure.
    """
    if uri.startswith(_EXEC):
        return Program.from_priv_key_uri(f"{_EXEC}{directory / uri.removeprefix(_EXEC)}", key)
    if uri.startswith(_FILE):
        return _file(directory / uri.removeprefix(_FILE), key, ask)
    try:
        return Signer.from_priv_key_uri(uri, key, lambda _: _pin(uri))
    except Exception as error:  # each of securesystemslib's signers raises errors of its own
        raise Failure(f"cannot sign with {uri}: {told(error)}") from None


def of_token(uri: str) -> SSlibKey:
    """The public half of a key on a PKCS #11 token. Raises Failure."""
    place, _, label = uri.removeprefix(TOKEN).partition("?label=")
    if place and not place.isdecimal():
        raise Failure(f"{uri}: give hsm:KEYID?label=TOKEN, the key's id a number")
    try:
        found = HSMSigner.import_(int(place) if place else None, unquote_plus(label) or None, lambda _: _pin(uri))
    except Exception as error:
        raise Failure(f"cannot read the key of {uri}: {told(error)}") from None
    return found[1]


def told(error: BaseException) -> str:
    """What a signer complains of. A token's errors often have no text: their names are PKCS #11's conditions."""
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(error).__name__).lower()
    return " ".join(str(error).split()) or name


def _pin(uri: str) -> str:
    return _secret(PIN, f"PIN of {uri}")


def _file(path: Path, key: Key, ask: Ask) -> Signer | None:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Failure(f"cannot read {path}: {reason(error)}") from None
    try:
        private = serialization.load_pem_private_key(data, ask().encode())
    except (ValueError, TypeError):
        raise Failure(f"{path}: wrong passphrase, or the key is damaged") from None
    assert isinstance(key, SSlibKey)
    return CryptoSigner(private, key)


def asked(*, twice: bool = False) -> str:
    """The passphrase of the keys: from the environment, else from the terminal. Raises Failure."""
    found = _secret(PASSPHRASE, "passphrase of the keys")
    if twice and PASSPHRASE not in os.environ and getpass("Once more: ") != found:
        raise Failure("the two passphrases differ")
    if not found:
        raise Failure("an empty passphrase protects nothing")
    return found


def _secret(variable: str, what: str) -> str:
    given = os.environ.get(variable)
    if given:
        return given
    if not sys.stdin.isatty():
        raise Failure(f"nobody to ask for the {what}: set {variable}")
    return getpass(f"{what[0].upper()}{what[1:]}: ")
