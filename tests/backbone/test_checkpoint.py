import collections
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
    def __reduce__(self):
        import os

        return os.system, ("touch /tmp/imageloom-was-here",)


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
def test_a_pickle_that_asks_for_anything_but_tensors_is_refused(tmp_path, content):
    from pathlib import Path

    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"weights\.pth is not a checkpoint"):
        read_state_dict(path)
    assert not Path("/tmp/imageloom-was-here").exists()


def test_a_checkpoint_that_is_cut_short_is_refused(tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(find_weights().read_bytes()[:5_000_000])
    with pytest.raises(ModelError, match="is not a checkpoint"):
        read_state_dict(path)
