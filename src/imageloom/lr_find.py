"""`imageloom lr-find`: draws the loss of the recipe `head` against the learning rate, and suggests a rate."""

import argparse
from pathlib import Path
from typing import Any

from imageloom import files, params, tables, train
from imageloom.console import say
from imageloom.files import Paths
from imageloom.recipes import rates
from imageloom.recipes.rates import Sweep


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds which project."""
    parser.add_argument("-C", "--project", type=Path, default=Path(), metavar="DIR", help="folder of params.yaml")


def run(arguments: argparse.Namespace) -> None:
    """Writes reports/lr_find.csv and reports/lr_find.png, and says the rate.

    Raises:
        ImageloomError: The parameters are wrong, or stages before `train` have not run.
    """
    paths = Paths(arguments.project.resolve())
    settings = params.load("train", train.Params, paths.params)
    classes, sides = train.read(tables.read(paths.split, tables.SPLIT, "split"), paths)
    found = rates.sweep(sides["train"], len(classes), settings.head)
    rows = [[f"{rate:.4g}", f"{loss:.4f}"] for rate, loss in zip(found.rates, found.losses, strict=True)]
    files.write_csv(paths.reports / "lr_find.csv", ["learning_rate", "loss"], rows)
    with files.atomic_file(paths.reports / "lr_find.png") as temporary:
        draw(found, temporary)
    say(f"lr-find: the loss falls steadily around {found.suggestion:g}; look at reports/lr_find.png")
    say(f"lr-find: to train with it: `train: {{recipe: head, head: {{learning_rate: {found.suggestion:g}}}}}`")


def draw(found: Sweep, target: Path) -> None:
    """Draws loss over rate, the suggestion marked, as a PNG."""
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcdefaults()  # a user's own settings would change the bytes
    figure = Figure(figsize=(6, 4), layout="constrained", dpi=110)
    axes: Any = figure.subplots()
    axes.plot(found.rates, found.losses, linewidth=1.8)
    axes.axvline(
        found.suggestion, color="#b3261e", linestyle="--", linewidth=1, label=f"suggested: {found.suggestion:g}"
    )
    axes.set(xscale="log", xlabel="learning rate", ylabel="loss of a batch, smoothed")
    axes.grid(color="#e5e5e5")
    axes.set_axisbelow(True)
    axes.legend(loc="upper left")
    figure.savefig(target, format="png", metadata={"Software": None})
