"""What all commands share: options, the connection, errors as exit codes, and JSON."""

from __future__ import annotations

import base64
import dataclasses
import json
import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import typer
from rich.console import Console

from kdaif_client import errors
from kdaif_client._client import Client
from kdaif_client._convert_spec import spec_to_json
from kdaif_client._credentials import read_key
from kdaif_client.spec import Spec

DEFAULT_TARGET = "localhost:50051"

Target = Annotated[str, typer.Option("--target", envvar="KDAIF_TARGET", help="host:port of the server.")]
Tenant = Annotated[str, typer.Option("--tenant", envvar="KDAIF_TENANT", help="Whose data sets and jobs.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on the output and nothing else.")]
JobArgument = Annotated[str, typer.Argument(metavar="JOB", help="Id or resource name of the job.", show_default=False)]

_shown: ContextVar[Mapping[str, Any]] = ContextVar("shown", default=MappingProxyType({}))

_EXIT_FAILED = 1
_EXIT_INTERRUPTED = 130
_EXIT_CODES: dict[type[errors.KdaifClientError], int] = {
    errors.InvalidArgument: 2,
    errors.Unauthenticated: 2,
    errors.PermissionDenied: 2,
    errors.AlreadyExists: 2,
    errors.FailedPrecondition: 2,
    errors.NotFound: 3,
    errors.Unavailable: 4,
    errors.DeadlineExceeded: 4,
}


@contextmanager
def connection(target: str, tenant: str, *, on_interrupt: str = "", upload_streams: int = 1) -> Iterator[Client]:
    """A client for the time of one command."""
    with exit_codes(on_interrupt), Client(target, tenant, upload_streams=upload_streams, **_shown.get()) as client:
        yield client


def show_credentials(*, api_key_file: Path | None, **files: Any) -> None:
    """What `connection` shows from now on; for what is None the client looks into the environment."""
    with exit_codes():
        _shown.set({"api_key": None if api_key_file is None else read_key(api_key_file), **files})


@contextmanager
def exit_codes(on_interrupt: str = "") -> Iterator[None]:
    """Tells errors on the error stream, without a traceback, and ends with the code that the manual promises."""
    try:
        yield
    except errors.KdaifClientError as error:
        complain(str(error))
        code = next((code for kind, code in _EXIT_CODES.items() if isinstance(error, kind)), _EXIT_FAILED)
        raise typer.Exit(code) from None
    except BrokenPipeError:
        raise  # the reader has seen enough, for example `| head`; typer ends quietly
    except OSError as error:
        complain(f"{error.filename or 'system'}: {error.strerror or error}")
        raise typer.Exit(_EXIT_FAILED) from None
    except KeyboardInterrupt:
        note(on_interrupt or "Interrupted.")
        raise typer.Exit(_EXIT_INTERRUPTED) from None


def complain(message: str) -> None:
    """One error, on the error stream."""
    console = Console(stderr=True)
    console.print("[bold red]error:[/]", end=" ")
    console.print(message, markup=False, highlight=False, soft_wrap=True)


def note(message: str) -> None:
    """Something said beside the output."""
    Console(stderr=True).print(message, markup=False, highlight=False, soft_wrap=True, style="dim")


def bars_shown(as_json: bool) -> bool:
    """Bars are for people: not in a pipe, and not beside JSON."""
    return not as_json and sys.stderr.isatty()


def print_json(value: Any) -> None:
    """One JSON document on one line."""
    typer.echo(json.dumps(to_jsonable(value), ensure_ascii=False, allow_nan=False))


def to_jsonable(value: Any) -> Any:
    """Dataclasses as objects, times as ISO 8601, bytes in base64, and numbers that JSON lacks as null."""
    if isinstance(value, Spec):
        return spec_to_json(value)  # the form that `kdaif submit --spec` reads
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_jsonable(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()  # as the JSON form of protos has it
    if isinstance(value, Mapping):
        return {str(key): to_jsonable(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [to_jsonable(each) for each in value]
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
