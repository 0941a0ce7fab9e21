"""Resource names: ``tenants/{tenant}/{collection}/{id}``."""

from __future__ import annotations

import re

from kdaif.errors import InvalidInputError

_TENANT = r"[a-z0-9][a-z0-9-]{0,62}"
_ID = r"[a-z0-9]{1,64}"


def dataset_name(tenant: str, dataset_id: str) -> str:
    """``tenants/{tenant}/datasets/{dataset}``."""
    return f"tenants/{tenant}/datasets/{dataset_id}"


def job_name(tenant: str, job_id: str) -> str:
    """``tenants/{tenant}/distillationJobs/{job}``."""
    return f"tenants/{tenant}/distillationJobs/{job_id}"


def student_name(tenant: str, job_id: str) -> str:
    """``tenants/{tenant}/students/{student}``; a student has the id of the job that made it."""
    return f"tenants/{tenant}/students/{job_id}"


def line_name(tenant: str, line: str) -> str:
    """``tenants/{tenant}/lines/{line}``."""
    return f"tenants/{tenant}/lines/{line}"


def line_id(line: str) -> str:
    """The line's own name, "default" where none was given. Raises InvalidInputError."""
    if line and re.fullmatch(_TENANT, line) is None:
        raise InvalidInputError.of(
            "line", f"is {line[:100]!r}; write lower-case letters, digits and hyphens, at most 63, such as intents"
        )
    return line or "default"


def parse_parent(parent: str) -> str:
    """Tenant of ``tenants/{tenant}``. Raises InvalidInputError."""
    match = re.fullmatch(rf"tenants/({_TENANT})", parent)
    if match is None:
        raise InvalidInputError.of("parent", f"is {parent!r}; write tenants/{{tenant}}, for example tenants/default")
    return match[1]


def parse_name(name: str, collection: str, field: str = "name") -> tuple[str, str]:
    """Tenant and id of a resource name. Raises InvalidInputError that shows the form expected."""
    match = re.fullmatch(rf"tenants/({_TENANT})/{collection}/({_ID})", name)
    if match is None:
        raise InvalidInputError.of(field, f"is {name!r}; write tenants/{{tenant}}/{collection}/{{id}}")
    return match[1], match[2]
