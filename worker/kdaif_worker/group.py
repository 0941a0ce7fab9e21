"""A job's child as several processes: ``python -m kdaif_worker.group`` reads the assignment and runs torchrun.

It is the process that the supervisor started, and so the one whose end it sees. torchrun gives each process a
session of its own, out of reach of a signal to the supervisor's group: each asks the kernel to die with torchrun.

Of several hosts each has a torchrun of its own. The first one's holds the rendezvous, which ends with it, so that the
next attempt has a new one; and its first process hands the others the assignment.
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

# A host is taken for dead by its clock as torchrun sees it: clocks may differ by so much. `kdaif_worker.peers` is
# quicker, and looks at no clock but its own.
_CLOCKS_DIFFER_S = 600
_KEEP_ALIVE_S = 5
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
    parser.add_argument("--hosts-wait-s", type=int, default=0)
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
    torchrun = ("--nproc-per-node", str(given.processes), "--max-restarts", "0", "--monitor-interval", "0.1")
    meeting = _among_hosts(given, leads=leads) if given.hosts > 1 else _here()
    place = ("--hosts", str(given.hosts), "--host-rank", str(given.host_rank))
    child = ("-m", given.child_module, "--parent", str(os.getpid()), *place)
    tells = leads and given.hosts > 1
    awaited = f"{given.hosts} hosts at {given.rendezvous}"
    if tells:
        waits = f"waits up to {given.hosts_wait_s} s for {awaited}"
        sys.stderr.write(f"{waits}\n")
        _tell(given.messages_fd, ProgressMessage(Progress("load", 0.0, message=waits)))
    # Imported late: it takes seconds, and dying with the parent must be arranged before.
    from torch.distributed import run
    from torch.distributed.elastic.rendezvous import RendezvousConnectionError, RendezvousTimeoutError

    try:
        run.main([*torchrun, "--rdzv-backend", "c10d", *meeting, *child, *own])
    except RendezvousTimeoutError:
        if tells:
            missed = f"Not all of {awaited} came within {given.hosts_wait_s} s."
            fix = "Start kdaif-worker on each, with a --host-rank of its own, or see the logs of those that follow."
            _tell(given.messages_fd, GivenBackMessage(f"{missed} {fix}"))
        raise
    except RendezvousConnectionError as error:
        if tells:
            why = f"The rendezvous {given.rendezvous} could not be opened on this host: {error.__cause__}"
            _tell(given.messages_fd, FailedMessage(Failure(FailureReason.CRASHED, why, retryable=True)))
        raise


def _tell(messages_fd: int, message: Message) -> None:
    os.write(messages_fd, encode(message))


def _share_threads(processes: int) -> None:
    """Of the CPUs, or of as many as OMP_NUM_THREADS allows, each process its part; torchrun would leave it one."""
    allowed = os.environ.get("OMP_NUM_THREADS", "")
    threads = int(allowed) if allowed.isdecimal() else len(os.sched_getaffinity(0))
    os.environ["OMP_NUM_THREADS"] = str(max(1, threads // processes))


def _here() -> tuple[str, ...]:
    if sys.platform == "linux":
        # All are on this machine; the host's name need not lead back to it.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    return ("--rdzv-endpoint", "127.0.0.1:0", "--local-addr", "127.0.0.1")


def _among_hosts(given: argparse.Namespace, *, leads: bool) -> tuple[str, ...]:
    host, _, port = given.rendezvous.rpartition(":")
    own = _own_address(host, int(port))
    if leads and ipaddress.ip_address(own).is_loopback and host not in (own, "localhost"):
        # As where /etc/hosts gives a machine's own name 127.0.1.1: by that no other host finds it.
        with contextlib.suppress(OSError):
            own = _own_address(_NOBODYS_ADDRESS, int(port))
    if (interface := _interface_of(own)) is not None:
        # gloo would take the one that the host's own name leads to.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)
    kept = {
        "is_host": int(leads),
        "join_timeout": given.hosts_wait_s,
        "keep_alive_interval": _KEEP_ALIVE_S,
        "keep_alive_max_attempt": _CLOCKS_DIFFER_S // _KEEP_ALIVE_S,
    }
    meeting = ("--nnodes", str(given.hosts), "--rdzv-endpoint", given.rendezvous, "--rdzv-id", "kdaif")
    told = ",".join(f"{name}={value}" for name, value in kept.items())
    return (*meeting, "--rdzv-conf", told, "--local-addr", host if leads else own)


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
