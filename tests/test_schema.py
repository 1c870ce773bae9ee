"""Our check of JSON says what the package jsonschema says, of sound descriptions and of thousands that are not."""

import copy
import json
import random
from pathlib import Path

import jsonschema
import pytest

from imageloom import card, schema

SCHEMA = card.model_schema()
ODD = [None, True, False, 0, 1, 2, 2.0, -1, 0.5, 1.5, 1e400, "", "x", "../up", "a" * 64, [], [1], {}, {"x": 1}]


def places(value, path=()):
    """Every place of the value, as a path of keys."""
    yield path
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        yield from places(inner, (*path, key))


def damaged(value, chance: random.Random):
    """A copy with one thing replaced, removed or added."""
    content = copy.deepcopy(value)
    path = chance.choice([path for path in places(content) if path])
    parent = content
    for key in path[:-1]:
        parent = parent[key]
    what = chance.randrange(3)
    if what == 0:
        parent[path[-1]] = chance.choice(ODD)
    elif what == 1:
        del parent[path[-1]]
    elif isinstance(parent, dict):
        parent[chance.choice(["more", "int9", "", "tf_js"])] = chance.choice(ODD)
    else:
        parent.append(chance.choice(ODD))
    return content


@pytest.fixture(scope="module")
def sound(exported_model) -> dict:
    return json.loads((exported_model / "model.json").read_text(encoding="utf-8"))


def test_the_schema_is_one_and_the_documented_one_is_the_one_that_is_used():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    documented = Path(__file__).parents[1] / "docs" / "model.schema.json"
    assert json.loads(documented.read_text(encoding="utf-8")) == SCHEMA


def test_every_keyword_of_the_schema_is_understood():
    def keywords(part):
        if isinstance(part, dict):
            for key, value in part.items():
                yield key
                if key in ("properties", "$defs"):
                    for inner in value.values():
                        yield from keywords(inner)
                elif key not in ("enum", "const", "required", "type"):
                    yield from keywords(value)

    assert set(keywords(SCHEMA)) <= schema.KEYWORDS


def test_what_is_sound_passes(sound):
    assert schema.fault(sound, SCHEMA) is None


def test_it_says_no_and_yes_where_jsonschema_does(sound):
    validator, chance = jsonschema.Draft202012Validator(SCHEMA), random.Random(0)
    verdicts = {True: 0, False: 0}
    for _ in range(3000):
        content = damaged(sound, chance)
        for _ in range(chance.randrange(3)):
            content = damaged(content, chance)
        expected = validator.is_valid(content)
        verdicts[expected] += 1
        assert (schema.fault(content, SCHEMA) is None) == expected, content
    assert min(verdicts.values()) > 100


@pytest.mark.parametrize(
    ("rule", "right", "wrong"),
    [
        ({"type": "integer"}, [1, 2.0, -3], [True, 1.5, "1", None]),
        ({"type": ["integer", "null"], "minimum": 0}, [None, 0], [-1, "0", 0.5]),
        ({"const": 2}, [2, 2.0], [True, 3, "2"]),
        ({"const": 1}, [1], [True]),
        ({"enum": ["a", None]}, ["a", None], ["b", 0]),
        ({"type": "string", "pattern": "^a+$"}, ["aa"], ["b", "", 3]),
        ({"minItems": 1, "items": {"type": "string"}}, [["x"], "no list"], [[], ["x", 1]]),
        ({"exclusiveMinimum": 0, "maximum": 1}, [1, 0.1, "x"], [0, 1.01]),
        ({"anyOf": [{"type": "null"}, {"minProperties": 1}]}, [None, {"a": 1}, 7], [{}]),
        ({"properties": {"a": {"type": "null"}}, "additionalProperties": False}, [{}, {"a": None}], [{"b": 1}]),
        ({"$defs": {"x": {"type": "string"}}, "items": {"$ref": "#/$defs/x"}}, [["a"]], [[1]]),
    ],
)
def test_each_keyword(rule, right, wrong):
    validator = jsonschema.Draft202012Validator(rule)
    for value in right:
        assert validator.is_valid(value)
        assert schema.fault(value, rule) is None
    for value in wrong:
        assert not validator.is_valid(value)
        assert schema.fault(value, rule)


def test_the_fault_names_the_place(sound):
    for path, value, message in (
        (("input", "size"), "224", r"input.size must be of the type integer; found '224'"),
        (("classes", 1, "label"), "", "classes[1].label must look like"),
        (("formats", "float32", "known", "min_confidence"), 2, "formats.float32.known.min_confidence is out of range"),
    ):
        content = copy.deepcopy(sound)
        parent = content
        for key in path[:-1]:
            parent = parent[key]
        parent[path[-1]] = value
        assert message in schema.fault(content, SCHEMA)
