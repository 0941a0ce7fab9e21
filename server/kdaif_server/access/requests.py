"""The tenant that a request is about, read from its resource name."""

from __future__ import annotations

import functools
from typing import Any

from google.protobuf.message import Message

NAME_FIELDS = ("name", "parent")
"""Every request has exactly one of these, and the tenant is in it."""

_PREFIX = "tenants/"


def resource_of(request: Message) -> str:
    """The resource name that the request is about; empty where it has none."""
    kind: Any = type(request)  # mypy takes the hash of a message for that of its class
    field = _name_field(kind)
    return str(getattr(request, field)) if field else ""


@functools.cache
def _name_field(kind: Any) -> str:
    return next((field for field in NAME_FIELDS if field in kind.DESCRIPTOR.fields_by_name), "")


def tenant_of(resource: str) -> str:
    """The tenant in a resource name; empty for a name of another form, which the service then refuses."""
    return resource.removeprefix(_PREFIX).partition("/")[0] if resource.startswith(_PREFIX) else ""
