"""Finds a TF-Hub module by its handle: an https address, a local folder or a local `.tar.gz`."""

import re
import shutil
import tarfile
from pathlib import Path

from imageloom.errors import ModelError


def fetch(handle: str, target: Path) -> None:
    """Copies the module's SavedModel to `target`, which must not exist.

    Addresses are resolved by `tensorflow_hub` itself, with its cache and its `?tf-hub-format=compressed` protocol.

    Raises:
        ModelError: There is no such module, or it cannot be had.
    """
    hint = "give an https address, or a folder or .tar.gz that holds a TF-Hub image feature vector"
    try:
        if re.match(r"https?://", handle):
            import tensorflow_hub

            shutil.copytree(tensorflow_hub.resolve(handle), target)
        elif handle.endswith((".tar.gz", ".tgz")):
            with tarfile.open(handle) as archive:
                archive.extractall(target, filter="data")
        else:
            shutil.copytree(handle, target)
    except Exception as fault:  # urllib, tarfile, shutil and TensorFlow each raise their own
        reason = str(fault).strip().splitlines()[0] if str(fault).strip() else type(fault).__name__
        raise ModelError(f"cannot get the backbone {handle!r}: {reason}", hint) from fault
    if not (target / "saved_model.pb").is_file():
        raise ModelError(f"{handle!r} holds no saved_model.pb", hint)


def size_from(handle: str) -> int:
    """The picture size that a module's name ends in, such as `mobilenet_v2_100_224/feature_vector/5`; 224 if none."""
    sizes = re.findall(r"[_-](\d{2,3})(?=/|$|[_-]|\.)", handle)
    plausible = [int(size) for size in sizes if int(size) >= 64 and int(size) % 16 == 0]
    return plausible[-1] if plausible else 224
