"""The kinds of sources, by the name that `params.yaml` calls them."""

import importlib
from typing import Any

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from imageloom.params import nearest
from imageloom.sources.source import Source

# Kind -> module and class, loaded when a source of that kind is named.
KINDS = {
    "archive": "imageloom.sources.archive:Archive",
    "commons": "imageloom.sources.commons:Commons",
    "demo": "imageloom.sources.demo:Demo",
    "folder": "imageloom.sources.folder:Folder",
    "gallery": "imageloom.sources.gallery:Gallery",
    "openverse": "imageloom.sources.openverse:Openverse",
    "urls": "imageloom.sources.urls:Urls",
}


def model_of(value: Any) -> type[Source] | None:
    """The parameters' model for one entry of `scrape.sources`; None where its kind is missing or unknown."""
    kind = value.get("kind") if isinstance(value, dict) else None
    if not isinstance(kind, str) or kind not in KINDS:
        return None
    module, _, name = KINDS[kind].partition(":")
    model: type[Source] = getattr(importlib.import_module(module), name)
    return model


def read(value: Any) -> Source:
    """One entry of `scrape.sources` as its kind's model.

    Raises:
        ValidationError: Its kind is missing or unknown, or its kind refuses a value.
    """
    if isinstance(value, Source):
        return value
    model = model_of(value)
    if model is not None:
        return model.model_validate(value)
    kinds = f"known are: {', '.join(KINDS)}"
    if not isinstance(value, dict):
        raise _fault("must be a mapping with a kind, as in `kind: folder`", kinds, (), value)
    if "kind" not in value:
        raise _fault("needs a kind", kinds, (), value)
    kind = value["kind"]
    hint = nearest(kind, list(KINDS)) if isinstance(kind, str) else kinds
    raise _fault("must be a known kind of source", hint, ("kind",), kind)


def _fault(message: str, hint: str, loc: tuple[int | str, ...], value: Any) -> ValidationError:
    fault = PydanticCustomError("kind", message, {"hint": hint})
    details = InitErrorDetails(type=fault, loc=loc, input=value)
    return ValidationError.from_exception_data("Source", [details])
