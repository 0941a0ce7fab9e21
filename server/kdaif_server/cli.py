"""``kdaif-server serve`` for production, ``up`` for one machine, ``keys``, ``rebuild-index``, ``health``."""

from __future__ import annotations

import argparse
import asyncio
import sys
from importlib.metadata import version
from pathlib import Path

import uvloop
from pydantic import ValidationError

from kdaif.errors import KdaifError
from kdaif.processes import die_with_parent
from kdaif.queue import JobQueue
from kdaif.store import BlobStore
from kdaif.telemetry import LogFormat, LogLevel, configure_logs, configure_tracing, flush_tracing
from kdaif_server.access.commands import add_keys_command, run_keys_command
from kdaif_server.access.keys import KeyFile
from kdaif_server.embedded.stack import up
from kdaif_server.observability.health_check import healthy
from kdaif_server.processes import ServerProcesses, work_in_turns
from kdaif_server.rebuild import rebuild_index
from kdaif_server.server import RunningServer, serve
from kdaif_server.settings import ServerSettings
from kdaif_server.signing import SigningKey

_DESCRIPTION = "Serve kdaif: with serve in production, with up on one machine."
_EPILOG = "Every option can also be set by an environment variable, for example KDAIF_REDIS_URL or KDAIF_STORE_URL."


def main() -> None:
    """Entry point."""
    arguments = _parser().parse_args()
    given = {
        name: value
        for name, value in vars(arguments).items()
        if name in ServerSettings.model_fields and value is not None
    }
    try:
        settings = ServerSettings(**given)
    except ValidationError as error:
        sys.exit(f"kdaif-server: {_wrong_settings(error)}")
    try:
        if arguments.command == "health":
            sys.exit(healthy(settings, arguments.service))
        configure_logs(settings.log_format, settings.log_level, service="kdaif-server")
        configure_tracing("kdaif-server", settings.otlp_endpoint)
        if arguments.command == "up":
            if arguments.die_with is not None:
                die_with_parent(arguments.die_with)
            asyncio.run(
                up(settings, ready_file=arguments.ready_file, announce=lambda server: _announce(settings, server))
            )
        elif arguments.command == "rebuild-index":
            sys.exit(asyncio.run(_rebuild(settings)))
        elif arguments.command == "public-key":
            sys.stdout.write(SigningKey.at(settings.signing_key).public_pem())
        elif arguments.command == "keys":
            run_keys_command(arguments, KeyFile(settings.key_file))
        else:
            # Off must be said: behind a proxy, a loopback address is no proof that only this machine calls.
            asked = settings.model_copy(update={"authentication": settings.authentication or "on"})
            work_in_turns()
            if asked.processes == 1:
                uvloop.run(serve(asked))
            else:
                asyncio.run(ServerProcesses(asked).run())
    except KdaifError as error:
        sys.exit(f"kdaif-server: {error}")
    except RuntimeError as error:
        if "bind" not in str(error):
            raise
        sys.exit(f"kdaif-server: {settings.host}:{settings.port} is in use. End what listens there, or choose --port.")
    finally:
        flush_tracing()


async def _rebuild(settings: ServerSettings) -> int:
    """1 when something in the store could not be restored."""
    queue = await JobQueue.connect(
        settings.redis_url, lease_ttl_s=settings.lease_ttl_s, require_durable=settings.require_durable_redis
    )
    try:
        found = await rebuild_index(queue, BlobStore.open(settings.blob_url))
    finally:
        await queue.close()
    sys.stdout.write("\n".join(found.lines()) + "\n")
    return 1 if found.lost else 0


def _announce(settings: ServerSettings, server: RunningServer) -> None:
    port = server.port
    dashboard = f"Dashboard: {server.dashboard_url}\n" if server.dashboard_url else ""
    sys.stderr.write(
        f"kdaif is up at {settings.host}:{port}, its data in {settings.root}.\n{dashboard}"
        f"Try: kdaif --target {settings.host}:{port} jobs      Stop: Ctrl-C\n"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="kdaif-server", description=_DESCRIPTION, epilog=_EPILOG)
    parser.add_argument("--version", action="version", version=f"kdaif-server {version('kdaif-server')}")
    commands = parser.add_subparsers(dest="command", required=True)
    serve_command = commands.add_parser("serve", help="run the gRPC server against a Redis or Valkey by URL")
    serve_command.add_argument(
        "--processes",
        type=int,
        metavar="N",
        help="so many behind the port, about one for each core; each counts a tenant's limits for itself, with its own "
        "port for metrics, one after the other; default 1",
    )
    rebuild_command = commands.add_parser(
        "rebuild-index", help="put the jobs that the blob store keeps back into an empty Redis; prints counts"
    )
    for command in (serve_command, rebuild_command):
        command.add_argument("--redis-url", help="default redis://127.0.0.1:6379/0")
        command.add_argument(
            "--accept-redis-that-may-lose-jobs",
            dest="require_durable_redis",
            action="store_false",
            default=None,
            help="start even if Redis has no AOF, does not fsync at once, or may evict keys",
        )
    up_command = commands.add_parser("up", help="run Valkey, the server and one worker on this machine until Ctrl-C")
    up_command.add_argument("--worker-metrics", metavar="HOST:PORT", help="the same page for its worker; default none")
    up_command.add_argument("--die-with", type=int, metavar="PID", help=argparse.SUPPRESS)
    up_command.add_argument("--ready-file", type=Path, help="JSON with the target, written once calls are answered")
    public_key_command = commands.add_parser(
        "public-key",
        help="print the key that clients check its students by: kdaif --public-key FILE pull ...",
    )
    keys_commands = add_keys_command(commands)
    for command in (serve_command, up_command, public_key_command):
        command.add_argument(
            "--signing-key-file", type=Path, help="Ed25519 in PEM, default access/signing_key.pem in the data folder"
        )
    for command in (serve_command, up_command, *keys_commands):
        command.add_argument("--keys-file", type=Path, help="API keys, default access/keys.json in the data folder")
    for command in (*keys_commands, public_key_command):
        command.add_argument("--data-dir", type=Path, help="of the server, default ~/.kdaif")
    for command in (serve_command, up_command, rebuild_command):
        command.add_argument("--data-dir", type=Path, help="spool, cache and blobs, default ~/.kdaif")
        command.add_argument(
            "--store-url",
            help="file:///dir or s3://bucket/prefix, default blobs/ in the data folder",
        )
    health_command = commands.add_parser(
        "health", help="ask a server whether it serves, at --health or else at --host and --port; 1 where it does not"
    )
    health_command.add_argument(
        "--service", default="", metavar="NAME", help="'kdaif.queue': whether somebody works on the queue"
    )
    health_command.add_argument("--host", help="default 127.0.0.1")
    health_command.add_argument("--port", type=int, help="default 50051")
    for command in (serve_command, up_command, health_command):
        command.add_argument(
            "--health",
            metavar="HOST:PORT",
            help="where probes are answered without TLS, whatever --port asks for, such as :50052; default none",
        )
    for command in (serve_command, up_command):
        command.add_argument(
            "--metrics", metavar="HOST:PORT", help="a page of metrics for Prometheus, such as :9464; default none"
        )
        command.add_argument("--log-format", choices=list(LogFormat), help="default console")
        command.add_argument("--log-level", choices=list(LogLevel), help="default info")
        command.add_argument(
            "--otlp-endpoint",
            metavar="URL",
            help="send traces there, such as http://collector:4318; default none",
        )
        command.add_argument("--host", help="address to listen on, default 127.0.0.1")
        command.add_argument("--port", type=int, help="default 50051; 0 takes a free one")
        _add_access(command)
        command.add_argument(
            "--lease-ttl-s", type=float, help="seconds until a silent worker loses its job, default 60"
        )
        command.add_argument(
            "--allowed-root",
            dest="allowed_roots",
            type=Path,
            action="append",
            metavar="DIR",
            help="files in DIR and below may be data sets by reference, for every tenant; may be repeated",
        )
        command.add_argument(
            "--allowed-bucket",
            dest="allowed_buckets",
            action="append",
            metavar="s3://BUCKET/PREFIX",
            help="the same for objects in an S3-compatible store; credentials from the environment; may be repeated",
        )
        command.add_argument(
            "--tenant-quota-bytes", type=int, help="most bytes of a tenant's uploads, default no limit"
        )
        command.add_argument(
            "--disk-reserve-bytes", type=int, help="free disk space that uploads leave, default 256 MiB"
        )
        command.add_argument(
            "--keep-finished-days",
            type=float,
            help="delete jobs that ended longer ago, with their students; default never",
        )
        command.add_argument("--s3-endpoint", help="URL of an S3-compatible store for references, default Amazon's")
        command.add_argument(
            "--dashboard",
            metavar="HOST:PORT",
            help="pages for people, on this machine alone; "
            + ("default 127.0.0.1:8080 or a free port, 'off' for none" if command is up_command else "default none"),
        )
        command.add_argument(
            "--reflection", action="store_true", default=None, help="serve gRPC reflection; default no"
        )
    return parser


def _add_access(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--authentication", choices=["on", "off"], help="ask for a key or token; default on for serve, off for up"
    )
    command.add_argument("--tls-cert-file", type=Path, help="certificate chain of the server, PEM")
    command.add_argument("--tls-key-file", type=Path, help="its private key, PEM")
    command.add_argument("--tls-client-ca-file", type=Path, help="mutual TLS: clients need a certificate of this CA")
    command.add_argument(
        "--plaintext",
        action="store_true",
        default=None,
        help="no TLS here: a proxy or mesh in front of the server terminates it",
    )


def _wrong_settings(error: ValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
