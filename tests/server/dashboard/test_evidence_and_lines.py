"""Pages of explained samples, of a review with decisions, and of lines of students."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from kdaif_server.gate import GateTerms
from kdaif_server.lines import Lines, Order

from kdaif.records import JobState
from kdaif.records.evidence import EvidenceSearch, evidence_schema
from kdaif.records.provenance import Provenance
from tests.server.dashboard.site import Site, visit


def _jobs(job_id: str, rest: str = "") -> str:
    return f"/tenants/default/jobs/{job_id}{rest}"


def _evidence() -> pa.Table:
    harmed = [{"id": "v<1", "label": "cat", "loss_change": 4.2e-3}]
    near = [
        {"dataset": "labeled", "id": "l-9", "label": "cat", "distance": 0.01},
        {"dataset": "unlabeled", "id": "b-2", "label": "dog", "distance": 0.9},
    ]
    columns = {
        "id": ["a-1", "b-2"],
        "chosen": ["harmful", "helpful"],
        "mean": [2.5e-4, None],
        "helped": [[], []],
        "harmed": [harmed, []],
        "neighbours": [near, near[1:]],
    }
    search = EvidenceSearch(2, 40, 900, 1000, 1.5, 5.0, 0.03)
    return pa.table(columns, schema=evidence_schema(pa.string()).with_metadata(search.metadata()))


def test_a_sample_shows_whom_it_harms_and_what_is_nearest_and_the_job_the_worst(
    valkey_url: str, tmp_path: Path
) -> None:
    async def use(site: Site) -> None:
        job = await site.submit()
        await site.succeed(["a-1", "b-2", "c-3"], [0.1, 1.0, 1.9], evidence=_evidence())
        page = await site.page(_jobs(job.id, "/sample?id=a-1"))
        for told in ("v&lt;1", "+0.0042", "No validation row.", "0.010 <small>nearly the same", "among 900 of"):
            assert told in page, told
        assert "/sample?id=b-2" in page
        assert "5 s that explaining may take" in await site.page(_jobs(job.id, "/sample?id=b-2"))
        assert f"kdaif rerun {job.id} --explain c-3" in await site.page(_jobs(job.id, "/sample?id=c-3"))
        overview = await site.page(_jobs(job.id))
        assert "Of 2 samples the job found out" in overview
        assert "1 have a row that the student sees as nearly the same" in overview
        assert "v&lt;1 (cat) +0.0042" in overview

    visit(valkey_url, tmp_path, use)


@pytest.mark.parametrize(
    ("trust", "told"),
    [
        (None, "in the student's eyes, and the teacher's where its confidence proved right"),
        (0.0, "in the student's eyes alone: the teacher's own confidence proved worth nothing"),
        (0.25, "in the student's eyes, and in the teacher's, whose own confidence is trusted at 25&nbsp;%"),
    ],
)
def test_a_sample_tells_how_far_the_teachers_own_confidence_is_trusted(
    valkey_url: str, tmp_path: Path, trust: float | None, told: str
) -> None:
    async def use(site: Site) -> None:
        job = await site.submit()
        made_by = Provenance(job.id, 1, 2, 0, "head", 0.03, 32, 0.5, "1.0", teacher_trust=trust, least_sureness=-1.0)
        await site.succeed(["a-1"], [1.0], made_by=made_by)
        assert told in await site.page(_jobs(job.id, "/sample?id=a-1"))

    visit(valkey_url, tmp_path, use)


def test_a_job_without_explained_samples_says_so(valkey_url: str, tmp_path: Path) -> None:
    async def use(site: Site) -> None:
        job = await site.submit()
        await site.succeed(["a-1"], [1.0])
        assert "this job explained no samples" in await site.page(_jobs(job.id, "/sample?id=a-1"))
        assert "Explained samples" not in await site.page(_jobs(job.id))

    visit(valkey_url, tmp_path, use)


def test_samples_of_a_paused_job_are_decided_on_before_it_is_resumed(valkey_url: str, tmp_path: Path) -> None:
    async def use(site: Site) -> None:
        job = await site.submit()
        await site.succeed(["a-1", "b-2"], [0.1, 1.0], pause=True)
        assert "/samples" in await site.page(_jobs(job.id))
        assert "b-2" in await site.page(_jobs(job.id, "/samples"))
        page = await site.page(_jobs(job.id, "/sample?id=b-2"))
        assert "holds for the rest of the job" in page
        await site.send(page, _jobs(job.id, "/decide"), id="b-2", decision="ban", author="Ada", reason="a smudge")
        record = await site.page(_jobs(job.id, "/overrides"))
        assert "They hold for the rest of this job" in record
        assert "Run again with these decisions" not in record
        await site.send(await site.page(_jobs(job.id)), _jobs(job.id, "/resume"), author="Ada")
        assert (await site.queue.get("default", job.id)).state is JobState.QUEUED
        log = await site.page("/tenants/default/audit")
        assert log.index("<b>Resume</b> by Ada") < log.index("<b>Set overrides</b> by Ada")
        assert "a smudge" in log

    visit(valkey_url, tmp_path, use)


def test_students_show_their_lines_and_a_line_every_change(valkey_url: str, tmp_path: Path) -> None:
    async def use(site: Site) -> None:
        students = []
        for _ in range(2):
            await site.submit()
            students.append((await site.succeed(["a-1"], [1.0])).id)
        assert "No line of students yet" in await site.page("/tenants/default/students")
        lines, old, new = Lines(site.backend.artifacts), *students
        await lines.set_champion(Order("default", "intents", "Ada", "the <first>"), old, GateTerms())
        await lines.set_canary(Order("default", "intents", "Bo", "a try"), new, 0.05, GateTerms(), automatic=False)
        index = await site.page("/tenants/default/students")
        for told in ("/tenants/default/lines/intents", old, new, "95.0", "5.0", "start canary by Bo"):
            assert told in index, told
        line = await site.page("/tenants/default/lines/intents")
        assert line.index("Start canary") < line.index("Set champion")
        for told in ("the &lt;first&gt;", "a try", "5.0&nbsp;%", "95.0&nbsp;%", "canary on 5.0 %", "a person"):
            assert told in line, told
        older = await site.page("/tenants/default/lines/intents?before=2")
        assert "Set champion" in older
        assert "Start canary" not in older
        assert "It is the champion of line" in await site.page(f"/tenants/default/students/{old}")
        assert "It is the canary of line" in await site.page(f"/tenants/default/students/{new}")
        assert "no line" in await site.page("/tenants/default/lines/nothing", 404)
        log = await site.page("/tenants/default/audit")
        assert "<b>Start canary</b> by Bo" in log
        assert "/tenants/default/lines/intents" in log

    visit(valkey_url, tmp_path, use)


def test_an_entry_that_somebody_changed_is_told_to_be_unreadable(valkey_url: str, tmp_path: Path) -> None:
    async def use(site: Site) -> None:
        assert "Nobody has decided anything yet" in await site.page("/tenants/default/audit")
        job = await site.submit()
        await site.succeed(["a-1"], [1.0], pause=True)
        await site.send(await site.page(_jobs(job.id)), _jobs(job.id, "/resume"), author="Ada")
        site.backend.artifacts.blobs.replace_bytes("tenants/default/audit/entry-00000001.json", b"{}")
        assert "somebody changed it" in await site.page("/tenants/default/audit")

    visit(valkey_url, tmp_path, use)
