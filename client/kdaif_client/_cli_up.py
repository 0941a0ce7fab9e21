"""``kdaif up``: the whole stack on one machine."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from kdaif_client._cli_session import exit_codes
from kdaif_client.errors import MissingDependency


def up(
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Default 50051; 0 takes a free one.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where everything is kept; default ~/.kdaif.")] = None,
    dashboard: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Default 127.0.0.1:8080, or a free port if that is taken; off: none."),
    ] = None,
    allowed_root: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="Files below may be data sets by reference: kdaif upload file:///DIR/..."),
    ] = None,
    allowed_bucket: Annotated[
        list[str] | None,
        typer.Option(metavar="s3://BUCKET/PREFIX", help="The same for objects below; credentials by the environment."),
    ] = None,
    s3_endpoint: Annotated[
        str | None, typer.Option(metavar="URL", help="Of an S3-compatible store for these; default Amazon's.")
    ] = None,
) -> None:
    """Run the whole stack on this machine until Ctrl-C: queue, server and one worker."""
    with exit_codes():
        if find_spec("kdaif_server") is None or find_spec("kdaif_worker") is None:
            raise MissingDependency(
                "kdaif up runs the server and a worker, and they are not installed here, only the client. "
                "Install them with: pip install kdaif-server kdaif-worker"
            )
        command = [sys.executable, "-m", "kdaif_server", "up"]
        command += ["--port", str(port)] if port is not None else []
        command += ["--data-dir", str(data_dir)] if data_dir is not None else []
        command += ["--dashboard", dashboard] if dashboard is not None else []
        command += [f"--allowed-root={root}" for root in allowed_root or ()]
        command += [f"--allowed-bucket={bucket}" for bucket in allowed_bucket or ()]
        command += [f"--s3-endpoint={s3_endpoint}"] if s3_endpoint is not None else []
        # In this process's place, so that signals and the exit code are the stack's own.
        os.execv(sys.executable, command)  # noqa: S606
