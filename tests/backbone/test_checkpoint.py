import collections
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from imageloom.backbone import efficientnet_lite, mobilenet_v2
from imageloom.backbone.checkpoint import read_state_dict
from imageloom.errors import ModelError


@pytest.mark.parametrize(
    ("network", "tensors", "first", "last"),
    [
        (mobilenet_v2, 314, "features.0.0.weight", "classifier.1.weight"),
        (efficientnet_lite, 296, "_conv_stem.weight", "_fc.weight"),
    ],
)
def test_packaged_weights_are_read_without_pytorch(network, tensors, first, last):
    state = read_state_dict(network.NETWORK.package.find())
    assert len(state) == tensors
    assert state[first].shape == (32, 3, 3, 3)
    assert state[last].shape == (1000, 1280)
    assert all(np.isfinite(values).all() for values in state.values())


class Evil:
    """Asks to make a file in the folder in which it is read."""

    def __reduce__(self):
        return os.mkdir, ("was-here",)


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps(Evil()),
        pickle.dumps(0x1950A86A20F9469CFC6C) + pickle.dumps(1001) + pickle.dumps({}) + pickle.dumps(Evil()),
        pickle.dumps(collections.Counter()),
        b"",
        b"PK\x03\x04 not this",
        pickle.dumps(0x1950A86A20F9469CFC6C),
    ],
)
def test_a_pickle_that_asks_for_anything_but_tensors_is_refused(tmp_path, content, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"weights\.pth is not a checkpoint"):
        read_state_dict(path)
    assert list(tmp_path.iterdir()) == [path]


def test_a_checkpoint_that_is_cut_short_is_refused(tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(mobilenet_v2.NETWORK.package.find().read_bytes()[:5_000_000])
    with pytest.raises(ModelError, match="is not a checkpoint"):
        read_state_dict(path)


def numbers(values: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(b"I%d\n" % value for value in values) + b"t"


def tensor(storage: bytes, kind: bytes, offset: int, sizes: tuple[int, ...], strides: tuple[int, ...]) -> bytes:
    """A tensor as PyTorch pickles it, in pickle's own opcodes."""
    where = b"(Vstorage\nctorch\n%sStorage\nV%s\nVcpu\nI9\nNtQ" % (kind, storage)
    lies = b"I%d\n" % offset + numbers(sizes) + numbers(strides)
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + where + lies + b"I00\nNtR"


def written(path: Path, tensors: dict[bytes, bytes], storages: dict[str, np.ndarray]) -> Path:
    """A checkpoint as PyTorch lays it out."""
    state = b"(" + b"".join(b"V%s\n" % name + value for name, value in tensors.items()) + b"d."
    head = b"".join(pickle.dumps(part) for part in (0x1950A86A20F9469CFC6C, 1001, {}))
    raw = b"".join(len(values).to_bytes(8, "little") + values.tobytes() for values in storages.values())
    path.write_bytes(head + state + pickle.dumps(list(storages)) + raw)
    return path


def test_tensors_may_share_a_storage_begin_anywhere_and_hold_whole_numbers(tmp_path):
    floats, whole = np.arange(10, dtype="<f4") / 8, np.array([7, 2**53 + 1, -1], "<i8")
    tensors = {
        b"first": tensor(b"one", b"Float", 0, (2, 2), (2, 1)),
        b"rest": tensor(b"one", b"Float", 4, (2, 3), (3, 1)),
        b"turned": tensor(b"one", b"Float", 4, (3, 2), (1, 3)),
        b"steps": tensor(b"two", b"Long", 1, (2,), (1,)),
        b"single": tensor(b"two", b"Long", 0, (), ()),
    }
    found = read_state_dict(written(tmp_path / "weights.pth", tensors, {"two": whole, "one": floats}))
    assert {name: values.tolist() for name, values in found.items()} == {
        "first": [[0, 0.125], [0.25, 0.375]],
        "rest": [[0.5, 0.625, 0.75], [0.875, 1, 1.125]],
        "turned": [[0.5, 0.875], [0.625, 1], [0.75, 1.125]],
        "steps": [2**53 + 1, -1],
        "single": 7,
    }
    assert [values.dtype for values in found.values()] == ["f4", "f4", "f4", "i8", "i8"]


@pytest.mark.parametrize(
    ("offset", "sizes", "strides"), [(0, (2, 6), (6, 1)), (0, (2, 2), (9, 1)), (9, (2,), (1,)), (1, (2,), (-2,))]
)
def test_a_tensor_outside_its_storage_is_refused(offset, sizes, strides, tmp_path):
    tensors = {b"out": tensor(b"one", b"Float", offset, sizes, strides)}
    path = written(tmp_path / "weights.pth", tensors, {"one": np.arange(10, dtype="<f4")})
    with pytest.raises(ModelError, match="is not a checkpoint"):
        read_state_dict(path)
