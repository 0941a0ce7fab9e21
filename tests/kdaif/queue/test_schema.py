"""Versions of what lies in Redis: stamped, brought up to date, refused."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from typing import Any, TypeAlias

import pytest
from redis import Redis

from kdaif.errors import AlreadyExistsError, FailedPreconditionError
from kdaif.queue import SCHEMA_VERSION, JobQueue, codec, keys, prepare, require_readable, schema
from kdaif.records import DistillationSpec, PreflightReport, Training

Play: TypeAlias = Callable[..., Any]
Submit: TypeAlias = Callable[..., Any]


def make_older(raw: Redis, spec: DistillationSpec) -> None:
    """As version 1 kept it: no version, and digests over every field."""
    digest = hashlib.sha256(codec.encode(["", spec]).encode()).hexdigest()
    raw.delete(keys.SCHEMA)
    for key in (*raw.scan_iter("kdaif:{*}:job:*"), *raw.scan_iter("kdaif:{*}:request:*")):
        raw.hset(key, "body", digest)


def test_an_empty_server_is_of_this_version(url: str, raw: Redis) -> None:
    assert asyncio.run(prepare(url)) == SCHEMA_VERSION
    assert raw.hget(keys.SCHEMA, "version") == str(SCHEMA_VERSION)
    asyncio.run(require_readable(url))


def test_older_data_are_brought_up_to_date_and_a_repeated_request_finds_its_job(
    url: str, raw: Redis, play: Play, submit: Submit, spec: DistillationSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "_BATCH", 2)

    async def scenario(queue: JobQueue) -> Any:
        for number in range(5):
            await submit(queue, request_id=f"o-{number}")
        return await submit(queue, request_id="r-1")

    made = play(scenario)
    make_older(raw, spec)
    with pytest.raises(AlreadyExistsError):
        play(lambda queue: submit(queue, request_id="r-1"))
    assert asyncio.run(prepare(url)) == 1
    assert asyncio.run(prepare(url)) == SCHEMA_VERSION  # nothing left to do
    assert {raw.hget(key, "body") for key in raw.scan_iter("kdaif:{*}:job:*")} == {codec.body_digest(spec, "")}
    assert play(lambda queue: submit(queue, request_id="r-1")).id == made.id
    with pytest.raises(AlreadyExistsError):
        play(lambda queue: submit(queue, request_id="r-1", max_attempts=7))


def test_a_job_deleted_before_the_step_does_not_come_back(
    url: str, raw: Redis, play: Play, submit: Submit, spec: DistillationSpec
) -> None:
    async def scenario(queue: JobQueue) -> str:
        job = await submit(queue, request_id="r-1")
        await queue.cancel("acme", job.id)
        await queue.delete("acme", job.id)
        return str(job.id)

    job_id = play(scenario)
    make_older(raw, spec)
    asyncio.run(prepare(url))
    assert raw.exists(keys.job("acme", job_id), keys.request("acme", "r-1")) == 0


def test_a_server_refuses_data_of_a_newer_one_and_changes_nothing(url: str, raw: Redis) -> None:
    raw.hset(keys.SCHEMA, mapping={"version": str(SCHEMA_VERSION + 1), "oldest_worker": "1"})
    with pytest.raises(FailedPreconditionError, match="newer kdaif"):
        asyncio.run(prepare(url))
    assert raw.hget(keys.SCHEMA, "version") == str(SCHEMA_VERSION + 1)
    asyncio.run(require_readable(url))  # a worker may still work on it


def test_a_worker_refuses_what_it_would_misread(url: str, raw: Redis) -> None:
    newer = str(SCHEMA_VERSION + 1)
    raw.hset(keys.SCHEMA, mapping={"version": newer, "oldest_worker": newer})
    with pytest.raises(FailedPreconditionError, match="Install the kdaif of the server"):
        asyncio.run(require_readable(url))


def test_what_is_as_by_default_is_not_part_of_the_digest(spec: DistillationSpec) -> None:
    same = DistillationSpec.model_validate(spec.model_dump())
    assert codec.body_digest(spec, "") == codec.body_digest(same, "")
    assert codec._given(spec).keys() == {"labeled", "unlabeled"}
    other = DistillationSpec.model_validate(spec.model_dump() | {"student": {"kind": "mlp"}})
    assert codec._given(other)["student"] == {"kind": "mlp"}


def test_specs_that_differ_have_other_digests(spec: DistillationSpec) -> None:
    kinds = [{"kind": "mlp"}, {"kind": "cnn"}, {"kind": "bag"}]
    changes: list[dict[str, Any]] = [{"student": kind} for kind in kinds]
    changes += [{"training": {"rounds": 3}}, {"training": {"seed": 3}}, {"max_attempts": 1}, {}]
    specs = [DistillationSpec.model_validate(spec.model_dump() | change) for change in changes]
    assert len({codec.body_digest(each, "") for each in specs}) == len(specs)
    assert codec.body_digest(spec, "a") != codec.body_digest(spec, "b")
    assert Training() == specs[0].training


def test_the_origin_of_a_job_stays_with_it(play: Play, spec: DistillationSpec) -> None:
    async def scenario(queue: JobQueue) -> None:
        origin = {"traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01", "call": "c-1"}
        job = await queue.submit("acme", spec, PreflightReport(), request_id="r", origin=origin)
        assert (await queue.get("acme", job.id)).origin == origin
        # Another call that repeats the request does not change whose job it is.
        again = await queue.submit("acme", spec, PreflightReport(), request_id="r", origin={"call": "c-2"})
        assert again.origin == origin
        [snapshot] = await queue.unsaved(10)
        assert snapshot.job.origin == origin

    play(scenario)
