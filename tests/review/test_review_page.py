"""The review page in a real browser: what a hand decides is what the file says, whatever happens in between."""

import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from browsers import PHONE, opened, until, weak_texts
from desks import Desk, full, reviewing
from playwright.sync_api import Page, expect

from imageloom import decisions, tables
from imageloom.params import UNLABELLED

# Whether another picture is shown than `before`, or that nothing is left.
GONE = """before => !document.querySelector('#empty').hidden
    || !document.querySelector('#stage img')?.src.includes(before)"""

# Whether a picture is shown.
SHOWN = "id => document.querySelector('#empty').hidden && document.querySelector('#stage img')?.src.includes(id)"

# Whether the server has all decisions.
SENT = "() => !Object.keys(localStorage).some((key) => key.startsWith('imageloom-unsent'))"

# Whether the pictures that come next are at hand as well.
FETCHED = """() => new Set(performance.getEntriesByType('resource').map(({ name }) => name)
    .filter((name) => name.includes('/pictures/'))).size >= 5"""

# What a screen reader calls each thing that the keyboard comes to.
NAMES = """[...document.querySelectorAll('button, a, input, select')]
    .filter((one) => one.checkVisibility() && !one.disabled && one.tabIndex >= 0)
    .map((one) => one.ariaLabel || one.innerText || one.labels?.[0]?.innerText || one.querySelector('img')?.alt)"""


def shown(page: Page) -> str:
    """The picture that is decided about."""
    source = page.locator("#stage img").first.get_attribute("src")
    return re.fullmatch(r"pictures/([0-9a-f]{64})\.jpg", source)[1]


def press(page: Page, key: str) -> str:
    """Presses a key and waits for the next picture; gives the one that was decided about."""
    before = shown(page)
    page.keyboard.press(key)
    until(page, GONE, before)
    return before


def acknowledged(page: Page) -> None:
    """Waits until the server has all decisions."""
    until(page, SENT)


@contextmanager
def opening(page: Page, queue: str) -> Iterator[None]:
    """Waits until the queue that is chosen in the block is shown: until then, what was there before is."""
    with page.expect_response(lambda answer: f"/queues/{queue}?" in answer.url) as answer:
        yield
    until(page, SHOWN, answer.value.json()["entries"][0]["members"][0]["id"])


def go(page: Page, queue: str) -> None:
    with opening(page, queue):
        page.locator(f"#queues [data-queue={queue}]").click()
    expect(page.locator(f"#queues [data-queue={queue}]")).to_have_attribute("aria-current", "page")


class Reviewer:
    """Labels by hue as a person would, and remembers what the file must say."""

    def __init__(self, page: Page, hues: dict[str, str]) -> None:
        self.page, self.hues, self.expected = page, hues, []

    def label(self, times: int) -> None:
        for _ in range(times):
            name = press(self.page, "1" if self.hues[shown(self.page)] == "warm" else "2")
            self.expected.append((name, "label", "", self.hues[name], "unlabelled"))

    def undo(self) -> None:
        name, kind, _, to, queue = self.expected[-1]
        self.page.keyboard.press("u")
        expect(self.page.get_by_role("status")).to_have_text("Taken back")
        assert shown(self.page) == name
        self.expected.append((name, "undo", kind, to, queue))


def test_a_round_of_review_survives_reload_kill_and_restart_and_is_in_the_file_to_the_line(browser, tmp_path):
    desk = Desk(tmp_path)
    warm, cold = desk.add("warm", "warm", range(10)), desk.add("cold", "cold", range(50, 60))
    pool = {
        "warm": desk.add(UNLABELLED, "warm", range(100, 118)),
        "cold": desk.add(UNLABELLED, "cold", range(200, 216)),
    }
    desk.flag([*warm[:3], *cold[:2]], "label_issues")
    for row in desk.scores:
        row["detail"] = "cold" if row["id"] in warm else "warm"
    desk.flag(warm[5:8], "outliers")
    desk.write()
    hues = {name: hue for hue, names in pool.items() for name in names}
    with reviewing(tmp_path) as (address, server), opened(browser, address) as page:
        page.wait_for_selector("#stage img")
        me = Reviewer(page, hues)
        me.label(9)
        me.undo()
        me.label(3)
        acknowledged(page)
        page.reload()
        page.wait_for_selector("#stage img")
        expect(page.locator("#queues [data-queue=unlabelled] .left")).to_have_text("23")
        me.label(8)
        acknowledged(page)
        server.send_signal(signal.SIGKILL)
        server.wait()
        assert desk.decided() == me.expected  # each was in the file before it was acknowledged
        me.label(2)
        expect(page.locator("#unsent")).to_contain_text("2 decisions wait to be sent")
        with reviewing(tmp_path, port=urlsplit(address).port):
            expect(page.locator("#unsent")).to_be_hidden()
            me.label(9)
            go(page, "label_issues")
            for name in [*warm[:3], *cold[:2]]:
                assert press(page, "Enter") == name
                now, to = ("warm", "cold") if name in warm else ("cold", "warm")
                me.expected.append((name, "relabel", now, to, "label_issues"))
            expect(page.locator("#empty h2")).to_have_text("All of this queue is done")
            me.undo()
            assert press(page, "1") == cold[1]
            me.expected.append((cold[1], "relabel", "cold", "warm", "label_issues"))
            page.get_by_role("button", name="Go on with").click()
            go(page, "outliers")
            for name in warm[5:8]:
                assert press(page, "d") == name
                me.expected.append((name, "drop", "warm", "", "outliers"))
            acknowledged(page)
            page.reload()
            expect(page.locator("#empty h2")).to_have_text("All of this queue is done")
            expect(page.locator("#queues [data-queue=decided] .left")).to_have_text("38")
    assert desk.decided() == me.expected
    kinds = [one[1] for one in me.expected]
    assert [kinds.count(kind) for kind in ("label", "relabel", "drop", "undo")] == [31, 6, 3, 2]  # 30 and 5 stand


@pytest.fixture
def page(browser, desk):
    with reviewing(desk.paths.root) as (address, _), opened(browser, address) as found:
        found.wait_for_selector("#stage img")
        yield found


def test_everything_about_a_picture_is_shown(page, desk):
    go(page, "label_issues")
    expect(page.locator("#now")).to_have_text("Now: 暖 warm")
    expect(page.locator("#flags li")).to_have_text(["label issue: 冷 cold"])
    expect(page.locator("#classes .label")).to_have_text(["暖 warm", "冷 cold"])
    expect(page.locator("#classes .share")).to_have_text(["5 %", "95 %"])
    expect(page.locator("#classes .is-suggested .label")).to_have_text("冷 cold")
    expect(page.locator("#accept")).to_contain_text("It shows: 冷 cold")
    expect(page.locator("#facts")).to_contain_text("a warm one")
    expect(page.locator("#facts")).to_contain_text("40 × 40")
    link = page.get_by_role("link", name="site/warm")
    assert link.get_attribute("href") == "http://site/warm"
    assert link.get_attribute("rel") == "noopener noreferrer"
    natural = "image => image.decode().then(() => image.naturalWidth)"
    assert page.locator("#stage img").evaluate(natural) == 40
    assert page.locator("#coming img").first.evaluate(natural) == 40
    expect(page.locator("#coming li")).to_have_count(1)


def test_mouse_does_what_keys_do(page, desk):
    go(page, "label_issues")
    first = shown(page)
    page.locator("#classes button", has_text="冷").click()
    second = shown(page)
    page.get_by_role("button", name="Keep").click()
    expect(page.locator("#empty")).to_be_visible()
    page.get_by_role("button", name="Undo").click() if page.locator("#undo").is_visible() else page.keyboard.press("u")
    expect(page.locator("#stage img")).to_be_visible()
    page.get_by_role("button", name="Skip").click()
    acknowledged(page)
    assert desk.decided() == [
        (first, "relabel", "warm", "cold", "label_issues"),
        (second, "keep", "warm", "", "label_issues"),
        (second, "undo", "keep", "", "label_issues"),
        (second, "skip", "warm", "", "label_issues"),
    ]


def test_class_that_it_has_already_is_kept_and_enter_does_nothing_without_a_suggestion(page, desk):
    go(page, "outliers")
    first = shown(page)
    expect(page.locator("#accept")).to_be_hidden()
    page.keyboard.press("Enter")
    page.wait_for_timeout(100)
    assert shown(page) == first
    assert press(page, "1") == first
    go(page, "unsure")
    press(page, "Enter")  # what it is: the class is right
    acknowledged(page)
    assert [one[1:4] for one in desk.decided()] == [("keep", "warm", ""), ("keep", "cold", "")]


def test_best_of_a_group_stays_and_the_rest_is_dropped(page, desk):
    go(page, "near_duplicates")
    members = page.locator(".member")
    expect(members).to_have_count(3)
    expect(page.locator(".fate")).to_have_text(["stays", "dropped", "dropped"])
    page.keyboard.press("2")
    expect(page.locator(".fate")).to_have_text(["dropped", "stays", "dropped"])
    sources = page.locator("#stage img").evaluate_all("images => images.map((one) => one.src.slice(-68, -4))")
    press(page, "Enter")
    expect(page.get_by_role("status")).to_have_text("2 pictures dropped")
    expect(members).to_have_count(2)
    root = page.locator("#stage img").evaluate_all("images => images.map((one) => one.src.slice(-68, -4)).sort()")
    page.keyboard.press("k")
    expect(page.locator("#empty")).to_be_visible()
    acknowledged(page)
    assert [one[:2] for one in desk.decided()[:2]] == [(sources[0], "drop"), (sources[2], "drop")]
    assert sorted(one[0] for one in desk.decided()[2:]) == root
    assert {one[1:2] + one[4:] for one in desk.decided()[2:]} == {("keep", "near_duplicates")}
    page.keyboard.press("u")
    expect(members).to_have_count(2)
    page.keyboard.press("u")
    expect(members).to_have_count(3)
    acknowledged(page)
    assert [one[:3] for one in desk.decided()[6:]] == [(sources[0], "undo", "drop"), (sources[2], "undo", "drop")]


def test_what_the_server_kept_is_labelled_with_what_its_visitor_said(page, desk):
    go(page, "served")
    expect(page.locator("#facts")).to_contain_text("a visitor says: cold")
    press(page, "Enter")
    acknowledged(page)
    assert [one[1:] for one in desk.decided()] == [("label", "", "cold", "served")]


def test_decision_is_found_and_taken_back_later(page, desk):
    go(page, "label_issues")
    name = press(page, "d")
    acknowledged(page)
    page.evaluate("sessionStorage.clear()")
    go(page, "decided")
    assert shown(page) == name
    expect(page.locator("#now")).to_contain_text("dropped by")
    press(page, "1")  # back, with the class that it had
    acknowledged(page)
    assert [one[1] for one in desk.decided()] == ["drop", "keep"]


def test_neighbours_are_shown_where_there_are_features(browser, desk):
    import numpy as np

    from imageloom.features import FeatureStore

    store = FeatureStore(desk.paths.features).prepare({"made": "here"})
    ids = [row["sha256"] for row in desk.project.rows]
    vectors = np.random.default_rng(0).random((len(ids), 8), dtype=np.float32)
    store.append(zip(ids, vectors, strict=True), 8)
    with reviewing(desk.paths.root) as (address, _), opened(browser, address) as page:
        go(page, "losses")
        expect(page.locator("#alike img")).to_have_count(8)
        page.locator("#alike button").first.click()
        expect(page.locator("#large")).to_be_visible()
        expect(page.locator("#large p")).to_contain_text("similarity")
        page.keyboard.press("d")  # what is behind a dialog is not decided about
        page.keyboard.press("Escape")
        assert not desk.paths.decisions.exists() or desk.decided() == []


def test_name_of_who_decides_is_asked_once_and_written(page, desk):
    page.locator("#who").fill("卡尔 d")
    page.keyboard.press("Tab")
    page.reload()
    page.wait_for_selector("#stage img")
    expect(page.locator("#who")).to_have_value("卡尔 d")
    press(page, "d")
    acknowledged(page)
    assert "卡尔 d" in desk.paths.decisions.read_text(encoding="utf-8")


def test_classes_are_named_while_labelling_where_the_parameters_name_none(browser, tmp_path):
    desk = Desk(tmp_path, classes=[])
    desk.add(UNLABELLED, "warm", range(4))
    with reviewing(tmp_path) as (address, _), opened(browser, address) as page:
        page.wait_for_selector("#stage img")
        page.keyboard.press("/")
        page.keyboard.type("卡特彼勒")
        press(page, "Enter")
        expect(page.locator("#classes .label")).to_have_text(["卡特彼勒"])
        press(page, "1")
        page.keyboard.press("/")
        page.keyboard.type("no/such")
        press(page, "Enter")
        expect(page.get_by_role("status")).to_contain_text("Not taken")
        acknowledged(page)
    assert [one[1:4] for one in desk.decided()] == [("label", "", "卡特彼勒")] * 2


def test_many_classes_are_found_by_name(browser, tmp_path):
    classes = [{"name": f"c{number:02}", "label": f"类 {number:02}"} for number in range(30)]
    desk = Desk(tmp_path, classes=classes)
    desk.add(UNLABELLED, "warm", range(4))
    with reviewing(tmp_path) as (address, _), opened(browser, address) as page:
        page.wait_for_selector("#stage img")
        press(page, "9")
        page.keyboard.press("/")
        page.keyboard.type("27")
        expect(page.locator("#classes .label")).to_have_text(["类 27"])
        press(page, "Enter")
        expect(page.locator("#classes li")).to_have_count(30)
        acknowledged(page)
    assert [one[3] for one in desk.decided()] == ["c08", "c27"]


EVIL = '<img src=x onerror="document.title=1"><script>document.title=2</script>'


def test_markup_in_labels_names_and_addresses_does_nothing(browser, tmp_path):
    desk = Desk(tmp_path, classes=[{"name": "warm", "label": f"{EVIL} w"}, {"name": "cold", "label": f"{EVIL} c"}])
    evil = {
        "title": EVIL,
        "author": EVIL,
        "licence": "javascript:document.title=3",
        "page": "javascript:document.title=4",
    }
    names = [
        *desk.add("warm", "warm", [1, 2, 3], **evil, url=f'http://site/"{EVIL}'),
        *desk.add("cold", "cold", [4, 5], **evil, url=f"file:data/pictures/{EVIL}.jpg"),
        *desk.add(UNLABELLED, "cold", [6], **evil, url="data:text/html,<script>document.title=5</script>"),
    ]
    desk.flag(names[:1], "label_issues", EVIL)
    desk.flag(names[3:4], EVIL, EVIL)
    desk.flag(names[4:5], "outliers", EVIL)
    desk.groups[names[2]] = names[1]
    desk.probabilities |= dict.fromkeys(names, 0.55)
    desk.write()
    with reviewing(tmp_path, "--who", EVIL) as (address, _), opened(browser, address) as page:
        page.wait_for_selector("#stage img")
        for queue in ("unlabelled", "label_issues", "near_duplicates", "quality", "outliers", "unsure"):
            go(page, queue)
            expect(page.locator("#stage img").first).to_be_visible()
            if queue != "near_duplicates":
                expect(page.locator("#facts")).to_contain_text(EVIL)
            assert page.locator("img[src='x']").count() == 0
            assert page.locator("body script").count() == 0
            links = page.locator("#facts a").evaluate_all("links => links.map((one) => one.protocol)")
            assert set(links) <= {"http:", "https:"}
        press(page, "d")
        go(page, "decided")
        expect(page.locator("#now")).to_contain_text(EVIL)
        page.goto(f"{address}/#{EVIL}")
        page.reload()
        page.wait_for_selector("#stage img")
        expect(page).to_have_title("imageloom review")
        assert page.locator("img[src='x']").count() == 0


def test_what_the_policy_forbids_is_noticed(browser, address):
    """The twin of the test above: markup that gets in is not run, and is told."""
    with pytest.raises(AssertionError, match="Content Security"):
        _put_in(EVIL, browser, address)


def _put_in(html: str, browser, address: str) -> None:
    with opened(browser, address) as page:
        page.wait_for_selector("#stage img")
        with page.expect_console_message(lambda line: "Content Security" in line.text):
            page.evaluate("html => document.querySelector('#facts').innerHTML = html", html)
        expect(page).to_have_title("imageloom review")


def test_phone_shows_all_without_scrolling_sideways_and_decides_by_touch(browser, desk):
    with reviewing(desk.paths.root) as (address, _), opened(browser, address, **PHONE) as page:
        page.wait_for_selector("#stage img")
        for queue in ("near_duplicates", "label_issues"):
            with opening(page, queue):
                page.locator("#choose").select_option(queue)
            expect(page.locator("#stage img").first).to_be_visible()
            page.wait_for_timeout(300)
            assert page.evaluate("document.documentElement.scrollWidth") == 360
        for name in ("accept", "keep", "drop", "skip", "undo"):
            box = page.locator(f"#{name}").bounding_box()
            assert box["height"] >= 44  # a finger (WCAG 2.2, 2.5.5)
            assert box["y"] + box["height"] <= 740
        name = shown(page)
        page.locator("#accept").tap()
        acknowledged(page)
        assert desk.decided() == [(name, "relabel", "warm", "cold", "label_issues")]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_in_light_and_dark(browser, address, scheme):
    with opened(browser, address, color_scheme=scheme) as page:
        for queue in ("label_issues", "near_duplicates"):
            page.wait_for_selector("#stage img")
            go(page, queue)
            assert weak_texts(page) == []
        page.keyboard.press("?")
        expect(page.get_by_role("heading", name="Keys")).to_be_visible()
        assert weak_texts(page) == []


def test_keyboard_reaches_everything_and_help_tells_the_keys(browser, address):
    with opened(browser, address) as page:
        page.wait_for_selector("#stage img")
        names = page.evaluate(NAMES)
        assert all(names), names
        page.keyboard.press("n")
        expect(page.locator("#queues [data-queue=label_issues]")).to_have_attribute("aria-current", "page")
        page.keyboard.press("p")
        expect(page.locator("#queues [data-queue=unlabelled]")).to_have_attribute("aria-current", "page")
        assert page.evaluate("location.hash") == "#unlabelled"


def test_visitor_with_the_token_gets_in_and_it_does_not_stay_in_the_address(browser, desk):
    token = "a-token-of-some-length"
    with reviewing(desk.paths.root, "--token", token) as (link, _):
        address = link.partition("?")[0]
        with opened(browser, link) as page:
            page.wait_for_selector("#stage img")
            assert token not in page.url
        with opened(browser, address) as page:
            page.get_by_label("The token that").fill("wrong wrong wrong wrong")
            page.keyboard.press("Enter")
            expect(page.get_by_label("The token that")).to_have_value("")
            page.get_by_label("The token that").fill(token)
            page.keyboard.press("Enter")
            page.wait_for_selector("#stage img")
            page.keyboard.press("d")
            acknowledged(page)
    assert len(desk.decided()) == 1


def test_stage_that_runs_while_the_page_is_open_brings_the_next_pictures(browser, tmp_path):
    desk = Desk(tmp_path)
    desk.add("warm", "warm", range(3))
    desk.add("cold", "cold", range(3))
    [first] = desk.add(UNLABELLED, "cold", [50])
    desk.write()
    with reviewing(tmp_path) as (address, _), opened(browser, address) as page:
        page.wait_for_selector("#stage img")
        desk.add(UNLABELLED, "cold", range(60, 64))
        desk.write()
        assert press(page, "2") == first
        expect(page.locator("#empty")).to_be_visible()
        page.locator("#queues [data-queue=unlabelled]").click()
        page.wait_for_selector("#stage img")
        acknowledged(page)
        for _ in range(4):
            press(page, "2")
        acknowledged(page)
    assert len({one[0] for one in desk.decided()}) == 5


def test_tables_of_the_desk_are_those_of_the_stages(desk):
    for path, schema in ((desk.paths.clean, tables.CLEAN), (desk.paths.scores, tables.SCORES)):
        assert len(tables.read(Path(path), schema, "clean")) > 0


def decided_while_away(page: Page, server: subprocess.Popen) -> list[tuple[str, str, str, str, str]]:
    """Kills the server and labels two pictures; gives what the file must say one day."""
    page.wait_for_selector("#stage img")
    until(page, FETCHED)  # a picture that cannot be fetched is not shown, and could not be named here
    server.send_signal(signal.SIGKILL)
    server.wait()
    names = [press(page, "1"), press(page, "2")]
    expect(page.locator("#unsent")).to_contain_text("2 decisions wait to be sent")
    return [(name, "label", "", to, "unlabelled") for name, to in zip(names, ("warm", "cold"), strict=True)]


def test_what_was_decided_while_the_server_was_away_outlives_the_tab(browser, desk):
    root = desk.paths.root
    with reviewing(root) as (address, server), opened(browser, address) as page:
        expected = decided_while_away(page, server)
        latest = decisions.now()
        asked = []
        page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.accept()))
        with page.expect_event("close"):
            page.close(run_before_unload=True)
        assert asked == ["beforeunload"]
        time.sleep(2)  # `when` is to the second
        with reviewing(root, port=urlsplit(address).port):
            again = page.context.new_page()
            again.goto(address)
            expect(again.get_by_role("status")).to_have_text(
                "Sends 2 decisions that waited here while the page was closed"
            )
            acknowledged(again)
            again.reload()
            again.wait_for_selector("#stage img")
            expect(again.locator("#status")).to_be_empty()
    assert desk.decided() == expected
    assert all(one.when <= latest for one in decisions.read(desk.paths.decisions))


def test_what_waits_is_sent_to_its_own_project_only_and_by_one_tab(browser, desk, tmp_path):
    other = full(tmp_path / "other")  # the same pictures
    with reviewing(desk.paths.root) as (address, server), opened(browser, address) as page:
        expected = decided_while_away(page, server)
        port = urlsplit(address).port
        with reviewing(other.paths.root, port=port):
            expect(page.locator("#unsent")).to_contain_text("another project is reviewed at this address now: 2")
            tab = page.context.new_page()
            tab.goto(address)
            press(tab, "d")
            until(tab, "() => !document.querySelector('[data-queue=decided] .left')?.innerText.includes('0')")
        with reviewing(desk.paths.root, port=port):
            tab.goto(address)
            acknowledged(page)
            acknowledged(tab)
            expect(page.locator("#unsent")).to_be_hidden()
    assert desk.decided() == expected
    assert [one[1] for one in other.decided()] == ["drop"]


def test_name_that_is_typed_is_never_taken_for_commands(page, desk):
    name = shown(page)
    page.keyboard.press("/")
    page.keyboard.press("Enter")
    page.keyboard.type("cold")
    expect(page.locator("#classes .label")).to_have_text(["冷 cold"])
    page.keyboard.press("Escape")
    expect(page.locator("#find")).to_be_hidden()
    expect(page.locator("#classes .label")).to_have_count(2)
    page.keyboard.press("/")
    page.keyboard.type("cold")
    press(page, "Enter")
    acknowledged(page)
    assert [one[:4] for one in desk.decided()] == [(name, "label", "", "cold")]


def test_enter_takes_the_class_that_is_marked_and_a_new_one_only_where_it_says_so(browser, tmp_path):
    desk = Desk(tmp_path, classes=[])
    desk.add(UNLABELLED, "warm", range(6))
    with reviewing(tmp_path) as (address, _), opened(browser, address) as page:
        page.wait_for_selector("#stage img")
        for text, listed in (
            ("卡特彼勒", ["new class: 卡特彼勒"]),
            ("卡特", ["卡特彼勒", "new class: 卡特"]),
            ("卡特彼勒", ["卡特彼勒"]),
        ):
            page.keyboard.press("/")
            page.keyboard.type(text)
            expect(page.locator("#classes .label")).to_have_text(listed)
            press(page, "Enter")
        page.keyboard.press("/")
        page.keyboard.type("卡特")
        page.get_by_role("button", name="new class").click()
        acknowledged(page)
        page.keyboard.press("/")
        page.keyboard.type("卡特")
        expect(page.locator("#classes .label")).to_have_text(["卡特", "卡特彼勒"])
    assert [one[3] for one in desk.decided()] == ["卡特彼勒", "卡特彼勒", "卡特彼勒", "卡特"]


def at(page: Page, queue: str) -> None:
    """Waits until a queue is shown and in the address."""
    expect(page.locator(f"#queues [data-queue={queue}]")).to_have_attribute("aria-current", "page")
    until(page, "name => location.hash === `#${name}`", queue)


def test_address_leads_to_a_queue_and_back(page, desk):
    at(page, "unlabelled")
    page.evaluate("location.hash = '#quality'")
    at(page, "quality")
    expect(page.locator("#question")).to_have_text("Is it good enough to learn from?")
    go(page, "outliers")
    for unknown in ("nonsense", "%", "toString"):
        page.evaluate("name => { location.hash = name; }", unknown)
        at(page, "outliers")
    page.evaluate("history.go(-1 - 3)")
    at(page, "quality")
    page.evaluate("history.back()")
    at(page, "unlabelled")
    page.evaluate("location.hash = '%'")
    page.reload()
    at(page, "unlabelled")


def test_queue_of_which_some_were_skipped_says_so_and_leads_to_another(page, desk):
    page.keyboard.press("u")
    expect(page.get_by_role("status")).to_contain_text("in queue Decided")
    for key in "sssssssssd":
        press(page, key)
    expect(page.locator("#empty h2")).to_have_text("All of this queue is done")
    expect(page.locator("#empty p")).to_contain_text("You skipped 9 of it")
    expect(page.locator("#onward")).to_have_text("Go on with: Label issues")
    acknowledged(page)
    go(page, "decided")
    press(page, "s")
    expect(page.locator("#empty h2")).to_have_text("That is all that was decided")
