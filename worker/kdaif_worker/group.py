"""A job's child as several processes: ``python -m kdaif_worker.group`` reads the assignment and becomes torchrun.

It stays the process that the supervisor started, and so the one whose end it sees. torchrun gives each process a
session of its own, out of reach of a signal to the supervisor's group: each asks the kernel to die with torchrun.

Of several hosts each has a torchrun of its own. The first one's holds the rendezvous, which ends with it, so that the
next attempt has a new one; and its first process hands the others the assignment.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
import tempfile

from kdaif.processes import die_with_parent, give_up_rights

_OTHERS_COME_WITHIN_S = 600


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages-fd")
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--processes", required=True)
    parser.add_argument("--child-module", required=True)
    parser.add_argument("--hosts", type=int, default=1)
    parser.add_argument("--host-rank", type=int, default=0)
    parser.add_argument("--rendezvous")
    parser.add_argument("--cache-dir", help="of a host that follows")
    given = parser.parse_args()
    die_with_parent(given.parent)
    give_up_rights()
    leads = given.host_rank == 0
    if leads:
        with tempfile.NamedTemporaryFile(prefix="assignment-", delete=False) as file:
            file.write(sys.stdin.buffer.read())
        own: tuple[str, ...] = ("--messages-fd", given.messages_fd, "--assignment", file.name)
    else:
        own = ("--cache-dir", given.cache_dir)
    torchrun = ("-m", "torch.distributed.run", "--nproc-per-node", given.processes, "--max-restarts", "0")
    meeting = _among_hosts(given.hosts, given.rendezvous, leads=leads) if given.hosts > 1 else _here()
    child = ("-m", given.child_module, "--parent", str(os.getpid()), "--host-rank", str(given.host_rank))
    told = ("--rdzv-backend", "c10d", "--monitor-interval", "0.1")
    os.execv(  # noqa: S606 - the worker's own interpreter
        sys.executable, (sys.executable, *torchrun, *meeting, *told, *child, *own)
    )


def _here() -> tuple[str, ...]:
    if sys.platform == "linux":
        # All are on this machine; the host's name need not lead back to it.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    return ("--rdzv-endpoint", "127.0.0.1:0", "--local-addr", "127.0.0.1")


def _among_hosts(hosts: int, rendezvous: str, *, leads: bool) -> tuple[str, ...]:
    host, _, port = rendezvous.rpartition(":")
    kept = f"is_host={int(leads)},join_timeout={_OTHERS_COME_WITHIN_S}"
    meeting = ("--nnodes", str(hosts), "--rdzv-endpoint", rendezvous, "--rdzv-id", "kdaif", "--rdzv-conf", kept)
    return (*meeting, "--local-addr", host if leads else _own_address(host, int(port)))


def _own_address(host: str, port: int) -> str:
    """By which this host speaks to another; a UDP socket that is connected has sent nothing."""
    family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind) as asked:
        asked.connect(address)
        found: str = asked.getsockname()[0]
    return found


if __name__ == "__main__":
    main()
