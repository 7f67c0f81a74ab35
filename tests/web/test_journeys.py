"""People walk through the application in a browser: six journeys, two languages, three widths.

Chromium is Debian's. Every page is looked at for errors of scripts, requests to
other hosts and violations of the content security policy; pictures of each go
to ``build/screens``.
"""

import re
import shutil
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.sites import serving

from neva.web.demonstration import PASSWORD

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None and "CI" not in __import__("os").environ, reason="chromium is not installed"
)

SCREENS = Path(__file__).parents[2] / "build" / "screens"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
#: Each language and width; two of the six in every run, the others at night.
VIEWS = [
    pytest.param(
        language,
        width,
        marks=[] if (language, width) in (("en", 1440), ("ru", 390)) else [pytest.mark.nightly],
    )
    for language in ("en", "ru")
    for width in (1440, 768, 390)
]
WORDS = {
    "en": {"now": "Will there be enough beds?", "enter": "Save", "run": "Save and run",
           "open": "Open the record", "change": "Change", "confirm": "Confirm"},
    "ru": {"now": "Хватит ли коек?", "enter": "Сохранить", "run": "Сохранить и запустить",
           "open": "Открыть запись", "change": "Изменить", "confirm": "Подтвердить"},
}  # fmt: skip


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


class Person:
    """Somebody with a browser: notes what a console or a network inspector would show."""

    def __init__(self, browser, site, name, language, width, **more):
        self.site, self.language, self.width = site, language, width
        self.context = browser.new_context(
            viewport={"width": width, "height": 900}, service_workers="block",
            locale={"en": "en-GB", "ru": "ru-RU"}[language], **more,
        )  # fmt: skip
        self.page = self.context.new_page()
        self.problems = []
        host = urlsplit(site.url).netloc

        def request(asked):
            if urlsplit(asked.url).netloc not in (host, ""):
                self.problems.append(f"request to {asked.url}")

        def said(message):
            if message.type in ("error", "warning"):
                self.problems.append(f"{self.page.url}: {message.text}")

        self.page.on("request", request)
        self.page.on("console", said)
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.goto(f"{site.url}/sign-in")
        self.page.fill("#name", name)
        self.page.fill("#password", PASSWORD)
        self.page.click("main button.first")
        self.page.wait_for_url("**/now")

    def see(self, path, name=None):
        """Open a page, take its picture, check that it fits its width."""
        if path is not None:
            answer = self.page.goto(self.site.url + path)
            assert answer.status == 200, (path, answer.status)
        if name:
            SCREENS.mkdir(parents=True, exist_ok=True)
            self.page.screenshot(
                path=SCREENS / f"{name}-{self.language}-{self.width}.png", full_page=True
            )
        assert self.page.evaluate("document.documentElement.scrollWidth") <= self.width, path
        return self.page

    def done(self):
        self.context.close()
        assert self.problems == []


@pytest.fixture
def person(browser, site):
    made = []

    def of(name, language="en", width=1440, **more):
        made.append(Person(browser, site, name, language, width, **more))
        return made[-1]

    yield of
    for one in made:
        one.done()


@pytest.mark.parametrize(("language", "width"), VIEWS)
def test_the_morning(person, language, width):
    """A bed manager: is there room, who waits, and the table as a file."""
    one = person("clinician", language, width)
    page = one.see("/now", "now")
    assert page.get_by_text(WORDS[language]["now"]).is_visible()
    assert page.locator("table").count() >= 5
    with page.expect_download() as held:
        page.locator(".twins a[href*='.csv']").click()
    assert held.value.suggested_filename == "neva-units.csv"
    one.see("/wallboard", "wallboard")
    one.see("/paper", "paper")


@pytest.mark.parametrize(("language", "width"), VIEWS)
def test_the_ward(person, site, language, width):
    """A nurse enters an expected discharge; it becomes an event and can be withdrawn."""
    one = person("clinician", language, width)
    page = one.see("/work-list", "work-list")
    page.select_option("#kind", "expected-discharge")
    page.fill("#start", "2020-05-30T11:00")
    page.select_option("#confirmed", "yes")
    page.get_by_role("button", name=WORDS[language]["enter"], exact=True).click()
    page.wait_for_url(re.compile(r"/work-list\?stay=.*#entries$"))
    assert page.locator("#entries ~ p[role=status]").count() == 1
    site.wait_for_jobs()
    page = one.see("/work-list")
    assert "30" in page.locator("#entries ~ .wide").last.inner_text()


@pytest.mark.parametrize(("language", "width"), VIEWS)
def test_pathways(person, language, width):
    """An analyst filters the map by clicking, changes the metric, and shares the address."""
    one = person("analyst", language, width)
    page = one.see("/pathways", "pathways-map")
    steps = page.locator("#map svg a").count()
    assert steps > 5
    page.goto(
        one.site.url + page.locator("#map svg a[href*='with=ed']").first.get_attribute("href")
    )
    page.select_option("#metric", "median")
    page.wait_for_url(re.compile("metric=median"))
    assert "with=ed" in page.url
    # What is beside the map leads on with the same filter.
    for link in page.locator("#views a[href*='tab='], #twins a").all():
        assert "with=ed" in link.get_attribute("href")
    address = page.url.removeprefix(one.site.url)
    other = person("viewer", language, width)
    other.see(address)
    one.see("/pathways?tab=statistics", "pathways-statistics")
    one.see("/pathways?tab=cases", "pathways-cases")
    one.see("/pathways/compare?a_outcome=died&b_outcome=home", "pathways-compare")
    first = page.goto(one.site.url + "/pathways?tab=cases") and page.locator("tbody a").first
    one.see(first.get_attribute("href"), "pathways-case")


@pytest.mark.parametrize(("language", "width"), VIEWS)
def test_from_a_figure_to_a_patient(person, site, language, width):
    """A quality manager goes from the table of measures to a patient's record."""
    one = person("clinician", language, width)
    one.see("/quality", "quality")
    one.see("/quality/covid19", "quality-programme")
    page = one.see("/quality/covid19/steroid-when-on-oxygen", "quality-measure")
    assert page.locator("figure svg").count() >= 1
    page = one.see(
        "/quality/covid19/steroid-when-on-oxygen/patients?status=met", "quality-patients"
    )
    page.locator("tbody a").first.click()
    asked = page.get_by_role("button", name=WORDS[language]["open"])
    if asked.count():
        one.see(None, "patient-purpose")
        asked.click()
        page.wait_for_load_state()
    one.see(None, "patient")
    assert page.locator(".identity").is_visible()
    assert "Test-" in page.locator(".identity").inner_text()
    subject = page.url.rsplit("/", 1)[1]
    with site.client("administrator") as client:
        rows = client.get(f"/audit.json?subject={subject}").json()["tables"]["audit"]
    assert {"viewed", "identity-shown"} <= {row["action"] for row in rows}


@pytest.mark.parametrize(("language", "width"), VIEWS)
def test_what_if(person, site, language, width):
    """An analyst reads the forecast, tries four more beds, and finds the comparison."""
    one = person("analyst", language, width)
    page = one.see("/flow", "flow")
    assert page.locator(".drawings svg").count() > 5
    page = one.see("/flow/scenarios", "scenarios")
    if (language, width) == ("en", 1440):
        page.get_by_role("button", name=WORDS[language]["run"]).click()
        page.wait_for_url(re.compile(r"/flow/scenarios/[0-9a-f]+"))
        page.locator(".waiting a").click()
        one.see(None, "job")
        site.wait_for_jobs()
        page.goto(site.url + "/flow/scenarios")
        page.locator("tbody a").first.click()
        page.wait_for_load_state()
        assert page.locator("tbody tr").count() > 3
        one.see(None, "scenario")


@pytest.mark.parametrize(("language", "width"), VIEWS)
def test_decisions(person, site, language, width):
    """A rule goes live only when a second person confirms."""
    one = person("clinician", language, width)
    one.see("/decisions", "decisions")
    page = one.see("/decisions/rules/sepsis.screen", "rule")
    one.see("/decisions/burden", "burden")
    if (language, width) == ("ru", 1440):
        for to in ("silent", "live"):
            page.goto(site.url + "/decisions/rules/sepsis.screen")
            page.select_option("#to", to)
            page.fill("#reason", "проверка")
            page.get_by_role("button", name=WORDS[language]["change"], exact=True).click()
            page.wait_for_load_state()
        assert page.get_by_role("button", name=WORDS[language]["confirm"]).count() == 0
        second = person("clinician-2", language, width)
        other = second.see("/decisions/rules/sepsis.screen")
        other.get_by_role("button", name=WORDS[language]["confirm"]).click()
        other.wait_for_load_state()
        assert site.server.state.rules.state_of("sepsis.screen").state == "live"


def test_the_rest_of_the_pages(person):
    one = person("administrator")
    for path, name in (("/data", "data"), ("/data/quarantine", "quarantine"), ("/jobs", "jobs"),
                       ("/accounts", "accounts"), ("/audit", "audit"),
                       ("/data/upload", "uploads"), ("/data/feeds", "feeds"),
                       ("/definitions", "definitions"),
                       ("/definitions/covid19.news2", "definition")):  # fmt: skip
        one.see(path, name)


PAGES = (
    "/now", "/work-list", "/pathways", "/pathways?tab=statistics", "/quality", "/quality/covid19",
    "/quality/covid19/steroid-when-on-oxygen", "/flow", "/flow/scenarios", "/decisions",
    "/decisions/rules/sepsis.screen", "/data", "/definitions", "/definitions/covid19.news2",
    "/paper", "/jobs", "/wallboard",
)  # fmt: skip


RUNS = ("/data", "/data/upload", "/data/feeds", "/data/quarantine", "/accounts", "/audit", "/jobs")


def serious(axe, page):
    result = axe.run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"]})
    return [
        (page.url, item["id"], item["nodes"][0]["html"][:150])
        for item in result.response["violations"]
        if item["impact"] in ("serious", "critical")
    ]


@pytest.fixture(scope="module")
def axe():
    return pytest.importorskip("axe_playwright_python.sync_playwright").Axe()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("name", "pages"), [("clinician", PAGES), ("administrator", RUNS)])
def test_axe_finds_nothing_serious(person, axe, scheme, name, pages):
    # Axe is put in as a script: the policy of the pages forbids just that.
    one = person(name, bypass_csp=True, color_scheme=scheme)
    found = []
    for path in pages:
        page = one.see(path, f"axe-{scheme}" if path == "/now" else None)
        found += serious(axe, page)
    assert found == []


@pytest.mark.parametrize(("language", "width"), VIEWS)
def test_a_file_is_looked_at_before_it_is_imported(person, axe, language, width, tmp_path):
    rows = [
        f"{k:03};{k:02}.05.2020 08:30;{k + 1:02}.05.2020 12:00;Кардиология;I21"
        for k in range(1, 25)
    ]
    header = "ID пациента;Дата поступления;Дата выписки;Отделение;Диагноз"
    file = tmp_path / "May.csv"
    file.write_bytes("\n".join([header, *rows, "025;99.05.2020;;;"]).encode("cp1251"))
    one = person("analyst", language, width, bypass_csp=True)
    page = one.see("/data/upload", "uploads")
    page.set_input_files("#file", file)
    page.click("form.stacked button.first")
    page.click("button[value=preview]")
    one.see(None, "upload")
    assert page.locator("#import + form input[name=hash]").count() == 1
    assert "time-unreadable" in page.content()
    assert serious(axe, page) == []
    page.click("button[value=delete]")
    assert page.locator("#file").count() == 1


def test_the_keyboard_reaches_everything(person):
    one = person("clinician")
    page = one.see("/now")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.tagName") in ("A", "DIV", "BUTTON")


def test_without_javascript_people_read_and_navigate(browser, site):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{site.url}/sign-in")
    page.fill("#name", "clinician")
    page.fill("#password", PASSWORD)
    page.click("main button.first")
    assert page.url.endswith("/now")
    page.click("nav.main a[href='/pathways']")
    assert page.locator("#map svg a").count() > 5
    page.select_option("#metric", "cases")
    page.click("form.filter button.first")
    assert "metric=cases" in page.url
    context.close()


def test_the_tour_of_the_manual(person, site):
    """docs/tour.md, click by click: the hospital is the one that it makes."""
    tour = (Path(__file__).parents[2] / "docs" / "tour.md").read_text(encoding="utf-8")
    assert "neva synthesise tour --stays 400 --seed 5 --operations" in tour
    one = person("clinician")
    page = one.see("/now")
    assert page.locator(".stats").first.locator(".stat").count() == 3
    for link in ("Quality", "COVID-19 in hospital", "Steroid within 24 hours of needing oxygen"):
        assert link in tour
        page.get_by_role("link", name=link, exact=True).first.click()
    assert page.locator("figure svg").count() >= 1
    page.get_by_role("link", name="Patient list").click()
    page.get_by_role("link", name=re.compile("^not met")).click()
    page.locator("tbody a").first.click()
    page.get_by_role("button", name="Open the record").click()
    page.wait_for_load_state()
    assert page.locator(".identity").is_visible()
    page.get_by_role("link", name="Pathways", exact=True).click()
    page.goto(site.url + page.locator("#map svg a[href*='with=icu-1']").first.get_attribute("href"))
    page.select_option("#metric", "median")
    page.wait_for_url(re.compile("metric=median"))
    page.get_by_role("link", name="Compare cohorts").click()
    page.select_option("#a_outcome", "died")
    page.wait_for_url(re.compile("a_outcome=died"))
    page.select_option("#b_outcome", "home")
    page.wait_for_url(re.compile("b_outcome=home"))
    assert page.locator("figure svg").count() == 1
    page.get_by_role("link", name="Flow", exact=True).click()
    page.get_by_role("link", name="What if").click()
    page.get_by_role("button", name="Save and run").click()
    page.wait_for_url(re.compile(r"/flow/scenarios/[0-9a-f]+"))
    site.wait_for_jobs()
    page.reload()
    assert page.get_by_text("Differences from the hospital as it is").first.is_visible()
    page.get_by_role("link", name="Paper", exact=True).click()
    page.get_by_role("link", name="Bed meeting").click()
    assert page.locator("table").count() > 2
