"""Reads `params.yaml`: each stage has a section of its own, checked against a typed model that stands in its module.

An unknown key is refused with the nearest known one as a hint, and every message names the line.
"""

import datetime
import difflib
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from imageloom.errors import ParamsError

Model = TypeVar("Model", bound=BaseModel)

# The class of pictures that nobody has labelled yet: they are crawled and embedded, and `clean` leaves them out.
UNLABELLED = "_unlabelled"

_FORBIDDEN_IN_NAMES = set('/\\:*?"<>|')

# What YAML takes words without quotes for, where a person meant text: `name: 2024`, `name: no`.
_READ_AS = {bool: "truth value", int: "number", float: "number", datetime.date: "date", datetime.datetime: "date"}

_SHOULD = "input should be "  # how most of pydantic's messages begin


class _Loader(yaml.SafeLoader):
    """YAML but for `on` and `off`, which are text to DVC, and here: `on` is what a parameter is called."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - as PyYAML has it
        letter: [pair for pair in pairs if letter not in "oO" or not pair[0].endswith(":bool")]
        for letter, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


class StageParams(BaseModel):
    """A stage's section of `params.yaml`: cannot be changed once read; of finite numbers, and of keys it knows."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_value_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Python takes `true` for 1, and who writes `retries: no` would get 0."""
        parts = value if isinstance(value, list) else [value]
        kinds = _kinds(cls.model_fields[info.field_name or ""].annotation)
        if any(isinstance(part, bool) for part in parts) and {int, float} & kinds and bool not in kinds:
            raise PydanticCustomError("number_type", "must be a number")
        return value

    @classmethod
    def fields_at(cls, value: Any, loc: Sequence[int | str]) -> dict[str, Any] | None:
        """The fields among which the last part of a fault's `loc` stands, where types alone do not tell; else None.

        Args:
            value: The section as it was read.
            loc: Keys and indices from the section down, as pydantic gives them.
        """
        return None


def _kinds(annotation: Any) -> set[Any]:
    """The types that an annotation is made of."""
    return {annotation}.union(*map(_kinds, get_args(annotation))) if get_origin(annotation) is not Literal else set()


def folder_safe(name: str) -> str:
    """The name in NFC, when every file system takes it as a folder's name.

    Raises:
        ValueError: It is empty, longer than 100 bytes, starts with a dot or a space, ends with one, or holds a
            character that some file system refuses.
    """
    name = unicodedata.normalize("NFC", name)
    if not name or len(name.encode()) > 100:
        raise ValueError("must be 1 to 100 bytes long")
    if name[0] in ". " or name[-1] in ". ":
        raise ValueError("must not start or end with a dot or a space")
    bad = sorted({c for c in name if c in _FORBIDDEN_IN_NAMES or unicodedata.category(c).startswith("C")})
    if bad:
        raise ValueError(f"must not hold {' '.join(repr(c) for c in bad)}, which not every file system takes")
    return name


def _class_name(name: str) -> str:
    if folder_safe(name) == UNLABELLED:
        raise ValueError("is the name of the pool of pictures without a label, which is no class")
    return folder_safe(name)


class ClassSpec(StageParams):
    """One class of pictures."""

    name: Annotated[str, AfterValidator(_class_name)] = Field(description="Folder name of the class.")
    label: str = Field(default="", min_length=0, description="What people read, in any script; the name if not given.")

    @model_validator(mode="after")
    def _label_defaults_to_name(self) -> "ClassSpec":
        if "\n" in self.label or "\r" in self.label:
            raise ValueError("a label is one line")
        if not self.label:
            object.__setattr__(self, "label", self.name)
        return self


def load(section: str, model: type[Model], path: Path) -> Model:
    """Reads one section.

    Args:
        section: Its name; an absent one is read as empty, so that defaults hold.
        model: What it must be.
        path: `params.yaml`.

    Raises:
        ParamsError: The file or a value in it is wrong; the message names the line.
    """
    content, node = _read(path)
    return _checked(TypeAdapter(model), _given(content, section, {}), section, model, node, path)


def load_classes(path: Path) -> list[ClassSpec]:
    """Reads the section `classes`; an empty list means that the classes are taken from the folders of pictures.

    Raises:
        ParamsError: The section is wrong, or two classes share a name or a label.
    """
    content, node = _read(path)
    adapter = TypeAdapter(list[ClassSpec])
    classes: list[ClassSpec] = _checked(adapter, _given(content, "classes", []), "classes", ClassSpec, node, path)
    for what in ("name", "label"):
        seen: dict[str, int] = {}
        for number, spec in enumerate(classes):
            key = getattr(spec, what).casefold() if what == "name" else getattr(spec, what)
            if key in seen:
                line = _line_of(node, ("classes", number, what))
                raise ParamsError(
                    f"{path.name}:{line}: classes.{number}.{what}: {getattr(spec, what)!r} is there twice",
                    "give each class a name and a label of its own",
                )
            seen[key] = number
    if len(classes) == 1:
        raise ParamsError(
            f"{path.name}:{_line_of(node, ('classes',))}: one class only, {classes[0].name!r}",
            "a classifier needs two or more; what is not of the class can be a class of its own",
        )
    return classes


def load_all(path: Path) -> dict[str, Any]:
    """Reads every section as it is written, unchecked and without defaults, for what only keeps a record of them.

    Raises:
        ParamsError: The file is missing or is not YAML.
    """
    return _read(path)[0]


def missing(path: Path) -> ParamsError:
    """The error to raise where there is no `params.yaml`, and so no project."""
    if path.parent.is_file():
        return ParamsError(f"{path.parent} is a file, and -C names a folder", f"name the folder that {path.name} is in")
    hint = f"run this in the project's folder, where {path.name} is, or name that with -C"
    return ParamsError(f"no {path.name} in {path.parent}", hint)


def _given(content: dict[str, Any], section: str, default: Any) -> Any:
    value = content.get(section)
    return default if value is None else value


def check_sections(known: Iterable[str], path: Path) -> None:
    """Refuses a section that no stage reads.

    Raises:
        ParamsError: The file is missing, is not YAML, or has an unknown section.
    """
    content, node = _read(path)
    known = list(known)
    for section in content:
        if section not in known:
            line = _line_of(node, (section,))
            raise ParamsError(f"{path.name}:{line}: unknown section {section!r}", nearest(str(section), known))


def nearest(name: str, known: Sequence[str]) -> str:
    """A hint that names the known word nearest to `name`, or all of them."""
    match = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"did you mean {match[0]!r}?" if match else f"known are: {', '.join(known)}"


def _read(path: Path) -> tuple[dict[str, Any], yaml.Node | None]:
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        raise missing(path) from None
    except (OSError, UnicodeDecodeError) as fault:
        raise ParamsError(f"cannot read {path}: {fault}", "it must be a UTF-8 text file") from fault
    try:
        node = yaml.compose(text, Loader=_Loader)
        content = yaml.load(text, Loader=_Loader)
        _refuse_repeated_keys(node, path)
    except RecursionError:
        raise ParamsError(f"{path.name}: an alias holds itself", "write the values out") from None
    except yaml.YAMLError as fault:
        mark = getattr(fault, "problem_mark", None)
        where = f":{mark.line + 1}" if mark else ""
        problem = getattr(fault, "problem", None) or str(fault)
        raise ParamsError(
            f"{path.name}{where}: not valid YAML: {problem}", "check the indentation and quotes near that line"
        ) from None
    if content is None:
        return {}, None
    if not isinstance(content, dict):
        raise ParamsError(
            f"{path.name}:1: must be sections with keys, not a {type(content).__name__}",
            "start from the one in the repository",
        )
    return content, node


def _refuse_repeated_keys(node: yaml.Node | None, path: Path) -> None:
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if key.value in seen:
                raise ParamsError(
                    f"{path.name}:{key.start_mark.line + 1}: {key.value!r} is there twice", "keep one of them"
                )
            seen.add(key.value)
            _refuse_repeated_keys(value, path)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            _refuse_repeated_keys(value, path)


def _checked(
    adapter: TypeAdapter[Any], value: Any, section: str, model: type[BaseModel], node: yaml.Node | None, path: Path
) -> Any:
    try:
        return adapter.validate_python(value)
    except ValidationError as fault:
        problems = fault.errors(include_url=False)
    # A misspelt key comes before the needed one that it leaves missing.
    first = next((problem for problem in problems if problem["type"] == "extra_forbidden"), problems[0])
    location = (section, *first["loc"])
    where = "" if first["type"] == "missing" else ".".join(name for name, _, _ in _way(node, location))
    where = where or ".".join(str(part) for part in location)
    message, hint = _told(first, _written(node, location), model, value)
    # Of a value that may be of several kinds, pydantic finds that it is none of them, one by one.
    values = [_value(node, (section, *problem["loc"])) for problem in problems]
    same = _value(node, location)
    for problem, found in zip(problems, values, strict=True):
        if found == same and problem is not first:
            kind = _told(problem, "", model, value)[0].removeprefix(_SHOULD)
            message = f"{message.rpartition(', not ')[0]}, or {kind}"
    others = len({*values}) - 1
    more = f" (and {others} more)" if others else ""
    raise ParamsError(f"{path.name}:{_line_of(node, location)}: {where}: {message}{more}", hint)


def _told(problem: Any, written: str, model: type[BaseModel], value: Any) -> tuple[str, str]:
    """Message and hint for what pydantic finds wrong.

    Args:
        problem: What it found, as `ValidationError.errors` gives it.
        written: The value as it stands in the file.
        model: What the section, or an entry of it, must be.
        value: The section as it was read.
    """
    kind, loc, found = problem["type"], problem["loc"], problem["input"]
    hint = str(problem.get("ctx", {}).get("hint", "")) or _help_for(model, value, loc)
    if kind == "extra_forbidden":
        return "unknown key", nearest(str(loc[-1]), _known_keys(model, value, loc))
    if kind == "missing":
        return "is needed", hint
    if kind == "list_type":
        return "must be a list", hint or "begin each entry with `- `"
    if kind == "model_type":
        return "must be keys with values", f"known are: {', '.join(_known_keys(model, value, (*loc, '')))}"
    text = written or str(found)
    if kind == "number_type" and isinstance(found, bool):
        return f"must be a number, and YAML reads {text} as a {_READ_AS[bool]}", hint
    if kind == "string_type" and type(found) in _READ_AS:
        return f"must be text, and YAML reads {text} as a {_READ_AS[type(found)]}", f'put it in quotes: "{text}"'
    message = problem["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    return message + ("" if isinstance(found, dict | list) else f", not {found!r}"), hint


def _fields(model: type[BaseModel], value: Any, loc: Sequence[int | str]) -> dict[str, Any]:
    """The fields among which the last part of `loc` stands."""
    own = model.fields_at(value, loc) if issubclass(model, StageParams) else None
    if own is not None:
        return own
    fields: dict[str, Any] = dict(model.model_fields)
    for part in loc[:-1]:
        field = fields.get(str(part))
        if field is None:
            continue
        for candidate in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(candidate, type) and issubclass(candidate, BaseModel):
                fields = dict(candidate.model_fields)
                break
    return fields


def _value(node: yaml.Node | None, location: Sequence[int | str]) -> Sequence[int | str]:
    """The location of the value that is wrong: that in the file, where one is written there."""
    way = _way(node, location)
    written = bool(way) and isinstance(way[-1][2], yaml.ScalarNode)
    return tuple(name for name, _, _ in way) if written else tuple(location)


def _known_keys(model: type[BaseModel], value: Any, loc: Sequence[int | str]) -> list[str]:
    return list(_fields(model, value, loc))


def _help_for(model: type[BaseModel], value: Any, loc: Sequence[int | str]) -> str:
    for part in (loc, loc[:-1]):  # pydantic adds the names of a union's members
        field = _fields(model, value, part).get(str(part[-1])) if part else None
        if field is not None:
            return field.description or ""
    return ""


def _way(node: yaml.Node | None, location: Sequence[int | str]) -> list[tuple[str, yaml.Node, yaml.Node]]:
    """The parts of `location` that are in the file (pydantic adds the names of union members).

    Returns:
        Of each part: how it is written, where it begins, and what stands there.
    """
    found = []
    for part in location:
        child = _child(node, part)
        if child is not None:
            found.append(child)
            node = child[-1]
    return found


def _child(node: yaml.Node | None, part: int | str) -> tuple[str, yaml.Node, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            key = yaml.constructor.SafeConstructor().construct_object(name)
            if part in (key, str(key)):  # pydantic gives a key such as `no` as 0
                return name.value, name, value
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return str(part), node.value[part], node.value[part]
    return None


def _written(node: yaml.Node | None, location: Sequence[int | str]) -> str:
    """What stands at `location` as it was written; empty where nothing does."""
    way = _way(node, location)
    is_key = location[-1] == "[key]"  # what pydantic adds where a mapping's key is wrong, and not its value
    there = way[-1][1 if is_key else 2] if way else None
    return there.value if isinstance(there, yaml.ScalarNode) else ""


def _line_of(node: yaml.Node | None, location: Sequence[int | str]) -> int:
    """The line, from 1, of the deepest part of `location` that is in the file."""
    way = _way(node, location)
    start = way[-1][1] if way else node
    return (start.start_mark.line if start else 0) + 1
