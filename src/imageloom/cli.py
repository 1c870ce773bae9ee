"""`imageloom COMMAND`: the stages of the pipeline, and the clients of the model that they make."""

import argparse
import importlib
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from imageloom import quiet
from imageloom.errors import ImageloomError

# A stage's name, in `dvc.yaml`, `params.yaml` and `flows` alike -> where its `Params` and `run(params, paths)` stand;
# one with `add_arguments(parser)` can be asked for more, and is run as `run(params, paths, arguments)`; `more_params()`
# gives what its help tells about beside its section.
STAGES = {
    "backbone": "imageloom.backbone.stage",
    "scrape": "imageloom.scrape",
    "embed": "imageloom.embed",
    "clean": "imageloom.clean.stage",
    "split": "imageloom.split",
    "train": "imageloom.train",
    "evaluate": "imageloom.evaluate.stage",
    "export": "imageloom.export.stage",
    "track": "imageloom.track",
}

# What each is for.
PURPOSES = {
    "backbone": "get the pretrained network, as a graph that every later stage runs",
    "scrape": "crawl the sources, and keep every picture with where it came from",
    "embed": "turn every picture into the features that the network sees in it",
    "clean": "leave out what cannot be used: copies, near copies, and pictures without a label",
    "split": "decide which pictures are trained on, and which only test the model",
    "train": "fit a classifier on the features of the training pictures",
    "evaluate": "measure the classifier on the test pictures, and write the report",
    "export": "join network and classifier into the model that is served",
    "track": "log parameters, measures and model with MLflow",
}

# Commands beside the stages -> module with `add_arguments(parser)` and `run(arguments)`, and what it is for.
COMMANDS = {
    "lr-find": ("imageloom.lr_find", "draw the loss of `train.recipe: head` against the learning rate; suggest a rate"),
    "make": ("imageloom.make.command", "make a classifier of a folder of pictures, with make_image_classifier's flags"),
    "predict": ("imageloom.predict.command", "name what is on pictures"),
    "compare": ("imageloom.compare", "say whether one model is better than another, and end with a code that says so"),
    "rank": ("imageloom.rank", "list the runs of an experiment, best first, with what each costs, and draw them"),
    "serve": ("imageloom.serving.command", "answer predictions over HTTP, with a page to drop pictures on"),
    "review": ("imageloom.review.command", "look at doubtful pictures in the browser, and decide by keyboard"),
    "forget": ("imageloom.forget", "take a picture out, see that it does not come back, and say which models saw it"),
    "demo": ("imageloom.sources.demo", "serve the demo's gallery of photographs, to crawl it or to look at it"),
    "summary": ("imageloom.summary", "say how good the last model is and where to look"),
}

# Sections of params.yaml that are not a stage's.
OTHER_SECTIONS = ("classes",)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Returns:
        0 when it ended well, 2 after an error that the user can mend, 130 after Ctrl-C.
    """
    quiet.start_up()
    arguments = sys.argv[1:] if argv is None else list(argv)
    try:
        command = _command(arguments)
        parsed = _parsed(command, arguments)
        if command in STAGES:
            return _run_stage(command, parsed)
        return importlib.import_module(COMMANDS[command][0]).run(parsed) or 0
    except ImageloomError as fault:
        return _fail(fault.message, fault.hint)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; what was finished before is kept\n")
        return 130
    except BrokenPipeError:  # the reader of our output left, as in `imageloom predict * | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except MemoryError:
        return _fail("out of memory", "close other programs, or use fewer workers")


def _command(arguments: Sequence[str]) -> str:
    """The command's name: the first word, or nothing where that asks for help.

    Raises:
        ImageloomError: It is no command.
    """
    word = arguments[0] if arguments else ""
    known = [*STAGES, *COMMANDS]
    if word in ("", "-h", "--help", *known):
        return word
    if word.startswith("-"):
        raise ImageloomError(f"{word} stands before the command", f"options come after it: imageloom COMMAND {word}")
    from imageloom.params import nearest

    raise ImageloomError(f"no command {word!r}", nearest(word, known))


def _parsed(command: str, arguments: Sequence[str]) -> argparse.Namespace:
    """What stands behind the command.

    Raises:
        ImageloomError: It takes something of that not.
    """
    parser, own = _parser(command, arguments)
    parsed, left = parser.parse_known_args(arguments)
    if not left:
        return parsed
    if not left[0].startswith("--"):
        raise ImageloomError(f"{command} takes no {left[0]!r}", f"`imageloom {command} --help` tells what it takes")
    from imageloom.params import nearest

    word = left[0].partition("=")[0]
    raise ImageloomError(f"{command} has no option {word}", nearest(word, re.findall(r"--[\w-]+", own.format_usage())))


def _parser(command: str, arguments: Sequence[str]) -> tuple[argparse.ArgumentParser, argparse.ArgumentParser]:
    """What knows every command, and the options of one; and what knows these alone.

    What the others can be asked stands in modules that take long to load.
    """
    is_help = any(word.startswith(("-h", "--h")) for word in arguments)
    parser = argparse.ArgumentParser(
        prog="imageloom",
        description="From web pages, URL lists and folders of pictures to a served image classifier.",
        epilog="`dvc repro` runs every stage that is out of date; `imageloom COMMAND --help` tells about one.",
    )
    own = parser
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for stage, purpose in PURPOSES.items():
        child = commands.add_parser(
            stage, help=f"stage: {purpose}", formatter_class=argparse.RawDescriptionHelpFormatter
        )
        if stage == command:
            own = child
            _add_stage(child, stage, is_help)
    for other, (module, purpose) in COMMANDS.items():
        child = commands.add_parser(other, help=purpose, description=purpose[0].upper() + purpose[1:] + ".")
        if other == command:
            own = child
            importlib.import_module(module).add_arguments(child)
    return parser, own


def _add_stage(parser: argparse.ArgumentParser, name: str, is_help: bool) -> None:
    stage = importlib.import_module(STAGES[name])
    parser.description = (stage.__doc__ or "").strip()
    if is_help:  # else what is told of each kind of source would be loaded for nothing
        parser.epilog = _told(name, stage)
    parser.add_argument("-C", "--project", type=Path, default=Path(), metavar="DIR", help="folder of params.yaml")
    if hasattr(stage, "add_arguments"):
        stage.add_arguments(parser)


def _told(name: str, stage: Any) -> str:
    """What can stand in a stage's section of params.yaml."""
    models = {f"section {name!r} of params.yaml": stage.Params}
    if hasattr(stage, "more_params"):
        models |= stage.more_params()
    return "\n\n".join(
        "\n".join([f"{what}:", *(_describe(model) or ["  nothing can be set"])]) for what, model in models.items()
    )


def _run_stage(name: str, parsed: argparse.Namespace) -> int:
    from imageloom import params
    from imageloom.files import Paths

    stage = importlib.import_module(STAGES[name])
    paths = Paths(parsed.project.resolve())
    params.check_sections([*OTHER_SECTIONS, *STAGES], paths.params)
    more = [parsed] if hasattr(stage, "add_arguments") else []
    stage.run(params.load(name, stage.Params, paths.params), paths, *more)
    return 0


def _describe(model: Any, indent: str = "  ") -> list[str]:
    """A line for each key, and those of a nested model below the key that leads to it."""
    lines = []
    for key, field in model.model_fields.items():
        kinds = (field.annotation, *getattr(field.annotation, "__args__", ()))
        nested = next((kind for kind in kinds if hasattr(kind, "model_fields")), None)
        told = nested is not None or field.is_required()
        default = "" if told else f" (default: {field.get_default(call_default_factory=True)!r})"
        needed = " (needed)" if field.is_required() else ""
        lines.append(f"{indent}{key}: {field.description or ''}{default}{needed}")
        lines += _describe(nested, f"{indent}  ") if nested is not None else []
    return lines


def _fail(message: str, hint: str) -> int:
    sys.stderr.write(f"error: {message}\n" + (f"hint: {hint}\n" if hint else ""))
    return 2


if __name__ == "__main__":
    sys.exit(main())
