"""A training is known by all that decides what it makes: what was learnt with anything else is not gone on from."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from blobs import blobs

from imageloom import files
from imageloom.features import FeatureStore
from imageloom.network import Network
from imageloom.recipes.checkpoints import Checkpoints, digest
from imageloom.recipes.cnn import CnnParams
from imageloom.recipes.data import Data
from imageloom.recipes.workshop import Workshop

OTHERS: dict[str, Callable[[Data], Data]] = {
    "features": lambda data: replace(data, features=data.features + 1),
    "classes": lambda data: replace(data, classes=data.classes[::-1]),
    "weights": lambda data: replace(data, weights=np.where(data.classes == 0, 0.25, 1)),
    "groups": lambda data: replace(data, groups=data.groups[::-1]),
    "views": lambda data: replace(data, views=(data.features,)),
}


def key_of(sides: tuple[Data, Data], folder: Path, **changed: object) -> str:
    files.write_json(folder / "backbone" / "backbone.json", {"sha256": changed.pop("sha256", "12ab")})
    network = Network(folder / "backbone", FeatureStore(folder / "features"))
    workshop = Workshop(network, changed.pop("aspect", "crop"), folder / "target", folder / "kept", lambda *_: None)
    return digest(sides, CnnParams(**changed), workshop, [__file__])


@pytest.fixture
def sides() -> tuple[Data, Data]:
    return blobs(2, [12, 8], 1), blobs(2, [4, 4], 1, seed=1)


@pytest.mark.parametrize("what", OTHERS)
def test_other_pictures_are_another_training(sides, tmp_path, what):
    own, train, validation = key_of(sides, tmp_path), *sides
    assert key_of((OTHERS[what](train), validation), tmp_path) != own
    assert key_of((train, OTHERS[what](validation)), tmp_path) != own


def test_other_parameters_or_another_backbone_are_another_training(sides, tmp_path):
    keys = [key_of(sides, tmp_path, **changed) for changed in ({}, {"seed": 8}, {"sha256": "34cd"}, {"aspect": "pad"})]
    assert len(set(keys)) == len(keys)


def test_the_same_is_the_same_training_and_takes_nothing_of_another(sides, tmp_path):
    own = key_of(sides, tmp_path)
    assert key_of(tuple(replace(side) for side in sides), tmp_path) == own
    kept = Checkpoints(tmp_path / "kept", own)
    kept.write_best([np.arange(3)])
    kept.write([np.arange(3)], [{"step": 1}])
    state, history = Checkpoints(tmp_path / "kept", own).read()
    assert ([values.tolist() for values in state], history) == ([[0, 1, 2]], [{"step": 1}])
    weighed = key_of((OTHERS["weights"](sides[0]), sides[1]), tmp_path)
    assert Checkpoints(tmp_path / "kept", weighed).read() == ([], [])
    assert not kept.folder.exists()


@pytest.mark.parametrize("name", ["last.npz", "best.npz"])
@pytest.mark.parametrize("damage", [lambda content: content[:-40], lambda _: b"junk", None], ids=("cut", "junk", "no"))
def test_with_a_damaged_file_a_training_begins_anew(tmp_path, capsys, name, damage):
    kept = Checkpoints(tmp_path, "12ab")
    assert kept.read() == ([], [])  # where there is none nothing is said
    assert capsys.readouterr().err == ""
    kept.write_best([np.arange(3)])
    kept.write([np.arange(3)], [{"step": 1}])
    path = kept.folder / name
    content = path.read_bytes()
    path.unlink()
    if damage:
        path.write_bytes(damage(content))
    assert kept.read() == ([], [])
    said = capsys.readouterr().err
    assert said.startswith("warning: train: begins anew") or (name, damage) == ("last.npz", None)
    assert said.count("\n") <= 1
    kept.write_best([np.arange(4)])
    kept.write([np.arange(4)], [{"step": 1}])
    assert kept.read()[1] == [{"step": 1}]
