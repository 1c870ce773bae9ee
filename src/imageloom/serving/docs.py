"""The description of the interface (OpenAPI 3.1), for programs and for people."""

import functools
import re
from importlib import metadata, resources
from typing import Any

from imageloom.serving.service import Service
from imageloom.serving.tensorflow_serving import version_number

# More classes than anyone would choose from a list.
_LISTED = 200

_CODE = re.compile(r"`([^`]+)`")


def description(service: Service) -> dict[str, Any]:
    """What `openapi.yaml` says, with what is so only for the model and the settings at hand."""
    content = _read()
    model, components = service.slot.current, content["components"]
    content["info"]["version"] = metadata.version("imageloom")
    parameters = components["parameters"]
    parameters["top_k"]["schema"]["maximum"] = len(model.labels)
    parameters["name"]["schema"]["enum"] = [service.settings.name]
    parameters["version"]["schema"]["enum"] = [str(version_number(model.version))]
    pixels = components["schemas"]["Pixels"]
    for part in (pixels, pixels["items"]):
        part["minItems"] = part["maxItems"] = model.size
    words = list(dict.fromkeys([*model.names, *model.labels]))
    if len(words) <= _LISTED and not service.settings.tokens:  # who has none may read this
        for name in ("expected", "class", "label"):
            extra = [""] if name == "label" else []
            parameters[name]["schema"]["enum"] = words + extra
    if service.settings.tokens:
        components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        content["security"] = [{"token": []}]
    return content


def page(content: dict[str, Any]) -> str:
    """The description as a page that needs no script."""
    import jinja2

    loader = jinja2.PackageLoader("imageloom.serving", ".")
    template = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template.filters["marked"] = _marked
    template.filters["resolved"] = functools.partial(_resolved, content)
    template.filters["type"] = functools.partial(_type, content)
    return template.get_template("docs.html").render(spec=content)


def _read() -> dict[str, Any]:
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # in C where PyYAML has it: ten times as fast
    text = (resources.files("imageloom.serving") / "openapi.yaml").read_text(encoding="utf-8")
    content: dict[str, Any] = yaml.load(text, Loader=loader)
    return content


def _resolved(content: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    """What a reference leads to."""
    while "$ref" in part:
        found: Any = content
        for key in part["$ref"].removeprefix("#/").split("/"):
            found = found[key]
        part = found
    return part


def _marked(text: str | None) -> Any:
    """A text in which what stands in backticks is shown as code."""
    from markupsafe import Markup, escape

    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(text or ""))))


def _type(content: dict[str, Any], schema: dict[str, Any]) -> str:
    """A schema in a few words."""
    schema = _resolved(content, schema)
    if "enum" in schema and len(schema["enum"]) <= 8:
        return " | ".join(str(value) or '""' for value in schema["enum"])
    if "const" in schema:
        return str(schema["const"])
    kinds = schema.get("type", "any")
    text = " | ".join(kinds) if isinstance(kinds, list) else kinds
    if text == "array":
        return f"list of {_type(content, schema.get('items', {}))}s"
    limits = [f"{word} {schema[key]}" for word, key in (("from", "minimum"), ("to", "maximum")) if key in schema]
    return " ".join([text, *limits])
