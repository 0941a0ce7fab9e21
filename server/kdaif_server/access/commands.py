"""``kdaif-server keys``: makes, lists, revokes and rotates API keys, on the machine that holds their file."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime

from kdaif_server.access.keys import ApiKey, KeyFile
from kdaif_server.access.scopes import Scope

_DAY_S = 86_400.0
_HOUR_S = 3_600.0


def add_keys_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> list[argparse.ArgumentParser]:
    """Adds ``keys`` and what it can do; returns these."""
    keys = commands.add_parser("keys", help="make, list, revoke and rotate API keys")
    actions = keys.add_subparsers(dest="action", required=True)
    create = actions.add_parser("create", help="make a key and print it, this once")
    create.add_argument("--tenant", required=True, help="whose data it may see")
    create.add_argument(
        "--scope",
        dest="scopes",
        action="append",
        required=True,
        choices=[scope.value for scope in Scope],
        help="what it may do; may be repeated; admin is all of them",
    )
    create.add_argument("--expires-days", type=float, help="default never")
    create.add_argument("--note", default="", help="whose it is, for the list")
    revoke = actions.add_parser("revoke", help="end a key, from the next call on")
    rotate = actions.add_parser("rotate", help="give a key another secret and print it, this once")
    rotate.add_argument("--grace-hours", type=float, default=24.0, help="how long the old secret holds, default 24")
    for action in (revoke, rotate):
        action.add_argument("id", help="the part of the key between the first two underscores")
    return [create, actions.add_parser("list", help="the keys, without their secrets"), revoke, rotate]


def run_keys_command(arguments: argparse.Namespace, keys: KeyFile) -> None:
    """Does what was asked; a new key is all that it writes to standard output."""
    if arguments.action == "create":
        after_s = None if arguments.expires_days is None else arguments.expires_days * _DAY_S
        scopes = frozenset(Scope(scope) for scope in arguments.scopes)
        key, text = keys.create(arguments.tenant, scopes, expires_after_s=after_s, note=arguments.note)
        sys.stderr.write(f"{_line(key)}\nThis is the only time that it is shown:\n")
        sys.stdout.write(f"{text}\n")
    elif arguments.action == "rotate":
        key, text = keys.rotate(arguments.id, grace_s=arguments.grace_hours * _HOUR_S)
        sys.stderr.write(f"{_line(key)}\nThe old secret holds until {_time(key.former_until_s)}. The new one:\n")
        sys.stdout.write(f"{text}\n")
    elif arguments.action == "revoke":
        sys.stdout.write(f"{_line(keys.revoke(arguments.id))}\n")
    else:
        sys.stdout.write("".join(f"{_line(key)}\n" for key in keys.all()))


def _line(key: ApiKey) -> str:
    ends = "never ends" if key.expires_at_s is None else f"until {_time(key.expires_at_s)}"
    parts = [key.id, key.state, key.tenant, ",".join(sorted(key.scopes)), f"made {_time(key.created_at_s)}", ends]
    return "  ".join([*parts, key.note] if key.note else parts)


def _time(at_s: int) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%MZ")
