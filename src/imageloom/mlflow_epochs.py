"""Epochs in MLflow while a training runs: the run that they stand in is completed by the stage `track`."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imageloom import console, files, mlflow_store
from imageloom.files import Paths

# The tag by which the run of a training is found again.
TRAINING = "imageloom.training"

LOGGED = ("learning_rate", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy")


@dataclass(frozen=True)
class Place:
    """Where to log.

    Args:
        uri: Of the store, as `track.tracking_uri` has it.
        experiment: Its name.
        root: The project's folder.
    """

    uri: str
    experiment: str
    root: Path


def follow(training: str, lines: Iterable[str], place: Place) -> None:
    """Logs epochs as they are told; a store that cannot be written only warns.

    Args:
        training: Digest by which the training is known.
        lines: A row of its history each, as JSON; `done` when it has ended well. Where they end without, it was killed.
        place: Where.
    """
    uri = mlflow_store.absolute(place.uri, place.root)
    try:
        with mlflow_store.quiet():
            mlflow_store.check_writable(uri)
            import mlflow

            client = mlflow.MlflowClient(uri, uri)
            experiment = mlflow_store.experiment(client, place.experiment, uri, place.root)
            run = begun(client, experiment, training)
            if run is None:
                run = str(client.create_run(experiment, run_name="training", tags={TRAINING: training}).info.run_id)
            client.update_run(run, status="RUNNING")
            for line in lines:
                if line.strip() == "done":
                    return
                row = json.loads(line)
                for name in LOGGED:
                    client.log_metric(run, f"epoch/{name}", float(row[name]), step=int(row["step"]))
            client.update_run(run, status="KILLED")
    except Exception as fault:  # what a store's driver raises is not known here
        console.warn(f"epochs are not logged while training runs: {mlflow_store.one_line(fault, place.uri)}")


def tags(paths: Paths) -> dict[str, str]:
    """The tag by which the training of the classifier that stands there is known; none where it told of no epochs."""
    about = paths.classifier / "classifier.json"
    training = files.read_json(about, "train").get("training") if about.exists() else None
    return {TRAINING: training} if training else {}


def begun(client: Any, experiment: str, training: str | None) -> str | None:
    """The run that holds the epochs of a training whose result is not logged yet."""
    if training is None:
        return None
    query = f"tags.`{TRAINING}` = '{training}' and attributes.status != 'FINISHED'"
    found = client.search_runs([experiment], query, max_results=1)
    return str(found[0].info.run_id) if found else None
