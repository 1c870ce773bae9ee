"""`imageloom COMMAND`: the stages of the pipeline, and the clients of the model that they make."""

import argparse
import importlib
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from imageloom.errors import ImageloomError

# A stage's name, in `dvc.yaml`, `params.yaml` and `flows` alike -> where its `Params` and `run(params, paths)` stand;
# one with `add_arguments(parser)` can be asked for more, and is run as `run(params, paths, arguments)`.
STAGES = {
    "backbone": "imageloom.backbone.stage",
    "scrape": "imageloom.scrape",
    "embed": "imageloom.embed",
    "clean": "imageloom.clean.stage",
    "split": "imageloom.split",
    "train": "imageloom.train",
    "evaluate": "imageloom.evaluate.stage",
    "export": "imageloom.export",
    "track": "imageloom.track",
}

# Commands beside the stages -> module with `add_arguments(parser)` and `run(arguments)`, and what it is for.
COMMANDS = {
    "predict": ("imageloom.predict", "name what is on pictures"),
    "serve": ("imageloom.serving.command", "answer predictions over HTTP, with a page to drop pictures on"),
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
    _quiet()
    arguments = sys.argv[1:] if argv is None else list(argv)
    command = next((word for word in arguments if not word.startswith("-")), "")
    try:
        if command in STAGES:
            return _run_stage(command, arguments)
        return _run_command(command, arguments)
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


def _run_stage(name: str, arguments: list[str]) -> int:
    from imageloom import params
    from imageloom.files import Paths

    stage = importlib.import_module(STAGES[name])
    parser = argparse.ArgumentParser(
        prog=f"imageloom {name}",
        description=(stage.__doc__ or "").strip(),
        epilog=_describe_params(name, stage.Params),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_project(parser)
    asks_for_more = hasattr(stage, "add_arguments")
    if asks_for_more:
        stage.add_arguments(parser)
    arguments.remove(name)
    parsed = parser.parse_args(arguments)
    paths = Paths(parsed.project.resolve())
    params.check_sections([*OTHER_SECTIONS, *STAGES], paths.params)
    stage.run(params.load(name, stage.Params, paths.params), paths, *([parsed] if asks_for_more else []))
    return 0


def _run_command(name: str, arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="imageloom",
        description="From web pages, URL lists and folders of pictures to a served image classifier.",
        epilog="`dvc repro` runs every stage that is out of date; `imageloom COMMAND --help` tells about one.",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for stage, module in STAGES.items():
        commands.add_parser(stage, help=f"stage of the pipeline, see {module}")
    for other, (module, purpose) in COMMANDS.items():
        child = commands.add_parser(other, help=purpose, description=purpose[0].upper() + purpose[1:] + ".")
        if other == name:
            importlib.import_module(module).add_arguments(child)
    parsed = parser.parse_args(arguments)
    return importlib.import_module(COMMANDS[parsed.command][0]).run(parsed) or 0


def _add_project(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-C", "--project", type=Path, default=Path(), metavar="DIR", help="folder of params.yaml")


def _describe_params(name: str, model: type) -> str:
    lines = [f"section {name!r} of params.yaml:"]
    for key, field in model.model_fields.items():  # type: ignore[attr-defined]
        default = "" if field.is_required() else f" (default: {field.get_default(call_default_factory=True)!r})"
        lines.append(f"  {key}: {field.description or ''}{default}")
    return "\n".join(lines)


def _fail(message: str, hint: str) -> int:
    sys.stderr.write(f"error: {message}\n" + (f"hint: {hint}\n" if hint else ""))
    return 2


def _quiet() -> None:
    """Silences what libraries say at start-up that a user can do nothing about."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    os.environ.setdefault("ABSL_MIN_LOG_LEVEL", "3")
    warnings.filterwarnings("ignore", message="pkg_resources is deprecated")
    warnings.filterwarnings("ignore", message="Image size .* exceeds limit")  # images.py has a limit of its own
    for module in ("tensorflow", "tf_keras", "tensorflow_hub", "google", "mlflow", "jax"):
        warnings.filterwarnings("ignore", module=rf"{module}(\..*)?")


if __name__ == "__main__":
    sys.exit(main())
