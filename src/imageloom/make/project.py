"""The project that `imageloom make` works in: a folder like any project's, kept in the cache for the next time.

CACHE/folders/<name>-<digest>/ has one project for each folder of pictures and network: its features, and the sides that
its pictures were dealt to. CACHE/networks/<digest>/ has each network once. All of it can be removed at any time.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from imageloom import backbone_files, console, files, graphs, tflite_editor
from imageloom.backbone import (
    checkpoint,
    efficientnet_lite,
    hub,
    keras_applications,
    keras_layers,
    layers,
    mobilenet_v2,
    packaged,
    stage,
    tflite_layers,
)
from imageloom.errors import ImageloomError
from imageloom.files import Paths

_LENGTH = 16  # of a digest's 64 characters: no two of a billion folders share them

# What a network is made by.
_CODE = (
    *(checkpoint, efficientnet_lite, hub, keras_applications, mobilenet_v2, packaged, stage),
    *(keras_layers, layers, tflite_layers),
    *(backbone_files, graphs, tflite_editor),
)


def default_cache() -> Path:
    """Where things are kept that can be made again: `imageloom` in $XDG_CACHE_HOME, or in ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "imageloom"


@contextmanager
def cache(folder: Path | None) -> Iterator[Path]:
    """The cache's folder; one that is removed afterwards where none is given."""
    if folder is not None:
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="imageloom-") as temporary:
        yield Path(temporary)


@dataclass(frozen=True)
class Project:
    """Where one folder of pictures is worked on.

    Args:
        paths: Its files.
        network: The files of the project that its network is made in.
    """

    paths: Paths
    network: Paths

    def write_params(self, sections: Mapping[str, Any]) -> None:
        """Writes params.yaml for it, and for its network's project."""
        for paths in (self.paths, self.network):
            files.write_json(paths.params, sections)  # JSON is YAML

    def use_network(self) -> None:
        """Links models/backbone to the network."""
        self.use_none()
        link = self.paths.backbone
        with files.faults_of_writing(link):
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(self.network.backbone)

    def use_none(self) -> None:
        """Takes models/backbone away; the network itself stays."""
        place = self.paths.backbone
        with files.faults_of_writing(place):
            if place.is_symlink():
                place.unlink()
            elif place.exists():
                shutil.rmtree(place)


@contextmanager
def opened(cache: Path, pictures: Path, backbone: Mapping[str, Any]) -> Iterator[Project]:
    """The project for a folder of pictures and a network, which no other process works in meanwhile.

    Args:
        cache: The cache's folder.
        pictures: What holds a folder for each class.
        backbone: The section `backbone` of the parameters.

    Raises:
        ImageloomError: Another process works in it, or the cache cannot be written.
    """
    state = [_state(str(backbone.get(name, ""))) for name in ("module", "weights")]
    network = _digest({"section": backbone, "state": state, **_made_by()})
    name = re.sub(r"[^\w.-]", "_", pictures.name)[:40]
    folder = cache / "folders" / f"{name}-{_digest([str(pictures), network])}"
    with _locked(folder):
        yield Project(Paths(folder), Paths(cache / "networks" / network))


def is_made(network: Paths) -> bool:
    """Whether the network of a project for one is there."""
    return (network.backbone / "backbone.json").exists()


def make_network(network: Paths, make: Callable[[Path], None]) -> None:
    """Makes the network of a project for one, unless another process has made it meanwhile.

    Args:
        network: The project's files.
        make: Does it, in the folder that it is given.

    Raises:
        ImageloomError: The folder cannot be written, or what `make` raises.
    """
    with _locked(network.root, "waiting for another command that makes the same network"):
        if not is_made(network):
            make(network.root)


@contextmanager
def _locked(folder: Path, waiting: str = "") -> Iterator[None]:
    """Keeps other processes out, or says `waiting` and waits for them; raises where there is nothing to say."""
    lock = folder / ".lock"
    with files.faults_of_writing(lock):
        folder.mkdir(parents=True, exist_ok=True)
        file = lock.open("w")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not waiting:
                hint = "wait until it is done, or give this one another --cache_dir"
                raise ImageloomError("another `imageloom make` is at work on these pictures", hint) from None
            console.say(f"make: {waiting}")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _made_by() -> dict[str, str]:
    code = {module.__name__: files.sha256(Path(str(module.__file__))) for module in _CODE}
    return code | {name: metadata.version(name) for name in ("tensorflow", "tf-keras")}


def _state(name: str) -> list[Any]:
    """What tells whether a module or weights on this machine have changed: names, lengths and times of its files."""
    path = Path(name)
    if not path.is_absolute():
        return []
    found = sorted([path, *path.rglob("*")]) if path.is_dir() else [path]
    return [[str(one), one.stat().st_size, one.stat().st_mtime_ns] for one in found if one.is_file()]


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:_LENGTH]
