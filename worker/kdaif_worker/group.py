"""A job's child as several processes: ``python -m kdaif_worker.group`` reads the assignment and runs torchrun.

It is the process that the supervisor started, and so the one whose end it sees. torchrun gives each process a
session of its own, out of reach of a signal to the supervisor's group: each asks the kernel to die with torchrun.

Of several hosts each has a torchrun of its own. The first one's holds the store where all meet, which ends with it, so
that the next attempt has a new one; and its first process hands the others the assignment. The store listens at one
address of this host, for whoever reaches it is asked for no password.
"""

from __future__ import annotations

import argparse
import contextlib
import ipaddress
import os
import socket
import sys
import tempfile

import psutil

from kdaif.errors import FailureReason
from kdaif.processes import die_with_parent, give_up_rights
from kdaif.records import Failure, Progress
from kdaif_worker.messages import FailedMessage, GivenBackMessage, Message, ProgressMessage, encode

_NOBODYS_ADDRESS = "192.0.2.1"  # of TEST-NET-1; what leads to it is the default route


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages-fd", type=int)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--processes", type=int, required=True)
    parser.add_argument("--child-module", required=True)
    parser.add_argument("--hosts", type=int, default=1)
    parser.add_argument("--host-rank", type=int, default=0)
    parser.add_argument("--rendezvous", default="")
    parser.add_argument("--hosts-wait-s", type=int, default=600)
    parser.add_argument("--cache-dir", help="of a host that follows")
    given = parser.parse_args()
    die_with_parent(given.parent)
    give_up_rights()
    leads = given.host_rank == 0
    if leads:
        with tempfile.NamedTemporaryFile(prefix="assignment-", delete=False) as file:
            file.write(sys.stdin.buffer.read())
        own: tuple[str, ...] = ("--messages-fd", str(given.messages_fd), "--assignment", file.name)
    else:
        own = ("--cache-dir", given.cache_dir)
    _share_threads(given.processes)
    waits_for = f"{given.hosts} hosts at {given.rendezvous}"
    if leads and given.hosts > 1:
        waits = f"waits up to {given.hosts_wait_s} s for {waits_for}"
        sys.stderr.write(f"{waits}\n")
        _tell(given.messages_fd, ProgressMessage(Progress("load", 0.0, message=waits)))
    try:
        endpoint, listening = _meeting_place(given.rendezvous, leads=leads) if given.hosts > 1 else _here()
    except OSError as error:
        why = f"The rendezvous {given.rendezvous} cannot be used on this host: {error}"
        if leads:
            _tell(given.messages_fd, FailedMessage(Failure(FailureReason.CRASHED, why, retryable=True)))
        sys.exit(why)
    # Imported late: it takes seconds, and dying with the parent must be arranged before.
    from torch.distributed import DistStoreError, TCPStore, run  # type: ignore[attr-defined]

    store = None
    if listening is not None:
        # torchrun, which would listen at all addresses, finds it there in this process.
        address, port = listening.getsockname()[:2]
        store = TCPStore(
            address,
            port,
            is_master=True,
            wait_for_workers=False,
            multi_tenant=True,
            master_listen_fd=listening.detach(),
        )
    torchrun = ("--nproc-per-node", str(given.processes), "--max-restarts", "0", "--monitor-interval", "0.1")
    hosts = ("--nnodes", str(given.hosts), "--node-rank", str(given.host_rank), "--rdzv-backend", "static")
    meeting = ("--rdzv-endpoint", endpoint, "--rdzv-conf", f"timeout={given.hosts_wait_s}")
    place = ("--hosts", str(given.hosts), "--host-rank", str(given.host_rank))
    child = ("-m", given.child_module, "--parent", str(os.getpid()), *place)
    try:
        run.main([*torchrun, *hosts, *meeting, *child, *own])
    except DistStoreError:
        if leads and given.hosts > 1:
            missed = f"Not all of {waits_for} came within {given.hosts_wait_s} s."
            fix = "Start kdaif-worker on each, with a --host-rank of its own, or see the logs of those that follow."
            _tell(given.messages_fd, GivenBackMessage(f"{missed} {fix}"))
        raise
    finally:
        del store


def _tell(messages_fd: int, message: Message) -> None:
    os.write(messages_fd, encode(message))


def _share_threads(processes: int) -> None:
    """Of the CPUs, or of as many as OMP_NUM_THREADS allows, each process its part; torchrun would leave it one."""
    allowed = os.environ.get("OMP_NUM_THREADS", "")
    threads = int(allowed) if allowed.isdecimal() else len(os.sched_getaffinity(0))
    os.environ["OMP_NUM_THREADS"] = str(max(1, threads // processes))


def _here() -> tuple[str, socket.socket]:
    listening = socket.create_server(("127.0.0.1", 0))
    if sys.platform == "linux":
        # All are on this machine; the host's name need not lead back to it.
        for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
            os.environ.setdefault(name, "lo")
    return f"127.0.0.1:{listening.getsockname()[1]}", listening


def _meeting_place(rendezvous: str, *, leads: bool) -> tuple[str, socket.socket | None]:
    """HOST:PORT as this host has to call it, and on the first one what listens there."""
    host, port = rendezvous.rpartition(":")[0], int(rendezvous.rpartition(":")[2])
    own = _own_address(host, port)
    if leads and ipaddress.ip_address(own).is_loopback and host not in (own, "localhost"):
        # As where /etc/hosts gives a machine's own name 127.0.1.1: by that no other host finds it.
        with contextlib.suppress(OSError):
            host = own = _own_address(_NOBODYS_ADDRESS, port)
    if (interface := _interface_of(own)) is not None:
        # gloo would take the one that the host's own name leads to.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)
    if not leads:
        return f"{host}:{port}", None
    family = socket.AF_INET6 if ":" in own else socket.AF_INET
    return f"{host}:{port}", socket.create_server((own, port), family=family)


def _own_address(host: str, port: int) -> str:
    """By which this host speaks to another; a UDP socket that is connected has sent nothing."""
    family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind) as asked:
        asked.connect(address)
        found: str = asked.getsockname()[0]
    return found


def _interface_of(address: str) -> str | None:
    """The name of the network interface that has this address."""
    return next(
        (
            name
            for name, addresses in psutil.net_if_addrs().items()
            if any(each.address == address for each in addresses)
        ),
        None,
    )


if __name__ == "__main__":
    main()
