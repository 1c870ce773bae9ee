"""Golden pictures: odd files that every path sees alike, and a test that notices when one of them does not.

A small real backbone that knows where which colour is, trained by the pipeline itself to tell an upright scene from a
turned, a mirrored and an upside-down one, and from one whose red and blue are swapped.
"""

import contextlib
import io
import json
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from projects import Project

from imageloom import card, images
from imageloom.predictor import Predictor
from imageloom.runtimes import open_model

pytestmark = pytest.mark.slow

UPRIGHT = "upright"
SEEN_AS = {
    UPRIGHT: lambda scene: scene,
    "turned": lambda scene: scene.transpose(Image.Transpose.ROTATE_90),
    "upside down": lambda scene: scene.transpose(Image.Transpose.ROTATE_180),
    "mirrored": lambda scene: scene.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "swapped": lambda scene: Image.merge("RGB", scene.split()[::-1]),
}

# What a path that looks wrongly at pictures does, as code that is run before it.
SPOILS = {
    "swaps red and blue": "images.load = lambda *a, right=images.load: right(*a)[..., ::-1].copy()",
    "skips the turn": "images._upright = lambda image: image",
    "squashes": "images.load = lambda data, size, *_, right=images.load: right(data, size, 'stretch')",
}

Answers = dict[str, tuple[str, np.ndarray]]


def scene(seed: int, side: int = 64) -> Image.Image:
    """Red, green, blue and white quarters, upright, with noise."""
    quarters = np.array([[(200, 40, 40), (40, 160, 40)], [(30, 30, 180), (255, 255, 255)]], np.float64)
    pixels = quarters.repeat(side // 2, axis=0).repeat(side // 2, axis=1)
    noise = np.random.default_rng(seed).normal(0, 12, pixels.shape)
    return Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8))


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def with_margins(image: Image.Image, wide: bool) -> Image.Image:
    """The scene in the middle of a picture three times as wide or high, beside what would mislead if it were seen."""
    misleading = SEEN_AS["swapped"](image)
    size = (3 * image.width, image.height) if wide else (image.width, 3 * image.height)
    picture = Image.new("RGB", size)
    for number, part in enumerate((misleading, image, misleading)):
        picture.paste(part, (number * image.width, 0) if wide else (0, number * image.height))
    return picture


def with_a_hole(image: Image.Image) -> Image.Image:
    """The white quarter is transparent, and black below."""
    pixels = np.dstack([np.asarray(image), np.full(image.size[::-1], 255, np.uint8)])
    pixels[image.height // 2 :, image.width // 2 :] = 0
    return Image.fromarray(pixels)


def golden() -> dict[str, bytes]:
    """Name -> an upright scene, in a file of an odd kind."""
    right = scene(1000, 240)
    grey = np.asarray(right.convert("L"))
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn me by 90 degrees to the right", as a phone held upright writes it
    turned = SEEN_AS["turned"](right)
    return {
        "turned by EXIF.jpg": encoded(turned, "JPEG", quality=92, exif=exif),
        "turned by EXIF.png": encoded(turned, "PNG", exif=exif),
        "wide.png": encoded(with_margins(right, wide=True), "PNG"),
        "tall 🌹.webp": encoded(with_margins(right, wide=False), "WEBP", quality=90),
        "transparent.png": encoded(with_a_hole(right), "PNG"),
        "CMYK.jpg": encoded(right.convert("CMYK"), "JPEG", quality=92),
        "greyscale.jpg": encoded(Image.fromarray(grey), "JPEG", quality=92),
        "16 bits.png": encoded(Image.fromarray(grey.astype(np.uint16) * 257), "PNG"),
        "16 bits.tif": encoded(Image.fromarray(grey.astype(np.uint16) * 257), "TIFF"),
        "palette 卡.png": encoded(right.quantize(64), "PNG"),
        "palette with a hole.gif": encoded(with_a_hole(right), "GIF"),
        "progressive.jpg": encoded(right, "JPEG", quality=80, progressive=True),
    }


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory, tiles_backbone: Path) -> Path:
    """models/export/ of the scenes, in every format, made by the stages."""
    project = Project(
        tmp_path_factory.mktemp("golden") / "project",
        classes=[{"name": name} for name in SEEN_AS],
        split={"method": "stratified"},
    )
    project.paths.backbone.parent.mkdir(parents=True)
    project.paths.backbone.symlink_to(tiles_backbone)
    for offset, (name, seen) in enumerate(SEEN_AS.items()):
        scenes = [seen(scene(100 * offset + number)) for number in range(60)]
        # Nothing grey can be swapped.
        greys = [] if name == "swapped" else [one.convert("L").convert("RGB") for one in scenes[:30]]
        project.add(name, [encoded(one, "PNG") for one in scenes + greys])
    project.run("embed", "clean", "split", "train")
    command = [sys.executable, "-m", "imageloom.cli", "export", "-C", str(project.paths.root)]
    subprocess.run(command, check=True, capture_output=True)
    return project.paths.export


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("pictures")
    for name, data in golden().items():
        (folder / name).write_bytes(data)
    return [folder / name for name in golden()]


@contextlib.contextmanager
def looking(spoil: str) -> Iterator[None]:
    """Within it this process looks at pictures as the code in `spoil` has it."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("load", "_upright"):
            patch.setattr(images, name, getattr(images, name))
        exec(spoil, {"images": images})
        yield


def process(spoil: str, *arguments: object) -> list[str]:
    """The command line, looking at pictures as the code in `spoil` has it."""
    program = f"import sys\nfrom imageloom import cli, images\n{spoil}\nsys.exit(cli.main(sys.argv[1:]))"
    return [sys.executable, "-c", program, *map(str, arguments)]


def said(answers: list[dict], names: tuple[str, ...], pictures: list[Path]) -> Answers:
    """What `Prediction.to_dict` says of each picture, in the model's order of classes."""
    found = {}
    for path, answer in zip(pictures, answers, strict=True):
        shares = {one["name"]: one["probability"] for one in answer["predictions"]}
        found[path.name] = (answer["label"], np.array([shares[name] for name in names]))
    return found


def by_python(export: Path, pictures: list[Path], spoil: str) -> Answers:
    with looking(spoil):
        predictor = Predictor(export)
        answers = [predictor.predict(path.read_bytes()).to_dict() for path in pictures]
    return said(answers, predictor.names, pictures)


def by_runtime(file: str, alone: bool = False) -> Callable[[Path, list[Path], str], Answers]:
    """Opened as `predict --model` opens it: in the exported folder, or alone, with what it says of itself."""

    def look(export: Path, pictures: list[Path], spoil: str) -> Answers:
        with looking(spoil), tempfile.TemporaryDirectory() as folder:
            where = export / file
            if alone:
                copy = shutil.copytree if where.is_dir() else shutil.copy
                where = Path(copy(where, Path(folder) / where.name))
            model = open_model(str(where), aspect="crop" if alone else None)
            answers = [model.predict(path.read_bytes()).to_dict() for path in pictures]
        assert {answer["known"] is None for answer in answers} == {alone}
        return said(answers, model.names, pictures)

    return look


def by_command_line(export: Path, pictures: list[Path], spoil: str) -> Answers:
    command = process(spoil, "predict", *pictures, "--json", "--model", export)
    run = subprocess.run(command, capture_output=True, check=True, encoding="utf-8")
    return said(json.loads(run.stdout), card.read(export).names, pictures)


def by_server(export: Path, pictures: list[Path], spoil: str) -> Answers:
    command = process(spoil, "serve", "--port", 0, "--model", export)
    server = subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8")
    try:
        address = server.stdout.readline().split()[-1]
        answers = []
        for path in pictures:
            with urllib.request.urlopen(f"{address}/predict", path.read_bytes()) as answer:
                answers.append(json.load(answer))
    finally:
        server.terminate()
        server.communicate(timeout=60)
    return said(answers, card.read(export).names, pictures)


def by_saved_model(export: Path, pictures: list[Path], spoil: str) -> Answers:
    """As someone who has TensorFlow and the folder would."""
    from imageloom import graphs

    with looking(spoil):
        pixels = np.stack([images.load(path.read_bytes(), 32, "crop") for path in pictures])
    loaded = graphs.tensorflow().saved_model.load(str(export / "saved_model"))
    probabilities = loaded.signatures["serving_default"](images=pixels)["probabilities"].numpy()
    return labelled(export, pictures, probabilities)


def by_tflite(file: str) -> Callable[[Path, list[Path], str], Answers]:
    """As someone who has LiteRT and the file would."""

    def look(export: Path, pictures: list[Path], spoil: str) -> Answers:
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(str(export / file))
        interpreter.allocate_tensors()
        into, out = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
        rows = []
        for path in pictures:
            with looking(spoil):
                interpreter.set_tensor(into, images.load(path.read_bytes(), 32, "crop")[np.newaxis])
            interpreter.invoke()
            rows.append(interpreter.get_tensor(out)[0])
        return labelled(export, pictures, np.array(rows))

    return look


def labelled(export: Path, pictures: list[Path], probabilities: np.ndarray) -> Answers:
    labels = (export / "labels.txt").read_text(encoding="utf-8").splitlines()
    return {path.name: (labels[row.argmax()], row) for path, row in zip(pictures, probabilities, strict=True)}


# Each path, and how far its probabilities may be from those of Python. (int8 has a bar of its own in the stage.)
PATHS = {
    "Python": (by_python, 0.0),
    "command line": (by_command_line, 2e-6),
    "server": (by_server, 2e-6),
    "SavedModel": (by_saved_model, 1e-3),
    "SavedModel, opened by predict": (by_runtime("saved_model"), 1e-3),
    "SavedModel of others": (by_runtime("saved_model", alone=True), 1e-3),
    "TFLite": (by_tflite("model.tflite"), 1e-5),
    "TFLite float16": (by_tflite("model_float16.tflite"), 2e-2),
    "TFLite float16, opened by predict": (by_runtime("model_float16.tflite"), 2e-2),
    "TFLite of others": (by_runtime("model.tflite", alone=True), 2e-6),
}


def strays(path: str, export: Path, pictures: list[Path], spoil: str = "") -> set[str]:
    """The pictures of which a path says anything else than Python, or than what is on them."""
    look, tolerance = PATHS[path]
    right, found = by_python(export, pictures, ""), look(export, pictures, spoil)
    return {
        name
        for name, (label, probabilities) in found.items()
        if label != UPRIGHT or np.abs(probabilities - right[name][1]).max() > tolerance
    }


@pytest.mark.parametrize("path", PATHS)
def test_every_path_gives_golden_pictures_the_same_answer(path, export, pictures):
    assert strays(path, export, pictures) == set()


@pytest.mark.parametrize("path", PATHS)
def test_a_path_that_swaps_red_and_blue_is_noticed(path, export, pictures):
    coloured = {one.name for one in pictures if not one.name.startswith(("grey", "16"))}
    assert strays(path, export, pictures, SPOILS["swaps red and blue"]) == coloured


@pytest.mark.parametrize("path", PATHS)
def test_a_path_that_skips_the_turn_is_noticed(path, export, pictures):
    turned = {one.name for one in pictures if one.name.startswith("turned")}
    assert strays(path, export, pictures, SPOILS["skips the turn"]) == turned


@pytest.mark.parametrize("path", PATHS)
def test_a_path_that_squashes_is_noticed(path, export, pictures):
    oblong = {one.name for one in pictures if one.name.startswith(("wide", "tall"))}
    assert strays(path, export, pictures, SPOILS["squashes"]) == oblong


def test_int8_sees_the_same_on_golden_pictures(export, pictures):
    found = by_tflite("model_int8.tflite")(export, pictures, "")
    assert {label for label, _ in found.values()} == {UPRIGHT}


def test_encoded_pictures_are_decoded_in_the_graph_as_they_are_here(export, pictures):
    """TensorFlow reads no WebP, no TIFF, and no transparency of a GIF; all else it looks at as images.py does."""
    from imageloom import graphs

    tf = graphs.tensorflow()
    chosen = [path for path in pictures if path.suffix in (".jpg", ".png")]
    loaded = tf.saved_model.load(str(export / "saved_model"))
    right = by_python(export, chosen, "")
    encoded = tf.constant([path.read_bytes() for path in chosen])
    found = labelled(export, chosen, loaded.signatures["serving_bytes"](encoded)["probabilities"].numpy())
    assert {name for name, (label, _) in found.items() if label != UPRIGHT} == set()
    assert max(np.abs(found[name][1] - right[name][1]).max() for name in found) < 0.02
