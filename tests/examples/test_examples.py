"""Each params file in examples/ does what its page says, on small real pictures."""

import copy
import csv
import hashlib
import importlib
import io
import json
import shutil
import subprocess
import sys
import urllib.request
import zipfile
from collections import Counter
from functools import partial, reduce
from pathlib import Path

import dealer_site
import numpy as np
import pytest
import servers
import yaml
from closure import ROOT
from once import made_once, run_python
from PIL import Image, ImageDraw
from test_serve_http import form

from imageloom import cli, images, params, tables
from imageloom.cli import STAGES
from imageloom.params import ClassSpec

EXAMPLES = sorted((ROOT / "examples").iterdir())
WORDS = ("Invoice", "2026", "total", "amount", "due", "within", "thirty", "days", "of", "receipt")
TO_EVALUATE = ("scrape", "embed", "clean", "split", "train", "evaluate")


def photographs() -> list[np.ndarray]:
    """A temple in China and a flower, which scikit-learn ships."""
    from sklearn.datasets import load_sample_images

    return list(load_sample_images().images)


def piece(photograph: np.ndarray, number: int, size: int = 200, **how: object) -> bytes:
    """A JPEG of a part of a photograph, `size` pixels wide; no two numbers give the same."""
    random = np.random.default_rng(number)
    side = int(random.integers(140, 240))
    top, left = (int(random.integers(0, length - side)) for length in photograph.shape[:2])
    part = Image.fromarray(photograph[top : top + side, left : left + side])
    file = io.BytesIO()
    part.resize((size, size * 3 // 4)).save(file, "JPEG", quality=90, **how)
    return file.getvalue()


def copied(example: str, root: Path, backbone: Path, **scrape: object) -> Path:
    """A project with the example's params file; nothing in it is another but what `scrape` must allow on loopback."""
    root.mkdir(parents=True)
    sections = params.load_all(ROOT / "examples" / example / "params.yaml")
    sections["scrape"] |= scrape
    (root / "params.yaml").write_text(yaml.safe_dump(sections, allow_unicode=True), encoding="utf-8")
    shutil.copytree(backbone, root / "models" / "backbone")
    return root


def run(root: Path) -> dict:
    for stage in TO_EVALUATE:
        assert cli.main([stage, "-C", str(root)]) == 0, stage
    return json.loads((root / "reports" / "metrics.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_example_is_read_by_every_stage_and_has_a_page_of_ten_lines_or_so(example):
    path = example / "params.yaml"
    params.check_sections([*cli.OTHER_SECTIONS, *STAGES], path)
    assert all(isinstance(spec, ClassSpec) for spec in params.load_classes(path))
    for name, module in STAGES.items():
        params.load(name, importlib.import_module(module).Params, path)
    page = (example / "README.md").read_text(encoding="utf-8")
    assert f"cp examples/{example.name}/params.yaml params.yaml" in page
    assert 8 <= len(page.splitlines()) <= 20


def test_lists_of_addresses_become_a_classifier(site, tiles_backbone, tmp_path, capfd):
    root = copied("birds", tmp_path / "birds", tiles_backbone, allow_hosts=["127.0.0.1"], backoff=0.01, retries=0)
    (root / "data" / "urls").mkdir(parents=True)
    temple, flower = photographs()
    plain = np.full_like(temple, (120, 160, 200)) + np.random.default_rng(0).integers(0, 40, temple.shape, np.uint8)
    for number, (name, photograph) in enumerate((("bird", flower), ("wild cat", temple), ("aircraft", plain))):
        lines = ["url,licence"]
        for index in range(24):
            path = f"/{number}/{index}.jpg"
            site.routes[path] = piece(photograph, 100 * number + index, size=1200 if index == 0 else 200)
            lines.append(f"{site.address}{path},CC0")
        site.routes[f"/{number}/broken.jpg"] = piece(photograph, 7)[:900]
        lines += [f"{site.address}/{number}/broken.jpg,CC0", f"{site.address}/{number}/gone.jpg,CC0"]
        (root / "data" / "urls" / f"urls_{name}.csv").write_text("\n".join(lines), encoding="utf-8")
    metrics = run(root)
    assert metrics["accuracy"] >= 0.9
    assert metrics["majority_baseline"] <= 0.4
    rows = tables.read(root / "data/raw/manifest.parquet", tables.MANIFEST, "scrape").to_pylist()
    assert Counter(row["status"] for row in rows) == {"ok": 72, "corrupt": 3, "gone": 3}
    stored = [images.inspect((root / "data/raw" / row["path"]).read_bytes()) for row in rows if row["path"]]
    assert max(min(info.width, info.height) for info in stored) == 500
    assert {row["licence"] for row in rows} == {"CC0"}
    assert set(metrics["pictures"]["test"]) == {"bird", "wild cat", "aircraft"}


def test_sixty_photographs_are_enough_to_start_with(tiles_backbone, tmp_path):
    root = copied("beer-or-wings", tmp_path / "beer", tiles_backbone)
    lying = Image.Exif()
    lying[0x0112] = 6  # as a phone held upright writes it
    for name, photograph in zip(("beer", "wings"), photographs(), strict=True):
        folder = root / "data" / "pictures" / name
        folder.mkdir(parents=True)
        for number in range(30):
            (folder / f"IMG_{number}.JPG").write_bytes(piece(photograph, number, exif=lying))
    metrics = run(root)
    assert metrics["pictures"] == {
        side: {"beer": number, "wings": number} for side, number in (("train", 18), ("validation", 6), ("test", 6))
    }
    assert metrics["accuracy"] >= 0.8
    low, high = metrics["accuracy_interval"]
    assert high - low > 0.15  # twelve pictures say little, and it says so
    with (root / "reports" / "predictions.csv").open(encoding="utf-8") as file:
        assert Counter(row["actual"] for row in csv.DictReader(file)) == {"beer": 6, "wings": 6}
    assert images.inspect((root / "reports/figures/predictions.png").read_bytes()).width > 300
    assert (root / "models/classifier/labels.txt").read_text(encoding="utf-8") == "🍺 beer\n🍗 wings\n"


def sign(photograph: np.ndarray, number: int) -> bytes:
    """A piece of a photograph with printed words across it, half of them wider than 1.5 times their height."""
    picture = Image.open(io.BytesIO(piece(photograph, number))).resize((400, 300 if number % 2 else 160))
    draw, random = ImageDraw.Draw(picture), np.random.default_rng(number)
    for line in range(7):
        words = " ".join(random.choice(WORDS, 6))
        draw.rectangle((0, 40 * line, 400, 40 * line + 36), fill="white")
        draw.text((4, 40 * line), words, fill="black", font_size=26)
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=90)
    return file.getvalue()


def test_two_folders_become_a_model_for_a_phone_and_a_server_that_takes_zip_files(tiles_backbone, tmp_path, capfd):
    root = copied("text-or-not", tmp_path / "text", tiles_backbone)
    pictures = root / "data" / "pictures"
    for name, make in (("notext", piece), ("text", sign)):
        (pictures / name).mkdir(parents=True)
        for number in range(40):
            (pictures / name / f"{number}.jpg").write_bytes(make(photographs()[number % 2], number))
    metrics = run(root)
    assert metrics["accuracy"] >= 0.75  # of 16
    # In a process of its own, as under DVC: TensorFlow would stay in this one.
    subprocess.run([sys.executable, "-m", "imageloom.cli", "export", "-C", str(root)], check=True, capture_output=True)
    model = root / "models" / "export"
    assert (model / "labels.txt").read_text(encoding="utf-8") == "notext\ntext\n"
    assert (model / "saved_model" / "saved_model.pb").exists()
    fresh = tmp_path / "new ☀.jpg"
    fresh.write_bytes(sign(photographs()[0], 1001))
    capfd.readouterr()
    for file in ("model.tflite", "model_int8.tflite"):
        assert cli.main(["predict", "--top", "5", "--model", str(model / file), str(fresh)]) == 0
        assert capfd.readouterr().out.splitlines()[0].endswith(": text")
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.write(fresh, fresh.name)
        zipped.writestr("b.jpg", piece(photographs()[1], 1003))
    with servers.serving(model) as (address, _):
        body, content_type = form(("upload", "all.zip", archive.getvalue()))
        reply = urllib.request.urlopen(
            urllib.request.Request(f"{address}/classify", body, {"Content-Type": content_type})
        )
        answer = json.load(reply)
    assert {name: told["preds"][0]["tagName"] for name, told in answer.items()} == {
        fresh.name: "text",
        "b.jpg": "notext",
    }
    shares = [one["probability"] for one in answer[fresh.name]["preds"]]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(1, abs=1e-5)


def test_a_dealer_s_lists_become_a_forest_on_grey_pixels_that_answers_in_chinese(site, tiles_backbone, tmp_path):
    dealer_site.dealer(site)
    allowed = {"allow_hosts": ["127.0.0.1"], "backoff": 0.01}
    root = copied("excavators", tmp_path / "挖掘机", tiles_backbone, **allowed)
    path = root / "params.yaml"
    text = path.read_text(encoding="utf-8").replace("https://dealer.example", site.address)
    path.write_text(
        text.replace("evaluate:\n", "evaluate:\n  worst: 1\n"), encoding="utf-8"
    )  # each is explained slowly
    metrics = run(root)
    assert metrics["accuracy"] >= 0.6  # by chance: 0.125
    assert sum(metrics["pictures"]["train"].values()) + sum(metrics["pictures"]["validation"].values()) <= 150
    assert "三一重工" in (root / "reports" / "index.html").read_text(encoding="utf-8")
    subprocess.run([sys.executable, "-m", "imageloom.cli", "export", "-C", str(root)], check=True, capture_output=True)
    fresh = [(brand, dealer_site.machine(brand, 1000 + number)) for brand in dealer_site.BRANDS for number in range(4)]
    with servers.serving(root / "models" / "export") as (address, _):
        right = 0
        for brand, data in fresh:
            with urllib.request.urlopen(f"{address}/predict", data) as reply:
                right += json.load(reply)["label"] == dealer_site.BRANDS[brand][0]
    assert right >= 16


# A small network that can be trained, with nothing learnt yet, as models/backbone/.
NETWORK = """
import sys
from pathlib import Path
from imageloom import backbone_files, graphs
graphs.tensorflow()
import tf_keras as keras

keras.utils.set_random_seed(7)
picture = keras.Input((32, 32, 3))
seen = picture
for channels in (16, 32, 48):
    seen = keras.layers.Conv2D(channels, 3, 2, "same", activation="relu")(seen)
network = keras.Model(picture, keras.layers.GlobalAveragePooling2D()(seen))
folder = Path(sys.argv[1])
folder.mkdir(parents=True)
graphs.save(graphs.reusable(network), folder / "saved_model")
backbone_files.complete(folder, backbone_files.About("small", 32, "last", None))
"""


def uploaded(kind: str, number: int) -> bytes:
    """A scan of an invoice with its table, of a letter, or of a questionnaire with boxes to tick."""
    random = np.random.default_rng([number, len(kind)])
    page = Image.new("RGB", (210, 297), tuple(random.integers(225, 255, 3)))
    draw, left = ImageDraw.Draw(page), int(random.integers(8, 20))
    for line in range(12):
        y = 30 + 20 * line + int(random.integers(-2, 3))
        if kind == "invoice":
            draw.rectangle((left, y, 195, y + 20), outline="black", width=2)
            draw.line((120, y, 120, y + 20), fill="black", width=2)
        elif kind == "letter":
            draw.line((left, y, int(random.integers(120, 195)), y), fill="black", width=5)
        else:
            draw.rectangle(
                (left, y, left + 12, y + 12), fill="black" if random.random() < 0.5 else None, outline="black"
            )
    file = io.BytesIO()
    page.save(file, "JPEG", quality=85)
    return file.getvalue()


def test_the_network_itself_learns_to_tell_forms_apart_and_its_curves_are_drawn(request, tmp_path):
    key = hashlib.sha256(NETWORK.encode()).hexdigest()[:12]
    folder = Path(request.config.cache.mkdir("imageloom")) / f"small-{key}"
    root = copied("forms", tmp_path / "forms", made_once(folder, partial(run_python, "-c", NETWORK)))
    for kind in ("invoice", "letter", "questionnaire"):
        (root / "data" / "pictures" / kind).mkdir(parents=True)
        for number in range(30):
            (root / "data" / "pictures" / kind / f"{number}.jpg").write_bytes(uploaded(kind, number))
    for stage in TO_EVALUATE:  # `train` in a process of its own: TensorFlow would stay in this one
        run_python("-m", "imageloom.cli", stage, "-C", root) if stage == "train" else cli.main([stage, "-C", str(root)])
    metrics = json.loads((root / "reports" / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["accuracy"] >= 0.75
    with (root / "reports" / "history.csv").open(encoding="utf-8") as file:
        history = list(csv.DictReader(file))
    assert 1 < len(history) <= 20
    best = min(history, key=lambda row: float(row["validation_loss"]))
    assert [row["step"] for row in history if row["chosen"] == "True"] == [best["step"]]
    for name in ("history", "training"):
        assert images.inspect((root / f"reports/figures/{name}.png").read_bytes()).width > 300


def test_every_entry_of_an_example_s_list_can_be_set():
    for path in [*ROOT.glob("examples/*/baselines.yaml"), ROOT / "baselines.yaml"]:
        base = params.load_all(path.parent / "params.yaml")
        for sets in yaml.safe_load(path.read_text(encoding="utf-8")).values():
            sections = copy.deepcopy(base)
            for key, value in sets.items():  # `needs` and `memory` are no parameters
                *way, last = key.split(".")
                if way:
                    reduce(lambda part, name: part.setdefault(name, {}), way, sections)[last] = value
            for name in ("backbone", "embed", "train", "evaluate", "export"):
                importlib.import_module(STAGES[name]).Params(**sections[name])
