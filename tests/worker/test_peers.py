"""What processes of a group tell one another, over a real store; two hosts of one process each, both in this one."""

from __future__ import annotations

import os
import queue
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from kdaif_worker import peers as room
from kdaif_worker.messages import FailedMessage, GivenBackMessage, encode
from kdaif_worker.peers import Card, LastWord, Peers
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from kdaif.errors import FailureReason, LostPeerError
from kdaif.records import Failure
from tests.waiting import wait_for

_OOM = FailedMessage(Failure(FailureReason.OUT_OF_MEMORY, "CUDA out of memory", retryable=False))
_LOST = FailedMessage(Failure(FailureReason.CRASHED, "a peer is lost", retryable=True))

Join = Callable[[int], Peers]


@pytest.fixture
def heard() -> queue.Queue[LastWord]:
    """What the first process is told of the end of others."""
    return queue.Queue()


@pytest.fixture
def join(monkeypatch: pytest.MonkeyPatch, heard: queue.Queue[LastWord]) -> Join:
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    for name, value in {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": store.port,
        "LOCAL_RANK": 0,
        "LOCAL_WORLD_SIZE": 1,
    }.items():
        monkeypatch.setenv(name, str(value))

    def joined(host_rank: int) -> Peers:
        _ = store  # for as long as somebody joins
        return Peers(host_rank, 2, heard.put)

    return joined


@pytest.fixture
def worker_says(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bytes], None]]:
    """Writes to the standard input of a host that follows."""
    read_fd, write_fd = os.pipe()
    with os.fdopen(read_fd) as stdin:
        with os.fdopen(write_fd, "wb", buffering=0) as pipe:
            monkeypatch.setattr(sys, "stdin", stdin)

            def say(data: bytes) -> None:
                pipe.write(data)

            yield say
        wait_for(lambda: not any("_beat" in each.name for each in threading.enumerate()))


@pytest.mark.usefixtures("worker_says")
def test_the_first_process_hears_why_another_ended(join: Join, heard: queue.Queue[LastWord]) -> None:
    with join(0).working(), join(1).working():
        join(1).last_word(_OOM, is_effect=False)
        told = heard.get(timeout=10)
    assert isinstance(told, FailedMessage)
    assert told.failure == replace(_OOM.failure, message="On host 1, process 0: CUDA out of memory")


def test_the_cause_is_told_and_not_its_effect(join: Join) -> None:
    join(1).last_word(_OOM, is_effect=False)
    cause = join(0).last_word(_LOST, is_effect=True)
    assert isinstance(cause, FailedMessage)
    assert cause.failure.reason is FailureReason.OUT_OF_MEMORY
    assert join(0).last_word(_OOM, is_effect=False) == _OOM


def test_without_another_cause_the_effect_is_told(join: Join) -> None:
    assert join(0).last_word(_LOST, is_effect=True) == _LOST


def test_a_worker_that_stops_says_so_through_its_process(
    join: Join, heard: queue.Queue[LastWord], worker_says: Callable[[bytes], None]
) -> None:
    word = GivenBackMessage("Host 1 of the group was stopped.")
    with join(0).working(), join(1).working():
        worker_says(encode(word))
        assert heard.get(timeout=10) == word


@pytest.mark.usefixtures("worker_says")
def test_a_host_that_falls_silent_is_missed_and_one_that_is_done_is_not(
    join: Join, heard: queue.Queue[LastWord], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"_LOOK_S": 0.05, "_BEAT_S": 0.1, "_SILENT_S": 1.0, "_STARTS_WITHIN_S": 1.0}.items():
        monkeypatch.setattr(room, name, value)
    with join(0).working():
        with join(1).working(), pytest.raises(queue.Empty):
            heard.get(timeout=3)
        with pytest.raises(queue.Empty):
            heard.get(timeout=2)  # its work is over
    with join(0).working():
        pass
    silent = join(0)
    silent._hosts = 3  # of which the last never comes
    with silent.working():
        told = heard.get(timeout=10)
    assert isinstance(told, FailedMessage)
    assert (told.failure.reason, told.failure.retryable) == (FailureReason.CRASHED, True)
    assert told.failure.message.startswith("Host 2 of the group has not been heard of for 1 s")


@pytest.mark.usefixtures("worker_says")
def test_a_host_that_differs_or_has_the_place_of_another_is_refused(
    join: Join, monkeypatch: pytest.MonkeyPatch
) -> None:
    with join(0).working(), join(1).working():
        with pytest.raises(LostPeerError, match="Two hosts of the group have host_rank 1"), join(1).working():
            pass
        own = Card.own
        monkeypatch.setattr(Card, "own", lambda hosts: replace(own(hosts), kdaif="9.9", cuda=not own(hosts).cuda))
        unlike = r"Host 1 has kdaif 9\.9 instead of .*, cuda (True|False) instead of (True|False)"
        with pytest.raises(LostPeerError, match=unlike), join(1).working():
            pass
