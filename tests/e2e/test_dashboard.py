"""The dashboard in headless Chromium: a job watched and resumed, samples found, one banned, the job run again."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from kdaif_client import Client, Job, JobState, Mlp, Monitoring, PlantedNoise, TrainedTeacher, Training, Weighting

from tests.e2e.conftest import Stack
from tests.e2e.digits import Digits, upload_digits

playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]
PATIENCE_MS = 120_000


@dataclass(frozen=True)
class Seen:
    """A page of the dashboard, and the jobs on it: the first was watched on that page until it ended."""

    page: playwright.Page
    faults: list[str]
    site: str
    watched: Job
    again: list[Job]

    def open(self, path: str = "", job: Job | None = None) -> None:
        self.page.goto(f"{self.site}/jobs/{_id(job or self.watched)}{path}")


def _id(job: Job) -> str:
    return job.name.rsplit("/", 1)[1]


def _submit(client: Client, digits: Digits) -> Job:
    return client.submit(
        **digits.roles(),
        teacher=TrainedTeacher(epochs=10, planted_noise=PlantedNoise("class_swap", 0.4)),
        student=Mlp(hidden_sizes=(32,)),
        training=Training(rounds=3, epochs_per_round=2, seeds=1),
        weighting=Weighting(canary_bar=0),
        control_arms=("uniform",),
        # No weights are worth as many rows as there are, so the job pauses at its first scoring.
        monitoring=Monitoring("pause", group_floor=0.0, class_drift=0.0, effective_share=1.0, reliability=0.0),
        display_name="watched",
    )


@pytest.fixture(scope="module")
def page() -> Iterator[playwright.Page]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed; 'apt-get install chromium' brings it")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser.new_page(viewport={"width": 1200, "height": 800})
        browser.close()


@pytest.fixture(scope="module")
def seen(stack: Stack, page: playwright.Page) -> Iterator[Seen]:
    """The list is open before the job is submitted. It pauses, and is resumed on its page."""
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
    page.on("requestfailed", lambda lost: None if "ABORTED" in (lost.failure or "") else faults.append(lost.url))
    site = f"{stack.dashboard}tenants/default"
    with Client(stack.target) as client:
        digits = upload_digits(client, pool=200)
        page.goto(f"{site}/jobs")
        watched = _submit(client, digits)
        row = page.locator(f"#job-{_id(watched)}")
        row.wait_for()  # it appears by itself
        row.get_by_role("link", name="watched").click()
        playwright.expect(page.get_by_role("status")).to_contain_text("Awaiting review", timeout=PATIENCE_MS)
        playwright.expect(page.locator("main")).to_contain_text("few rows teach the student")
        page.locator("#resume-author").fill("Ada")
        page.get_by_role("button", name="Resume the job").click()
        playwright.expect(page.get_by_role("heading", name="Over the rounds")).to_be_visible()
        playwright.expect(page.get_by_role("status")).to_contain_text("Succeeded", timeout=PATIENCE_MS)
        watched.wait(timeout_s=60)
        yield Seen(page, faults, site, watched, [])


def test_a_job_is_watched_until_it_ends(seen: Seen) -> None:
    page, arms = seen.page, {arm.arm: arm for arm in seen.watched.result.arms}
    # Nobody loaded the page again: the verdict came by itself.
    playwright.expect(page.locator("tr.chosen")).to_contain_text("Influence weights shipped")
    playwright.expect(page.locator("tr.chosen")).to_contain_text(f"{100 * arms['influence'].accuracy:.1f}")
    playwright.expect(page.locator("#chart-validation_accuracy canvas")).to_be_visible()
    wide = "[...document.querySelectorAll('.chart')].filter(each => each.scrollWidth > each.clientWidth).length"
    assert page.evaluate(wide) == 0
    page.locator("#chart-validation_accuracy summary").click()
    playwright.expect(page.locator("#chart-validation_accuracy details tbody tr")).to_have_count(3)
    assert seen.faults == []


def test_the_ten_most_harmful_samples_are_found(seen: Seen) -> None:
    seen.open("/weights")
    playwright.expect(seen.page.locator("#chart-weights canvas")).to_be_visible()
    seen.page.get_by_role("link", name="Ten most harmful samples").click()
    shown = seen.page.locator(".samples a.id").all_inner_texts()
    assert shown == [each.id for each in seen.watched.weights("val_loss_change_if_upweighted desc", limit=10)]
    assert seen.page.locator(".samples img").count() == 10
    seen.page.get_by_label("Filter").fill("weight < 0.5 AND")
    seen.page.get_by_label("Filter").press("Enter")
    playwright.expect(seen.page.locator("#filter-wrong")).to_contain_text("cannot be read at its end")
    playwright.expect(seen.page.get_by_label("Filter")).to_be_focused()
    seen.faults.clear()  # Chromium counts the refusal's status among them


def test_a_sample_is_banned_by_keyboard_and_stands_in_the_record(seen: Seen) -> None:
    page = seen.page
    seen.open("/samples?size=10")
    sample = page.locator(".samples a.id").first.inner_text()
    page.locator(".samples a.id").first.press("Enter")
    page.wait_for_load_state()  # the page fills in the name of last time
    playwright.expect(page.get_by_role("heading", name=f"{sample}", exact=True)).to_be_visible()
    page.get_by_role("radio", name="Ban").press("Space")
    page.get_by_label("Your name").fill("Ada")
    page.get_by_label("Reason").fill("a smudge, <b>not</b> a digit")
    page.get_by_role("button", name="Record the decision").press("Enter")
    playwright.expect(page.locator(".record")).to_contain_text("Banned by Ada")
    (revision,) = seen.watched.override_revisions()
    assert (revision.author, revision.reason) == ("Ada", "a smudge, <b>not</b> a digit")
    assert [(each.id, each.decision) for each in revision.overrides] == [(sample, "ban")]
    page.goto(f"{seen.site}/jobs/{_id(seen.watched)}/overrides")
    playwright.expect(page.locator(".record")).to_contain_text("a smudge, <b>not</b> a digit")
    assert seen.faults == []


def test_the_job_is_run_again_and_the_difference_shows(seen: Seen, stack: Stack) -> None:
    page = seen.page
    banned = seen.watched.override_revisions()[0].overrides[0].id
    seen.open("/overrides")
    page.get_by_role("button", name="Run again with these decisions").click()
    page.wait_for_url(lambda url: _id(seen.watched) not in url)
    again = page.url.rstrip("/").rsplit("/", 1)[1]
    with Client(stack.target) as client:
        job = client.get_job(again)
        if job.refresh().state is not JobState.SUCCEEDED:
            playwright.expect(page.get_by_role("status")).to_contain_text("Awaiting review", timeout=PATIENCE_MS)
            page.locator("#resume-author").fill("Ada")
            page.get_by_role("button", name="Resume the job").click()
        playwright.expect(page.get_by_role("status")).to_contain_text("Succeeded", timeout=PATIENCE_MS)
        seen.again.append(job.refresh())
        assert next(job.weights(ids=[banned])).weight == 0.0
    seen.open("/compare")
    page.get_by_label("Compare with").select_option(again)
    page.get_by_role("button", name="Compare").click()
    playwright.expect(page.get_by_role("heading", name="Samples whose weight moved most")).to_be_visible()
    assert page.locator("table").last.locator("tbody tr").count() == 20
    assert seen.faults == []


def test_at_a_desk_no_table_is_cut_off(seen: Seen, stack: Stack) -> None:
    with Client(stack.target) as client:
        client.line("desk").set_champion(seen.watched.result.student, author="Ada of the night shift", reason="first")
    sample = seen.watched.override_revisions()[0].overrides[0].id
    paths = ["", "/weights", f"/sample?id={sample}", f"/compare?with={_id(seen.again[0])}"]
    pages = [f"{seen.site}/jobs/{_id(seen.watched)}{path}" for path in paths]
    cut = "[...document.querySelectorAll('.scroll')].filter(each => each.scrollWidth > each.clientWidth + 1)"
    for url in [*pages, f"{seen.site}/students", f"{seen.site}/students/{_id(seen.watched)}"]:
        seen.page.goto(url)
        assert seen.page.evaluate(f"{cut}.map(each => each.innerText)") == [], url


def test_pages_fit_a_phone_and_begin_with_a_skip_link(seen: Seen) -> None:
    page = seen.page
    page.set_viewport_size({"width": 390, "height": 844})
    sample = seen.watched.override_revisions()[0].overrides[0].id
    paths = ["", "/weights", "/samples", f"/sample?id={sample}", "/overrides", f"/compare?with={_id(seen.again[0])}"]
    pages = [f"{seen.site}/jobs/{_id(seen.watched)}{path}" for path in paths]
    for url in [*pages, f"{seen.site}/jobs", f"{seen.site}/students", f"{seen.site}/students/{_id(seen.watched)}"]:
        page.goto(url)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, url
        unlabelled = "[...document.querySelectorAll('input:not([type=hidden]), select, textarea')]"
        nameless = f"{unlabelled}.filter(each => !each.labels?.length && !each.ariaLabel).length"
        assert page.evaluate(nameless) == 0, url
    page.keyboard.press("Tab")
    assert re.search("Skip", page.evaluate("document.activeElement.textContent"))
    assert seen.faults == []
