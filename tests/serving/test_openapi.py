"""The description of the interface is what the server does: by its own routes, by its answers, and by schemathesis."""

import json
import subprocess
from pathlib import Path

import jsonschema
import pytest
from bottle import Bottle
from test_serve_http import RED, ask, encoded, form
from test_tensorflow_serving import B64, MODEL
from tools import python_with

from imageloom import files
from imageloom.serving import api, classify, page, tensorflow_serving
from imageloom.serving.door import Door
from imageloom.serving.gate import Gate
from imageloom.serving.metrics import Metrics
from imageloom.serving.observer import described
from imageloom.serving.remote import Remote
from imageloom.serving.service import Service
from imageloom.serving.settings import Settings
from imageloom.serving.slot import ModelSlot

# What is no interface: pages, their files, and this description.
UNDESCRIBED = {("GET", path) for path in ("/", "/docs", "/openapi.json", "/static/{name}")}

# All that a schema cannot say is whether bytes are a picture. Nothing inside is fetched, and the inbox may be full.
CONFIGURATION = """
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "403", "415", "422", "507"]
"""

SCHEMATHESIS = ("schemathesis==4.32.5", "openapi-spec-validator==0.9.0")


@pytest.fixture(scope="module")
def description(address) -> dict:
    return json.loads(ask(address, "/openapi.json")[1])


def served(model: Path) -> tuple[Bottle, Service]:
    """An application without routes, and what they share."""
    settings = Settings()
    return Bottle(), Service(
        ModelSlot(str(model)), Gate(1), settings, Door(settings), Remote(settings), Metrics(), None
    )


def routes(model: Path) -> set[tuple[str, str]]:
    """What the application answers, as the description would write it."""
    app, service = served(model)
    for module in (api, classify, tensorflow_serving, page):
        module.add(app, service)
    return {(route.method, described(route.rule)) for route in app.routes}


def in_description(description: dict) -> set[tuple[str, str]]:
    return {(method.upper(), path) for path, methods in description["paths"].items() for method in methods}


def test_every_route_is_described_and_nothing_else(description, exported_model):
    assert in_description(description) == routes(exported_model) - UNDESCRIBED


def assert_as_described(description: dict, path: str, method: str, reply, body: bytes) -> None:
    responses = description["paths"][path][method]["responses"]
    response = responses.get(str(reply.status), responses["default"])
    while "$ref" in response:
        response = description["components"]["responses"][response["$ref"].rsplit("/", 1)[1]]
    kind = reply.headers["Content-Type"].partition(";")[0]
    schema = response["content"][kind]["schema"]
    if kind.endswith("json"):
        whole = {**schema, "components": description["components"]}  # to which its references lead
        jsonschema.Draft202012Validator(whole).validate(json.loads(body))


PREDICT = "/v1/models/{name}:predict"


@pytest.mark.parametrize(
    ("path", "asked", "body", "status"),
    [
        ("/predict", "/predict", RED, 200),
        ("/predict", "/predict?top_k=1&expected=green&heatmap=true&preview=true", RED, 200),
        ("/predict", "/predict", b"hello", 415),
        ("/heatmap", "/heatmap?class=red", RED, 200),
        ("/labels", "/labels", None, 200),
        ("/model", "/model", None, 200),
        ("/healthz", "/healthz", None, 200),
        ("/readyz", "/readyz", None, 200),
        ("/metrics", "/metrics", None, 200),
        ("/v1/models/{name}", MODEL, None, 200),
        ("/v1/models/{name}", "/v1/models/half", None, 404),
        ("/v1/models/{name}/metadata", f"{MODEL}/metadata", None, 200),
        (PREDICT, f"{MODEL}:predict", json.dumps({"instances": [B64]}).encode(), 200),
        (PREDICT, f"{MODEL}:predict", json.dumps({"inputs": [B64], "signature_name": "features"}).encode(), 200),
        (PREDICT, f"{MODEL}:predict", b"{}", 400),
        ("/v1/models/{name}:classify", f"{MODEL}:classify", json.dumps({"examples": [{"a": B64}]}).encode(), 200),
    ],
)
def test_answers_are_as_described(address, description, path, asked, body, status):
    reply, answer = ask(address, asked, body)
    assert reply.status == status, answer
    assert_as_described(description, path, "get" if body is None else "post", reply, answer)


def test_answers_to_forms_are_as_described(address, description):
    body, content_type = form(("upload", "a.png", RED), ("b", "b.txt", b"x"))
    for path in ("/predict", "/classify"):
        reply, answer = ask(address, path, body, Content_Type=content_type)
        assert reply.status == 200
        assert_as_described(description, path, "post", reply, answer)


def test_an_answer_that_is_not_as_described_is_noticed(address, description):
    reply, answer = ask(address, "/labels")
    with pytest.raises(jsonschema.ValidationError):
        assert_as_described(description, "/model", "get", reply, answer)


def test_description_knows_the_model(description):
    parameters = description["components"]["parameters"]
    assert parameters["top_k"]["schema"]["maximum"] == 3
    assert parameters["expected"]["schema"]["enum"] == ["red", "green", "blue", "红"]


def test_description_is_made_once_for_each_model(export_copy):
    app, service = served(export_copy)
    page.add(app, service)

    def answer(path: str) -> bytes:
        [body] = app({"PATH_INFO": path, "REQUEST_METHOD": "GET"}, lambda status, headers, fault=None: None)
        return body

    for path in ("/openapi.json", "/docs"):
        assert answer(path) is answer(path)
    before = answer("/openapi.json")
    (export_copy / "labels.txt").write_text("one\ntwo\nthree\n", encoding="utf-8")
    card = json.loads((export_copy / "model.json").read_text(encoding="utf-8"))
    for one, label in zip(card["classes"], ("one", "two", "three"), strict=True):
        one["label"] = label
    card["files"]["labels.txt"] = files.sha256(export_copy / "labels.txt")
    (export_copy / "model.json").write_text(json.dumps(card), encoding="utf-8")
    assert answer("/openapi.json") is before
    assert service.slot.reload(), service.slot.fault
    told = json.loads(answer("/openapi.json"))
    assert told["components"]["parameters"]["expected"]["schema"]["enum"][-3:] == ["one", "two", "three"]
    assert b"three" in answer("/docs")


def run_schemathesis(address: str, tmp_path: Path, *options: str) -> subprocess.CompletedProcess:
    python = python_with("schemathesis", *SCHEMATHESIS)
    configuration = tmp_path / "schemathesis.toml"
    configuration.write_text(CONFIGURATION, encoding="utf-8")
    command = [python.parent / "schemathesis", "--config-file", configuration, "run", f"{address}/openapi.json"]
    more = ["--seed", "7", "--no-color", "--request-timeout", "30", *options]
    return subprocess.run([*command, *more], capture_output=True, encoding="utf-8", check=False, cwd=tmp_path)


@pytest.mark.slow
def test_schemathesis_finds_nothing(serving, exported_model, tmp_path):
    with serving(exported_model, "--no-fetch", "--inbox-size", "1", "--threads", "2", cwd=tmp_path) as (address, _):
        run = run_schemathesis(address, tmp_path, "--max-examples", "10")
        assert run.returncode == 0, run.stdout
        assert "19 selected / 19 total" in run.stdout
        assert json.loads(ask(address, "/predict", encoded((240, 20, 10)))[1])["label"] == "红"


@pytest.mark.slow
def test_schemathesis_would_find_something(serving, exported_model, tmp_path):
    """With a limit of pictures a second, what is described is refused, and no 429 is among what is expected."""
    with serving(exported_model, "--no-fetch", "--inbox", "off", "--rate", "0.01", cwd=tmp_path) as (address, _):
        only = ("--include-path", "/predict", "--include-method", "POST", "--max-examples", "3")
        run = run_schemathesis(address, tmp_path, *only, "--phases", "fuzzing", "--mode", "positive")
        assert run.returncode == 1, run.stdout
        assert "[429]" in run.stdout


@pytest.mark.slow
def test_description_is_valid(address, tmp_path):
    path = tmp_path / "openapi.json"
    path.write_bytes(ask(address, "/openapi.json")[1])
    program = python_with("schemathesis", *SCHEMATHESIS).parent / "openapi-spec-validator"
    run = subprocess.run([program, path], capture_output=True, encoding="utf-8", check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    path.write_bytes(path.read_bytes().replace(b'"responses"', b'"reponses"'))
    assert subprocess.run([program, path], capture_output=True, check=False).returncode != 0
