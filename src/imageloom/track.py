"""Stage `track`: logs the result to MLflow as one run, with what it was made from, and registers the model.

Reads files that the other stages wrote and nothing else, so a store that cannot be written loses nothing: the stage
warns, and `imageloom track` logs the same result when the store is back. A result that is in the store already is
named, not logged again; what was measured of its cost is, since that is of the machine and its hour.
"""

import argparse
import contextlib
import hashlib
import json
import logging
import re
import sys
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, field_validator

from imageloom import console, cost, files, mlflow_epochs, mlflow_store, params, results, revision, tables
from imageloom.errors import ImageloomError
from imageloom.files import Paths
from imageloom.params import StageParams
from imageloom.predictor import of_folder

# MLflow's own limits, with which it refuses or cuts what is sent.
MAX_VALUE = 6000  # characters of a parameter's value
PARAMS_PER_BATCH = 100
METRICS_PER_BATCH = 1000

# What the logged model needs to predict; its versions are those that made it.
REQUIREMENTS = ("ai-edge-litert", "numpy", "pandas", "pillow")
OF_ESTIMATORS = ("scikit-learn", "skops")

# A larger picture is no example: MLflow keeps it twice, as text.
MAX_EXAMPLE_BYTES = 2_000_000


class Params(StageParams):
    """Where the result is logged, and under which names."""

    experiment: str = Field(default="imageloom", min_length=1, max_length=250, description="MLflow experiment")
    model_name: str = Field(
        default="imageloom", min_length=1, max_length=250, description="name of the registered model; no / or :"
    )
    tracking_uri: str = Field(
        default=mlflow_store.DEFAULT_URI,
        description="MLflow server's address, or a database; a SQLite file has mlruns/ beside it",
    )

    @field_validator("model_name")
    @classmethod
    def _no_separators(cls, name: str) -> str:
        if "/" in name or ":" in name:
            raise ValueError("must not hold / or :")
        return name

    @field_validator("tracking_uri")
    @classmethod
    def _is_an_address(cls, uri: str) -> str:
        if not re.match(r"[a-z][a-z0-9+.-]*://", uri) or uri.startswith("file:"):
            raise ValueError("must be an address such as http://127.0.0.1:5000 or sqlite:///mlflow.db")
        return uri


@dataclass(frozen=True)
class Result:
    """What there is to log.

    Args:
        params: Flat names of parameters -> their values as text.
        metrics: Names of metrics -> values.
        tags: The revision of the code that made it, and `imageloom.result`, a digest by which the run is found again.
        costs: Metrics of the machine that ran it, which are not part of what the result is known by.
        artifacts: Files, each with the folder it goes to in the run.
        labels: The classes as people read them, in the order of the model's outputs.
        needed: The packages with which the model predicts.
        example: Bytes of a test picture, None where none is at hand.
        name: Of the run.
    """

    params: dict[str, str]
    metrics: dict[str, float]
    costs: dict[str, float]
    tags: dict[str, str]
    artifacts: list[tuple[Path, str]]
    labels: tuple[str, ...]
    needed: tuple[str, ...]
    example: bytes | None
    name: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares what may stand in place of the section's own, for those who run experiments."""
    parser.add_argument("--experiment", metavar="NAME", help="in place of track.experiment")
    parser.add_argument("--tracking-uri", metavar="URI", help="in place of track.tracking_uri")
    parser.add_argument("--name", help="what the run is called (default: its accuracy and the model's version)")
    parser.add_argument(
        "--cost",
        action="append",
        default=[],
        metavar="NAME=NUMBER",
        help="another metric to log, such as training_seconds=12.5",
    )
    parser.add_argument("--follow", metavar="TRAINING", help="log epochs only, as `train` tells them on standard input")


def run(settings: Params, paths: Paths, arguments: argparse.Namespace | None = None) -> None:
    """Writes one MLflow run, and its id to reports/mlflow_run.json.

    Raises:
        ImageloomError: The result itself is missing or damaged; a store that cannot be written only warns.
    """
    name, costs = None, dict[str, float]()
    if arguments is not None:
        settings, name = _in_place(settings, arguments), arguments.name
        costs = dict(_number(text) for text in arguments.cost)
        if arguments.follow:
            place = mlflow_epochs.Place(settings.tracking_uri, settings.experiment, paths.root)
            mlflow_epochs.follow(arguments.follow, sys.stdin, place)
            return
    result = _result(settings, paths, name, costs)
    entry: dict[str, Any] = {
        "run_id": None,
        "experiment": settings.experiment,
        "model_name": settings.model_name,
        "model_version": None,
        "tracking_uri": mlflow_store.without_secrets(settings.tracking_uri),
    }
    try:
        with mlflow_store.quiet():
            run_id, version, is_new = _log(result, settings, paths)
    # A store is a database, a server, a bucket: what its driver raises is not known here, and no fault of it may lose
    # a training that went well.
    except Exception as fault:
        entry["error"] = mlflow_store.one_line(fault, settings.tracking_uri)
        files.write_json(paths.reports / "mlflow_run.json", entry)
        console.warn(f"the result was not logged: {entry['tracking_uri']} cannot be written: {entry['error']}")
        console.warn("nothing is lost: type `imageloom track` when the store is back")
        return
    files.write_json(paths.reports / "mlflow_run.json", {**entry, "run_id": run_id, "model_version": version})
    verb = "logged" if is_new else "was logged before"
    console.say(
        f"track: {verb} as run {run_id} of {settings.experiment}; model {settings.model_name}, version {version}"
    )


def _in_place(settings: Params, arguments: argparse.Namespace) -> Params:
    """The section, with what the command line says instead."""
    asked = {"experiment": arguments.experiment, "tracking_uri": arguments.tracking_uri}
    try:
        return Params(**settings.model_dump() | {key: value for key, value in asked.items() if value is not None})
    except ValidationError as fault:
        first = fault.errors()[0]
        raise ImageloomError(f"--{str(first['loc'][0]).replace('_', '-')}: {first['msg']}") from None


def _number(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        return _allowed(name), float(value)
    except ValueError:
        raise ImageloomError(f"--cost {text}: not a name and a number", "--cost training_seconds=12.5") from None


def versions_that_saw(ids: set[str], paths: Paths) -> dict[str, Counter[str] | None]:
    """How many of some pictures are on each side of the split that each registered version of the model was made from.

    Args:
        ids: The pictures' SHA-256.
        paths: The project's files.

    Returns:
        By version, newest first; None for one whose split is not to be had. Empty without versions or their store.
    """
    settings, seen = params.load("track", Params, paths.params), dict[str, Counter[str] | None]()
    uri = mlflow_store.absolute(settings.tracking_uri, paths.root)
    file = mlflow_store.sqlite_file(uri)
    if file and not file.exists():
        return seen
    with (
        contextlib.suppress(Exception),
        mlflow_store.quiet(),
    ):  # what a store's driver raises is not known here; see `run`
        import mlflow

        client = mlflow.MlflowClient(uri, uri)
        found = client.search_model_versions(f"name = '{settings.model_name}'")
        for version in sorted(found, key=lambda version: -int(version.version)):
            seen[str(version.version)] = None
            with contextlib.suppress(Exception), tempfile.TemporaryDirectory() as folder:
                path = client.download_artifacts(str(version.run_id), "data/split.parquet", folder)
                rows = tables.read(Path(path), tables.SPLIT, "split").select(["id", "side"]).to_pylist()
                seen[str(version.version)] = Counter(row["side"] for row in rows if row["id"] in ids)
    return seen


def data_digest(rows: Iterable[tuple[str, str]]) -> str:
    """SHA-256, in hexadecimal, of the pictures' ids and classes, whatever their order.

    Args:
        rows: Pairs of id and class.
    """
    return hashlib.sha256("".join(f"{id_} {name}\n" for id_, name in sorted(rows)).encode()).hexdigest()


def _result(settings: Params, paths: Paths, name: str | None, costs: dict[str, float]) -> Result:
    scores = results.metrics(paths)
    split = tables.read(paths.split, tables.SPLIT, "split").select(["id", "class", "path", "side"]).to_pylist()
    predictor = of_folder(paths.export)
    flat = _flatten(params.load_all(paths.params))
    if "track.tracking_uri" in flat:
        flat["track.tracking_uri"] = mlflow_store.without_secrets(settings.tracking_uri)
    flat["data.digest"] = data_digest((row["id"], row["class"]) for row in split)
    flat["data.pictures"] = str(len(split))
    flat["model.version"] = predictor.version
    metrics = _metrics(scores) | _cleaning(results.cleaning(paths))
    tags = revision.tags(paths.root) | mlflow_epochs.tags(paths) | {"imageloom.result": _digest([flat, metrics])}
    test = [path for row in split if row["side"] == "test" and (path := paths.raw / row["path"]).is_file()]
    return Result(
        flat,
        metrics,
        cost.measure(predictor, test) | costs,
        tags,
        _artifacts(settings, paths),
        predictor.labels,
        REQUIREMENTS + (OF_ESTIMATORS if predictor.card.usual_format == "skops" else ()),
        _example(test),
        name or f"{metrics['accuracy']:.3f} {predictor.version}",
    )


def _flatten(content: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """`{"a": {"b": [1]}}` as `{"a.b": "[1]"}`: mappings give dots, lists JSON, and a long value is cut."""
    flat: dict[str, str] = {}
    for key, value in content.items():
        name = f"{prefix}{_allowed(str(key))}"
        if isinstance(value, dict):
            flat |= _flatten(value, f"{name}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
            flat[name] = text if len(text) <= MAX_VALUE else text[: MAX_VALUE - 1] + "…"
    return flat


def _metrics(scores: dict[str, Any]) -> dict[str, float]:
    """Flat metrics, named so that MLflow's page draws a panel per part before the slash."""
    metrics = {name: value for name, value in scores.items() if isinstance(value, int | float)}
    for name in ("accuracy", "macro_f1"):
        metrics[f"{name}_low"], metrics[f"{name}_high"] = scores[f"{name}_interval"]
    names = _distinct(scores["classes"])
    for name, values in scores["classes"].items():
        metrics |= {f"{kind}/{names[name]}": value for kind, value in values.items()}
    for side, counts in scores["pictures"].items():
        metrics |= {f"pictures_{side}/{names[name]}": count for name, count in counts.items()}
    return {name: float(value) for name, value in metrics.items()}


def _cleaning(figures: dict[str, Any]) -> dict[str, float]:
    """How many pictures people decided about, in all and by decision, and how right probes were before and after."""
    decided = {f"decisions/{kind}": count for kind, count in figures["decisions"].items()}
    right = {f"cleaning/accuracy_{name}": share for name, share in figures.get("accuracy", {}).items()}
    return {name: float(value) for name, value in (decided | right).items()}


def _allowed(name: str) -> str:
    """The name in the characters that MLflow takes in a metric's or parameter's name."""
    return re.sub(r"[^\w.\- ]", "_", unicodedata.normalize("NFC", name))


def _distinct(names: Iterable[str]) -> dict[str, str]:
    """For each class name one that MLflow takes, no two the same (`c+` and `c-` would both be `c_`)."""
    given: dict[str, str] = {}
    for name in names:
        allowed, number = _allowed(name), 2
        while allowed in given.values():
            allowed, number = f"{_allowed(name)}_{number}", number + 1
        given[name] = allowed
    return given


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _artifacts(settings: Params, paths: Paths) -> list[tuple[Path, str]]:
    reports = [paths.reports / name for name in ("index.html", "metrics.json")] + sorted(paths.reports.glob("*.csv"))
    found = [(path, "reports") for path in reports if path.is_file()]
    found += [(path, "reports/figures") for path in sorted((paths.reports / "figures").glob("*.png"))]
    found += [(path, "reports/clean") for path in sorted((paths.reports / "clean").glob("*.*"))]
    found += [(path, "reports/scrape") for path in (paths.reports / "scrape").glob("diff.json")]
    found += (
        [(paths.params, "")] if mlflow_store.without_secrets(settings.tracking_uri) == settings.tracking_uri else []
    )
    return [*found, (paths.split, "data")]  # `versions_that_saw` looks it up


def _example(test: list[Path]) -> bytes | None:
    """The smallest test picture that is at hand."""
    smallest = min(test, key=lambda path: (path.stat().st_size, path.name), default=None)
    if smallest is None or smallest.stat().st_size > MAX_EXAMPLE_BYTES:
        return None
    return smallest.read_bytes()


def _log(result: Result, settings: Params, paths: Paths) -> tuple[str, str, bool]:
    """Writes the run, unless the store has it.

    Returns:
        The run's id, the version of the registered model, and whether the run is new.
    """
    uri = mlflow_store.absolute(settings.tracking_uri, paths.root)
    mlflow_store.check_writable(uri)
    import mlflow

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    client = mlflow.MlflowClient()
    experiment = mlflow_store.experiment(client, settings.experiment, uri, paths.root)
    known = _find(client, experiment, settings.model_name, result)
    begun = mlflow_epochs.begun(client, experiment, result.tags.get(mlflow_epochs.TRAINING))
    if known is not None:
        if begun is not None:  # the same training once more: its epochs stand in the first run
            client.delete_run(begun)
        _log_metrics(client, known[0], result.costs)
        return *known, False
    with mlflow.start_run(begun, None if begun else experiment) as run:
        mlflow.set_tags(result.tags | {"mlflow.runName": result.name})
        _log_values(client, run.info.run_id, result)
        for path, folder in result.artifacts:
            mlflow.log_artifact(str(path), folder or None)
        version = _log_model(result, settings, paths)
    return run.info.run_id, version, True


def _find(client: Any, experiment: str, model_name: str, result: Result) -> tuple[str, str] | None:
    """The finished run of the same result whose model is registered, with the model's version."""
    query = f"tags.`imageloom.result` = '{result.tags['imageloom.result']}' and attributes.status = 'FINISHED'"
    for run in client.search_runs([experiment], query, max_results=1):
        for version in client.search_model_versions(f"run_id = '{run.info.run_id}'"):
            if version.name == model_name:
                return run.info.run_id, str(version.version)
    return None


def _log_values(client: Any, run_id: str, result: Result) -> None:
    from mlflow.entities import Param

    entries = [Param(*item) for item in result.params.items()]
    for start in range(0, len(entries), PARAMS_PER_BATCH):
        client.log_batch(run_id, params=entries[start : start + PARAMS_PER_BATCH])
    _log_metrics(client, run_id, result.metrics | result.costs)


def _log_metrics(client: Any, run_id: str, values: dict[str, float]) -> None:
    from mlflow.entities import Metric
    from mlflow.utils.time import get_current_time_millis

    now = get_current_time_millis()
    metrics = [Metric(name, value, now, 0) for name, value in values.items()]
    for start in range(0, len(metrics), METRICS_PER_BATCH):
        client.log_batch(run_id, metrics=metrics[start : start + METRICS_PER_BATCH])


def _log_model(result: Result, settings: Params, paths: Paths) -> str:
    """Logs models/export/ as a pyfunc that takes pictures' bytes.

    Returns:
        The version under which it is registered.
    """
    import mlflow.pyfunc
    import pandas as pd
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema, TensorSpec

    outputs: list[ColSpec | TensorSpec] = [
        ColSpec("string", "label"),
        ColSpec("boolean", "known"),
        *(ColSpec("double", label) for label in result.labels),
    ]
    logged = mlflow.pyfunc.log_model(
        name="model",
        loader_module="imageloom.predictor",
        data_path=str(paths.export),
        code_paths=[str(Path(__file__).parent)],
        signature=ModelSignature(Schema([ColSpec("binary", "image")]), Schema(outputs)),
        input_example=None if result.example is None else pd.DataFrame({"image": [result.example]}),
        pip_requirements=[f"{name}=={metadata.version(name)}" for name in result.needed],
        registered_model_name=settings.model_name,
        await_registration_for=0,
    )
    return str(logged.registered_model_version)
