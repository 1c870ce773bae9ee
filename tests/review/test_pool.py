"""A folder of attachments that nobody has sorted becomes a classifier, by one person at the keyboard alone."""

import hashlib
import io
import json
import shutil
import subprocess
import sys

from browsers import opened, until
from desks import reviewing
from PIL import Image
from projects import Project, picture
from test_review_page import GONE, SENT

from imageloom import decisions, tables

CLASSES = [{"name": "warm", "label": "暖 warm"}, {"name": "cold", "label": "冷 cold"}]
KINDS = {"PNG": ".png", "JPEG": ".jpg", "WEBP": ".webp", "GIF": "", "BMP": " (1).BMP"}
EACH = 24


def imageloom(project: Project, *words: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "imageloom.cli", *words, "-C", str(project.paths.root)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def attachments(project: Project) -> dict[str, str]:
    """Writes what users sent, by the number of each, and gives the class of each picture."""
    hues = {}
    for number in range(2 * EACH):
        hue = ("warm", "cold")[number % 2]
        kind, ending = list(KINDS.items())[number % len(KINDS)]
        file = io.BytesIO()
        Image.open(io.BytesIO(picture(hue, number))).save(file, kind)
        folder = project.paths.root / "data" / "pictures" / "inbox" / f"user-{number % 7:05}" / f"2026 第{number % 3}周"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"IMG {number} 🌹{ending}").write_bytes(file.getvalue())
        hues[hashlib.sha256(file.getvalue()).hexdigest()] = hue
        (folder / "notes.txt").write_text("not a picture", encoding="utf-8")
        (folder / "broken.jpg").write_bytes(file.getvalue()[:60])
        (folder / "empty.png").touch()
        (folder / "contract.pdf").write_bytes(b"%PDF-1.7\n")
    return hues


def test_attachments_of_all_kinds_become_a_classifier(browser, tmp_path, tiles_backbone):
    sources = [{"kind": "folder", "path": "data/pictures", "pool": True}]
    project = Project(
        tmp_path,
        classes=CLASSES,
        scrape={"sources": sources},
        split={"method": "stratified"},
        embed={"aspect": "stretch"},
    )
    shutil.copytree(tiles_backbone, project.paths.backbone)
    hues = attachments(project)
    for stage in ("scrape", "embed"):
        done = imageloom(project, stage)
        assert done.returncode == 0, done.stderr
    nothing = imageloom(project, "clean")
    assert nothing.returncode == 2
    assert "imageloom review" in nothing.stderr

    with reviewing(tmp_path) as (address, _), opened(browser, address) as page:
        for _ in range(len(hues)):
            page.wait_for_selector("#stage img")
            name = page.locator("#stage img").get_attribute("src")[-68:-4]
            page.keyboard.press("1" if hues[name] == "warm" else "2")
            until(page, GONE, name)
        until(page, SENT)
    assert {one.sha256: one.to for one in decisions.read(project.paths.decisions)} == hues

    for stage in ("clean", "split", "train", "evaluate"):
        done = imageloom(project, stage)
        assert done.returncode == 0, done.stderr
    found = tables.read(project.paths.split, tables.SPLIT, "split").to_pylist()
    assert {row["id"]: row["class"] for row in found} == hues
    result = json.loads((project.paths.reports / "metrics.json").read_text(encoding="utf-8"))
    assert result["accuracy"] > 0.9
