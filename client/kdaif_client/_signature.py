"""The server's signature of a bundle, checked against a public key that was fetched once and is trusted since."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from kdaif_client.errors import CorruptDownload, InvalidArgument, MissingDependency
from kdaif_client.types import BundleSignature

SIGNATURE = "signature.json"


def write_signature(folder: Path, student: str, manifest_sha256: str, signature: BundleSignature) -> None:
    """Beside the manifest, so that it can be checked without the server."""
    told = {
        "format_version": 1,
        "student": student,
        "manifest_sha256": manifest_sha256,
        "algorithm": signature.algorithm,
        "key_id": signature.key_id,
        "signature": base64.b64encode(signature.signature).decode(),
    }
    (folder / SIGNATURE).write_text(json.dumps(told, indent=1) + "\n")


def check_file(folder: Path, manifest_sha256: str, public_key: Path) -> None:
    """Of a bundle on the disk, whose manifest has this hash.

    Raises:
        CorruptDownload: there is no signature, or it is not of this manifest by this key.
    """
    told = _read(folder)
    if told is None:
        raise CorruptDownload(f"{folder} has no {SIGNATURE}, and a signed student was asked for; pull it again.")
    check(told.signature, told.student, manifest_sha256, public_key)


def check_hash(folder: Path, manifest_sha256: str) -> None:
    """Against damage, for whoever has no key: the signature, where there is one, must be of the manifest beside it.

    Raises:
        CorruptDownload: it is of another manifest, or no signature at all.
    """
    told = _read(folder)
    if told is not None and told.manifest_sha256 != manifest_sha256:
        raise CorruptDownload(
            f"manifest.json of {folder} is not what was published: it has SHA-256 {manifest_sha256}, where {SIGNATURE} "
            f"says {told.manifest_sha256}; pull the student again."
        )


@dataclass(frozen=True)
class _Told:
    student: str
    manifest_sha256: str
    signature: BundleSignature


def _read(folder: Path) -> _Told | None:
    file = folder / SIGNATURE
    if not file.is_file():
        return None
    try:
        told = json.loads(file.read_bytes())
        made = base64.b64decode(told["signature"], validate=True)
        signature = BundleSignature(str(told["key_id"]), str(told["algorithm"]), made)
        return _Told(str(told["student"]), str(told["manifest_sha256"]), signature)
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptDownload(f"{file} is no signature of kdaif ({error!r}); pull the student again.") from None


def check(signature: BundleSignature | None, student: str, manifest_sha256: str, public_key: Path) -> None:
    """Raises CorruptDownload unless the key signed this manifest as that of the student."""
    key = _key(public_key)
    if signature is None:
        raise CorruptDownload(f"{student} is not signed, and a signed student was asked for; it is not used.")
    statement = f"kdaif-bundle 1\n{student}\n{manifest_sha256}\n".encode()
    exceptions = import_module("cryptography.exceptions")
    try:
        key.verify(signature.signature, statement)
    except exceptions.InvalidSignature:
        raise CorruptDownload(
            f"{student} was not signed by {public_key}: its signature names the key {signature.key_id}. Somebody "
            "changed the bundle, or the server has another key now; ask whoever runs it before you trust that one."
        ) from None


def _key(file: Path) -> Any:
    try:
        serialization = import_module("cryptography.hazmat.primitives.serialization")
        ed25519 = import_module("cryptography.hazmat.primitives.asymmetric.ed25519")
    except ImportError as error:
        raise MissingDependency(
            "cryptography is not installed here, and signatures need it. Install it with: "
            "pip install 'kdaif-client[signed]'"
        ) from error
    try:
        key = serialization.load_pem_public_key(file.expanduser().read_bytes())
    except (OSError, ValueError) as error:
        raise InvalidArgument.of("public_key", f"{file} cannot be used ({error}); give the PEM file") from None
    if not isinstance(key, ed25519.Ed25519PublicKey):
        raise InvalidArgument.of("public_key", f"{file} is no Ed25519 key")
    return key
