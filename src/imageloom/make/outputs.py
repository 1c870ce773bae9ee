"""Puts what was made where it was asked for; checked before the work begins, and nothing else is touched."""

import argparse
import os
import shutil
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from imageloom import card, console, files
from imageloom.errors import DataError, ImageloomError
from imageloom.files import Paths

# A SavedModel's folder holds its graph and two folders, which may be anyone's where there is no graph.
_GRAPH = "saved_model.pb"
_LABELS, _VARIABLES = f"assets/{card.LABELS_FILE}", "variables/variables"
_OF_OLDER = ("fingerprint.pb", "keras_metadata.pb", f"{_VARIABLES}.data-*")

# Folders in which other things stay.
_SHARED = ("saved_model_dir", "summaries_dir")


@dataclass(frozen=True)
class Targets:
    """What is to be written, and where; None for what is not asked for.

    Args:
        saved_model_dir: A folder; what else is in it stays.
        tflite_output_file: A file.
        labels_output_file: A file.
        export_dir: A folder that is written whole.
        summaries_dir: A folder; what else is in it stays.
    """

    saved_model_dir: Path | None
    tflite_output_file: Path | None
    labels_output_file: Path | None
    export_dir: Path | None
    summaries_dir: Path | None

    @classmethod
    def of(cls, arguments: argparse.Namespace) -> "Targets":
        """Those of the flags, as absolute paths."""
        given = {name: getattr(arguments, name) for name in cls.__dataclass_fields__}
        return cls(**{name: path and path.expanduser().resolve() for name, path in given.items()})

    def require_free(self, pictures: Path) -> None:
        """Sees that each can be written, and that no picture or other file is in its way.

        Args:
            pictures: The folder of the classes' folders, as an absolute path.

        Raises:
            ImageloomError: One cannot be written.
        """
        given = {name: path for name in self.__dataclass_fields__ if (path := getattr(self, name))}
        for name, path in given.items():
            for other, there in given.items():
                if other != name and path == there:
                    raise ImageloomError(f"--{name} and --{other} are the same: {path}", "name two places")
                if there in path.parents and other not in _SHARED:
                    raise ImageloomError(f"--{name}: {path} is inside --{other}", "name a place outside")
            self._require_place(name, path, pictures)
        if self.export_dir and self.export_dir.is_dir():
            self._require_own(self.export_dir)
        if self.saved_model_dir:
            self._require_parts(self.saved_model_dir, pictures)

    def _require_place(self, name: str, path: Path, pictures: Path) -> None:
        is_file = name.endswith("_file")
        if is_file and path.is_dir():
            raise ImageloomError(f"--{name}: {path} is a folder", "name another place")
        if not is_file and path.is_relative_to(pictures):
            hint = "it would be taken for a class the next time; name a place outside"
            raise ImageloomError(f"--{name}: {path} is in the folder of the pictures", hint)
        folder = path.parent if is_file else path
        above = next(one for one in (folder, *folder.parents) if one.exists())
        if not above.is_dir():
            raise ImageloomError(f"--{name}: {above} is no folder", "name another place")
        if not os.access(above, os.W_OK | os.X_OK):
            raise ImageloomError(f"--{name}: {above} cannot be written", "name another place, or ask for permission")

    def _require_own(self, folder: Path) -> None:
        """A folder that is written whole holds nothing but what was written by the same command."""
        strange = sorted({one.name for one in folder.iterdir()} - _exported(folder))
        if strange:
            hint = "name a folder that is not there yet, or an earlier --export_dir"
            raise ImageloomError(f"--export_dir: {folder} holds {strange[0]!r}, which would be lost", hint)

    def _require_parts(self, folder: Path, pictures: Path) -> None:
        """What a SavedModel brings with it replaces what another one brought, and nothing else."""
        for name in (_LABELS, f"{_VARIABLES}.index"):
            self._require_place("saved_model_dir", (folder / name).parent.resolve(), pictures)
            if (folder / name).exists() and not (folder / _GRAPH).exists():
                hint = "move it away, or name another place"
                raise ImageloomError(f"--saved_model_dir: {folder} holds {name!r}, which would be lost", hint)

    @property
    def wants_model(self) -> bool:
        """Whether a model is to be exported at all."""
        return bool(self.saved_model_dir or self.tflite_output_file or self.export_dir)

    def write(self, paths: Paths) -> None:
        """Copies what is asked for from a project.

        Raises:
            ImageloomError: A place cannot be written.
        """
        if self.export_dir:
            with files.atomic_folder(self.export_dir) as folder:
                for file in _files(paths.export):
                    (folder / file).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(paths.export / file, folder / file)
        if self.saved_model_dir:
            _write_saved_model(paths.export / "saved_model", self.saved_model_dir)
        if self.tflite_output_file:
            _copy(paths.export / "model.tflite", self.tflite_output_file)
        if self.labels_output_file:
            _copy(paths.classifier / "labels.txt", self.labels_output_file)
        for name in ("export_dir", "saved_model_dir", "tflite_output_file", "labels_output_file"):
            if getattr(self, name):
                console.say(f"make: wrote {getattr(self, name)}")


def _exported(folder: Path) -> set[str]:
    """What an earlier export has put there, by its model.json; nothing where that is another program's, or damaged."""
    try:
        listed = files.read_json(folder / card.CARD_FILE, "export").get("files")
    except DataError:
        return set()
    return {card.CARD_FILE, *(name.partition("/")[0] for name in listed)} if isinstance(listed, dict) else set()


def _files(folder: Path) -> list[Path]:
    """All that are below it, as paths from there."""
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())


def _write_saved_model(source: Path, target: Path) -> None:
    """All is on the disk before the first file takes its place; the graph, which comes first here, does so last."""
    names = sorted(_files(source), key=lambda name: name.name != _GRAPH)
    with ExitStack() as stack:
        for name in names:
            shutil.copyfile(source / name, stack.enter_context(files.atomic_file(target / name)))
    with files.faults_of_writing(target):
        for pattern in _OF_OLDER:
            for path in set(target.glob(pattern)) - {target / name for name in names}:
                path.unlink()


def _copy(source: Path, target: Path) -> None:
    with files.atomic_file(target) as temporary:
        shutil.copyfile(source, temporary)
