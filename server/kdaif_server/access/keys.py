"""API keys ``kd_{id}_{secret}`` in one file of the server's disk, which holds the hashes of the secrets alone."""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import os
import re
import secrets
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kdaif.errors import FailedPreconditionError, NotFoundError, UnauthenticatedError
from kdaif.store import layout
from kdaif_server.access.caller import Caller
from kdaif_server.access.scopes import Scope

_FORM = re.compile(r"kd_([a-z0-9]{12})_([0-9a-f]{64})")
_LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"
_NO_SECRET = hashlib.sha256(b"").hexdigest()
_NEW_KEY = "Ask whoever runs the server for a new one: kdaif-server keys create"


class ApiKey(BaseModel):
    """What is kept of a key. Times are Unix seconds.

    ``sha256`` is of the secret, ``former_sha256`` of the one before the last rotation, which holds until
    ``former_until_s``. A secret has 256 random bits, so a plain hash is as strong as a slow one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern=r"^[a-z0-9]{12}$")
    tenant: str
    scopes: frozenset[Scope]
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", repr=False)
    created_at_s: int
    expires_at_s: int | None = None
    revoked_at_s: int | None = None
    former_sha256: str = Field(default="", repr=False)
    former_until_s: int = 0
    note: str = Field(default="", max_length=200)

    @property
    def state(self) -> str:
        """``active``, ``expired`` or ``revoked``."""
        if self.revoked_at_s is not None:
            return "revoked"
        return "expired" if self.expires_at_s is not None and self.expires_at_s <= time.time() else "active"

    def has(self, sha256: str) -> bool:
        """Whether a secret of this hash is the key's, or was until a while ago. Takes equally long for any hash."""
        is_now = hmac.compare_digest(self.sha256, sha256)
        was = hmac.compare_digest(self.former_sha256 or _NO_SECRET, sha256)
        return is_now or (was and bool(self.former_sha256) and time.time() < self.former_until_s)


class _Stored(BaseModel):
    model_config = ConfigDict(extra="forbid")

    version: int = Field(default=1, le=1)
    keys: list[ApiKey] = []


class KeyFile:
    """The keys of one server, or of several that mount the same file. Read again when the file changed.

    It lies on the server's disk and not in the blob store, because workers write there, and a worker is not believed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._keys: Mapping[str, ApiKey] = {}

    def all(self) -> list[ApiKey]:
        """All of them, oldest first. Raises FailedPreconditionError for a file that is not one of ours."""
        self._refresh()
        return sorted(self._keys.values(), key=lambda key: (key.created_at_s, key.id))

    def caller(self, presented: str) -> Caller:
        """Whose key it is.

        Raises:
            UnauthenticatedError: not a key, unknown, revoked or expired. Only who has the secret learns which.
        """
        form = _FORM.fullmatch(presented)
        if form is None:
            raise UnauthenticatedError(f"The API key has another form than kd_<id>_<secret>. {_NEW_KEY}.")
        sha256 = hashlib.sha256(form[2].encode()).hexdigest()
        self._refresh()
        return self._holding(form[1], sha256)

    def still(self, caller: Caller) -> None:
        """Raises UnauthenticatedError where the key that began a call holds no more."""
        self._refresh()
        self._holding(caller.key_id, caller.secret_sha256)

    def _holding(self, key_id: str, sha256: str) -> Caller:
        key = self._keys.get(key_id)
        if key is None:
            hmac.compare_digest(_NO_SECRET, sha256)
            raise UnauthenticatedError(f"The server does not know this API key. {_NEW_KEY}.")
        if not key.has(sha256):
            raise UnauthenticatedError(f"The server does not know this API key. {_NEW_KEY}.")
        if key.state != "active":
            raise UnauthenticatedError(f"The API key {key.id} is {key.state}. {_NEW_KEY}.")
        return Caller(key.tenant, key.id, key.scopes, key.expires_at_s, sha256)

    def create(
        self, tenant: str, scopes: frozenset[Scope], *, expires_after_s: float | None = None, note: str = ""
    ) -> tuple[ApiKey, str]:
        """A new key, and its one text. Raises InvalidInputError."""
        now, secret = int(time.time()), secrets.token_hex(32)
        key = ApiKey(
            id="".join(secrets.choice(_LETTERS) for _ in range(12)),
            tenant=layout.tenant_id(tenant),
            scopes=scopes,
            sha256=_sha256(secret),
            created_at_s=now,
            expires_at_s=None if expires_after_s is None else now + round(expires_after_s),
            note=note,
        )
        with self._changing() as keys:
            keys[key.id] = key
        return key, f"kd_{key.id}_{secret}"

    def revoke(self, key_id: str) -> ApiKey:
        """The key holds no more, from the next call on. Raises NotFoundError."""
        return self._change(
            key_id, lambda key: key.model_copy(update={"revoked_at_s": key.revoked_at_s or int(time.time())})
        )

    def rotate(self, key_id: str, *, grace_s: float) -> tuple[ApiKey, str]:
        """A new secret under the same id; the old one holds for ``grace_s`` more seconds.

        Raises:
            NotFoundError: no such key.
            FailedPreconditionError: it is revoked or expired.
        """
        secret = secrets.token_hex(32)

        def rotated(key: ApiKey) -> ApiKey:
            if key.state != "active":
                raise FailedPreconditionError(f"the key {key_id} is {key.state}; make a new one with keys create")
            return key.model_copy(
                update={
                    "sha256": _sha256(secret),
                    "former_sha256": key.sha256,
                    "former_until_s": int(time.time() + grace_s),
                }
            )

        return self._change(key_id, rotated), f"kd_{key_id}_{secret}"

    def _change(self, key_id: str, change: Callable[[ApiKey], ApiKey]) -> ApiKey:
        with self._changing() as keys:
            if key_id not in keys:
                raise NotFoundError(f"no key {key_id!r} in {self._path}; see: kdaif-server keys list")
            keys[key_id] = change(keys[key_id])
            return keys[key_id]

    @contextmanager
    def _changing(self) -> Iterator[dict[str, ApiKey]]:
        """The keys to change, under a lock; written as a whole or not at all."""
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._path.with_suffix(".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._refresh()
            keys = dict(self._keys)
            yield keys
            part = self._path.with_suffix(".part")
            part.unlink(missing_ok=True)
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(_Stored(keys=list(keys.values())).model_dump_json(indent=1) + "\n")
                file.flush()
                os.fsync(file.fileno())
            part.replace(self._path)
            _sync_folder(self._path.parent)

    def _refresh(self) -> None:
        """A stat for each call, which takes microseconds; so a revoked key ends at once."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            self._seen, self._keys = None, {}
            return
        seen = (found.st_mtime_ns, found.st_size, found.st_ino)
        if seen == self._seen:
            return
        if found.st_mode & stat.S_IWOTH:
            raise FailedPreconditionError(f"everybody may write {self._path}, and so make keys: chmod o-w {self._path}")
        try:
            stored = _Stored.model_validate_json(self._path.read_bytes())
        except ValidationError as error:
            raise FailedPreconditionError(
                f"{self._path} is no file of API keys ({error.error_count()} errors); restore it, or give another by "
                "KDAIF_KEYS_FILE"
            ) from None
        self._seen, self._keys = seen, {key.id: key for key in stored.keys}


def _sha256(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
