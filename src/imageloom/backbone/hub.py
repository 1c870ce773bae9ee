"""Finds a TF-Hub module by its handle: an https address, a local folder or a local `.tar.gz`."""

import re
import shutil
import tarfile
from pathlib import Path

from imageloom import graphs
from imageloom.errors import ModelError

# Sides of pictures that published image feature vectors take, and their names end in.
_SIZES = {"96", "128", "160", "192", "224", "240", "256", "260", "288", "299", "300", "320", "331", "380", "384", "448"}


def fetch(handle: str, target: Path, root: Path) -> None:
    """Copies the module's SavedModel to `target`, which must not exist.

    Addresses are resolved by `tensorflow_hub` itself, with its cache and its `?tf-hub-format=compressed` protocol.

    Args:
        handle: An https address, or the path of a folder or a `.tar.gz`.
        target: The folder to make.
        root: What a relative path is below.

    Raises:
        ModelError: There is no such module, or it cannot be had.
    """
    hint = (
        "give an https address, a folder or a .tar.gz of a TF-Hub image feature vector, `keras:` and a name such as "
        "ResNet50, or mobilenet_v2_100_224 or efficientnet_lite0_224"
    )
    try:
        if re.match(r"https?://", handle):
            graphs.tensorflow()  # quietly; tensorflow_hub imports it too
            import tensorflow_hub

            shutil.copytree(tensorflow_hub.resolve(handle), target)
        elif handle.endswith((".tar.gz", ".tgz")):
            with tarfile.open(root / handle) as archive:
                archive.extractall(target, filter="data")
        else:
            shutil.copytree(root / handle, target)
    except Exception as fault:  # urllib, tarfile, shutil and TensorFlow each raise their own
        reason = getattr(fault, "strerror", None) or next(iter(str(fault).strip().splitlines()), type(fault).__name__)
        raise ModelError(f"cannot get the backbone {handle!r}: {reason}", hint) from fault
    if not (target / "saved_model.pb").is_file():
        raise ModelError(f"{handle!r} holds no saved_model.pb", hint)


def size_from(handle: str) -> int:
    """The picture size that a module's name ends in, such as `mobilenet_v2_100_224/feature_vector/5`; 224 if none."""
    sizes = [size for size in re.findall(r"(?<=[_-])\d{2,3}(?=/|$|[_-]|\.)", handle) if size in _SIZES]
    return int(sizes[-1]) if sizes else 224
