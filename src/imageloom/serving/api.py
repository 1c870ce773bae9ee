"""The routes of our own interface."""

import time

from bottle import Bottle, request, response

from imageloom import heatmap
from imageloom.errors import ImageError, ImageloomError
from imageloom.serving import answers, inputs, problems
from imageloom.serving.about import About
from imageloom.serving.inbox import CORRECTION, NONE_OF_THEM, FullError
from imageloom.serving.metrics import CONTENT_TYPE
from imageloom.serving.problems import RequestError
from imageloom.serving.service import Service


def add(app: Bottle, service: Service) -> None:
    """Adds the routes."""
    _add_predict(app, service)
    _add_correct(app, service)
    _add_about(app, service)
    _add_state(app, service)


def _add_predict(app: Bottle, service: Service) -> None:
    @app.post("/predict")
    def predict() -> bytes:
        model = service.slot.current
        wish = answers.wish(model)
        inputs.check_deadline(service.gate.deadline(request.environ))
        uploads = inputs.uploads(service.remote, service.settings.max_bytes)
        started = time.perf_counter()
        if len(uploads) == 1:
            content = answers.answer(service, model, uploads[0], wish)
        else:
            outcomes = answers.each(service, model, uploads, wish)
            several = [
                {"file": name, "error": problems.content(told.status_code, told.detail)}
                if isinstance(told, RequestError)
                else {"file": name, **told}
                for name, told in outcomes
            ]
            content = {"answers": several}
        answers.timed(started)
        return answers.send(content)

    @app.get("/predict")
    def predict_url() -> bytes:
        if inputs.parameter("url") is None:
            raise RequestError(400, "name the picture's address, /predict?url=https://..., or POST the picture")
        return predict()

    @app.post("/heatmap")
    def explain() -> bytes:
        model = service.slot.current
        index = answers.class_index(model, "class")
        inputs.check_deadline(service.gate.deadline(request.environ))
        upload = inputs.one_upload(service.remote, service.settings.max_bytes)
        try:
            pixels = service.slot.load(model, upload.data)
        except ImageError as fault:
            service.metrics.rejected(fault.kind)
            raise problems.of_picture(fault) from None
        response.headers.update({"Content-Type": "image/jpeg", "Cache-Control": "no-store"})
        return heatmap.jpeg(heatmap.overlay(pixels, model.heatmap(pixels, index)))


def _add_correct(app: Bottle, service: Service) -> None:
    @app.post("/corrections")
    def correct() -> bytes:
        if service.inbox is None:
            raise RequestError(403, "this server keeps no pictures; its option --inbox lets it")
        model = service.slot.current
        if inputs.parameter("label") == NONE_OF_THEM:
            label = NONE_OF_THEM
        else:
            index = answers.class_index(model, "label")
            if index is None:
                raise RequestError(400, "label must name the right class, or be empty where none of them is right")
            label = model.names[index]
        inputs.check_deadline(service.gate.deadline(request.environ))
        upload = inputs.one_upload(service.remote, service.settings.max_bytes)
        prediction = answers.predict(service, model, upload)
        try:
            digest = service.inbox.put(upload.data, prediction, CORRECTION, label)
        except FullError as fault:
            raise RequestError(507, fault.message) from None
        except ImageError as fault:
            raise problems.of_picture(fault) from None
        except ImageloomError:
            raise RequestError(507, "the picture could not be kept") from None
        response.status = 201
        return answers.send({"id": digest, "label": label, "predicted": prediction.name})


def _add_about(app: Bottle, service: Service) -> None:
    about = About(service.slot, service.settings.name)

    @app.get("/labels")
    def labels() -> bytes:
        model = service.slot.current
        pairs = zip(model.names, model.labels, strict=True)
        classes = [{"name": name, "label": label} for name, label in pairs]
        return answers.send({"labels": list(model.labels), "classes": classes, "model": model.version})

    @app.get("/model")
    def model() -> bytes:
        return answers.send(about.content())


def _add_state(app: Bottle, service: Service) -> None:
    @app.get("/healthz")
    def healthz() -> bytes:
        return answers.send({"status": "ok"})

    @app.get("/readyz")
    def readyz() -> bytes:
        gate = service.gate
        if gate.full:
            raise RequestError(503, "the queue is full", Retry_After="1")
        queue = {"waiting": gate.waiting, "capacity": gate.capacity}
        return answers.send({"status": "ready", "model": service.slot.version, "queue": queue})

    @app.get("/metrics")
    def metrics() -> bytes:
        service.metrics.observe(service.gate, service.slot)
        response.headers.update({"Content-Type": CONTENT_TYPE, "Cache-Control": "no-store"})
        return service.metrics.text()
