"""The page in a real browser: pictures come in by drop, choice and paste, and labels go out as text."""

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from skips import skip_or_fail
from test_serve_http import COLOURS, RED, encoded

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
ARGUMENTS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]

# Builds the files in the page, as a hand with a mouse or a clipboard would.
TRANSFER = """([pictures, kind]) => {
    const transfer = new DataTransfer();
    for (const [name, content] of pictures)
        transfer.items.add(new File([Uint8Array.from(atob(content), (c) => c.charCodeAt(0))], name));
    const options = { bubbles: true, cancelable: true };
    const event = kind === "paste"
        ? new ClipboardEvent(kind, { ...options, clipboardData: transfer })
        : new DragEvent(kind, { ...options, dataTransfer: transfer });
    document.getElementById("drop").dispatchEvent(event);
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not CHROMIUM.exists():
        message = f"NO BROWSER: {CHROMIUM} is missing, so the page is NOT tested; install Debian's package chromium"
        skip_or_fail(message)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """The page, which must neither ask other servers for anything nor log an error or break its own policy."""
    yield from _open(browser, address)


def _open(browser: Browser, address: str) -> Iterator[Page]:
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(10_000)
    complaints: list[str] = []
    page.on("pageerror", lambda fault: complaints.append(str(fault)))
    page.on("console", lambda line: complaints.append(line.text) if "Content Security" in line.text else None)
    page.on("request", lambda sent: None if sent.url.startswith((address, "blob:")) else complaints.append(sent.url))
    page.goto(address)
    yield page
    context.close()
    assert complaints == []


def bring(page: Page, kind: str, *pictures: tuple[str, bytes]) -> None:
    page.evaluate(TRANSFER, [[(name, base64.b64encode(data).decode()) for name, data in pictures], kind])


def test_chosen_pictures_show_their_labels_bars_and_previews(page):
    files = [
        {"name": f"{label} 🌹.png", "mimeType": "image/png", "buffer": encoded(colour)}
        for label, colour in COLOURS.items()
    ]
    page.locator("#files").set_input_files(files)
    cards = page.locator(".card")
    expect(cards).to_have_count(3)
    for card, label in zip((cards.nth(number) for number in range(3)), COLOURS, strict=True):
        expect(card.locator(".label").first).to_have_text(label)
        expect(card.locator(".bars li")).to_have_count(3)
        expect(card.locator(".file")).to_have_text(f"{label} 🌹.png")
        expect(card.locator(".time")).to_contain_text("ms")
        assert card.locator("img").evaluate("picture => picture.decode().then(() => picture.naturalWidth)") == 60
        share = float(card.locator(".share").first.text_content().split()[0])
        assert share > 90
        page.wait_for_timeout(600)  # the bar grows
        width = "fill => fill.offsetWidth / fill.parentElement.offsetWidth"
        assert card.locator(".fill").first.evaluate(width) == pytest.approx(share / 100, abs=0.02)


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_dropped_and_pasted_pictures_are_answered(page, kind):
    bring(page, kind, ("rose.png", RED))
    expect(page.locator(".card .label").first).to_have_text("红")


def test_newest_pictures_stand_first_and_clear_removes_all(page):
    bring(page, "drop", ("first.png", RED))
    bring(page, "drop", ("second.png", encoded(COLOURS["green"])), ("third.png", RED))
    expect(page.locator(".file")).to_have_text(["second.png", "third.png", "first.png"])
    page.get_by_role("button", name="Clear").click()
    expect(page.locator(".card")).to_have_count(0)
    expect(page.locator("#results")).to_be_hidden()


def test_what_is_no_picture_gets_the_servers_reason_and_the_next_its_answer(page):
    bring(page, "drop", ("notes.txt", b"hello"), ("rose.png", RED))
    expect(page.locator(".card").first).to_contain_text("No answer: not a picture in a known format")
    expect(page.locator(".card").first).to_contain_text("no preview")
    expect(page.locator(".card").nth(1).locator(".label").first).to_have_text("红")


def test_what_is_unlike_the_pictures_of_training_is_called_unknown(page):
    bring(page, "drop", ("rose.png", RED))
    expect(page.get_by_role("status")).to_contain_text("rose.png: 红")
    bring(page, "drop", ("pink.png", encoded((250, 110, 90))))
    pink, rose = page.locator(".card").first, page.locator(".card").nth(1)
    expect(pink.locator(".state")).to_have_text("Unknown")
    expect(pink.locator(".reason")).to_be_visible()
    expect(pink.locator(".label").first).to_have_text("红")
    expect(page.get_by_role("status")).to_contain_text("unknown; nearest is 红")
    expect(rose.locator(".label").first).to_have_text("红")
    expect(rose.locator(".state")).to_be_hidden()
    expect(rose.locator(".reason")).to_be_hidden()
    size = "label => parseFloat(getComputedStyle(label).fontSize)"
    assert rose.locator(".label").first.evaluate(size) > 1.3 * pink.locator(".label").first.evaluate(size)


def test_why_shows_what_speaks_for_the_answer_and_again_the_picture(page):
    bring(page, "drop", ("rose.png", RED))
    button, frame = page.get_by_role("button", name="Why?"), page.locator(".card .frame")
    preview, shown = frame.locator("img:not(.map)"), frame.locator("img.map")
    expect(preview).to_be_visible()
    button.click()
    expect(shown).to_be_visible()
    expect(preview).to_be_hidden()
    assert shown.evaluate("picture => picture.naturalWidth") == 32  # as the model sees it
    expect(button).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_role("status")).to_contain_text("what speaks for 红 coloured")
    button.click()
    expect(preview).to_be_visible()
    expect(shown).to_be_hidden()
    expect(button).to_have_attribute("aria-pressed", "false")


def test_no_reason_is_offered_where_there_is_no_answer(page):
    bring(page, "drop", ("notes.txt", b"hello"))
    expect(page.locator(".card")).to_contain_text("No answer")
    expect(page.get_by_role("button", name="Why?")).to_be_hidden()


def test_keyboard_and_screen_reader_find_everything(page):
    page.keyboard.press("Tab")
    expect(page.get_by_label("Choose pictures")).to_be_focused()
    bring(page, "drop", ("rose.png", RED))
    expect(page.get_by_role("status")).to_contain_text("rose.png: 红, 99")
    page.keyboard.press("Tab")
    expect(page.get_by_role("textbox", name="Address of a picture")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Look")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Clear")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Why? rose.png")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="This is wrong: rose.png")).to_be_focused()
    page.get_by_role("button", name="Clear").press("Enter")
    expect(page.get_by_label("Choose pictures")).to_be_focused()


def test_footer_names_the_model_and_links_to_its_labels(page, exported_model):
    from imageloom.predictor import Predictor

    expect(page).to_have_title("imageloom: what is on this picture?")
    expect(page.locator("footer")).to_contain_text(Predictor(exported_model).version)
    page.get_by_role("link", name="3 classes").click()
    expect(page.locator("body")).to_contain_text("红")


def test_label_and_file_name_that_are_markup_are_shown_as_text(browser, serving, export_with_labels):
    evil = '<img src=x onerror="document.title=1"><script>document.title=2</script>'
    with serving(export_with_labels([evil, "b", "c"])) as (address, _):
        for page in _open(browser, address):
            bring(page, "drop", (f"{evil}.png", RED))
            expect(page.locator(".card .label").first).to_have_text(evil)
            expect(page.locator(".file")).to_have_text(f"{evil}.png")
            expect(page.locator(".card img")).to_have_count(1)
            expect(page).to_have_title("imageloom: what is on this picture?")
