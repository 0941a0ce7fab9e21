"""Resource names: ``tenants/{tenant}/{collection}/{id}``."""

from __future__ import annotations

from typing import Any

from kdaif_client.errors import InvalidArgument


def resource_name(tenant: str, collection: str, given: Any, field: str = "name") -> str:
    """The full resource name for a full name or a bare id."""
    name = given.name if hasattr(given, "name") else given
    if not isinstance(name, str) or not name:
        raise InvalidArgument.of(field, f"needs a resource name or an id, not {given!r}")
    return name if "/" in name else f"tenants/{tenant}/{collection}/{name}"
