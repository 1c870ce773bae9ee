"""Checks JSON against a JSON Schema (draft 2020-12), as far as ours use it.

The package jsonschema would take 0.15 s of the half second in which a prediction is answered; a test compares both.
"""

import re
from typing import Any

_KINDS: dict[str, type] = {"object": dict, "array": list, "string": str, "null": type(None), "boolean": bool}

# Keywords that are understood here, and those that say nothing about validity.
KEYWORDS = {
    *("type", "const", "enum", "pattern", "minimum", "exclusiveMinimum", "maximum", "required", "properties"),
    *("propertyNames", "additionalProperties", "minProperties", "items", "minItems", "anyOf", "$ref"),
    *("$schema", "$id", "$defs", "$comment", "title", "description", "examples"),
}


def fault(value: Any, schema: dict[str, Any]) -> str | None:
    """The first thing that is wrong with a value, led by where it stands, such as `input.size`; None where nothing is.

    Args:
        value: What `json.loads` gave.
        schema: A schema with no keyword beyond `KEYWORDS`; `$ref` points into its own `$defs`.
    """
    return _fault(value, schema, schema, "")


def _fault(value: Any, schema: dict[str, Any], root: dict[str, Any], where: str) -> str | None:
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].removeprefix("#/$defs/")]
    if "anyOf" in schema:
        found = [_fault(value, choice, root, where) for choice in schema["anyOf"]]
        return None if None in found else found[-1]
    wrong = _own_fault(value, schema)
    if wrong:
        return f"{where or 'the whole'} {wrong}"
    if isinstance(value, dict):
        return _fault_of_object(value, schema, root, where)
    if isinstance(value, list) and "items" in schema:
        faults = (_fault(one, schema["items"], root, f"{where}[{number}]") for number, one in enumerate(value))
        return next((found for found in faults if found), None)
    return None


def _own_fault(value: Any, schema: dict[str, Any]) -> str | None:
    """What is wrong with the value itself, whatever is inside."""
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(_is(value, kind) for kind in kinds):
        return f"must be of the type {' or '.join(kinds)}; found {_short(value)}"
    if "const" in schema and (value != schema["const"] or isinstance(value, bool) != isinstance(schema["const"], bool)):
        return f"must be {schema['const']!r}; found {_short(value)}"
    if "enum" in schema and value not in schema["enum"]:
        return f"must be one of {', '.join(map(str, schema['enum']))}; found {_short(value)}"
    if isinstance(value, str) and "pattern" in schema and not re.search(schema["pattern"], value):
        return f"must look like {schema['pattern']}; found {_short(value)}"
    if _is(value, "number"):
        if value < schema.get("minimum", value) or value > schema.get("maximum", value):
            return f"is out of range: {value}"
        if "exclusiveMinimum" in schema and value <= schema["exclusiveMinimum"]:
            return f"is out of range: {value}"
    if isinstance(value, list) and len(value) < schema.get("minItems", 0):
        return f"needs at least {schema['minItems']} entries; found {len(value)}"
    if isinstance(value, dict) and len(value) < schema.get("minProperties", 0):
        return f"needs at least {schema['minProperties']} entries; found {len(value)}"
    return None


def _fault_of_object(value: dict[str, Any], schema: dict[str, Any], root: dict[str, Any], where: str) -> str | None:
    for name in schema.get("required", ()):
        if name not in value:
            return f"{where or 'the whole'} lacks {name!r}"
    known, rest = schema.get("properties", {}), schema.get("additionalProperties", True)
    for name, one in value.items():
        here = f"{where}.{name}" if where else name
        if "propertyNames" in schema and (found := _fault(name, schema["propertyNames"], root, f"the name {name!r}")):
            return found
        if name not in known and rest is False:
            return f"{here} is not a key that is known"
        inner = known.get(name, rest)
        if isinstance(inner, dict) and (found := _fault(one, inner, root, here)):
            return found
    return None


def _is(value: Any, kind: str) -> bool:
    if kind in ("number", "integer"):
        return type(value) is int or (type(value) is float and (kind == "number" or value.is_integer()))
    return isinstance(value, _KINDS[kind])


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:79]}…"
