import http.server
import io
import json
import tarfile
import threading

import numpy as np
import pytest
from projects import Project

from imageloom import graphs
from imageloom.backbone.hub import size_from
from imageloom.engine import Engine
from imageloom.errors import ModelError
from imageloom.tflite_editor import Graph

NOISE = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
TILES = (NOISE / np.float32(255)).reshape(4, 8, 4, 8, 3).mean(axis=(1, 3)).ravel()


def packed(module) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        archive.add(module, arcname=".")
    return buffer.getvalue()


@pytest.fixture
def hub_site(tiles_module, tmp_path, monkeypatch):
    """A web server that gives modules as TF-Hub's do: a .tar.gz where the query asks for the compressed format."""
    content, asked = packed(tiles_module), []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            found = self.path == "/tiles_32/1?tf-hub-format=compressed"
            self.send_response(200 if found else 404)
            self.end_headers()
            if found:
                self.wfile.write(content)

        def log_message(self, *_):
            pass

    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "empty-cache"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


def made(root, module, **more) -> Project:
    project = Project(root, backbone={"module": module, **more})
    project.run("backbone")
    return project


def check(project: Project) -> None:
    engine = Engine(project.paths.backbone / "backbone.tflite")
    assert engine.size == 32
    assert np.allclose(engine(NOISE), TILES, atol=1e-5)
    about = json.loads((project.paths.backbone / "backbone.json").read_text())
    assert (about["image_size"], about["features"]) == (32, 48)
    assert (project.paths.backbone / "saved_model" / "saved_model.pb").is_file()


def test_a_module_comes_from_a_web_address(hub_site, tmp_path):
    address, asked = hub_site
    check(made(tmp_path / "project", f"{address}/tiles_32/1", image_size=32))
    assert asked == ["/tiles_32/1?tf-hub-format=compressed"]


def test_a_module_comes_from_a_folder(tiles_module, tmp_path):
    check(made(tmp_path / "project", str(tiles_module), image_size=32))


def test_a_module_comes_from_an_archive(tiles_module, tmp_path):
    archive = tmp_path / "模块 tiles.tar.gz"
    archive.write_bytes(packed(tiles_module))
    check(made(tmp_path / "project", str(archive), image_size=32))


def test_a_module_that_is_not_there_is_one_clear_error_and_keeps_the_old_one(hub_site, tiles_module, tmp_path):
    project = made(tmp_path / "project", str(tiles_module), image_size=32)
    project.configure(backbone={"module": f"{hub_site[0]}/nothing/1"})
    with pytest.raises(ModelError, match=r"cannot get the backbone 'http://127.*404"):
        project.run("backbone")
    check(project)


@pytest.mark.parametrize("name", ["no/such/folder", "params.yaml"])
def test_a_folder_that_is_no_module_is_refused(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=f"cannot get the backbone '{name}'"):
        made(tmp_path, name)


def entry(name: str, link: str = "") -> tarfile.TarInfo:
    """A member of an archive: a file of four bytes, or a symbolic link."""
    member = tarfile.TarInfo(name)
    if link:
        member.type, member.linkname = tarfile.SYMTYPE, link
    else:
        member.size = 4
    return member


@pytest.mark.parametrize("way", ["climbs", "absolute", "linked"])
def test_an_archive_writes_nothing_outside_its_folder(way, tmp_path):
    outside, archive = tmp_path / "outside", tmp_path / "evil.tar.gz"
    outside.mkdir()
    evil = {
        "climbs": [entry("../../../evil")],
        "absolute": [entry(str(outside / "evil"))],
        "linked": [entry("link", str(outside)), entry("link/evil")],
    }
    with tarfile.open(archive, "w:gz") as tar:
        for member in [entry("saved_model.pb"), *evil[way]]:
            tar.addfile(member, io.BytesIO(b"evil"[: member.size]))
    project = Project(tmp_path / "project", backbone={"module": str(archive)})
    before = sorted(path for path in tmp_path.rglob("*") if path.is_symlink() or path.is_file())
    with pytest.raises(ModelError):
        project.run("backbone")
    assert sorted(path for path in tmp_path.rglob("*") if path.is_symlink() or path.is_file()) == before


def test_normalisation_by_colour_is_done_a_row_at_a_time(tiles_module, tmp_path, monkeypatch):
    right = graphs.feature_vectors

    def normalised(module, images):
        return right(module, (images - [0.4, 0.5, 0.6]) / [0.2, 0.3, 0.4])

    monkeypatch.setattr(graphs, "feature_vectors", normalised)
    project = made(tmp_path / "project", str(tiles_module), image_size=32)
    content = (project.paths.backbone / "backbone.tflite").read_bytes()
    assert len(content) > 2 * 32 * 3 * 4
    graph = Graph(content)
    colours = np.tile([[0.4, 0.5, 0.6], [0.2, 0.3, 0.4]], 16)
    constants = [graph.constant(index) for one in graph.operators for index in one.inputs]
    assert [one.shape for one in constants if one is not None] == [(1, 1, 32, 3)] * 2
    found = Engine(project.paths.backbone / "backbone.tflite")(NOISE)
    assert np.allclose(found, (TILES - colours[0]) / colours[1], atol=1e-5)


def test_a_tflite_graph_that_answers_otherwise_than_the_module_is_refused(tiles_module, tmp_path, monkeypatch):
    right = graphs.to_tflite

    def wrong(concrete, module):
        tf = graphs.tensorflow()
        scaled = tf.function(lambda images: 1.01 * concrete(images))
        return right(scaled.get_concrete_function(tf.TensorSpec((1, 32, 32, 3), tf.float32)), module)

    monkeypatch.setattr(graphs, "to_tflite", wrong)
    with pytest.raises(ModelError, match="TFLite graph differs from the SavedModel"):
        made(tmp_path / "project", str(tiles_module), image_size=32)
    assert not (tmp_path / "project" / "models" / "backbone").exists()


def test_other_modules_give_their_last_layer(tiles_module, tmp_path):
    project = Project(tmp_path, backbone={"module": str(tiles_module), "image_size": 32, "features": "multi"})
    with pytest.raises(ModelError, match="of its last layer only") as fault:
        project.run("backbone")
    assert "features: last" in fault.value.hint


def test_a_picture_size_that_does_not_fit_is_told(tiles_module, tmp_path):
    with pytest.raises(ModelError, match="does not take pictures of 64 x 64") as fault:
        made(tmp_path / "project", str(tiles_module), image_size=64)
    assert "backbone.image_size" in fault.value.hint


@pytest.mark.parametrize(
    ("handle", "size"),
    [
        ("https://hub.example/google/imagenet/mobilenet_v2_100_224/feature_vector/5", 224),
        ("https://hub.example/google/imagenet/mobilenet_v2_035_96/feature_vector/5", 96),
        ("/models/efficientnet_b0", 224),
        ("module_320.tar.gz", 320),
    ],
)
def test_the_picture_size_is_read_from_the_handle(handle, size):
    assert size_from(handle) == size
