"""What the pages say, what their forms do, and what becomes of hostile names."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa

from kdaif.errors import FailureReason
from kdaif.records import Failure, JobState, Progress
from kdaif.store.overrides import read_overrides
from tests.server.dashboard.site import Site, visit

ATTACK = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>"
IDS = ["a-1", "b-2", "c-3", "d-4"]


def jobs(job_id: str, page: str = "") -> str:
    return f"/tenants/default/jobs/{job_id}{page}"


def test_an_empty_list_says_how_to_begin(valkey_url: str, tmp_path: Path) -> None:
    async def use(site: Site) -> None:
        page = await site.page("/tenants/default/jobs")
        assert "No jobs yet" in page
        assert "kdaif submit" in page
        assert "No job is in this state" in await site.page("/tenants/default/jobs?state=FAILED")
        assert "there are QUEUED" in await site.page("/tenants/default/jobs?state=HAPPY", 400)
        assert "No job has succeeded yet" in await site.page("/tenants/default/students")

    visit(valkey_url, tmp_path, use)


def test_hostile_names_are_shown_and_do_nothing(valkey_url: str, tmp_path: Path) -> None:
    async def use(site: Site) -> None:
        ids = [ATTACK, "plain"]
        rows = pa.table({"id": ids, "text": [ATTACK, "a text"], ATTACK: [ATTACK, "x"]})
        job = await site.submit(ATTACK, rows)
        await site.succeed(ids, [0.5, 1.5], classes=(ATTACK, "dog"))
        failing = await site.submit(ATTACK)
        await site.queue.fail(
            await site.claim(), Failure(FailureReason.INVALID_DATA, ATTACK, retryable=False, log_tail=ATTACK)
        )
        sample = await site.page(
            str(site.http.build_request("GET", jobs(job.id, "/sample"), params={"id": ATTACK}).url)
        )
        action = jobs(job.id, "/decide")
        await site.send(sample, action, id=ATTACK, decision="ban", author=ATTACK, reason=ATTACK)
        pages = [
            *("/tenants/default/jobs", "/tenants/default/students", f"/tenants/default/students/{job.id}"),
            *(jobs(job.id, page) for page in ("", "/weights", "/overrides", "/compare", "/samples")),
            *(
                jobs(failing.id),
                str(site.http.build_request("GET", jobs(job.id, "/sample"), params={"id": ATTACK}).url),
            ),
        ]
        for path in pages:
            page = await site.page(path)
            assert "alert(1)" in page
            assert "<img src=x" not in page
            assert "<script>alert" not in page
        asked = site.http.build_request("GET", jobs(job.id, "/samples"), params={"filter": ATTACK}).url
        assert "<script>alert" not in await site.page(str(asked), 422)
        for path in (f"/tenants/{ATTACK}/jobs", jobs(ATTACK), "/" + ATTACK):
            answer = await site.http.get(path)
            assert answer.status_code in (400, 404)
            assert "<script>alert" not in answer.text
        events = (await site.http.get(jobs(failing.id, "/events"))).text
        assert "<script>alert" not in events

    visit(valkey_url, tmp_path, use)


def test_samples_are_filtered_sorted_and_paged(valkey_url: str, tmp_path: Path) -> None:
    async def use(site: Site) -> None:
        pixels = np.arange(4 * 16, dtype=np.uint8).reshape(4, 4, 4, 1)
        images = pa.FixedShapeTensorArray.from_numpy_ndarray(pixels)
        job = await site.submit("pictures", pa.table({"id": IDS, "image": images}))
        await site.succeed(IDS, [0.1, 0.2, 1.5, 2.2])
        page = await site.page(jobs(job.id, "/samples"))
        assert [page.index(name) for name in reversed(IDS)] == sorted(page.index(name) for name in IDS)
        assert page.count("data:image/png;base64,") == 4
        light = await site.page(jobs(job.id, "/samples?filter=weight+%3C+0.15"))
        assert "1 sample<" in light
        assert "a-1" in light
        assert "b-2" not in light
        second = await site.page(jobs(job.id, "/samples?order=weight&size=3&page=2"))
        assert "d-4" in second
        assert 'rel="prev"' in second
        wrong = await site.page(jobs(job.id, "/samples?filter=colour+%3D+1"), 422)
        assert 'aria-invalid="true" aria-describedby="filter-wrong"' in wrong
        assert "names &#39;colour&#39;, which is no column of this job" in wrong
        assert "give a whole number" in await site.page(jobs(job.id, "/samples?page=0"), 400)
        assert "write a column" in await site.page(jobs(job.id, "/samples?order=1%3BDROP"), 422)
        assert "there are rounds 1, 2" in await site.page(jobs(job.id, "/samples?round=9"), 404)
        assert "No sample meets the filter" in await site.page(jobs(job.id, "/samples?filter=weight+%3E+99"))

    visit(valkey_url, tmp_path, use)


def test_a_decision_is_checked_recorded_and_shown(valkey_url: str, tmp_path: Path) -> None:
    async def use(site: Site) -> None:
        job = await site.submit()
        await site.succeed(IDS, [0.1, 0.2, 1.5, 2.2])
        blobs, path, action = site.backend.artifacts.blobs, jobs(job.id, "/sample?id=b-2"), jobs(job.id, "/decide")
        page = await site.page(path)
        assert "The row itself cannot be shown" in page  # its data set is gone; everything else is there
        wrong = await site.send(page, action, id="b-2", decision="pin", weight="-1", author="", reason="x")
        assert wrong.status_code == 422
        assert "The weight is -1.0; give a number from 0 to 1,000,000" in wrong.text
        assert "Your name has 0 characters" in wrong.text
        for fields in ({"decision": "pin", "weight": "much"}, {"decision": "relabel", "class_name": "cow"}, {}):
            answer = await site.send(page, action, id="b-2", author="Ada", reason="x", **fields)
            assert answer.status_code == 422
        missing = await site.send(page, action, id="zz", decision="ban", author="Ada", reason="x")
        assert missing.status_code == 404
        assert read_overrides(blobs, "default", job.id) == []

        done = await site.send(
            page, action, id="b-2", decision="pin", weight="2.5", author="Ada", reason="seen by hand"
        )
        assert done.status_code == 303
        assert done.headers["location"] == path + "#record"
        (revision,) = read_overrides(blobs, "default", job.id)
        assert (revision.author, revision.reason) == ("Ada", "seen by hand")
        assert [(each.id, each.decision, each.weight) for each in revision.overrides] == [("b-2", "pin", 2.5)]
        for shown in (path, jobs(job.id, "/samples"), jobs(job.id, "/overrides")):
            assert "pinned to 2.5" in (await site.page(shown)).lower()
        await site.send(await site.page(path), action, id="b-2", decision="clear", author="Bo", reason="no longer")
        assert "0 samples decided on" in await site.page(jobs(job.id, "/overrides"))

    visit(valkey_url, tmp_path, use)


def test_a_review_is_resumed_or_rejected_with_a_reason(valkey_url: str, tmp_path: Path) -> None:
    async def use(site: Site) -> None:
        job = await site.submit()
        await site.queue.await_review(await site.claim(), "group F fell under its floor")
        page = await site.page(jobs(job.id))
        assert "group F fell under its floor" in page
        silent = await site.send(page, jobs(job.id, "/reject"), why=" ", author="Ada")
        assert silent.status_code == 422
        assert "say why" in silent.text
        nobody = await site.send(page, jobs(job.id, "/resume"), author=" ")
        assert nobody.status_code == 422
        assert "say who you are" in nobody.text
        await site.send(page, jobs(job.id, "/resume"), author="Ada", reason="looked at it")
        assert (await site.queue.get("default", job.id)).state is JobState.QUEUED
        late = await site.send(page, jobs(job.id, "/resume"), author="Ada")
        assert late.status_code == 409
        assert "only a job that is AWAITING_REVIEW can be resumed" in late.text
        await site.queue.await_review(await site.claim(), "again")
        await site.send(page, jobs(job.id, "/reject"), why="the floor stands", author="Bo")
        rejected = await site.queue.get("default", job.id)
        assert rejected.state is JobState.FAILED
        assert "the floor stands" in await site.page(jobs(job.id))
        log = await site.page("/tenants/default/audit")
        for told in ("<b>Reject</b> by Bo", "the floor stands", "<b>Resume</b> by Ada", "looked at it"):
            assert told in log
        await site.send(await site.page(jobs(job.id)), jobs(job.id, "/retry"))
        assert (await site.queue.get("default", job.id)).state is JobState.QUEUED

    visit(valkey_url, tmp_path, use)


def test_events_tell_of_progress_rounds_and_the_end(valkey_url: str, tmp_path: Path) -> None:
    async def use(site: Site) -> None:
        job = await site.submit()
        claim = await site.claim()
        progress = Progress("distil", 0.5, arm="influence", round=1, rounds=2, message="seed 1 of 1")
        await site.queue.publish(claim, "round", progress, {"validation_accuracy": 0.5})
        other = Progress("distil", 0.6, arm="influence", round=1, rounds=2, message="seed 2 of 2")
        await site.queue.publish(claim, "round", other, {"validation_accuracy": 0.1})
        page = await site.page(jobs(job.id))
        assert "60" in page
        assert "/events?after=4&amp;state=RUNNING" in page
        (chart,) = json.loads(await site.page(jobs(job.id, "/curves.json")))["charts"]
        assert (chart["rounds"], chart["series"][0]["values"]) == ([1], [50.0])
        await site.queue.fail(claim, Failure(FailureReason.CRASHED, "exit code 139", retryable=False))
        events = (await site.http.get(jobs(job.id, "/events?after=2&state=RUNNING"))).text
        assert events.count("event: round") == 2
        assert "event: changed\ndata: FAILED" in events
        assert (await site.http.get(jobs("01zz", "/events"))).status_code == 404

    visit(valkey_url, tmp_path, use)


def test_two_jobs_are_compared(valkey_url: str, tmp_path: Path) -> None:
    async def use(site: Site) -> None:
        first = await site.submit("first")
        await site.succeed(IDS, [0.1, 0.2, 1.5, 2.2])
        assert "no other job that succeeded" in await site.page(jobs(first.id, "/compare"))
        second = await site.submit("second", training={"seed": 7})
        await site.succeed([*IDS[1:], "e-5"], [0.2, 1.5, 0.2, 2.0])
        page = await site.page(jobs(first.id, f"/compare?with={second.id}"))
        assert "training.seed" in page
        assert page.index("d-4") < page.index("b-2")
        assert "−2.00" in page
        assert "1 <small>in A</small>, 1 <small>in B</small>" in page
        assert "no job" in await site.page(jobs(first.id, "/compare?with=01zz"), 404)

    visit(valkey_url, tmp_path, use)


def test_weights_and_students_are_shown_once_there_are_some(valkey_url: str, tmp_path: Path) -> None:
    async def use(site: Site) -> None:
        job = await site.submit("mine")
        for page in ("/weights", "/samples", "/sample?id=a-1", "/compare"):
            assert "Watch it" in (text := await site.page(jobs(job.id, page))) or "succeeded" in text
        assert "SUCCEEDED" in await site.page(f"/tenants/default/students/{job.id}", 409)
        await site.succeed(IDS, [0.1, 0.2, 1.5, 2.2])
        weights = await site.page(jobs(job.id, "/weights"))
        assert "group_site" in weights
        assert "too few rows for a verdict" in weights
        assert weights.count('class="histogram"') == 1
        (chart,) = json.loads(await site.page(jobs(job.id, "/weights.json")))["charts"]
        assert chart["rounds"] == [1, 2]
        assert "passed" in await site.page(f"/tenants/default/students/{job.id}")
        file = await site.http.get(f"/tenants/default/students/{job.id}/files/certificate.json")
        assert file.headers["content-disposition"] == 'attachment; filename="certificate.json"'
        assert file.json()["passed"] is True
        assert "certificate.json" in await site.page(f"/tenants/default/students/{job.id}/files/..%2Fsecret", 404)

    visit(valkey_url, tmp_path, use)


def test_alarms_and_the_scorecard_come_from_the_report(valkey_url: str, tmp_path: Path) -> None:
    async def use(site: Site) -> None:
        job = await site.submit()
        alarm = {
            "code": "GROUP_FLOOR",
            "subject": "group_sex = F",
            "message": ATTACK,
            "value": 0.3,
            "bar": 0.5,
            "round": 4,
        }
        card = {"sustainability": 0.97, "fairness": None, "composite": 0.8, "figures": {"size_kb": 20.0}}
        rounds = {"influence": [{"round": 1, "validation_loss": 0.5}]}
        await site.succeed(IDS, [1.0] * 4, report={"alarms": [alarm, "odd"], "scorecard": card, "rounds": rounds})
        page = await site.page(jobs(job.id))
        assert "0.3, the bar is 0.5, round 4" in page
        assert "<script>alert" not in page
        student = await site.page(f"/tenants/default/students/{job.id}")
        assert "0.97" in student
        assert "<dt>File</dt><dd>20 <small>kB</small>" in student
        # Its events hold no rounds, as after a rebuilt index, so the report's stand in.
        (chart,) = json.loads(await site.page(jobs(job.id, "/curves.json")))["charts"]
        assert chart["series"][0]["values"] == [0.5]

    visit(valkey_url, tmp_path, use)
