"""Page sizes and page tokens."""

from __future__ import annotations

import base64

from kdaif.errors import InvalidInputError


def page_size(asked: int, *, default: int, most: int) -> int:
    """The size to use: the default for 0, never over ``most``."""
    if asked < 0:
        raise InvalidInputError.of("page_size", f"is {asked}; use 0 for the default of {default}, or up to {most}")
    return min(asked or default, most)


def encode_token(cursor: str) -> str:
    """An opaque, URL-safe token; empty for an empty cursor."""
    return base64.urlsafe_b64encode(cursor.encode()).decode() if cursor else ""


def decode_token(token: str, field: str = "page_token") -> str:
    """The cursor in a token. Raises InvalidInputError for anything that this server did not make."""
    try:
        return base64.b64decode(token, altchars=b"-_", validate=True).decode()
    except ValueError as error:
        raise InvalidInputError.of(field, "is not a token of this server; start again without one") from error
