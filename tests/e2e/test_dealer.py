"""A gallery modelled on a real machine dealer's site, crawled and trained on: brands with Chinese labels."""

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from dealer_site import BRANDS, EACH, GBK, dealer

from imageloom import cli, tables

pytestmark = pytest.mark.slow


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
