"""A gallery modelled on a real machine dealer's site, crawled and trained on: brands with Chinese labels."""

import io
import json
import math
import random
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image, ImageDraw

from imageloom import cli, tables

pytestmark = pytest.mark.slow

# Label, and what tells a brand's machines apart: paint, the arm's angle in degrees, the tracks' length, the cab's side.
BRANDS = {
    "caterpillar": ("卡特彼勒", (236, 176, 24), 60, 60, "left"),
    "case": ("凯斯", (150, 92, 40), 25, 70, "right"),
    "kubota": ("久保田", (226, 92, 32), 75, 34, "left"),
    "doosan": ("斗山", (206, 78, 52), 35, 76, "right"),
    "komatsu": ("小松", (228, 196, 60), 40, 52, "right"),
    "sany": ("三一重工", (168, 160, 48), 80, 70, "right"),
    "volvo": ("沃尔沃", (96, 112, 132), 50, 60, "left"),
    "xcmg": ("徐工", (240, 214, 120), 20, 44, "left"),
}
EACH = 24
PER_PAGE = 10
GBK = "sany"  # one brand's pages are older than the others


def machine(brand: str, number: int) -> bytes:
    """A photograph of an excavator, as far as a test can take one: no two are the same."""
    _, paint, angle, tracks, cab = BRANDS[brand]
    chance = random.Random(f"{brand} {number}")
    width, height = chance.choice([(160, 120), (180, 120), (144, 120)])
    sky = tuple(chance.randint(150, 230) for _ in range(3))
    ground = tuple(chance.randint(70, 140) for _ in range(3))
    image = Image.new("RGB", (width, height), sky)
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 84, width, height), fill=ground)
    left = width // 2 - 40 + chance.randint(-8, 8)
    shade = chance.uniform(0.8, 1.1)
    body = tuple(min(255, int(part * shade)) for part in paint)
    draw.rounded_rectangle((left, 88, left + tracks, 104), 8, fill=(40, 40, 44))
    draw.rectangle((left + 4, 58, left + 62, 88), fill=body)
    window = left + 6 if cab == "left" else left + 38
    draw.rectangle((window, 34, window + 22, 60), fill=body)
    draw.rectangle((window + 3, 38, window + 19, 54), fill=(190, 220, 235))
    bend = math.radians(angle + chance.uniform(-6, 6))
    tip = (left + 58 + 46 * math.cos(bend), 62 - 46 * math.sin(bend))
    draw.line((left + 58, 66, *tip), fill=body, width=9)
    draw.line((*tip, tip[0] + 16, tip[1] + 34), fill=body, width=7)
    noise = np.random.default_rng(chance.randint(0, 10**9)).normal(0, 12, (height, width, 3))
    noisy = Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))
    file = io.BytesIO()
    noisy.save(file, "JPEG", quality=90)
    return file.getvalue()


def dealer(site: Any) -> None:
    """Serves the dealer's lists: a box around each machine, a pager with the number of pages in its last span."""
    pages = -(-EACH // PER_PAGE)
    for brand, (label, *_) in BRANDS.items():
        for page in range(1, pages + 1):
            numbers = range((page - 1) * PER_PAGE, min(page * PER_PAGE, EACH))
            boxes = "".join(
                f"<div class='result-box'><a href='../../machine/{brand}-{n}.html'>"
                f"<img src='../../img/{brand}/{n}.jpg' alt='{label} 挖掘机 {n}'></a><p>￥{n}0,000</p></div>"
                for n in numbers
            )
            pager = "".join(f"<a href='?page={n}'>{n}</a>" for n in range(1, pages + 1))
            charset = "gbk" if brand == GBK else "utf-8"
            html = (
                f"<!doctype html><html><head><meta http-equiv='Content-Type' content='text/html; charset={charset}'>"
                f"<title>{label}</title></head><body><img src='/img/logo.png' alt='logo'><h1>{label}</h1>"
                f"<div class='list'>{boxes}</div><div class='ad'><img src='/img/ad.jpg'></div>"
                f"<div class='pager'><span>第{page}页</span>{pager}<span>共{pages}页</span></div></body></html>"
            )
            address = f"/list/{brand}/" if page == 1 else f"/list/{brand}/?page={page}"
            site.routes[address] = html.encode(charset)
        for n in range(EACH):
            body = machine(brand, n)
            site.routes[f"/img/{brand}/{n}.jpg"] = (200, {"Content-Type": "image/jpeg", "ETag": f'"{brand}{n}"'}, body)


def run(root: Path, *stages: str) -> None:
    for stage in stages:
        assert cli.main([stage, "-C", str(root)]) == 0, stage


@pytest.fixture
def project(site: Any, tiles_backbone: Path, tmp_path: Path) -> Path:
    """A project as a person sets it up for the dealer's site."""
    dealer(site)
    root = tmp_path / "挖掘机"
    root.mkdir()
    source = {
        "kind": "gallery",
        "start": site.address + "/list/{class}/",
        "item": ".result-box img",
        "page_count": ".pager span:last-child",
        "page_address": "?page={page}",
        "licence": "for the test only",
    }
    sections = {
        "classes": [{"name": name, "label": label} for name, (label, *_) in BRANDS.items()],
        "scrape": {"sources": [source], "allow_hosts": ["127.0.0.1"], "backoff": 0.01},
        "embed": {"aspect": "stretch"},
        "split": {"method": "stratified", "validation": 0.2, "test": 0.25},
        "evaluate": {"bootstrap": 200},
    }
    (root / "params.yaml").write_text(yaml.safe_dump(sections, allow_unicode=True, sort_keys=False), encoding="utf-8")
    shutil.copytree(tiles_backbone, root / "models" / "backbone")
    return root


def test_a_dealer_s_site_becomes_a_classifier_of_its_brands(site: Any, project: Path) -> None:
    run(project, "scrape")
    rows = tables.read(project / "data/raw/manifest.parquet", tables.MANIFEST, "scrape").to_pylist()
    assert Counter((row["class"], row["status"]) for row in rows) == {(brand, "ok"): EACH for brand in BRANDS}
    titles = {row["title"] for row in rows if row["class"] == GBK}
    assert titles == {f"三一重工 挖掘机 {n}" for n in range(EACH)}
    assert all(
        path.count("/") == 3 for path in site.asked if path.startswith("/img/")
    )  # neither logo nor advertisement
    assert len(site.asked) == len(BRANDS) * (EACH + 3)

    run(project, "embed", "clean", "split", "train", "evaluate")
    labels = (project / "models/classifier/labels.txt").read_text(encoding="utf-8").splitlines()
    assert labels == ["卡特彼勒", "凯斯", "久保田", "斗山", "小松", "三一重工", "沃尔沃", "徐工"]
    metrics = json.loads((project / "reports/metrics.json").read_text(encoding="utf-8"))
    assert sum(metrics["pictures"]["test"].values()) >= 40
    assert metrics["majority_baseline"] <= 0.2
    assert metrics["accuracy"] >= 0.8  # by chance: 0.125
    assert "三一重工" in (project / "reports/index.html").read_text(encoding="utf-8")

    before = len(site.asked)
    run(project, "scrape")  # next week: nothing is new
    rows = tables.read(project / "data/raw/manifest.parquet", tables.MANIFEST, "scrape").to_pylist()
    assert {row["status"] for row in rows} == {"unchanged"}
    assert len(site.asked) == 2 * before
