"""MLflow's store of runs and models, for the stage that writes into it and for those who open a model out of it."""

import contextlib
import io
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from imageloom import params
from imageloom.errors import ModelError

DEFAULT_URI = "sqlite:///mlflow.db"

SECONDS_TO_ANSWER = 10


@dataclass(frozen=True)
class Run:
    """A finished run as the store has it.

    Args:
        name: What it is called.
        params: Names of parameters -> their values as text.
        metrics: Names of metrics -> their last values.
    """

    name: str
    params: dict[str, str]
    metrics: dict[str, float]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps MLflow from phoning home, from waiting minutes for a dead server, and from telling its steps."""
    os.environ.update(MLFLOW_DISABLE_TELEMETRY="true", DO_NOT_TRACK="true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(SECONDS_TO_ANSWER))
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    said = io.StringIO()  # it prints some of it, and logs the rest through a handler that looks up sys.stderr each time
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def absolute(uri: str, root: Path) -> str:
    """A SQLite file is named from the project's folder, wherever the command is typed."""
    file = sqlite_file(uri)
    return f"sqlite:///{root / file}" if file else uri


def sqlite_file(uri: str) -> Path | None:
    """The SQLite file that a store is; None for any other."""
    scheme, _, path = uri.partition(":///")
    return Path(path) if scheme == "sqlite" and path else None


def without_secrets(uri: str) -> str:
    """The address without its user, password and query."""
    parts = urlsplit(uri)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def one_line(fault: Exception, uri: str) -> str:
    """The fault's first line, without what the address keeps secret."""
    text = (str(fault).strip() or type(fault).__name__).splitlines()[0].replace(uri, without_secrets(uri))
    password = urlsplit(uri).password
    return (text.replace(password, "***") if password else text)[:300]


def check_writable(uri: str) -> None:
    """Takes SQLite's write lock and gives it back; MLflow would try ten times over a minute and a half."""
    file = sqlite_file(uri)
    if file is None:
        return
    import sqlite3

    connection = sqlite3.connect(file, timeout=SECONDS_TO_ANSWER)
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
    finally:
        connection.close()


def experiment(client: Any, name: str, uri: str, root: Path) -> str:
    """The experiment's id; where it is new, its files go to mlruns/ beside a SQLite store, else in the project.

    Args:
        client: MLflow's, of the store.
        name: Of the experiment.
        uri: The store's address, as `absolute` gives it.
        root: The project's folder.
    """
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    of_server = uri.startswith(("http:", "https:"))
    file = sqlite_file(uri)
    beside = file.resolve().parent if file else root
    return str(client.create_experiment(name, None if of_server else (beside / "mlruns").as_uri()))


def exported_folder(model: str, root: Path) -> Path:
    """The exported folder that a registered model was logged with, fetched where the store is elsewhere.

    Args:
        model: `NAME@alias` such as `imageloom@champion`, or `NAME/3` for a version.
        root: The project's folder. The store is that of its params.yaml; outside a project that of MLFLOW_TRACKING_URI,
            or else `DEFAULT_URI`.

    Raises:
        ModelError: The store does not answer, has no such model, or has one that imageloom did not log.
    """
    uri = _existing(root, "run it in the project's folder, or set MLFLOW_TRACKING_URI")
    try:
        with quiet():
            import mlflow

            mlflow.set_tracking_uri(uri)
            mlflow.set_registry_uri(uri)
            folder = Path(mlflow.artifacts.download_artifacts(f"models:/{model}"))
    except Exception as fault:  # what a store's driver raises is not known here
        raise ModelError(
            f"cannot open mlflow:models/{model}: {one_line(fault, uri)}",
            "`make ui` shows the registered models, their versions and aliases",
        ) from None
    found = sorted(folder.glob("data/*/model.json"))
    if not found:
        raise ModelError(f"mlflow:models/{model} holds no exported model of imageloom", "name one that `track` logged")
    return found[0].parent


def run_of(model: str) -> str | None:
    """The run that a registered model was logged in, in the store that `exported_folder` has just opened."""
    with quiet():
        import mlflow

        name, _, alias = model.partition("@")
        client = mlflow.MlflowClient()
        if alias:
            return client.get_model_version_by_alias(name, alias).run_id
        name, _, version = model.rpartition("/")
        return client.get_model_version(name, version).run_id


def runs(experiment: str, root: Path) -> list[Run]:
    """The finished runs of an experiment in the project's store, newest first.

    Raises:
        ModelError: The store does not answer, or has no such experiment.
    """
    advice = "`make ui` shows what there is; a run is logged by `dvc repro`, several by `make baselines`"
    uri = _existing(root, advice)
    try:
        with quiet():
            import mlflow

            client = mlflow.MlflowClient(uri, uri)
            found = client.get_experiment_by_name(experiment)
            listed = [] if found is None else _all_runs(client, found.experiment_id)
    except Exception as fault:  # what a store's driver raises is not known here
        raise ModelError(f"cannot read {without_secrets(uri)}: {one_line(fault, uri)}", advice) from None
    if not listed:
        raise ModelError(f"no finished run of the experiment {experiment!r} in {without_secrets(uri)}", advice)
    return [Run(str(run.info.run_name), run.data.params, run.data.metrics) for run in listed]


def _all_runs(client: Any, experiment: str) -> list[Any]:
    found, token = [], None
    while True:
        page = client.search_runs(
            [experiment], "attributes.status = 'FINISHED'", order_by=["attributes.start_time DESC"], page_token=token
        )
        found += page
        token = page.token
        if not token:
            return found


def database(root: Path) -> Path | None:
    """The file that the project's store is, where it is one."""
    return sqlite_file(absolute(_uri(root), root))


def _existing(root: Path, advice: str) -> str:
    """The address of the project's store, to be read: MLflow would make a SQLite file that is not there.

    Raises:
        ModelError: It is such a file.
    """
    uri = absolute(_uri(root), root)
    file = sqlite_file(uri)
    if file and not file.exists():
        raise ModelError(f"no MLflow store at {file}", advice)
    return uri


def _uri(root: Path) -> str:
    """The address of the store."""
    if not (root / "params.yaml").exists():
        return os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI
    section = params.load_all(root / "params.yaml").get("track")
    return str(section.get("tracking_uri", DEFAULT_URI)) if isinstance(section, dict) else DEFAULT_URI
