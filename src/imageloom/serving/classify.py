"""Two routes that other programs' clients know.

`POST /classify`, as text-image-classifier answers it (https://github.com/xulihang/text-image-classifier): a form with
the field `upload`, a picture or a zip file of pictures; the answer has an entry for each file's name, with the five
most probable classes. `probablity` is spelt as it is there, and rightly beside it.

`GET /classify-url?url=...`, as the servers of fast.ai's course answer: every class with its probability, sorted.
"""

from pathlib import PurePosixPath
from typing import Any

from bottle import Bottle, request

from imageloom.serving import answers, forms, inputs, zips
from imageloom.serving.answers import Outcome, Wish
from imageloom.serving.inputs import Upload
from imageloom.serving.problems import RequestError
from imageloom.serving.service import Service

_FIELD = "upload"
_WISH = Wish(top_k=5)


def add(app: Bottle, service: Service) -> None:
    """Adds the route."""

    @app.post("/classify")
    def classify() -> bytes:
        inputs.check_deadline(service.gate.deadline(request.environ))
        file, model = _file(service.settings.max_bytes), service.slot.current
        if zips.is_zip(file.data):
            outcomes = answers.each(service, model, inputs.zip_uploads(file.data, service.settings.max_bytes), _WISH)
            return answers.send(dict(zip(_names(outcomes), map(_entry, (told for _, told in outcomes)), strict=True)))
        answer = answers.answer(service, model, Upload(file.name, file.data), _WISH)
        return answers.send({file.name: _entry(answer)})

    @app.get("/classify-url")
    def classify_url() -> bytes:
        if inputs.parameter("url") is None:
            raise RequestError(400, "name the picture's address, /classify-url?url=https://...")
        inputs.check_deadline(service.gate.deadline(request.environ))
        upload = inputs.one_upload(service.remote, service.settings.max_bytes)
        told = answers.answer(service, service.slot.current, upload, Wish())
        return answers.send({"predictions": [[one["label"], one["probability"]] for one in told["predictions"]]})


def _names(outcomes: list[Outcome]) -> list[str]:
    """Only the names' last parts, as there, unless two files in different folders share one."""
    names = [name for name, _ in outcomes]
    last = [PurePosixPath(name).name for name in names]
    return last if len(set(last)) == len(last) else names


def _file(max_bytes: int) -> forms.File:
    """The file in the field `upload`.

    Raises:
        RequestError: 400, there is none.
    """
    content_type = inputs.kind()
    if not forms.is_form(content_type):
        raise RequestError(400, f"send a form with a picture or a zip file in the field {_FIELD!r}")
    files = inputs.form_files(content_type, inputs.body(max_bytes))
    found = [file for file in files if file.field == _FIELD]
    if len(found) != 1 or not found[0].data:
        raise RequestError(400, f"the form must hold one file in the field {_FIELD!r}; found {len(found)}")
    return found[0]


def _entry(told: dict[str, Any] | RequestError) -> dict[str, Any]:
    if isinstance(told, RequestError):
        return {"preds": [], "error": told.detail}
    named = [
        {"tagName": one["label"], "probablity": one["probability"], "probability": one["probability"]}
        for one in told["predictions"]
    ]
    return {"preds": named}
