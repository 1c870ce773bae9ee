import shutil

import numpy as np
import pytest
from projects import Project, picture

from imageloom import embed, images, tables, train
from imageloom.engine import Engine
from imageloom.errors import DataError
from imageloom.features import FeatureStore, key


@pytest.fixture
def project(tmp_path, tiles_backbone):
    project = Project(tmp_path / "project", embed={"aspect": "crop"})
    shutil.copytree(tiles_backbone, project.paths.backbone)
    return project


def test_vectors_are_what_the_backbone_gives_for_the_decoded_picture(project):
    project.add("warm", [picture("warm", seed) for seed in range(5)])
    project.run("embed")
    ids = sorted(row["sha256"] for row in project.rows)
    vectors = FeatureStore(project.paths.features).read(ids)
    assert vectors.shape == (5, 48)
    assert vectors.dtype == np.float32
    engine = Engine(project.paths.backbone / "backbone.tflite")
    for row in project.rows:
        pixels = images.load((project.paths.raw / row["path"]).read_bytes(), 32, "crop")
        assert np.array_equal(vectors[ids.index(row["sha256"])], engine(pixels))


def test_only_new_pictures_are_embedded(project, capsys):
    project.add("warm", [picture("warm", seed) for seed in range(30)])
    project.run("embed")
    first = next(project.paths.features.glob("part-*")).stat().st_mtime_ns
    project.add("cold", [picture("cold", seed) for seed in range(20)], crawl=1)
    capsys.readouterr()
    project.run("embed")
    assert "embed: 20 new images embedded, 30 had their features already" in capsys.readouterr().out
    assert next(project.paths.features.glob("part-0001*")).stat().st_mtime_ns == first
    assert len(FeatureStore(project.paths.features).read(sorted(row["sha256"] for row in project.rows))) == 50


def test_the_same_pictures_give_the_same_bytes(tmp_path, tiles_backbone):
    folders = []
    for name in ("a", "b"):
        project = Project(tmp_path / name)
        shutil.copytree(tiles_backbone, project.paths.backbone)
        seeds = range(40) if name == "a" else reversed(range(40))
        project.add("warm", [picture("warm", seed) for seed in seeds])
        project.run("embed")
        folders.append({path.name: path.read_bytes() for path in project.paths.features.iterdir()})
    assert folders[0] == folders[1]


@pytest.mark.parametrize("change", ["aspect", "backbone"])
def test_vectors_made_another_way_are_made_anew(project, change, capsys):
    project.add("warm", [picture("warm", seed) for seed in range(3)])
    project.run("embed")
    if change == "aspect":
        project.configure(embed={"aspect": "pad"})
    else:
        about = project.paths.backbone / "backbone.json"
        about.write_text(about.read_text().replace('"sha256": "', '"sha256": "0'))
    project.run("embed")
    assert "embed: 3 new images embedded, 0 had" in capsys.readouterr().out.splitlines()[-1]


def test_pictures_that_are_no_more_lose_their_vectors(project, capsys):
    project.add("warm", [picture("warm", seed) for seed in range(6)])
    project.run("embed")
    gone = project.rows.pop()
    project.add("warm", [])
    project.run("embed")
    assert "1 dropped" in capsys.readouterr().out
    assert gone["sha256"] not in FeatureStore(project.paths.features).ids()


def test_a_picture_that_cannot_be_opened_is_listed_and_stops_nothing(project):
    project.add("warm", [picture("warm", seed) for seed in range(3)])
    broken = project.paths.raw / project.rows[0]["path"]
    broken.write_bytes(broken.read_bytes()[:60])
    project.run("embed")
    project.run("embed")  # and is not tried again
    store = FeatureStore(project.paths.features)
    assert list(store.failed()) == [project.rows[0]["sha256"]]
    assert sorted(store.ids()) == sorted(row["sha256"] for row in project.rows[1:])


@pytest.fixture
def interrupted(monkeypatch):
    """Runs `embed` with parts of 8 pictures, and interrupts it when it has opened 20."""

    def run(project):
        with monkeypatch.context() as patch:
            patch.setattr(embed, "PART", 8)
            load, seen = images.load, []

            def opened(data, *rest):
                seen.append(data)
                if len(seen) == 20:
                    raise KeyboardInterrupt
                return load(data, *rest)

            patch.setattr(images, "load", opened)
            with pytest.raises(KeyboardInterrupt):
                project.run("embed")

    return run


def test_an_interruption_keeps_what_was_finished(project, interrupted, capsys):
    project.configure(embed={"workers": 1})
    project.add("warm", [picture("warm", seed) for seed in range(30)])
    interrupted(project)
    names = [path.name for path in project.paths.features.iterdir()]
    assert not [name for name in names if name.endswith(".tmp")]
    kept = len(FeatureStore(project.paths.features).ids())
    assert kept == 19
    project.run("embed")
    assert f"embed: {30 - kept} new images embedded, {kept} had" in capsys.readouterr().out
    assert len(set(FeatureStore(project.paths.features).ids())) == 30


def test_an_interruption_of_making_vectors_anew_keeps_the_old_and_the_finished_new(project, interrupted, capsys):
    project.add("warm", [picture("warm", seed, 40, 60) for seed in range(30)])
    project.run("embed")
    store = FeatureStore(project.paths.features)
    before = {path.name: path.read_bytes() for path in project.paths.features.iterdir()}
    ids = store.ids()
    cropped = store.read(ids)
    project.configure(embed={"aspect": "stretch", "workers": 1})
    interrupted(project)
    assert {path.name: path.read_bytes() for path in project.paths.features.iterdir()} == before
    kept = len(store.unfinished().ids())
    assert kept == 19
    capsys.readouterr()
    project.run("embed")
    assert f"embed: {30 - kept} new images embedded, {kept} had" in capsys.readouterr().out
    assert store.made_by()["aspect"] == "stretch"
    assert sorted(store.ids()) == sorted(ids)
    assert not np.array_equal(store.read(ids), cropped)
    assert [path.name for path in project.paths.features.parent.iterdir() if "features" in path.name] == ["features"]


def test_no_pictures_and_no_backbone_say_what_to_do(tmp_path):
    project = Project(tmp_path)
    with pytest.raises(DataError, match=r"no .*manifest") as fault:
        project.run("embed")
    assert "dvc repro scrape" in fault.value.hint
    project.add("warm", [picture("warm", 1)])
    with pytest.raises(DataError, match="backbone") as fault:
        project.run("embed")
    assert "dvc repro" in fault.value.hint


def test_views_are_stored_beside_and_only_what_is_new_is_computed(project, capsys):
    project.add("warm", [picture("warm", seed, 40, height=60) for seed in range(4)])
    project.run("embed")
    parts = {path.name: path.read_bytes() for path in project.paths.features.glob("part-*")}
    project.configure(embed={"views": ["mirror", "zoom"]})
    project.run("embed")
    store = FeatureStore(project.paths.features)
    assert store.views() == ["mirror", "zoom"]
    assert {name: (project.paths.features / name).read_bytes() for name in parts} == parts
    engine = Engine(project.paths.backbone / "backbone.tflite")
    for row in project.rows:
        data = (project.paths.raw / row["path"]).read_bytes()
        looks = {"": images.load(data, 32), "mirror": images.load(data, 32)[:, ::-1], "zoom": images.load(data, 40)}
        looks["zoom"] = looks["zoom"][4:36, 4:36]
        for view, pixels in looks.items():
            assert np.array_equal(store.read([key(row["sha256"], view)])[0], engine(np.ascontiguousarray(pixels)))
    capsys.readouterr()
    project.add("cold", [picture("cold", 1)], crawl=1)
    project.run("embed")
    assert "embed: 1 new images embedded, 4 had" in capsys.readouterr().out
    project.configure(embed={"views": ["mirror"]})
    project.run("embed")
    assert "5 dropped" in capsys.readouterr().out
    assert store.views() == ["mirror"]


def test_training_sees_the_views_and_answers_do_not(project):
    project.configure(embed={"views": ["mirror"]}, split={"method": "stratified"})
    for name in ("warm", "cold"):
        project.add(name, [picture(name, seed) for seed in range(20)])
    project.run("embed", "clean", "split", "train")
    sides = train.read(tables.read(project.paths.split, tables.SPLIT, "split"), project.paths)[1]
    store = FeatureStore(project.paths.features)
    assert [len(data.views) for data in sides.values()] == [1, 1]
    tiles = sides["train"].features.reshape(-1, 4, 4, 3)
    assert sides["train"].views[0].reshape(-1, 4, 4, 3) == pytest.approx(tiles[:, :, ::-1], abs=1e-5)
    seen = (project.paths.classifier / "head.npz").read_bytes()
    project.configure(embed={}, split={"method": "stratified"})
    project.run("embed", "train")
    assert store.views() == []
    assert (project.paths.classifier / "head.npz").read_bytes() != seen
