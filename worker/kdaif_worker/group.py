"""A job's child as several processes: ``python -m kdaif_worker.group`` reads the assignment and becomes torchrun.

It stays the process that the supervisor started, and so the one whose end it sees. torchrun gives each process a
session of its own, out of reach of a signal to the supervisor's group: each asks the kernel to die with torchrun.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile

from kdaif.processes import die_with_parent, give_up_rights


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages-fd", required=True)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--processes", required=True)
    parser.add_argument("--child-module", required=True)
    given = parser.parse_args()
    die_with_parent(given.parent)
    give_up_rights()
    with tempfile.NamedTemporaryFile(prefix="assignment-", delete=False) as file:
        file.write(sys.stdin.buffer.read())
    if sys.platform == "linux":
        # All are on this machine; the host's name need not lead back to it.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torchrun = ("-m", "torch.distributed.run", "--nproc-per-node", given.processes, "--max-restarts", "0")
    meeting = ("--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0", "--local-addr", "127.0.0.1")
    child = ("-m", given.child_module, "--messages-fd", given.messages_fd, "--parent", str(os.getpid()))
    told = ("--monitor-interval", "0.1")
    os.execv(  # noqa: S606 - the worker's own interpreter
        sys.executable, (sys.executable, *torchrun, *meeting, *told, *child, "--assignment", file.name)
    )


if __name__ == "__main__":
    main()
