"""Pages renew themselves in a browser: soon, quietly, and never under somebody's hands."""

import re
import shutil
import time

import pytest
from tests.hospitals import event, take
from tests.sites import serving

from neva.events.hospital import open_hospital
from neva.web.demonstration import PASSWORD

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None and "CI" not in __import__("os").environ, reason="chromium is not installed"
)

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SOON = 5.0
PRESENT = ".stats >> nth=1 >> .stat >> nth=0 >> .value"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with serving(tmp_path_factory) as made:
        yield made


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield made
        made.close()


@pytest.fixture
def opened(browser, site):
    """Open a page as somebody; what a console says fails the test."""
    contexts, problems = [], []

    def of(path, name="clinician", *, script=True, **more):
        context = browser.new_context(java_script_enabled=script, **more)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda said: said.type == "error" and problems.append(said.text))
        page.goto(f"{site.url}/sign-in")
        page.fill("#name", name)
        page.fill("#password", PASSWORD)
        page.click("main button.first")
        page.wait_for_url("**/now")
        page.goto(site.url + path)
        if script:
            page.evaluate("window.sameDocument = true")
        return page

    yield of
    for one in contexts:
        one.close()
    assert problems == []


def deliver(site, folder, subject, *, admits=False, value=None):
    """Commit an admission, or a result, of a patient of another source."""
    hospital = open_hospital(site.hospital)
    manifest = hospital.manifest()
    name = f"{subject}-{time.time_ns()}"
    told = {"recorded": manifest.last, "file": "a.csv", "row": 1, "subject": subject}
    about = told | {"stay": f"s{subject}", "start": manifest.last}
    more = {
        "stays": [about | {"kind": "inpatient", "source": "x"}],
        "movements": [about | {"unit": "surgical", "bed": "99"}],
        "subjects": [told],
    } if admits else {}  # fmt: skip
    rows = []
    if value is not None:
        result = {"code": "LOINC//2823-3", "value": value, "value_unit": "mmol/L"}
        at = {"time": manifest.last, "recorded": manifest.last, "row_id": name}
        rows = [event(subject=subject, stay=f"s{subject}", **at, **result)]
    take(hospital, folder / name, rows, now=manifest.written, **more)
    identities = hospital.identities().filter(kind="subject", local_id=subject).collect()
    return identities["pseudonym"][0]


def until(page, said, *, seconds=SOON):
    """Wait until something holds in a page; the policy of pages forbids the library's own way."""
    end = time.monotonic() + seconds
    while not said():
        assert time.monotonic() < end, "the page has not renewed itself"
        page.wait_for_timeout(50)


def is_seen(page):
    """Whether the note on renewing is shown to everybody."""
    return "seen" in (page.locator("#renewal").get_attribute("class") or "").split()


def is_same(page):
    """Whether the page was never loaded again."""
    return page.evaluate("window.sameDocument === true")


def test_now_renews_itself_and_keeps_its_place(opened, site, tmp_path):
    page = opened("/now")
    before = int(page.locator(PRESENT).inner_text())
    link = page.locator("main a[href^='/patient/']").first
    link.focus()
    leads = link.get_attribute("href")
    page.evaluate("window.scrollTo(0, 300)")
    page.evaluate("document.querySelector('#units').dataset.same = 'yes'")
    scrolled = page.evaluate("window.scrollY")
    version = page.locator("footer p").inner_text()
    deliver(site, tmp_path, "now-1", admits=True)
    until(page, lambda: int(page.locator(PRESENT).inner_text()) == before + 1)
    assert is_same(page)
    assert page.evaluate("document.activeElement.getAttribute('href')") == leads
    assert page.evaluate("window.scrollY") == scrolled
    assert page.locator("footer p").inner_text() != version
    # What changed is marked for a moment, and told to those who listen.
    assert page.locator(".value.changed, td.changed").count() >= 1
    assert re.search(r"Figures changed: \d+", page.locator("#renewal").inner_text())
    assert page.locator("#renewal").get_attribute("role") == "status"
    until(page, lambda: page.locator(".changed").count() == 0)


def test_the_page_of_a_patient_renews_itself(opened, site, tmp_path):
    subject = deliver(site, tmp_path, "patient-1", admits=True)
    page = opened(f"/patient/{subject}")
    page.click("main button.first")
    page.wait_for_selector(".identity")
    page.evaluate("window.sameDocument = true")
    page.locator("summary").last.click()
    assert page.get_by_text("7.25").count() == 0
    deliver(site, tmp_path, "patient-1", value=7.25)
    until(page, lambda: page.get_by_text("7.25").count())
    assert is_same(page)
    assert page.locator("details[open]").count() == 1
    # What is told of another one does not ask for this page again: each look is written down.
    looks = lambda: len(  # noqa: E731
        [row for row in site.server.state.audit.rows() if row.action == "viewed"]
    )
    held = looks()
    deliver(site, tmp_path, "patient-2", admits=True, value=1.0)
    page.wait_for_timeout(4_000)
    assert looks() == held


def test_the_wallboard_renews_itself(opened, site, tmp_path):
    page = opened("/wallboard", "viewer")
    total = "tfoot td"
    before = int(page.locator(total).first.inner_text())
    deliver(site, tmp_path, "wall-1", admits=True)
    until(page, lambda: int(page.locator(total).first.inner_text()) == before + 1)
    assert is_same(page)


def test_a_form_that_was_begun_is_not_lost(opened, site, tmp_path):
    page = opened("/work-list")
    page.select_option("#kind", "handover-note")
    page.fill("#text", "seen at noon, asks for her")
    asked = []
    page.on("request", lambda one: "refresh=1" in one.url and asked.append(one.url))
    deliver(site, tmp_path, "form-1", admits=True)
    until(page, lambda: is_seen(page))
    page.wait_for_timeout(3_000)
    assert asked == []
    assert page.input_value("#text") == "seen at noon, asks for her"
    assert page.input_value("#kind") == "handover-note"
    # Emptied again, the page goes on: the new patient can be chosen.
    page.fill("#text", "")
    page.select_option("#kind", index=0)
    page.evaluate("document.activeElement.blur()")
    until(page, lambda: not is_seen(page))
    assert len(asked) == 1
    assert is_same(page)
    # The form works as before: only the fields of the chosen kind are seen.
    page.select_option("#kind", "delay")
    assert page.locator("#reason").is_visible()
    assert not page.locator("#text").is_visible()


def test_renewals_do_not_pile_up(opened, site, tmp_path):
    page = opened("/now")
    under_way, most, count = 0, [0], [0]

    def begun(one):
        nonlocal under_way
        if "refresh=1" in one.url:
            under_way += 1
            count[0] += 1
            most[0] = max(most[0], under_way)

    def ended(one):
        nonlocal under_way
        under_way -= "refresh=1" in one.url

    page.on("request", begun)
    page.on("requestfinished", ended)
    for number in range(6):
        deliver(site, tmp_path, f"pile-{number}", admits=True)
    page.wait_for_timeout(4_000)
    assert most[0] == 1
    assert 1 <= count[0] <= 4


def test_who_is_signed_out_is_told_so(opened, site):
    page = opened("/now")
    page.wait_for_timeout(500)
    site.server.state.sessions.end_all("clinician")
    until(page, lambda: "no longer updated" in page.locator("#renewal").inner_text())
    assert is_same(page)


def test_nothing_moves_where_a_reader_wants_no_motion(opened, site, tmp_path):
    page = opened("/now", reduced_motion="reduce")
    deliver(site, tmp_path, "still-1", admits=True)
    until(page, lambda: page.locator(".changed").count())
    assert (
        page.evaluate("getComputedStyle(document.querySelector('.changed')).animationName")
        == "none"
    )


def test_without_javascript_pages_are_loaded_again_where_no_form_is_lost(opened, site):
    subject = re.search(r"/patient/\d+", opened("/work-list").content())[0]
    for path, again in (("/now", "/now?refresh=1"), ("/wallboard", "/wallboard?refresh=1"),
                        ("/now?language=ru", "/now?language=ru&refresh=1")):  # fmt: skip
        page = opened(path, script=False)
        meta = page.locator("meta[http-equiv=refresh]")
        assert meta.get_attribute("content") == f"60; url={again}"
    page = opened("/work-list", script=False)
    assert page.locator("meta[http-equiv=refresh]").count() == 0
    assert page.get_by_role("link", name="Update now").get_attribute("href") == "/work-list"
    # Before the purpose is stated there is a form; after it there is none.
    page = opened(subject, script=False)
    assert page.locator("meta[http-equiv=refresh]").count() == 0
    page.click("main button.first")
    assert page.locator("meta[http-equiv=refresh]").count() == 1
