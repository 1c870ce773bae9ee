"""What was tried in training, for people and for TensorBoard."""

import csv
import shutil
from pathlib import Path

from imageloom import files, graphs

_SIDES = ("train", "validation")
_NAMES = {"loss": "epoch_loss", "accuracy": "epoch_accuracy"}  # as Keras' own callback has them


def write(history: Path, target: Path) -> None:
    """Copies the history; where its rows are epochs, which have a learning rate, writes TensorBoard's events as Keras.

    The time of an event is the number of its epoch, so that the same training gives the same bytes.

    Args:
        history: reports/history.csv.
        target: Gets `history.csv`, `train/` and `validation/`.

    Raises:
        ImageloomError: The folder cannot be written.
    """
    with files.atomic_file(target / "history.csv") as temporary:
        shutil.copyfile(history, temporary)
    with history.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if "learning_rate" not in rows[0]:
        return
    for side in _SIDES:
        with files.atomic_file(target / side / "events.out.tfevents.0.imageloom") as temporary:
            _write_events(temporary, [(int(row["step"]) - 1, side, row) for row in rows if row["step"] != "0"])


def _write_events(target: Path, steps: list[tuple[int, str, dict[str, str]]]) -> None:
    compat = graphs.tensorflow().compat.v1
    with graphs.tensorflow().io.TFRecordWriter(str(target)) as writer:
        writer.write(compat.Event(wall_time=0, file_version="brain.Event:2").SerializeToString())
        for step, side, row in steps:
            values = [
                compat.Summary.Value(tag=tag, simple_value=float(row[f"{side}_{name}"])) for name, tag in _NAMES.items()
            ]
            event = compat.Event(wall_time=step, step=step, summary=compat.Summary(value=values))
            writer.write(event.SerializeToString())
