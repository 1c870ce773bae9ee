"""`imageloom make --image_dir DIR`: from a folder of pictures to a model, without a project of one's own.

What `make_image_classifier` of TensorFlow Hub did, with its flags. It runs the stages of the pipeline in a project that
it keeps in the cache, where DVC would run them; a stage that uses TensorFlow runs in a process of its own.
"""

import argparse
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from imageloom import console, embed, graphs, params, split, train
from imageloom.backbone import stage as backbone
from imageloom.clean import stage as clean
from imageloom.errors import ImageloomError
from imageloom.export import stage as export
from imageloom.files import Paths
from imageloom.make import flags, held_out, pictures, project, summaries
from imageloom.make.outputs import Targets
from imageloom.make.project import Project
from imageloom.make.worker import Worker
from imageloom.recipes import registry

_STAGES: dict[str, Any] = {
    "backbone": backbone,
    "embed": embed,
    "clean": clean,
    "split": split,
    "train": train,
    "export": export,
}

# Hints of the stages where a file of theirs is damaged or missing.
_OF_DAMAGE = ("dvc repro", "imageloom scrape", "export it again")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the flags of make_image_classifier, and a few of our own."""
    flags.add_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Makes a classifier of the pictures in a folder, and says how right it is on some that were held out.

    Returns:
        0.

    Raises:
        ImageloomError: A flag, the pictures or the network are not as needed, or the accuracy is lower than asked: then
            nothing was written. Or a place cannot be written: then each part of it is as it was, or whole and new.
    """
    began = time.monotonic()
    folder = arguments.image_dir.expanduser().resolve()
    targets = Targets.of(arguments)
    wish = flags.read(arguments)
    pictures.class_folders(folder)
    targets.require_free(folder)
    for note in wish.notes:
        console.say(f"make: {note}")
    kept = Path(arguments.cache_dir).expanduser().resolve() if arguments.cache_dir else None
    with (
        project.cache(kept) as cache,
        project.opened(cache, folder, wish.sections["backbone"]) as work,
        _told_as_flags(work),
    ):
        work.write_params(wish.sections)
        for stage in _STAGES:  # all that is wrong with the flags, before anything takes time
            _parameters(stage, work.paths)
        _make(work, folder, targets, arguments.assert_accuracy_at_least)
    console.say(f"make: done in {time.monotonic() - began:.1f} s")
    return 0


@contextmanager
def _told_as_flags(work: Project) -> Iterator[None]:
    """Has faults of the stages speak of flags, and of the cache where they speak of what stages made."""
    try:
        yield
    except ImageloomError as fault:
        hint = flags.as_flags(fault.hint)
        if any(words in hint for words in _OF_DAMAGE):
            hint = f"remove {work.paths.root} and {work.network.root}, where this command keeps what it made"
        raise ImageloomError(flags.as_flags(fault.message), hint) from fault


def _make(work: Project, folder: Path, targets: Targets, least: float | None) -> None:
    """Runs the stages and writes what is asked for."""
    paths = work.paths
    recipe, network = _parameters("train", paths).recipe, _parameters("backbone", paths)
    is_trained = recipe in registry.NETWORKS
    # Of a packaged network its graph is enough, which takes no TensorFlow, unless it is trained.
    needs_all = is_trained or network.module not in backbone.PACKAGED
    with Worker() as first, Worker() as last:
        if needs_all and not project.is_made(work.network):
            first.begin(project.make_network, work.network, partial(run_stage, "backbone"))
        if targets.wants_model:
            last.begin(graphs.tensorflow)  # its import takes seconds
        if not needs_all:
            work.use_none()
            backbone.write_graph(network, paths)
        pictures.take_stock(folder, paths)
        if needs_all:
            first.finish()
            work.use_network()
        if targets.wants_model and not is_trained:
            last.begin(prepare_export, paths.root, len(pictures.class_folders(folder)))
        for name in ("embed", "clean", "split"):
            run_stage(name, paths.root)
        if is_trained:
            first.begin(run_stage, "train", paths.root)
            first.finish()
        else:
            run_stage("train", paths.root)
        found = held_out.measure(paths)
        console.say(f"make: {found}")
        if least is not None:
            found.require(least)
        if targets.wants_model:
            last.begin(run_stage, "export", paths.root)
        if targets.summaries_dir:
            last.begin(summaries.write, paths.reports / "history.csv", targets.summaries_dir)
        last.finish()
    targets.write(paths)


def prepare_export(root: Path, classes: int) -> None:
    """Does ahead what the stage `export` can do before there is a classifier."""
    paths = Paths(root)
    module = backbone.load(_parameters("backbone", paths), paths)
    export.prepare(paths, module, _parameters("embed", paths).aspect, classes)


def run_stage(name: str, root: Path) -> None:
    """Runs a stage in the project `root`, by its params.yaml."""
    paths = Paths(root)
    _STAGES[name].run(_parameters(name, paths), paths)


def _parameters(stage: str, paths: Paths) -> Any:
    return params.load(stage, _STAGES[stage].Params, paths.params)
