"""TensorFlow Serving's REST interface: https://www.tensorflow.org/tfx/serving/api_rest.

Clients of `tensorflow_model_server` that serves the exported SavedModel get the same answers here: its signatures are
`serving_default` (pixels), `serving_bytes` (encoded pictures) and `features`. Pictures as numbers cost many times what
pictures as they are cost; each signature takes either.
"""

import hashlib
import itertools
import re
from collections.abc import Callable
from typing import Any

import numpy as np
from bottle import Bottle, request

from imageloom.errors import ImageError
from imageloom.predictor import Prediction, Predictor
from imageloom.serving import answers, inputs, problems
from imageloom.serving.problems import RequestError
from imageloom.serving.service import Service

INPUT = "images"
DEFAULT, BYTES, FEATURES = "serving_default", "serving_bytes", "features"
_MAX_INSTANCES = 200
_SHADES = frozenset(range(256))  # 5.0 is in it as well
# Bottle takes a plain colon for an older way to write a wildcard.
_NAME = "/v1/models/<name:re:[^/:]+>"
_VERSION = f"{_NAME}/versions/<version:re:[^/:]+>"
_HEX = re.compile(r"[0-9a-f]{1,15}")


def version_number(version: str) -> int:
    """The whole number by which TensorFlow Serving would name a version of ours: its hexadecimal digits' value."""
    digits = version if _HEX.fullmatch(version) else hashlib.sha256(version.encode()).hexdigest()[:12]
    return int(digits, 16)


def add(app: Bottle, service: Service) -> None:
    """Adds the routes."""
    _add_model(app, service)
    _add_calls(app, service)


def _add_model(app: Bottle, service: Service) -> None:
    @app.get(_NAME)
    @app.get(_VERSION)
    def status(name: str, version: str | None = None) -> bytes:
        model = _model(service, name, version)
        state = {
            "version": str(version_number(model.version)),
            "state": "AVAILABLE",
            "status": {"error_code": "OK", "error_message": ""},
        }
        return answers.send({"model_version_status": [state]})

    @app.get(f"{_NAME}/metadata")
    @app.get(f"{_VERSION}/metadata")
    def metadata(name: str, version: str | None = None) -> bytes:
        model = _model(service, name, version)
        number = str(version_number(model.version))
        return answers.send(
            {
                "model_spec": {"name": name, "signature_name": "", "version": number},
                "metadata": {"signature_def": {"signature_def": _signatures(model)}},
            }
        )


def _add_calls(app: Bottle, service: Service) -> None:
    @app.post(f"{_NAME}<verb:re::predict>")
    @app.post(f"{_VERSION}<verb:re::predict>")
    def predict(name: str, verb: str, version: str | None = None) -> bytes:
        model = _model(service, name, version)
        content = _request(service)
        answer = _signature(service, model, content)
        rows = "instances" in content
        if rows == ("inputs" in content):
            raise RequestError(400, "the request must have either instances or inputs")
        instances = _listed(content["instances"] if rows else _column(content["inputs"]))
        values = [answer(_value(one)) for one in service.door.counted(instances)]
        return answers.send({"predictions": values} if rows else {"outputs": _columns(values)})

    @app.post(f"{_NAME}<verb:re::classify>")
    @app.post(f"{_VERSION}<verb:re::classify>")
    def classify(name: str, verb: str, version: str | None = None) -> bytes:
        model = _model(service, name, version)
        content = _request(service)
        context = content.get("context", {})
        result = []
        for example in service.door.counted(_listed(content.get("examples"))):
            if not isinstance(example, dict) or not isinstance(context, dict):
                raise RequestError(400, "examples and context must be objects of features")
            pictures = [value for value in {**context, **example}.values() if _is_encoded(value)]
            if len(pictures) != 1:
                raise RequestError(400, f'each example needs one feature {{"b64": ...}}; found {len(pictures)}')
            said = _predicted(service, model, pictures[0]).to_dict()["predictions"]
            result.append([[one["label"], one["probability"]] for one in said])
        return answers.send({"result": result})


def _model(service: Service, name: str, version: str | None) -> Predictor:
    """The model that is asked for.

    Raises:
        RequestError: 404, it is not served.
    """
    model = service.slot.current
    wanted = f"Latest({name})" if version is None else f"Specific({name}, {version})"
    if name != service.settings.name or version not in (None, str(version_number(model.version))):
        raise RequestError(404, f"Servable not found for request: {wanted}")
    return model


def _request(service: Service) -> dict[str, Any]:
    inputs.check_deadline(service.gate.deadline(request.environ))
    content = inputs.json_object(inputs.body(service.settings.max_bytes))
    if not isinstance(content.get("signature_name", ""), str):
        raise RequestError(400, "signature_name must be a string")
    return content


# What a signature makes of a picture: one output's numbers, or the numbers of several outputs by their names.
Outputs = list[float] | dict[str, list[float]]


def _signature(service: Service, model: Predictor, content: dict[str, Any]) -> Callable[[Any], Outputs]:
    """What a signature makes of one instance."""
    name = content.get("signature_name") or DEFAULT
    if name not in (DEFAULT, BYTES, FEATURES):
        raise RequestError(400, f"Serving signature name: {name[:100]!r} not found in signature def")

    def answer(value: Any) -> Outputs:
        inputs.check_deadline(service.gate.deadline(request.environ))
        if _is_encoded(value) and name != FEATURES:
            return _numbers(_predicted(service, model, value).probabilities)
        pixels = _pixels(service, model, value)
        if name == FEATURES:
            probabilities, features = model.run(pixels)
            if features is None:
                raise RequestError(400, "this model gives no features")
            return {"features": _numbers(features), "probabilities": _numbers(probabilities)}
        prediction = model.predict_pixels(pixels)
        service.metrics.predicted(prediction)
        return _numbers(prediction.probabilities)

    return answer


def _predicted(service: Service, model: Predictor, value: dict[str, Any]) -> Prediction:
    return answers.predict(service, model, inputs.Upload("", inputs.from_base64(value["b64"])))


def _pixels(service: Service, model: Predictor, value: Any) -> np.ndarray:
    """uint8[S, S, 3] that is given as numbers, or encoded."""
    if _is_encoded(value):
        try:
            return service.slot.load(model, inputs.from_base64(value["b64"]))
        except ImageError as fault:
            raise problems.of_picture(fault) from None
    shape = (model.size, model.size, 3)
    pixels = _array(value, shape)
    if pixels is None:
        raise RequestError(400, f"an instance must be {list(shape)} whole numbers from 0 to 255, or encoded")
    return pixels


def _array(value: Any, shape: tuple[int, ...]) -> np.ndarray | None:
    """uint8 of a shape; None where the value is not lists of such lengths, of whole numbers from 0 to 255.

    NumPy sees nothing else: it would give each of many texts as much memory as the longest takes.
    """
    parts = [value]
    for length in shape:
        if not all(isinstance(part, list) and len(part) == length for part in parts):
            return None
        parts = list(itertools.chain.from_iterable(parts))
    if not {*map(type, parts)} <= {int, float} or not all(map(_SHADES.__contains__, parts)):
        return None
    return np.array(parts, np.uint8).reshape(shape)


def _listed(values: Any) -> list[Any]:
    if not isinstance(values, list) or not 1 <= len(values) <= _MAX_INSTANCES:
        raise RequestError(400, f"a list of 1 to {_MAX_INSTANCES} pictures is needed")
    return values


def _column(values: Any) -> Any:
    """The one input, named or not."""
    if isinstance(values, dict) and values.keys() != {INPUT}:
        raise RequestError(400, f"inputs must be a list, or an object of the one input {INPUT!r}")
    return values[INPUT] if isinstance(values, dict) else values


def _columns(rows: list[Outputs]) -> Any:
    """The outputs of all instances, each output's together."""
    if not isinstance(rows[0], dict):
        return rows
    return {name: [row[name] for row in rows if isinstance(row, dict)] for name in rows[0]}


def _value(instance: Any) -> Any:
    """An instance without its input's name."""
    return instance[INPUT] if isinstance(instance, dict) and instance.keys() == {INPUT} else instance


def _is_encoded(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"b64"}


def _numbers(vector: np.ndarray) -> list[float]:
    """With the digits that a float32 has."""
    return [float(str(number)) for number in vector.astype(np.float32)]


def _signatures(model: Predictor) -> dict[str, Any]:
    pixels = _tensor("DT_UINT8", -1, model.size, model.size, 3)
    shares = {"probabilities": _tensor("DT_FLOAT", -1, len(model.labels))}
    described = {
        DEFAULT: ({INPUT: pixels}, shares),
        BYTES: ({INPUT: _tensor("DT_STRING", -1)}, shares),
        FEATURES: ({INPUT: pixels}, {"features": _tensor("DT_FLOAT", -1, -1), **shares}),
    }
    return {
        name: {"inputs": given, "outputs": got, "method_name": "tensorflow/serving/predict"}
        for name, (given, got) in described.items()
    }


def _tensor(dtype: str, *sides: int) -> dict[str, Any]:
    dimensions = [{"size": str(side), "name": ""} for side in sides]
    return {"dtype": dtype, "tensor_shape": {"dim": dimensions, "unknown_rank": False}, "name": ""}
