"""A newer model answers once it is sound; one that is not leaves the old one where it is."""

import io
import json
import shutil
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from wsgiref.util import setup_testing_defaults

import numpy as np
import pytest
from test_serve_http import RED, encoded, form
from test_tensorflow_serving import B64, as_json

from imageloom.errors import ImageError, ModelError
from imageloom.serving.app import create_app
from imageloom.serving.gate import Gate
from imageloom.serving.settings import Settings
from imageloom.serving.slot import MOST_PIXELS, ModelSlot, stored_picture
from imageloom.serving.tensorflow_serving import version_number
from imageloom.serving.watch import Watcher

NEWER = "0123456789ab"


def renamed(folder: Path, version: str) -> None:
    """Gives an exported model another version."""
    path = folder / "model.json"
    card = json.loads(path.read_text(encoding="utf-8"))
    card["version"] = version
    path.write_text(json.dumps(card), encoding="utf-8")


@pytest.fixture
def slot(export_copy):
    return ModelSlot(str(export_copy), cache=10)


def test_what_it_holds_is_told(slot, export_copy, exported_model):
    assert slot.source == str(export_copy)
    assert slot.folder == export_copy
    assert slot.run_id is None
    assert slot.version == slot.current.version
    by_file = ModelSlot(str(exported_model / "model.tflite"))
    assert by_file.folder == exported_model
    assert by_file.version == ModelSlot(str(exported_model)).version


def test_newer_model_takes_the_place_and_forgets_the_answers(slot, export_copy):
    assert slot.predict(slot.current, RED).to_dict() == slot.current.predict(RED).to_dict()
    assert slot.predict(slot.current, RED) is slot.predict(slot.current, RED)
    before = slot.stamp()
    renamed(export_copy, NEWER)
    assert slot.stamp() != before
    assert slot.is_stale(slot.stamp())
    assert slot.reload()
    assert not slot.is_stale(slot.stamp())
    assert (slot.version, slot.reloads, slot.refused, slot.fault) == (NEWER, 1, 0, "")
    assert slot.predict(slot.current, RED).to_dict()["model"] == NEWER


def test_older_model_goes_on_for_those_who_have_it(slot, export_copy):
    older = slot.current
    renamed(export_copy, NEWER)
    assert slot.reload()
    for model, version in 2 * [(older, older.version), (slot.current, NEWER)]:
        assert slot.predict(model, RED).to_dict()["model"] == version


class Swapping(io.BytesIO):
    """A body; while it is read, a newer model takes over."""

    def __init__(self, data: bytes, slot: ModelSlot) -> None:
        super().__init__(data)
        self._slot = slot

    def read(self, size: int | None = -1) -> bytes:
        renamed(self._slot.folder, NEWER)
        assert self._slot.reload()
        return super().read(size)


@pytest.mark.parametrize(
    ("path", "query", "many"),
    [
        ("/predict", "", (RED, "image/png")),
        ("/predict", "expected=green&preview=true", (RED, "image/png")),
        ("/predict", "", form(("a", "a.png", RED), ("b", "b.png", RED))),
        ("/corrections", "label=green", (RED, "image/png")),
        ("/v1/models/imageloom/versions/{number}:predict", "", as_json({"instances": [B64, B64]})),
        ("/v1/models/imageloom/versions/{number}:classify", "", as_json({"examples": [{"image": B64}]})),
    ],
    ids=["plain", "wishes", "form", "correction", "predict", "classify"],
)
def test_request_is_answered_by_the_model_that_it_began_with(slot, tmp_path, path, query, many):
    version, (body, content_type) = slot.version, many
    environ = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": path.format(number=version_number(version)),
        "QUERY_STRING": query,
        "CONTENT_TYPE": content_type,
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": Swapping(body, slot),
    }
    setup_testing_defaults(environ)
    gate, said = Gate(1), []
    try:
        app = create_app(slot, gate, Settings(inbox=tmp_path / "inbox"))
        app(environ, lambda status, headers, exc_info=None: said.append(status))
    finally:
        gate.shutdown()
    assert said[0].startswith("20"), said
    assert (slot.version, environ["imageloom.version"]) == (NEWER, version)


@pytest.mark.parametrize("damage", ["cut", "gone", "labels", "card", "folder"])
def test_damaged_model_is_refused_and_the_old_one_stays(slot, export_copy, damage):
    version, answer = slot.version, slot.predict(slot.current, RED).to_dict()
    tflite = export_copy / "model.tflite"
    match damage:
        case "cut":
            tflite.write_bytes(tflite.read_bytes()[:500])
        case "gone":
            tflite.unlink()
        case "labels":
            (export_copy / "labels.txt").write_text("one\n")
        case "card":
            (export_copy / "model.json").write_text("{")
        case "folder":
            shutil.rmtree(export_copy)
    assert not slot.reload()
    assert slot.refused == 1
    assert str(export_copy) in slot.fault
    assert (slot.version, slot.predict(slot.current, RED).to_dict()) == (version, answer)
    assert not slot.is_stale(slot.stamp())  # it is not tried again until it has changed again


def test_model_that_answers_no_probabilities_is_refused(slot, export_copy, monkeypatch):
    from imageloom.predictor import Predictor

    sound = Predictor.run
    monkeypatch.setattr(Predictor, "run", lambda self, image: (sound(self, image)[0] * np.nan, None))
    assert not slot.reload()
    assert "no probabilities" in slot.fault
    monkeypatch.undo()
    assert slot.reload()
    assert slot.fault == ""


def test_model_is_made_ready_in_every_thread_before_it_serves(slot, export_copy):
    served: list[str] = []
    slot.make_ready(lambda work: (work(), served.append(slot.version)))
    first = slot.version
    renamed(export_copy, NEWER)
    assert slot.reload()
    assert served == [first, first]


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (ModelError("no memory for it", ""), "no memory for it"),
        (MemoryError(), "MemoryError()"),
        (RuntimeError("can't start new thread"), "can't start new thread"),
        (PermissionError(13, "Permission denied"), "Permission denied"),
    ],
)
def test_model_that_fails_in_a_thread_is_refused_whatever_fails(slot, export_copy, fault, told):
    def everywhere(work: object) -> None:
        raise fault

    version = slot.version
    slot._everywhere = everywhere
    renamed(export_copy, NEWER)
    assert not slot.reload()
    assert slot.version == version
    assert told in slot.fault


def test_change_counts_when_it_has_stayed_for_two_looks(slot, export_copy, capsys):
    watcher, first = Watcher(slot), slot.version
    watcher.look()
    renamed(export_copy, f"{1:012x}")
    watcher.look()
    renamed(export_copy, NEWER)
    watcher.look()
    assert slot.version == first
    watcher.look()
    assert slot.version == NEWER
    watcher.look()
    assert slot.reloads == 1
    assert capsys.readouterr().out == f"model {NEWER} answers now\n"


def test_look_that_fails_is_told_and_the_next_ones_look_again(slot, export_copy, monkeypatch, caplog):
    watcher, nowhere = Watcher(slot), io.StringIO()
    nowhere.close()
    monkeypatch.setattr(sys, "stdout", nowhere)
    renamed(export_copy, f"{1:012x}")
    watcher.look()
    watcher.look()
    assert slot.version == f"{1:012x}"
    assert "looking for a newer model failed" in caplog.text
    monkeypatch.undo()
    renamed(export_copy, NEWER)
    watcher.look()
    watcher.look()
    assert slot.version == NEWER


def test_refused_model_is_told_once(slot, export_copy, capsys):
    watcher = Watcher(slot)
    (export_copy / "model.tflite").write_bytes(b"hello")
    for _ in range(4):
        watcher.look()
    told = capsys.readouterr().err
    assert told.count("error: the newer model is refused") == 1
    assert slot.version in told


def test_stored_picture_is_one_of_the_package(slot):
    assert 1000 < len(stored_picture()) < 10_000
    assert slot.predict(slot.current, stored_picture()).probabilities.shape == (3,)


def test_picture_that_would_fill_the_memory_is_refused(slot):
    side = int(MOST_PIXELS**0.5) + 1
    bomb = encoded((1, 2, 3), "PNG", (side, side))
    assert len(bomb) < 500_000
    with pytest.raises(ImageError, match="are decoded here") as fault:
        slot.predict(slot.current, bomb)
    assert fault.value.kind == "bomb"
    jpeg = encoded((250, 2, 3), "JPEG", (side, side))
    assert slot.predict(slot.current, jpeg).label == "红"


def test_large_pictures_are_answered_as_others(slot):
    large = encoded((250, 2, 3), "PNG", (4100, 4100))
    assert slot.predict(slot.current, large).label == "红"


def test_large_pictures_are_decoded_one_at_a_time_and_others_meanwhile(slot, monkeypatch):
    from imageloom.predictor import Predictor

    large, sound = encoded((250, 2, 3), "PNG", (4100, 4100)), Predictor.load
    begins, inside, most = threading.Barrier(3), [], []

    def watched(model: Predictor, data: bytes) -> np.ndarray:
        if data is RED:
            return sound(model, data)
        inside.append(data)
        most.append(len(inside))
        assert others.submit(slot.load, model, RED).result(60).shape == (32, 32, 3)
        pixels = sound(model, data)
        inside.pop()
        return pixels

    def ask(_: int) -> np.ndarray:
        begins.wait(60)
        return slot.load(slot.current, large)

    monkeypatch.setattr(Predictor, "load", watched)
    with ThreadPoolExecutor(3) as pool, ThreadPoolExecutor(1) as others:
        assert [pixels.shape for pixels in pool.map(ask, range(3))] == 3 * [(32, 32, 3)]
    assert most == 3 * [1]
