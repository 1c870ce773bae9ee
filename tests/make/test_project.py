"""What `imageloom make` keeps in its cache, and when it is made anew."""

import threading
from pathlib import Path

from imageloom import backbone, backbone_files, graphs, tflite_editor
from imageloom.files import Paths
from imageloom.make import project


def test_a_network_is_made_once_however_many_ask_for_it_at_once(tmp_path):
    begun, made = threading.Event(), []

    def make(root: Path) -> None:
        made.append(root)
        begun.set()
        assert not waiting.wait(0.5)  # the other one is kept out meanwhile
        (root / "models/backbone").mkdir(parents=True)
        (root / "models/backbone/backbone.json").write_text("{}")

    waiting = threading.Event()
    first = threading.Thread(target=project.make_network, args=(Paths(tmp_path / "net"), make))
    first.start()
    assert begun.wait(10)
    project.make_network(Paths(tmp_path / "net"), lambda root: waiting.set())
    first.join()
    assert made == [tmp_path / "net"]
    assert not waiting.is_set()


def test_a_network_is_made_anew_where_any_of_its_code_has_changed():
    files = {Path(str(module.__file__)) for module in project._CODE}
    there = {path for path in Path(str(backbone.__file__)).parent.glob("*.py") if path.name != "__init__.py"}
    assert files == there | {Path(str(module.__file__)) for module in (backbone_files, graphs, tflite_editor)}
