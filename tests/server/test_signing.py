"""The server's signature, and the client that checks it."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from kdaif_client._signature import SIGNATURE, check, check_file, write_signature
from kdaif_client.errors import CorruptDownload, InvalidArgument
from kdaif_client.types import BundleSignature
from kdaif_server.signing import ALGORITHM, SigningKey

from kdaif.errors import FailedPreconditionError

STUDENT, SHA256 = "tenants/acme/students/j1", "ab" * 32


def signed(key: SigningKey, student: str = STUDENT, sha256: str = SHA256) -> BundleSignature:
    made = key.sign(student, sha256)
    return BundleSignature(made.key_id, ALGORITHM, made.signature)


@pytest.fixture
def key(tmp_path: Path) -> SigningKey:
    return SigningKey.at(tmp_path / "access" / "signing_key.pem")


@pytest.fixture
def public_key(key: SigningKey, tmp_path: Path) -> Path:
    file = tmp_path / "public.pem"
    file.write_text(key.public_pem())
    return file


def test_a_key_is_made_once_and_for_one_reader(key: SigningKey, tmp_path: Path) -> None:
    file = tmp_path / "access" / "signing_key.pem"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert SigningKey.at(file).key_id == key.key_id
    assert [each.name for each in file.parent.iterdir()] == ["signing_key.pem"]


def test_what_the_server_signed_passes_and_nothing_else(key: SigningKey, public_key: Path, tmp_path: Path) -> None:
    check(signed(key), STUDENT, SHA256, public_key)
    for student, sha256, signature in (
        ("tenants/acme/students/j2", SHA256, signed(key)),
        (STUDENT, "cd" * 32, signed(key)),
        (STUDENT, SHA256, signed(SigningKey.at(tmp_path / "other.pem"))),
        (STUDENT, SHA256, BundleSignature(key.key_id, ALGORITHM, b"")),
        (STUDENT, SHA256, None),
    ):
        with pytest.raises(CorruptDownload, match="signed"):
            check(signature, student, sha256, public_key)


def test_a_signature_is_checked_again_without_a_server(key: SigningKey, public_key: Path, tmp_path: Path) -> None:
    folder = tmp_path / "student"
    folder.mkdir()
    with pytest.raises(CorruptDownload, match=SIGNATURE):
        check_file(folder, SHA256, public_key)
    write_signature(folder, STUDENT, SHA256, signed(key))
    check_file(folder, SHA256, public_key)
    with pytest.raises(CorruptDownload, match="not signed by"):
        check_file(folder, "cd" * 32, public_key)
    (folder / SIGNATURE).write_text("{}")
    with pytest.raises(CorruptDownload, match="no signature"):
        check_file(folder, SHA256, public_key)


def test_files_that_hold_no_such_key_are_refused(key: SigningKey, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("nothing")
    with pytest.raises(FailedPreconditionError, match="cannot be used"):
        SigningKey.at(wrong)
    with pytest.raises(InvalidArgument, match="cannot be used"):
        check(signed(key), STUDENT, SHA256, wrong)
