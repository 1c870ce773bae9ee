"""The report in a real browser, from a file and without a network, and its markup against the HTML standard."""

import re
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import browsers
import pytest
from answers import ANSWERS, MARKUP, write
from justhtml import JustHTML
from justhtml.parser import StrictModeError
from playwright.sync_api import Browser, Page, expect
from projects import Project

TO_REACH = (
    "element => [...document.querySelectorAll(element)].every(e => e.getBoundingClientRect().right <= innerWidth)"
)


@pytest.fixture(scope="module")
def report(means_tflite: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page, alone in a folder."""
    project = Project(tmp_path_factory.mktemp("project"), evaluate={"bootstrap": 100, "worst": 6})
    write(project, means_tflite)
    project.run("evaluate")
    alone = tmp_path_factory.mktemp("alone 🐜") / "report.html"
    shutil.copy(project.paths.reports / "index.html", alone)
    return alone


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with browsers.chromium() as found:
        yield found


@pytest.fixture
def page(browser: Browser, report: Path) -> Iterator[Page]:
    yield from _open(browser, report)


def _open(browser: Browser, report: Path, **options: object) -> Iterator[Page]:
    """The page without a network; it must neither ask for another file nor log an error or break its own policy."""
    context = browser.new_context(offline=True, **options)
    page = context.new_page()
    page.set_default_timeout(1000 * browsers.PATIENCE)
    complaints: list[str] = []
    page.on("pageerror", lambda fault: complaints.append(str(fault)))
    page.on("console", lambda line: complaints.append(line.text))
    page.on(
        "request", lambda sent: None if sent.url.startswith(("data:", report.as_uri())) else complaints.append(sent.url)
    )
    page.goto(report.as_uri())
    yield page
    context.close()
    assert complaints == []


def cell(page: Page, actual: int, predicted: int):
    return page.locator(f'.confusion button[data-actual="{actual}"][data-predicted="{predicted}"]')


def test_each_cell_opens_its_pictures_and_no_others(page):
    cells = Counter((shows, answer) for shows, answer, _ in ANSWERS)
    names = ["ant", "bee", "cow"]
    for (shows, answer), count in cells.items():
        cell(page, names.index(shows), names.index(answer)).click()
        pictures = page.locator("#gallery .picture")
        expect(pictures).to_have_count(count)
        for picture in pictures.all():
            assert shows in picture.get_attribute("data-id")
            expect(picture).to_contain_text(answer.upper())
            assert picture.locator("img").evaluate("image => image.decode().then(() => image.naturalWidth)") == 32
        expect(cell(page, names.index(shows), names.index(answer))).to_have_attribute("aria-pressed", "true")
    assert page.locator('.confusion [aria-pressed="true"]').count() == 1


def test_mistakes_come_from_the_surest_wherever_else_they_are_shown(page):
    cell(page, 0, 1).click()
    pictures = page.locator("#gallery .picture")
    assert [picture.get_attribute("data-id")[:2] for picture in pictures.all()] == ["02", "01"]


def test_a_picture_opens_with_its_probabilities_and_its_evidence(page):
    cell(page, 0, 1).click()
    page.locator("#gallery .picture").first.click()
    viewer = page.locator("#viewer")
    expect(viewer).to_be_visible()
    expect(viewer.locator("h3")).to_have_text("BEE")
    expect(viewer).to_contain_text("wrong: it is ANT")
    expect(viewer.locator(".shares li")).to_have_count(3)
    expect(viewer.locator(".shares li").first).to_contain_text("90.9")  # e^3 / (e^3 + 2)
    red = "canvas => [...canvas.getContext('2d').getImageData(40, 256, 1, 1).data][3]"
    viewer.get_by_role("button", name="ANT").click()
    assert viewer.locator("canvas").evaluate(red) > 100  # the left half is red, which speaks for ANT
    viewer.get_by_role("button", name="BEE").click()
    assert viewer.locator("canvas").evaluate(red) == 0
    viewer.get_by_role("button", name="picture alone").click()
    expect(viewer.locator("canvas")).to_have_count(0)


def test_the_keyboard_goes_from_picture_to_picture(page):
    cell(page, 0, 1).focus()
    page.keyboard.press("Enter")
    page.locator("#gallery .picture").first.focus()
    page.keyboard.press("Enter")
    code = page.locator("#viewer code")
    first = code.text_content()
    page.keyboard.press("ArrowRight")
    expect(code).not_to_have_text(first)
    expect(page.locator("#next")).to_be_disabled()
    page.keyboard.press("ArrowLeft")
    expect(code).to_have_text(first)
    page.keyboard.press("Escape")
    expect(page.locator("#viewer")).to_be_hidden()


def test_a_mistake_of_the_list_opens_its_pictures(page):
    page.locator(".mistakes button").first.click()
    expect(page.locator("#gallery h3")).to_contain_text("ANT taken for BEE")
    expect(page.locator("#gallery .picture")).to_have_count(2)
    page.get_by_label("show the evidence").check()
    expect(page.locator("#gallery canvas")).to_have_count(2)


def test_the_worst_mistakes_stand_beside_their_evidence(page):
    expect(page.locator("#mistakes .picture")).to_have_count(6)
    expect(page.locator("#mistakes img")).to_have_count(12)
    expect(page.locator("#mistakes canvas")).to_have_count(6)
    expect(page.get_by_text("need JavaScript")).to_have_count(0)


def test_what_pages_and_titles_say_is_shown_as_text_and_only_the_web_is_linked(page):
    page.locator('#mistakes .picture[data-id^="02"]').click()
    expect(page.locator("#viewer dd").nth(2)).to_have_text(MARKUP)
    page.keyboard.press("Escape")
    expect(page).to_have_title("imageloom report")
    assert page.evaluate("[...document.links].every(a => a.protocol === 'https:' || a.hash)")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_light_or_dark_as_the_reader_has_it_and_changes_when_asked(browser, report, scheme):
    for page in _open(browser, report, color_scheme=scheme):
        brightness = (
            "() => getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number).reduce((a, b) => a + b)"
        )
        assert (page.evaluate(brightness) > 384) == (scheme == "light")
        assert (page.evaluate(brightness.replace("backgroundColor", "color")) > 384) == (scheme == "dark")
        page.locator("#theme").click()
        assert (page.evaluate(brightness) > 384) == (scheme == "dark")


@pytest.mark.parametrize("width", [360, 768, 1400])
def test_nothing_is_wider_than_the_screen(browser, report, width):
    for page in _open(browser, report, viewport={"width": width, "height": 800}):
        cell(page, 0, 1).click()
        assert page.evaluate("document.documentElement.scrollWidth") == width
        page.locator("#mistakes .picture").first.click()
        assert page.evaluate(TO_REACH, "#viewer, #viewer button")


def test_without_scripts_all_but_the_pictures_is_there(browser, report):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(report.as_uri())
    expect(page.get_by_text("need JavaScript")).to_be_visible()
    expect(page.locator(".confusion")).to_contain_text("ANT")
    expect(page.locator("svg.chart")).to_have_count(4)
    expect(page.locator("#theme")).to_be_hidden()
    context.close()


def test_the_markup_keeps_to_the_standard(report):
    page = report.read_text(encoding="utf-8")
    JustHTML(page, strict=True)
    with pytest.raises(StrictModeError):  # a page that does not is noticed
        JustHTML(page.replace("</section>", "</div>", 1), strict=True)
    ids = re.findall(r'\sid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(ids)
