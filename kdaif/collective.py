"""The processes that share one job's work, each on its own device: what each takes, and how their results become one.

Every process holds the same rows and runs the same program; where the work is by rows, it takes its share, and sums are
made over all of them. So each has the same numbers, bit for bit, and decides alike.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
from collections.abc import Iterator

import torch
from torch import Tensor, distributed

from kdaif.errors import LostPeerError

# A teacher that the first process trains or asks, while the others wait for it.
_LONGEST_WAIT = datetime.timedelta(hours=24)


class Collective:
    """One process among several.

    Args:
        rank: of this process, from 0.
        size: how many there are; one shares nothing and asks nobody.
    """

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank = rank
        self.size = size

    @classmethod
    def of_this_process(cls) -> Collective:
        """That of torch's process group, where this process is in one."""
        if not (distributed.is_available() and distributed.is_initialized()):
            return SOLO
        return cls(distributed.get_rank(), distributed.get_world_size())

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes and tells."""
        return self.rank == 0

    def share(self, n: int) -> slice:
        """Of `n` things in a row those that are this process's; the shares differ by one at most."""
        return slice(n * self.rank // self.size, n * (self.rank + 1) // self.size)

    def shares(self, n: int) -> list[slice]:
        """The `share` of each process, by rank."""
        return [Collective(rank, self.size).share(n) for rank in range(self.size)]

    def total(self, *parts: Tensor) -> None:
        """Puts in the place of each tensor its sum over the processes, in one message."""
        if self.size > 1 and parts:
            flat = torch.cat([part.detach().reshape(-1) for part in parts])
            with _peers():
                distributed.all_reduce(flat)
            for part, summed in zip(parts, torch.split(flat, [part.numel() for part in parts]), strict=True):
                part.detach().copy_(summed.view_as(part))

    def copied(self, *parts: Tensor, source: int = 0) -> None:
        """Puts in the place of each tensor that of the process `source`."""
        if self.size > 1:
            with _peers():
                for part in parts:
                    distributed.broadcast(part.detach(), source)

    @contextlib.contextmanager
    def first_alone(self) -> Iterator[None]:
        """The first process goes through the block before the others: what it leaves behind, they find."""
        if not self.leads:
            self.meet()
        yield
        if self.leads:
            self.meet()

    def meet(self) -> None:
        """Returns once every process has come here."""
        if self.size > 1:
            self.agreed(0)

    def part(self) -> None:
        """The last meeting: once it returns, no process waits for anything that another has to send."""
        if self.size > 1 and torch.cuda.is_available():
            torch.cuda.synchronize()
        self.meet()

    def agreed(self, number: int) -> int:
        """The first process's number, once every process has told its own."""
        told = torch.zeros(self.size, dtype=torch.int64)
        told[self.rank] = number
        self.total(told)
        return int(told[0])

    def first_ones(self, numbers: dict[str, float]) -> dict[str, float]:
        """The first process's numbers: processors that differ in a last bit decide alike by them."""
        if self.size == 1:
            return numbers
        plain = {name: float(number) for name, number in numbers.items()}
        found: dict[str, float] = json.loads(self.told(json.dumps(plain).encode()))
        return found

    def told(self, data: bytes) -> bytes:
        """The first process's bytes."""
        if self.size == 1:
            return data
        heard = torch.zeros(self.agreed(len(data)), dtype=torch.uint8)
        if self.leads:
            heard.copy_(torch.frombuffer(bytearray(data), dtype=torch.uint8))
        self.copied(heard)
        return heard.numpy().tobytes()


SOLO = Collective()
"""A process on its own."""


def processes_here() -> int:
    """Of this process's group, those on this host."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


@contextlib.contextmanager
def joined() -> Iterator[Collective]:
    """The group that torchrun started this process in; alone where it did not. The process is to end with it."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        yield SOLO
        return
    backend = "gloo"
    if torch.cuda.is_available():
        backend = "cpu:gloo,cuda:nccl"
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
    with _peers():
        distributed.init_process_group(backend, timeout=_LONGEST_WAIT)
    yield Collective.of_this_process()
    # After an error, or where NCCL is in use, this would wait for the others; the end of the process does as well.
    if backend == "gloo":
        distributed.destroy_process_group()


@contextlib.contextmanager
def _peers() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        what = str(error).partition(". This is typically")[0]
        raise LostPeerError(
            f"Another process of this job ended or does not answer; see the log of each of its hosts. {what}"
        ) from error
