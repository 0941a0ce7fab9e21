"""The server's signature of students: that it published this manifest, and so every file that the manifest hashes."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from kdaif.errors import FailedPreconditionError

ALGORITHM = "Ed25519"


@dataclass(frozen=True)
class Signature:
    """What a client checks: the signature of `statement`, and by which key it was made."""

    key_id: str
    signature: bytes


class SigningKey:
    """An Ed25519 key of this installation. Servers that share a store should share the file."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self._public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    @classmethod
    def at(cls, file: Path) -> SigningKey:
        """The key in a PEM file; where there is none it is made, readable for this user alone.

        Raises:
            FailedPreconditionError: the file holds no Ed25519 key, or cannot be read or written.
        """
        try:
            if not file.exists():
                _write_new(file)
            key = load_pem_private_key(file.read_bytes(), password=None)
        except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise FailedPreconditionError(f"the signing key {file} cannot be used ({error}); give another") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise FailedPreconditionError(f"the signing key {file} is not an Ed25519 key; give another")
        return cls(key)

    def sign(self, student: str, manifest_sha256: str) -> Signature:
        """Of the student of that name, whose ``manifest.json`` has that hash."""
        return Signature(self.key_id, self._key.sign(statement(student, manifest_sha256)))

    @property
    def key_id(self) -> str:
        """Names the key: the first 16 hexadecimal digits of its public half's SHA-256."""
        return hashlib.sha256(self._public).hexdigest()[:16]

    def public_pem(self) -> str:
        """The public half, as clients pin it."""
        return self._key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def statement(student: str, manifest_sha256: str) -> bytes:
    """The bytes that are signed."""
    return f"kdaif-bundle 1\n{student}\n{manifest_sha256}\n".encode()


def _write_new(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    staged = file.with_name(f".{file.name}.{os.getpid()}")
    descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as handle:
        handle.write(pem)
        handle.flush()
        os.fsync(handle.fileno())
    try:
        os.link(staged, file)  # two servers that start at once agree on one key
    except FileExistsError:
        pass
    finally:
        staged.unlink()
