"""What forms ask for. Each handler is called after the form was checked."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from kdaif.errors import InvalidInputError
from kdaif.records import Job
from kdaif.records.overrides import Override
from kdaif_server.dashboard.asked import backend_of, job_of
from kdaif_server.dashboard.pages import job as job_page
from kdaif_server.dashboard.pages import sample as sample_page
from kdaif_server.dashboard.rendering import path_of
from kdaif_server.decisions import record_decisions, reject_job, rerun_job, resume_job

Form = Mapping[str, str]


async def cancel(request: Request, form: Form) -> Response:
    """Asks for the end of a job."""
    job = await job_of(request)
    return _back_to(await backend_of(request).queue.cancel(job.tenant, job.id))


async def retry(request: Request, form: Form) -> Response:
    """Queues an unsuccessful job again."""
    job = await job_of(request)
    return _back_to(await backend_of(request).queue.retry(job.tenant, job.id))


async def resume(request: Request, form: Form) -> Response:
    """Lets a job that awaited a review go on, with the decisions on its samples so far; a person has to say who."""
    backend, job = backend_of(request), await job_of(request)
    author, reason = form.get("author", ""), form.get("reason", "")
    try:
        _require(form, author="say who you are")
        return _back_to(
            await resume_job(backend.queue, backend.artifacts, job.tenant, job.id, author=author, reason=reason)
        )
    except InvalidInputError as error:
        return await job_page.page(request, job, status=422, form=form, wrong=_wrong(error, "resume"))


async def reject(request: Request, form: Form) -> Response:
    """Fails a job that awaited a review; here a person has to say who and why."""
    backend, job = backend_of(request), await job_of(request)
    author, why = form.get("author", ""), form.get("why", "")
    try:
        _require(form, author="say who you are", why="say why")
        return _back_to(await reject_job(backend.queue, backend.artifacts, job.tenant, job.id, why, author=author))
    except InvalidInputError as error:
        return await job_page.page(request, job, status=422, form=form, wrong=_wrong(error, "reject"))


def _require(form: Form, **wanted: str) -> None:
    for field, words in wanted.items():
        if not form.get(field, "").strip():
            raise InvalidInputError.of(field, f"is empty; {words}, for whoever reads the record")


def _wrong(error: InvalidInputError, action: str) -> dict[str, str]:
    """By form and field: both forms of a review ask who."""
    return {f"{action}-{each.field.rpartition('.')[2]}": each.description for each in error.violations}


async def decide(request: Request, form: Form) -> Response:
    """Records a decision on one sample, as SetOverrides does."""
    backend, given = backend_of(request), await job_of(request)
    job = await backend.artifacts.weighed_job(given.tenant, given.id)
    try:
        override = _override(form)
        await record_decisions(
            backend.artifacts, job, [override], author=form.get("author", ""), reason=form.get("reason", "")
        )
    except InvalidInputError as error:
        wrong = {each.field.rpartition(".")[2]: each.description for each in error.violations}
        return await sample_page.page(request, job, form.get("id", ""), status=422, form=form, wrong=wrong)
    return RedirectResponse(path_of(job.tenant, "jobs", job.id, "sample", id=override.id) + "#record", 303)


async def rerun(request: Request, form: Form) -> Response:
    """Queues the job again as a new one, with the decisions on its samples; shows the new one."""
    backend, given = backend_of(request), await job_of(request)
    job = await backend.artifacts.succeeded_job(given.tenant, given.id)
    return _back_to(await rerun_job(backend.queue, backend.artifacts, job))


def _override(form: Form) -> Override:
    sample, decision = form.get("id", ""), form.get("decision", "")
    match decision:
        case "pin":
            try:
                return Override(sample, "pin", weight=float(form.get("weight", "")))
            except ValueError as error:
                raise InvalidInputError.of("pin", "is no number; 1 is the weight of an average row") from error
        case "relabel":
            return Override(sample, "relabel", class_name=form.get("class_name", ""))
        case "ban" | "clear":
            return Override(sample, decision)
        case _:
            raise InvalidInputError.of("decision", "is missing; choose what shall hold for this sample")


def _back_to(job: Job) -> Response:
    return RedirectResponse(path_of(job.tenant, "jobs", job.id), 303)
