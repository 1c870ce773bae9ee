"""The browser of the tests: Debian's chromium, driven by Playwright."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, expect, sync_playwright
from skips import skip_or_fail

CHROMIUM = Path("/usr/bin/chromium")
PATIENCE = 60  # seconds, after which what was waited for does not come

ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
ARGUMENTS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]

PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}

# Each text that is seen, and how much brighter it is than what is behind it, or darker (WCAG 2.2, contrast ratio).
CONTRASTS = """() => {
    const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
    const luminance = (colour) => {
        const [r, g, b] = channels(colour).slice(0, 3).map((v) => v / 255)
            .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = (element) => {
        for (let one = element; one; one = one.parentElement) {
            const colour = getComputedStyle(one).backgroundColor;
            if (channels(colour)[3] !== 0) return colour;
        }
        return "rgb(255, 255, 255)";
    };
    const found = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
        const element = node.parentElement;
        const seen = element.checkVisibility({ visibilityProperty: true }) && !element.closest(".unseen, :disabled");
        if (!node.data.trim() || !seen) continue;
        const [a, b] = [getComputedStyle(element).color, behind(element)].map(luminance);
        found.push([node.data.trim(), (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)]);
    }
    return found;
}"""


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser; skips loudly where the machine has none."""
    if not CHROMIUM.exists():
        message = f"NO BROWSER: {CHROMIUM} is missing, so the page is NOT tested; install Debian's package chromium"
        skip_or_fail(message)
    expect.set_options(timeout=1000 * PATIENCE)
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS, timeout=2000 * PATIENCE)
        yield found
        found.close()


@contextmanager
def opened(browser: Browser, address: str, **options: Any) -> Iterator[Page]:
    """A page, which must neither ask other servers for anything nor log an error or break its own policy."""
    context = browser.new_context(**options)
    origin = "/".join(address.split("/")[:3])
    page = context.new_page()
    page.set_default_timeout(1000 * PATIENCE)
    complaints: list[str] = []
    page.on("pageerror", lambda fault: complaints.append(str(fault)))
    page.on("console", lambda line: complaints.append(line.text) if "Content Security" in line.text else None)
    page.on("request", lambda sent: None if sent.url.startswith((origin, "blob:")) else complaints.append(sent.url))
    page.goto(address)
    try:
        yield page
    finally:
        context.close()
    assert complaints == [], complaints


def until(page: Page, script: str, argument: Any = None, seconds: float = PATIENCE) -> None:
    """Waits until a function gives true in the page; Playwright's own way needs `eval`, which our policy forbids."""
    ends = time.monotonic() + seconds
    while not page.evaluate(script, argument):
        assert time.monotonic() < ends, f"not within {seconds} s: {script}"
        time.sleep(0.01)


def weak_texts(page: Page) -> list[str]:
    """Texts that do not stand out enough (WCAG 2.2, 1.4.3)."""
    found = page.evaluate(CONTRASTS)
    assert len(found) > 8
    return [text for text, contrast in found if contrast < 4.5]
