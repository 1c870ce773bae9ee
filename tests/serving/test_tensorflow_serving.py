"""The routes of TensorFlow Serving take the request shapes of its REST documentation, and answer as it does."""

import base64
import json
import math
from http.client import HTTPResponse

import numpy as np
import pytest
from test_serve_http import COLOURS, RED, ask, encoded

from imageloom.predictor import Predictor

MODEL = "/v1/models/imageloom"
B64 = {"b64": base64.b64encode(RED).decode()}
GREEN = {"b64": base64.b64encode(encoded(COLOURS["green"])).decode()}


def as_json(content: object) -> tuple[bytes, str]:
    """A body, and its Content-Type."""
    return json.dumps(content).encode(), "application/json"


def post(address: str, path: str, content: object) -> tuple[HTTPResponse, dict]:
    body, content_type = as_json(content)
    reply, answer = ask(address, path, body, Content_Type=content_type)
    return reply, json.loads(answer)


@pytest.fixture
def predictor(exported_model) -> Predictor:
    return Predictor(exported_model)


@pytest.fixture
def number(predictor) -> str:
    return str(int(predictor.version, 16))


def red(predictor: Predictor) -> list[float]:
    return predictor.predict(RED).probabilities.tolist()


def assert_error(reply: HTTPResponse, content: dict, status: int, word: str) -> None:
    assert reply.status == status, content
    assert reply.headers["Content-Type"] == "application/json"
    assert content.keys() == {"error"}
    assert word in content["error"]


def test_status_is_that_of_one_available_version(address, number):
    expected = {
        "model_version_status": [
            {"version": number, "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
        ]
    }
    assert json.loads(ask(address, MODEL)[1]) == expected
    assert json.loads(ask(address, f"{MODEL}/versions/{number}")[1]) == expected


def test_metadata_tell_the_signatures_of_the_saved_model(address, number):
    content = json.loads(ask(address, f"{MODEL}/metadata")[1])
    assert content["model_spec"] == {"name": "imageloom", "signature_name": "", "version": number}
    signatures = content["metadata"]["signature_def"]["signature_def"]
    assert signatures.keys() == {"serving_default", "serving_bytes", "features"}
    given = signatures["serving_default"]["inputs"]["images"]
    assert given["dtype"] == "DT_UINT8"
    assert [side["size"] for side in given["tensor_shape"]["dim"]] == ["-1", "32", "32", "3"]
    assert signatures["serving_bytes"]["inputs"]["images"]["dtype"] == "DT_STRING"


@pytest.mark.parametrize("signature", [{}, {"signature_name": "serving_bytes"}, {"signature_name": "serving_default"}])
def test_encoded_instances_give_the_predictors_own_probabilities(address, predictor, signature):
    reply, content = post(address, f"{MODEL}:predict", {**signature, "instances": [B64, {"images": GREEN}]})
    assert reply.status == 200
    assert content.keys() == {"predictions"}
    assert content["predictions"][0] == pytest.approx(red(predictor), rel=1e-6)
    assert np.argmax(content["predictions"][1]) == 1


def test_columns_give_outputs(address, predictor, number):
    for inputs in ([B64], {"images": [B64]}):
        _, content = post(address, f"{MODEL}/versions/{number}:predict", {"inputs": inputs})
        assert content == {"outputs": [pytest.approx(red(predictor), rel=1e-6)]}


def test_pixels_are_taken_as_the_saved_model_takes_them(address, predictor):
    pixels = predictor.load(RED).tolist()
    for instance in (pixels, {"images": pixels}, predictor.load(RED).astype(float).tolist()):
        _, content = post(address, f"{MODEL}:predict", {"instances": [instance]})
        assert content["predictions"] == [pytest.approx(red(predictor), rel=1e-6)]


def test_several_outputs_come_by_their_names(address, predictor):
    pixels = predictor.load(RED)
    probabilities, features = predictor.run(pixels)
    asked = {"signature_name": "features", "instances": [pixels.tolist()]}
    row = post(address, f"{MODEL}:predict", asked)[1]["predictions"][0]
    assert row["features"] == pytest.approx(features.tolist(), rel=1e-6)
    assert row["probabilities"] == pytest.approx(probabilities.tolist(), rel=1e-6)
    columns = post(address, f"{MODEL}:predict", {"signature_name": "features", "inputs": [pixels.tolist()]})[1]
    assert columns["outputs"] == {name: [values] for name, values in row.items()}


def test_classify_gives_pairs_for_each_example(address, predictor):
    content = {"examples": [{"image": B64}, {"picture": GREEN}]}
    result = post(address, f"{MODEL}:classify", content)[1]["result"]
    assert [pairs[0][0] for pairs in result] == ["红", "green"]
    assert [label for label, _ in result[0]] == [
        one["label"] for one in predictor.predict(RED).to_dict()["predictions"]
    ]
    assert sum(score for _, score in result[0]) == pytest.approx(1, abs=1e-4)


def test_classify_finds_the_picture_in_the_common_context(address):
    content = {"signature_name": "x", "context": {"image": B64}, "examples": [{"caption": "seaside"}]}
    assert post(address, f"{MODEL}:classify", content)[1]["result"][0][0][0] == "红"


def test_what_is_not_served_is_not_found(address, number):
    reply, body = ask(address, "/v1/models/half")
    assert_error(reply, json.loads(body), 404, "Servable not found for request: Latest(half)")
    assert_error(*post(address, "/v1/models/half:predict", {"instances": [B64]}), 404, "Latest(half)")
    wrong = str(int(number) + 1)
    assert_error(
        *post(address, f"{MODEL}/versions/{wrong}:predict", {"instances": [B64]}), 404, f"Specific(imageloom, {wrong})"
    )
    reply, body = ask(address, f"{MODEL}:regress", b"{}")
    assert_error(reply, json.loads(body), 404, "nothing at")


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ({}, "either instances or inputs"),
        ({"instances": [B64], "inputs": [B64]}, "either instances or inputs"),
        ({"instances": []}, "1 to 200"),
        ({"instances": B64}, "1 to 200"),
        ({"instances": [B64] * 201}, "1 to 200"),
        ({"instances": ["foo"]}, "[32, 32, 3]"),
        ({"instances": [[[1, 2], [3]]]}, "[32, 32, 3]"),
        ({"instances": [[[[0.5] * 3] * 32] * 32]}, "[32, 32, 3]"),
        ({"instances": [[[[256] * 3] * 32] * 32]}, "[32, 32, 3]"),
        ({"instances": [[[[10**40] * 3] * 32] * 32]}, "[32, 32, 3]"),
        ({"instances": [[[[True] * 3] * 32] * 32]}, "[32, 32, 3]"),
        ({"instances": [[[[math.nan, 10**400, 0]] * 32] * 32]}, "[32, 32, 3]"),
        ({"instances": [[[[0, {}, []]] * 32] * 32]}, "[32, 32, 3]"),
        # NumPy would make 1.6 TB of it.
        ({"instances": [["x" * 2_000_000] + ["x"] * 200_000]}, "[32, 32, 3]"),
        ({"instances": [{"b64": "%%%"}]}, "base64"),
        ({"instances": [{"b64": 7}]}, "base64"),
        ({"inputs": {"other": [B64]}}, "images"),
        ({"signature_name": "nope", "instances": [B64]}, "not found in signature def"),
        ({"signature_name": 1, "instances": [B64]}, "signature_name"),
        ([], "object"),
    ],
)
def test_wrong_request_is_told_so(address, content, word):
    assert_error(*post(address, f"{MODEL}:predict", content), 400, word)


def test_picture_that_cannot_be_used_is_told_so(address):
    for data, status, word in ((b"hello", 415, "not a picture"), (RED[:70], 422, "damaged")):
        instance = {"b64": base64.b64encode(data).decode()}
        assert_error(*post(address, f"{MODEL}:predict", {"instances": [instance]}), status, word)
        assert_error(*post(address, f"{MODEL}:classify", {"examples": [{"image": instance}]}), status, word)


def test_wrong_classification_is_told_so(address):
    for content in ({}, {"examples": [{}]}, {"examples": [{"a": B64, "b": B64}]}, {"examples": [[B64]]}):
        reply, answer = post(address, f"{MODEL}:classify", content)
        assert reply.status == 400, answer
        assert answer.keys() == {"error"}


def test_body_that_is_no_json_is_told_so(address):
    for body in (b"", b"{", b"\xff", b"[" * 200_000):
        reply, answer = ask(address, f"{MODEL}:predict", body)
        assert_error(reply, json.loads(answer), 400, "JSON")


def test_name_is_what_the_server_was_told(serving, exported_model):
    with serving(exported_model, "--name", "fruit") as (address, _):
        assert ask(address, "/v1/models/fruit")[0].status == 200
        assert ask(address, MODEL)[0].status == 404
