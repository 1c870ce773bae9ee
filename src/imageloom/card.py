"""Reads model.json, the description of an exported model, and checks that the folder holds what it describes.

What may stand in it is written in `model.schema.json`, beside this module and in docs/.
"""

import functools
import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, NoReturn

from imageloom import files, images, schema
from imageloom.errors import ModelError
from imageloom.trained_on import TrainedOn

# The number of the layout of an exported folder that is read and written.
FORMAT = 2

CARD_FILE = "model.json"
LABELS_FILE = "labels.txt"

EXPORT_AGAIN = "run `dvc repro --force export` to make it again"


@dataclass(frozen=True, eq=False)
class Card:
    """An exported model as model.json describes it.

    Args:
        folder: Where it stands.
        content: What model.json holds, checked against the schema.
    """

    folder: Path
    content: dict[str, Any]

    @property
    def version(self) -> str:
        """Of the model."""
        return str(self.content["version"])

    @property
    def names(self) -> tuple[str, ...]:
        """The classes, as folders are named, in the order of the outputs."""
        return tuple(one["name"] for one in self.content["classes"])

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes, as people read them."""
        return tuple(one["label"] for one in self.content["classes"])

    @property
    def size(self) -> int:
        """Side of the pictures that the model takes, in pixels."""
        return int(self.content["input"]["size"])

    @property
    def aspect(self) -> images.Aspect:
        """How a picture becomes square."""
        aspect: images.Aspect = self.content["input"]["aspect"]
        return aspect

    @property
    def usual_format(self) -> str:
        """The format that answers where none is asked for."""
        formats = self.content["formats"]
        return "float32" if "float32" in formats else str(next(iter(formats)))

    def entry(self, name: str) -> dict[str, Any]:
        """What is said of one of the formats; its files and labels.txt are what was exported.

        Raises:
            ModelError: The model was not exported in it, or a file is missing or was altered since.
        """
        formats = self.content["formats"]
        if name not in formats:
            raise ModelError(f"{self.folder} holds no {name} model", f"name one that it holds: {', '.join(formats)}")
        entry: dict[str, Any] = formats[name]
        for file in (LABELS_FILE, entry["file"], entry["head"], entry["ood"], *filter(None, [entry.get("network")])):
            self._check(file)
        self._check_labels()
        return entry

    def trained_on(self) -> TrainedOn | None:
        """The pictures that it was trained on; None where it was exported without telling.

        Raises:
            ModelError: The file that tells is missing or was altered since.
        """
        name = self.content.get("trained_on")
        if name is None:
            return None
        self._check(name)
        return TrainedOn.load(self.folder / name, "export")

    def _check(self, name: str) -> None:
        """Compares a file, or all of a folder, with the SHA-256 that the export wrote down."""
        listed = self.content["files"]
        paths = [path for path in listed if path == name or path.startswith(f"{name}/")]
        if not paths:
            raise ModelError(f"{self.folder / CARD_FILE} has no SHA-256 of {name}", EXPORT_AGAIN)
        for path in paths:
            try:
                found = files.sha256(self.folder / path)
            except OSError as fault:
                raise ModelError(f"cannot read {self.folder / path}: {fault.strerror}", EXPORT_AGAIN) from None
            if found != listed[path]:
                raise ModelError(
                    f"{self.folder / path} was altered: its SHA-256 begins with {found[:12]}, "
                    f"{listed[path][:12]} was exported",
                    f"{EXPORT_AGAIN}, or `dvc checkout --force` to have the exported files back",
                )

    def _check_labels(self) -> None:
        # Not splitlines(): a label may hold U+2028 or other characters that Python takes for the end of a line.
        listed = (self.folder / LABELS_FILE).read_text(encoding="utf-8").removesuffix("\n").split("\n")
        if tuple(listed) != self.labels:
            raise ModelError(
                f"{self.folder / LABELS_FILE} lists {len(listed)} labels that are not the {len(self.labels)} "
                f"of {CARD_FILE}",
                EXPORT_AGAIN,
            )


def read(folder: Path) -> Card:
    """Reads model.json.

    Raises:
        ModelError: It is missing, is of another format, or does not hold what the schema asks for.
    """
    path = folder / CARD_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
    except FileNotFoundError:
        is_ours = (folder.parent.parent / "params.yaml").exists()
        advice = "run `dvc repro` to make one" if is_ours else "run this in the project's folder, where params.yaml is"
        raise ModelError(
            f"no exported model in {folder}: {CARD_FILE} is missing",
            f"{advice}, or name the folder of an exported model",
        ) from None
    except OSError as fault:
        raise ModelError(f"cannot read {path}: {fault.strerror}", "check the folder's permissions") from None
    except (ValueError, RecursionError) as fault:
        raise ModelError(f"{path} is not JSON: {fault}", EXPORT_AGAIN) from None
    _check_number(content.get("format") if isinstance(content, dict) else None, path)
    wrong = schema.fault(content, model_schema())
    if wrong:
        raise ModelError(f"{path}: {wrong}", EXPORT_AGAIN)
    return Card(folder, content)


def is_ours(folder: Path) -> bool:
    """Whether a folder's model.json is of imageloom, readable or not: others have files of that name, too."""
    try:
        content = json.loads((folder / CARD_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return False
    except (OSError, ValueError, RecursionError):
        return True  # damaged, for all one can tell; `read` says how
    return isinstance(content, dict) and type(content.get("format")) is int


@functools.cache
def model_schema() -> dict[str, Any]:
    """The JSON Schema of model.json."""
    text = (resources.files("imageloom") / "model.schema.json").read_text(encoding="utf-8")
    content: dict[str, Any] = json.loads(text)
    return content


def _check_number(number: Any, path: Path) -> None:
    if type(number) is not int or number < 1:
        raise ModelError(f"{path} is no description of an exported model: it has no format number", EXPORT_AGAIN)
    if number > FORMAT:
        raise ModelError(
            f"{path} is of format {number}, newer than the {FORMAT} that this version of imageloom reads",
            "update imageloom, or export the model with this version",
        )
    if number < FORMAT:
        raise ModelError(
            f"{path} is of format {number}, older than the {FORMAT} that this version of imageloom reads",
            "run `dvc repro` to export the model again",
        )


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number")
