"""`imageloom rank`: the runs of an MLflow experiment, best first, as a table and a chart of what each gives and costs.

Reads the store and nothing else, so it ranks whatever was logged there: by `make baselines`, by experiments of one's
own, or by last month's `dvc repro`.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imageloom import console, files, fonts, mlflow_store, params
from imageloom.errors import DataError
from imageloom.files import Paths
from imageloom.mlflow_store import Run

_NEEDED = {"accuracy", "accuracy_low", "accuracy_high", "macro_f1"}

_COLOUR = "#2f6f9f"
_GREY = "#8a8a8a"


@dataclass(frozen=True)
class Entry:
    """A run's place in the ranking.

    Args:
        name: Of the run.
        accuracy: On the test pictures.
        interval: Of it, 95 %.
        macro_f1: The classes' mean.
        milliseconds: A picture takes; None where the run does not say.
        megabytes: The model weighs; likewise.
        seconds: Training took; likewise.
        pictures: A digest of what was trained and tested on.
    """

    name: str
    accuracy: float
    interval: tuple[float, float]
    macro_f1: float
    milliseconds: float | None
    megabytes: float | None
    seconds: float | None
    pictures: str

    @classmethod
    def of(cls, run: Run) -> "Entry":
        """Of a run that the stage `track` logged."""
        of = run.metrics
        return cls(
            name=run.name,
            accuracy=of["accuracy"],
            interval=(of["accuracy_low"], of["accuracy_high"]),
            macro_f1=of["macro_f1"],
            milliseconds=of.get("milliseconds_per_picture"),
            megabytes=of.get("model_megabytes"),
            seconds=of.get("training_seconds"),
            pictures=run.params.get("data.digest", ""),
        )

    def cells(self) -> list[str]:
        """As `HEADER` names them."""
        low, high = self.interval
        costs = (_short(cost) for cost in (self.milliseconds, self.megabytes, self.seconds))
        return [self.name, f"{self.accuracy:.3f}", f"{low:.3f} to {high:.3f}", f"{self.macro_f1:.3f}", *costs]


HEADER = ["", "accuracy", "95 % interval", "macro-F1", "ms a picture", "MB", "training, s"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("--experiment", metavar="NAME", help="of MLflow (default: track.experiment of params.yaml)")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table as Markdown, too")
    parser.add_argument("--chart", type=Path, metavar="FILE", help="draw it, as .png or .svg")
    parser.add_argument("-C", "--project", type=Path, default=Path(), metavar="DIR", help="folder of params.yaml")


def run(arguments: argparse.Namespace) -> int:
    """Prints the table, and writes what is asked.

    Returns:
        0.

    Raises:
        ModelError: The store does not answer, or has no such runs.
        DataError: No run in it can be ranked, or the chart's file is neither .png nor .svg.
    """
    if arguments.chart and arguments.chart.suffix.lower() not in (".png", ".svg"):
        raise DataError(f"--chart {arguments.chart}: not a .png or .svg", "--chart reports/ranking.png")
    paths = Paths(arguments.project.resolve())
    experiment = arguments.experiment or _experiment(paths)
    ranked, others = ranking(mlflow_store.runs(experiment, paths.root))
    if not ranked:
        raise DataError(
            f"no run of {experiment!r} was logged by imageloom", "`dvc repro` or `make baselines` logs some"
        )
    rows = [entry.cells() for entry in ranked]
    console.say("\n".join(console.table([HEADER, *rows])))
    if others:
        console.say(f"left out: {console.counted(others, 'older run')} of the same names or on other pictures")
    if arguments.markdown:
        files.write_text(arguments.markdown, _markdown(rows))
    if arguments.chart:
        with files.atomic_file(arguments.chart) as temporary:
            draw(ranked, temporary, arguments.chart.suffix[1:].lower())
    return 0


def ranking(runs: Sequence[Run]) -> tuple[list[Entry], int]:
    """The newest run of each name, on the pictures of the newest of all, by accuracy.

    Accuracies on other pictures are no rivals: a harder test is not a worse model.

    Args:
        runs: Newest first.

    Returns:
        The entries, best first, and how many runs of ours are left out.
    """
    entries = [Entry.of(run) for run in runs if run.metrics.keys() >= _NEEDED]
    newest: dict[str, Entry] = {}
    for entry in entries:
        if entry.pictures == entries[0].pictures:
            newest.setdefault(entry.name, entry)
    ranked = sorted(newest.values(), key=lambda entry: (-entry.accuracy, -entry.macro_f1, entry.name))
    return ranked, len(entries) - len(ranked)


def draw(entries: Sequence[Entry], target: Path, kind: str) -> None:
    """Draws a row for each entry: accuracy with its interval, and beside it what it costs.

    Args:
        entries: Best first.
        target: The file.
        kind: `png` or `svg`.
    """
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcdefaults()  # a user's own settings would change the picture
    matplotlib.rcParams["font.family"] = fonts.family()
    matplotlib.rcParams["svg.hashsalt"] = "imageloom"  # the same runs give the same bytes
    rows = list(range(len(entries)))
    figure = Figure(figsize=(10, 1.1 + 0.36 * len(rows)), layout="constrained", dpi=110)
    panels: Any = figure.subplots(1, 4, sharey=True, width_ratios=(3, 1.4, 1.4, 1.4))
    for row, entry in zip(rows, entries, strict=True):
        panels[0].plot(entry.interval, (row, row), color=_GREY, linewidth=2, solid_capstyle="round")
        panels[0].plot(entry.accuracy, row, "o", color=_COLOUR, markersize=7)
        for panel, cost in zip(panels[1:], (entry.milliseconds, entry.megabytes, entry.seconds), strict=True):
            if cost is not None:
                panel.barh(row, cost, height=0.55, color=_COLOUR)
                panel.annotate(_short(cost), (cost, row), (4, 0), textcoords="offset points", va="center", fontsize=8)
    panels[0].set_yticks(rows, fonts.drawable([entry.name for entry in entries], noun="run"))
    panels[0].invert_yaxis()
    titles = ("accuracy, with its 95 % interval", "ms a picture", "MB", "training, seconds")
    for panel, title in zip(panels, titles, strict=True):
        panel.set_title(title, fontsize=10)
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(axis="x", color="#e5e5e5")
        panel.set_axisbelow(True)
        if panel is not panels[0]:
            panel.set_xlim(left=0)
            panel.margins(x=0.3)
            panel.set_xticks([])  # the numbers stand beside the bars
    figure.savefig(target, format=kind, metadata={"Software": None} if kind == "png" else {"Date": None})


def _experiment(paths: Paths) -> str:
    section = params.load_all(paths.params).get("track")
    return str(section.get("experiment", "imageloom")) if isinstance(section, dict) else "imageloom"


def _short(cost: float | None) -> str:
    """Two digits that count."""
    return "" if cost is None else f"{cost:.2f}" if cost < 0.95 else f"{cost:.1f}" if cost < 9.5 else f"{cost:,.0f}"


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    lines = [HEADER, ["---", *["---:"] * (len(HEADER) - 1)], *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)
