"""A site modelled on a real machine dealer's: lists of excavators by brand, page by page."""

import io
import math
import random
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

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
