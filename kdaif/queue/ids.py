"""Job ids, and the checks of names that become part of a Redis key."""

from __future__ import annotations

import re
import secrets

from kdaif.errors import InvalidInputError

DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"
"""Of a job id. Crockford's: no i, l, o, u, so that an id can be read aloud."""

_JOB_ID = re.compile(rf"[{DIGITS}]{{26}}")
_SHARD_ID = re.compile(rf"[{DIGITS}]{{26}}-[0-9a-f]{{16}}-[0-9]{{4,}}")
# No braces: they would move the hash tag of every key.
_TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")


def random_end() -> str:
    """The last 16 of the 26 digits of a job id. Before them stands the time, which Redis knows."""
    number = secrets.randbits(80)
    return "".join(DIGITS[(number >> shift) & 31] for shift in range(75, -1, -5))


def is_job_id(text: str) -> bool:
    """Whether ``text`` may be one: 26 digits."""
    return _JOB_ID.fullmatch(text) is not None


def is_shard_id(text: str) -> bool:
    """Whether ``text`` may be the id of a shard, which only workers see: that of its job and `Shard.end_of_id`."""
    return _SHARD_ID.fullmatch(text) is not None


def check_tenant(tenant: str) -> None:
    """Raises InvalidInputError."""
    if _TENANT.fullmatch(tenant) is None:
        raise InvalidInputError.of(
            "tenant", f"is {tenant!r}; use 1 to 63 of A-Z a-z 0-9 . _ - with a letter or digit first"
        )


def check_request_id(request_id: str) -> None:
    """Raises InvalidInputError."""
    if _REQUEST_ID.fullmatch(request_id) is None:
        raise InvalidInputError.of(
            "request_id", "must be 1 to 128 printable ASCII characters without spaces, for example a UUID"
        )
