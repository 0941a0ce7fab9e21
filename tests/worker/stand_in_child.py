"""A training child that does what its job's display name says: a real process with a real pipe, and no training."""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import subprocess
import sys
import time

from kdaif_worker.messages import (
    Assignment,
    Message,
    ProgressMessage,
    ReviewMessage,
    ShardDoneMessage,
    ShardsMessage,
    SucceededMessage,
    decode_answer,
    encode,
)

from kdaif.processes import die_with_parent
from kdaif.records import JobResult, Progress, Shard


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--messages-fd", type=int, required=True)
    parser.add_argument("--parent", type=int, required=True)
    arguments = parser.parse_args()
    die_with_parent(arguments.parent)
    assignment = Assignment.from_json(sys.stdin.buffer.readline())
    doing, _, amount = assignment.display_name.partition(" ")

    def emit(message: Message) -> None:
        os.write(arguments.messages_fd, encode(message))

    def tell(round_number: int, metrics: dict[str, float]) -> None:
        emit(ProgressMessage(Progress("distil", 0.5, "uniform", round_number, message=str(os.getpid())), metrics))

    tell(0, {})
    if doing == "segfault":
        sys.stderr.write("the last words of a child\n")
        sys.stderr.flush()
        os.kill(os.getpid(), signal.SIGSEGV)
    elif doing == "hold-gil":
        ctypes.PyDLL(None).usleep(int(float(amount) * 1e6))  # PyDLL, unlike CDLL, keeps the lock
    elif doing == "grow":
        held = []
        while True:
            held.append(b"x" * (8 << 20))
            time.sleep(0.02)
    elif doing == "load-data":
        _load_data()
    elif doing == "leak":
        sys.stderr.write(f"environment: {dict(os.environ)}; {amount}\n")
        raise SystemExit(3)
    elif doing == "sleep":
        time.sleep(float(amount))
    elif doing == "chatter":
        for number in range(1, 1_000_000):
            tell(number, {"train_loss": 0.5})
            time.sleep(0.02)
    elif doing == "fall-silent":
        os.close(arguments.messages_fd)
        time.sleep(60)
    elif doing == "orphan":
        # A helper that leaves the process group and holds on to stderr.
        helper = subprocess.Popen(["sleep", "60"], start_new_session=True)
        tell(helper.pid, {"train_loss": 0.5})
        emit(SucceededMessage(JobResult(assignment.attempt, (), "no difference", 1.0)))
        time.sleep(60)  # it is still there when the supervisor begins to wait for its end
    elif doing == "shards":
        # Two, of which it scores the first, and whatever comes back to it.
        named = ("ab" * 32, "cd" * 32)
        emit(ShardsMessage(tuple(Shard(assignment.job_id, n, 2, n - 1, n, *named) for n in (1, 2))))
        while (shard := decode_answer(sys.stdin.buffer.readline())) is not None:
            time.sleep(float(amount))
            emit(ShardDoneMessage(shard))
    elif doing == "review":
        emit(ReviewMessage("the weights look odd"))
        return
    emit(SucceededMessage(JobResult(assignment.attempt, (), "no difference", 1.0)))


def _load_data() -> None:
    """Forked loaders, which must find neither gRPC nor Redis in their process."""
    import psutil
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    rows = TensorDataset(torch.arange(64.0))
    loader = DataLoader(rows, batch_size=4, num_workers=4, multiprocessing_context="fork")
    total = sum(float(batch.sum()) for (batch,) in loader)
    assert total == 64 * 63 / 2
    assert not {"grpc", "redis"} & sys.modules.keys()
    assert psutil.Process().net_connections("inet") == []


if __name__ == "__main__":
    main()
