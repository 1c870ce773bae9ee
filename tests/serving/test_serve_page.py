"""The page in a real browser: pictures come in by drop, choice and paste, and labels go out as text."""

import base64
import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import browsers
import pytest
from browsers import PHONE, opened, until, weak_texts
from playwright.sync_api import Browser, Page, expect
from test_serve_http import COLOURS, RED, encoded

from imageloom.serving import tokens

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

# Keeps the addresses of blobs that are not given back, of which each keeps its picture in memory.
KEPT = """() => {
    window.kept = new Set();
    const { createObjectURL, revokeObjectURL } = URL;
    URL.createObjectURL = (blob) => {
        const address = createObjectURL(blob);
        window.kept.add(address);
        return address;
    };
    URL.revokeObjectURL = (address) => { window.kept.delete(address); revokeObjectURL(address); };
}"""

BRING_ADDRESS = """([url, kind]) => {
    const transfer = new DataTransfer();
    transfer.setData(kind === "paste" ? "text/plain" : "text/uri-list", url);
    const options = { bubbles: true, cancelable: true };
    const event = kind === "paste"
        ? new ClipboardEvent(kind, { ...options, clipboardData: transfer })
        : new DragEvent(kind, { ...options, dataTransfer: transfer });
    document.getElementById("drop").dispatchEvent(event);
}"""

# Whether all bars have grown, and nothing else moves or changes its colour.
STILL = """() => document.getAnimations().length === 0
    && [...document.querySelectorAll(".fill")].every((bar) => bar.style.width)"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with browsers.chromium() as found:
        yield found


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """The page, which must neither ask other servers for anything nor log an error or break its own policy."""
    yield from _open(browser, address)


def _open(browser: Browser, address: str, **options: Any) -> Iterator[Page]:
    with opened(browser, address, **options) as found:
        yield found


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
        until(page, STILL)
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


@pytest.mark.parametrize(
    "data", [RED, encoded(COLOURS["红"], "TIFF"), b"hello"], ids=["shown", "not shown", "no picture"]
)
def test_no_picture_stays_in_memory_for_its_address(page, data):
    page.evaluate(KEPT)
    bring(page, "drop", ("rose", data))
    until(page, "() => window.kept.size === 0")


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
    assert shown.evaluate("picture => picture.decode().then(() => picture.naturalWidth)") == 32  # as the model sees it
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


@pytest.fixture
def keeping(browser: Browser, serving, exported_model, tmp_path, site) -> Iterator[Page]:
    """The page of a server that keeps corrections below `tmp_path`, and fetches from `site`."""
    options = ("--allow-host", "127.0.0.1", "--threads", "2")
    with serving(exported_model, *options, cwd=tmp_path) as (address, _):
        yield from _open(browser, address)


def corrections(tmp_path: Path) -> list[tuple[str, str]]:
    with (tmp_path / "data" / "inbox" / "inbox.csv").open(encoding="utf-8", newline="") as file:
        return [(row["predicted"], row["label"]) for row in csv.DictReader(file)]


def test_wrong_answer_is_corrected_and_kept_for_review(keeping, tmp_path):
    bring(keeping, "drop", ("rose.png", RED))
    button, choice = keeping.get_by_role("button", name="This is wrong"), keeping.get_by_label("It shows")
    button.click()
    expect(choice).to_be_focused()
    expect(button).to_have_attribute("aria-expanded", "true")
    expect(choice.locator("option")).to_have_text(["choose…", "green", "blue", "none of these"])
    keeping.get_by_role("button", name="Send").click()
    expect(keeping.locator(".thanks")).to_be_hidden()  # nothing is chosen yet
    choice.select_option("blue")
    keeping.get_by_role("button", name="Send").click()
    expect(keeping.locator(".thanks")).to_have_text("Thank you. Kept for review: blue.")
    expect(keeping.get_by_role("status")).to_contain_text("Kept for review: blue")
    expect(button).to_be_hidden()
    assert corrections(tmp_path) == [("red", "blue")]


def test_picture_of_none_of_the_classes_is_corrected_by_keyboard_alone(keeping, tmp_path):
    bring(keeping, "drop", ("rose.png", RED))
    keeping.get_by_role("button", name="This is wrong").press("Enter")
    expect(keeping.get_by_label("It shows")).to_be_focused()
    keeping.keyboard.press("Escape")
    expect(keeping.get_by_role("button", name="This is wrong")).to_be_focused()
    keeping.keyboard.press("Enter")
    keeping.get_by_label("It shows").press("n")
    keeping.keyboard.press("Tab")
    keeping.keyboard.press("Enter")
    expect(keeping.locator(".thanks")).to_contain_text("none of these")
    assert corrections(tmp_path) == [("red", "")]


def test_nothing_can_be_corrected_where_nothing_is_kept(browser, serving, exported_model):
    with serving(exported_model, "--inbox", "off", "--no-fetch") as (address, _):
        for page in _open(browser, address):
            bring(page, "drop", ("rose.png", RED))
            expect(page.get_by_role("button", name="Why?")).to_be_visible()
            expect(page.get_by_role("button", name="This is wrong")).to_be_hidden()
            expect(page.locator("#web")).to_be_hidden()
            expect(page.locator("footer")).to_contain_text("are not kept")


@pytest.mark.parametrize("way", ["typed", "paste", "drop"])
def test_address_is_answered_with_what_the_model_looked_at(keeping, site, tmp_path, way):
    site.routes["/a%20rose.png?x=1"] = RED
    url = f"{site.address}/a%20rose.png?x=1"
    if way == "typed":
        keeping.get_by_role("textbox", name="Address").fill(url)
        keeping.keyboard.press("Enter")
        expect(keeping.get_by_role("textbox", name="Address")).to_have_value("")
    else:
        keeping.evaluate(BRING_ADDRESS, [url, way])
    card = keeping.locator(".card")
    expect(card.locator(".label").first).to_have_text("红")
    expect(card.locator(".file")).to_have_text("a rose.png")
    assert card.locator("img").evaluate("picture => picture.decode().then(() => picture.naturalWidth)") == 32
    card.get_by_role("button", name="Why?").click()
    expect(card.locator("img.map")).to_be_visible()
    card.get_by_role("button", name="This is wrong").click()
    card.get_by_label("It shows").select_option("green")
    card.get_by_role("button", name="Send").click()
    expect(card.locator(".thanks")).to_contain_text("Kept for review: green")
    assert corrections(tmp_path) == [("red", "green")]


def test_address_of_nothing_is_told_so(keeping, site):
    keeping.get_by_role("textbox", name="Address").fill(f"{site.address}/gone.png")
    keeping.get_by_role("button", name="Look").click()
    expect(keeping.locator(".card .state")).to_have_text("No answer: that server answered HTTP 404")
    expect(keeping.locator(".card")).to_contain_text("no preview")


def test_server_that_asks_for_a_token_gets_it(browser, serving, exported_model, tmp_path):
    token = tokens.add(tmp_path / "tokens", "me")
    with serving(exported_model, "--tokens", str(tmp_path / "tokens"), cwd=tmp_path) as (address, _):
        for page in _open(browser, address):
            bring(page, "drop", ("rose.png", RED), ("grass.png", encoded(COLOURS["green"])))
            page.get_by_label("Your token").fill("wrong")
            page.get_by_role("button", name="Continue").click()
            expect(page.get_by_label("Your token")).to_have_value("")
            page.get_by_label("Your token").fill(token)
            page.keyboard.press("Enter")
            expect(page.locator(".card .label").first).to_have_text("红")
            expect(page.locator(".card").nth(1).locator(".label").first).to_have_text("green")
            page.reload()
            bring(page, "drop", ("rose.png", RED))
            expect(page.locator(".card .label").first).to_have_text("红")


def test_busy_server_is_asked_again(browser, serving, exported_model):
    with serving(exported_model, "--rate", "1") as (address, _):
        for page in _open(browser, address):
            bring(page, "drop", *((f"{number}.png", RED) for number in range(6)))
            expect(page.locator(".card .label:text('红')")).to_have_count(6)


def test_phone_shows_all_without_scrolling_sideways_and_takes_photographs(browser, address):
    for page in _open(browser, address, **PHONE):
        expect(page.locator("#photograph")).to_be_visible()
        assert page.locator("#camera").get_attribute("capture") == "environment"
        page.locator("#camera").set_input_files([{"name": "p.png", "mimeType": "image/png", "buffer": RED}])
        expect(page.locator(".card .label").first).to_have_text("红")
        page.get_by_role("button", name="This is wrong").click()
        expect(page.get_by_label("It shows")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_photograph_is_not_offered_beside_a_mouse(page):
    expect(page.locator("#photograph")).to_be_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", ["/", "/docs"])
def test_every_text_stands_out_in_light_and_dark(browser, address, scheme, path):
    for page in _open(browser, address + path, color_scheme=scheme):
        if path == "/":
            bring(page, "drop", ("rose.png", RED), ("pink.png", encoded((250, 110, 90))), ("notes.txt", b"hello"))
            expect(page.locator(".failed")).to_have_count(1)
            page.get_by_role("button", name="This is wrong: rose").click()
            until(page, STILL)
        else:
            page.locator("summary").first.click()
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (ground == "rgb(19, 19, 24)") == (scheme == "dark")
        assert weak_texts(page) == []


def test_text_that_does_not_stand_out_is_noticed(page):
    page.evaluate("document.querySelector('h1').style.color = 'rgb(200, 200, 200)'")
    assert weak_texts(page) == ["imageloom"]


def test_docs_tell_every_route_without_a_script(browser, address):
    for page in _open(browser, f"{address}/docs", java_script_enabled=False):
        for path in ("/predict", "/classify", "/v1/models/{name}:predict", "/metrics"):
            expect(page.get_by_text(path, exact=True).first).to_be_visible()
        page.locator("#predict summary").click()
        expect(page.locator("#predict")).to_contain_text("curl --data-binary @photo.jpg")
        expect(page.locator("#predict")).to_contain_text("from 1 to 3")


def test_an_address_may_be_typed_without_its_scheme_and_what_is_none_is_told(keeping):
    field = keeping.get_by_role("textbox", name="Address")
    for typed, sent in (("127.0.0.1:1/a rose.jpg", "https://127.0.0.1:1/a rose.jpg"), ("ftp://a.example/x", None)):
        field.fill(typed)
        with keeping.expect_request("**/predict?*") as asked:
            keeping.keyboard.press("Enter")
        assert asked.value.post_data_json == {"url": sent or typed}
        expect(keeping.locator(".card .state").first).to_contain_text("No answer: ")
        expect(field).to_have_value("")
    field.fill(" ")
    keeping.keyboard.press("Enter")
    expect(keeping.locator(".card")).to_have_count(2)
