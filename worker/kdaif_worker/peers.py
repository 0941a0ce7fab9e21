"""What the processes that share a job tell one another beside their work: who they are, that they live, why one ended.

It goes through the store of the first host's torchrun, by a connection of its own: that of the process group belongs to
a collective for as long as the first process works alone, which may be hours.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import select
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from typing import NoReturn

import torch
from pydantic import TypeAdapter
from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

from kdaif.errors import FailureReason, LostPeerError
from kdaif.records import Failure
from kdaif_worker.messages import FailedMessage, GivenBackMessage, decode, encode

_LOOK_S = 0.5
_BEAT_S = 2.0
_SILENT_S = 60.0
_STARTS_WITHIN_S = 120.0  # its torchrun has just read torch from the disk
_STORE_ANSWERS_WITHIN = datetime.timedelta(seconds=60)
_HEARD_WITHIN = datetime.timedelta(seconds=5)
_CAUSE_WITHIN = datetime.timedelta(seconds=2)
_CARD, _WORD, _HEARD = "card", "word", "heard"

LastWord = FailedMessage | GivenBackMessage
"""Why the processes of a group have to end before their work is done."""


@dataclass(frozen=True)
class Card:
    """What the hosts of a group have to have in common."""

    hosts: int
    processes_per_job: int
    kdaif: str
    torch: str
    cuda: bool

    @classmethod
    def own(cls, hosts: int) -> Card:
        """Of this process, which was told of so many hosts."""
        processes = int(os.environ["LOCAL_WORLD_SIZE"])
        return cls(hosts, processes, version("kdaif"), torch.__version__, torch.cuda.is_available())

    def unlike(self, first: Card) -> str:
        """For people, what is not as on the first host."""
        own, wanted = asdict(self), asdict(first)
        return ", ".join(f"{name} {own[name]} instead of {wanted[name]}" for name in own if own[name] != wanted[name])


_CARD_OF = TypeAdapter(Card)


class Peers:
    """This process among those that share its job.

    Args:
        host_rank: of this host.
        hosts: how many there are to be.
        end: of the first process; is called in a thread of its own when another process has ended or a host has fallen
            silent, and does not return.
    """

    def __init__(self, host_rank: int, hosts: int, end: Callable[[LastWord], object]) -> None:
        self._host_rank, self._hosts, self._end = host_rank, hosts, end
        self._local_rank = int(os.environ["LOCAL_RANK"])
        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        store = TCPStore(address, port, timeout=_STORE_ANSWERS_WITHIN)
        self._store = PrefixStore("kdaif", store)
        self._is_over = threading.Event()

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """While this process does its part, others hear when it ends before that.

        Raises:
            LostPeerError: this host is not one of the group.
        """
        if self._leads:
            self._store.set(_CARD, _CARD_OF.dump_json(Card.own(self._hosts)).decode())
            threading.Thread(target=self._watch, daemon=True).start()
        elif self._host_rank > 0:
            self._require_place()
            if self._local_rank == 0:
                threading.Thread(target=self._beat, daemon=True).start()
        yield
        self._is_over.set()
        if self._local_rank == 0:
            self._store.add(_over(self._host_rank), 1)

    def last_word(self, own: FailedMessage, *, is_effect: bool) -> FailedMessage | GivenBackMessage:
        """What the first process is to tell the supervisor of the end of this one.

        Args:
            own: why this process ends.
            is_effect: of another one's end, which may have told more.
        """
        with contextlib.suppress(RuntimeError):  # the store is gone, and with it the attempt
            if not self._leads:
                self._tell(own)
                return own
            if is_effect:
                self._store.wait([_WORD], _CAUSE_WITHIN)
                return self._told()
        return own

    @property
    def _leads(self) -> bool:
        return self._host_rank == self._local_rank == 0

    def _require_place(self) -> None:
        unlike = Card.own(self._hosts).unlike(_CARD_OF.validate_json(self._store.get(_CARD)))
        if unlike:
            self._refuse(f"Host {self._host_rank} has {unlike} of host 0. Start all hosts alike.")
        if self._store.add(f"place/{self._host_rank}/{self._local_rank}", 1) > 1:
            self._refuse(f"Two hosts of the group have host_rank {self._host_rank}. Give each its own.")

    def _refuse(self, why: str) -> NoReturn:
        """No fault of the job's: as while hosts get another release one by one."""
        self._tell(GivenBackMessage(why))
        raise LostPeerError(why)

    def _tell(self, word: LastWord) -> None:
        """The first word counts; torchrun ends the first process once this one has ended, so it is heard before."""
        if isinstance(word, FailedMessage):
            where = f"on host {self._host_rank}, " if self._hosts > 1 else ""
            message = f"{where}process {self._local_rank}: {word.failure.message}"
            word = FailedMessage(replace(word.failure, message=message[0].upper() + message[1:]))
        self._store.compare_set(_WORD, "", encode(word).decode())
        self._store.wait([_HEARD], _HEARD_WITHIN)

    def _told(self) -> LastWord:
        word = decode(self._store.get(_WORD))
        self._store.set(_HEARD, "")
        if not isinstance(word, FailedMessage | GivenBackMessage):
            raise AssertionError("a last word")
        return word

    def _watch(self) -> None:
        """Of the first process: until another one tells that it ends, or the store is gone."""
        silence = _Silence(self._hosts)
        with contextlib.suppress(RuntimeError):
            while not self._is_over.wait(_LOOK_S):
                if self._store.check([_WORD]):
                    self._end(self._told())
                for host in range(1, self._hosts):
                    if self._store.check([_over(host)]):
                        continue
                    if (seconds := silence.of(host, self._store.add(_beat(host), 0))) is not None:
                        why = f"Host {host} of the group has not been heard of for {seconds:.0f} s; see its log."
                        self._end(FailedMessage(Failure(FailureReason.CRASHED, why, retryable=True)))

    def _beat(self) -> None:
        """Of the first process of a host that follows: says that the host lives, and what its worker has to tell."""
        with contextlib.suppress(RuntimeError):
            while not self._is_over.is_set():
                self._store.add(_beat(self._host_rank), 1)
                if select.select([sys.stdin], [], [], _BEAT_S)[0]:
                    if line := sys.stdin.buffer.readline():
                        word = decode(line)
                        if isinstance(word, FailedMessage | GivenBackMessage):
                            self._tell(word)
                    return


class _Silence:
    """How long hosts have said nothing, by the clock of the one that listens."""

    def __init__(self, hosts: int) -> None:
        self._heard = {host: (0, time.monotonic() + _STARTS_WITHIN_S - _SILENT_S) for host in range(1, hosts)}

    def of(self, host: int, beats: int) -> float | None:
        """Seconds, once they are too many."""
        now = time.monotonic()
        former, since = self._heard[host]
        if beats != former:
            self._heard[host] = (beats, now)
            return None
        return now - since if now - since > _SILENT_S else None


def _over(host: int) -> str:
    return f"over/{host}"


def _beat(host: int) -> str:
    return f"beat/{host}"
