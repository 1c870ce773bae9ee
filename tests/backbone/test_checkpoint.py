import collections
import os
import pickle

import numpy as np
import pytest

from imageloom.backbone.checkpoint import read_state_dict
from imageloom.backbone.mobilenet_v2 import find_weights
from imageloom.errors import ModelError


def test_packaged_weights_are_read_without_pytorch():
    state = read_state_dict(find_weights())
    assert len(state) == 314
    assert state["features.0.0.weight"].shape == (32, 3, 3, 3)
    assert state["classifier.1.weight"].shape == (1000, 1280)
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
    path.write_bytes(find_weights().read_bytes()[:5_000_000])
    with pytest.raises(ModelError, match="is not a checkpoint"):
        read_state_dict(path)


def tensor(storage: bytes, kind: bytes, offset: int, shape: tuple[int, ...]) -> bytes:
    """A tensor as PyTorch pickles it, in pickle's own opcodes."""
    sizes = b"(" + b"".join(b"I%d\n" % size for size in shape) + b"t"
    where = b"(Vstorage\nctorch\n%sStorage\nV%s\nVcpu\nI9\nNtQ" % (kind, storage)
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + where + b"I%d\n" % offset + sizes + sizes + b"I00\nNtR"


def test_tensors_may_share_a_storage_begin_anywhere_and_hold_whole_numbers(tmp_path):
    floats, numbers = np.arange(10, dtype="<f4") / 8, np.array([7, 2**53 + 1, -1], "<i8")
    tensors = {
        b"first": tensor(b"one", b"Float", 0, (2, 2)),
        b"rest": tensor(b"one", b"Float", 4, (2, 3)),
        b"steps": tensor(b"two", b"Long", 1, (2,)),
        b"single": tensor(b"two", b"Long", 0, ()),
    }
    state = b"(" + b"".join(b"V%s\n" % name + value for name, value in tensors.items()) + b"d."
    head = b"".join(pickle.dumps(part) for part in (0x1950A86A20F9469CFC6C, 1001, {}))
    storages = b"".join(len(values).to_bytes(8, "little") + values.tobytes() for values in (numbers, floats))
    path = tmp_path / "weights.pth"
    path.write_bytes(head + state + pickle.dumps(["two", "one"]) + storages)
    found = read_state_dict(path)
    assert {name: values.tolist() for name, values in found.items()} == {
        "first": [[0, 0.125], [0.25, 0.375]],
        "rest": [[0.5, 0.625, 0.75], [0.875, 1, 1.125]],
        "steps": [2**53 + 1, -1],
        "single": 7,
    }
    assert [values.dtype for values in found.values()] == ["f4", "f4", "i8", "i8"]
