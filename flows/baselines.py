"""`python -m flows.baselines`, or `make baselines`: every recipe of baselines.yaml as a DVC experiment, and a ranking.

The experiments run one after another in a copy of the project that is removed afterwards, so that nothing that happens
to them, Ctrl-C included, touches parameters, models or reports. What stays: experiments for `dvc exp show` and `dvc exp
apply`, a run each in MLflow, and the ranking in reports/baselines.md and reports/baselines.png.

All are tested on the same pictures: the copy crawls nothing, and keeps the cleaning and the split of the last `dvc
repro`.
"""

import argparse
import fcntl
import importlib.util
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import yaml

from flows import PROJECT, dvc
from flows.ui import CannotStartError, tracking

LIST = PROJECT / "baselines.yaml"

# Run in this order, each alone: `scrape`, `clean` and `split` stand.
STAGES = ("backbone", "embed", "train", "evaluate", "export")
GIVEN = ("scrape", "clean", "split")

# The other formats cost time, and one that int8 does not fit is a baseline all the same.
ONE_FORMAT = ["-S", "++export.formats=[float32]"]

_SHOWN = (*(f"{stage}: " for stage in STAGES), "warning: ")

MARKDOWN, CHART = "reports/baselines.md", "reports/baselines.png"


class _Loader(yaml.SafeLoader):
    """YAML, which forbids a key that is there twice; PyYAML takes the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        for number, key in enumerate(keys):
            if key in keys[:number]:
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} is there twice", node.start_mark)
        return super().construct_mapping(node, deep)


class FailedError(Exception):
    """An experiment that did not come to its end; the others do not care."""


@dataclass(frozen=True)
class Baseline:
    """One of the experiments.

    Args:
        name: Of the experiment and its run.
        sets: Parameters by their dotted names, in place of those of params.yaml.
        needs: A Python package without which it is left out; empty for none.
        memory: Gigabytes without which it is left out.
    """

    name: str
    sets: dict[str, Any]
    needs: str = ""
    memory: float = 0

    def misfit(self) -> str:
        """Why this machine cannot run it; empty where it can."""
        if self.needs and not _is_installed(self.needs):
            return f"the package {self.needs} is not installed"
        there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
        return f"it takes {self.memory:g} GB of memory, and there are {there:.1f}" if self.memory > there else ""


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):  # a part of a package that is not there, or no package's name
        return False


class Watch:
    """Shows what stages say, and times the stage `train` by what DVC says before and after it.

    A time has no place among the outputs of a stage, which are the same on every machine.
    """

    def __init__(self, name: str) -> None:
        self.name, self.seconds, self._started = name, 0.0, 0.0

    def __call__(self, line: str) -> None:
        """Takes a line of DVC's output, when it comes."""
        if line == "Running stage 'train':":
            self._started = time.monotonic()
        elif self._started and not self.seconds and line.startswith(("Updating lock file", "Generating lock file")):
            self.seconds = time.monotonic() - self._started
        if line.startswith(_SHOWN):
            _say(f"{self.name}: {line}")


def main(arguments: list[str] | None = None) -> int:
    """Runs them.

    Returns:
        0 when all ended well and are ranked, 2 when not, 130 after Ctrl-C.
    """
    parser = argparse.ArgumentParser(prog="python -m flows.baselines", description="Compares recipes on your pictures.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="of baselines.yaml (default: all)")
    asked: list[str] = parser.parse_args(arguments).names
    signal.signal(signal.SIGTERM, _stop)
    try:
        store, experiment = tracking()
        chosen = _chosen(asked)
        _check()
        with _copy() as copy:
            went_well = [_run(each, copy, store, f"{experiment} baselines") for each in chosen]
        is_ranked = any(went_well) and _rank(f"{experiment} baselines")
    except CannotStartError as fault:
        sys.stderr.write(f"error: {fault.message}\nhint: {fault.hint}\n")
        return 2
    except FailedError as fault:  # before the first experiment: DVC's cache lacks something
        sys.stderr.write(f"error: {fault}\nhint: run `dvc repro`, which makes again what is missing\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; the experiments that had ended are kept\n")
        return 130
    return 0 if is_ranked and all(went_well) else 2


def _chosen(names: list[str]) -> list[Baseline]:
    """Those asked for, but what this machine cannot run, which is said."""
    listed = read(LIST)
    unknown = [name for name in names if name not in {each.name for each in listed}]
    if unknown:
        raise CannotStartError(f"no baseline {unknown[0]!r}", f"{LIST.name} lists {', '.join(e.name for e in listed)}")
    chosen = []
    for each in listed:
        if names and each.name not in names:
            continue
        reason = each.misfit()
        if reason:
            _say(f"{each.name}: left out: {reason}")
        else:
            chosen.append(each)
    if not chosen:
        raise CannotStartError("nothing is left to compare", "name others, or install what they need")
    return chosen


def read(path: Path) -> list[Baseline]:
    """The list of baselines.

    Raises:
        CannotStartError: It cannot be read, or says something else than names with parameters.
    """
    advice = "each name has parameters such as {train.recipe: head}"
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as fault:
        raise CannotStartError(f"cannot read {path.name}: {str(fault).splitlines()[0]}", advice) from None
    if not isinstance(content, dict) or not all(isinstance(sets, dict) for sets in content.values()):
        raise CannotStartError(f"{path.name} is not a list of experiments", advice)
    found = []
    for name, sets in content.items():
        wrong = next((key for key, value in sets.items() if isinstance(value, dict | list)), None)
        needs, memory = sets.pop("needs", ""), sets.pop("memory", 0)
        if wrong is not None or not isinstance(memory, int | float):
            raise CannotStartError(f"{path.name}: {name}: {wrong or 'memory'} is not one value", advice)
        if not isinstance(needs, str):
            raise CannotStartError(f"{path.name}: {name}: needs is not a package's name", "leave it out, or name one")
        found.append(Baseline(str(name), sets, needs, memory))
    return found


def _check() -> None:
    """There is a split to compare on, and it is what the parameters ask for."""
    if subprocess.run(["git", "rev-parse", "--quiet", "--verify", "HEAD"], cwd=PROJECT, capture_output=True).returncode:
        raise CannotStartError("this project has no commit yet", "git add . && git commit: experiments belong to one")
    if not (PROJECT / "dvc.lock").exists():
        raise CannotStartError("nothing was crawled and split yet", "run `make run` once")
    code, lines = dvc.run(["status", "--quiet", *GIVEN], lambda line: None)
    if code:
        reason = dvc.error(lines, code) if lines else "pictures or parameters changed since the last `dvc repro`"
        raise CannotStartError(reason, "run `dvc repro`, so that all are compared on what there is now")


@contextmanager
def _copy() -> Iterator[Path]:
    """The project as it stands, in a clone that shares DVC's cache; removed at the end, whatever it is."""
    place = PROJECT / ".dvc" / "tmp" / "baselines"
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CannotStartError("`make baselines` of this project is running already", "wait for it") from None
        shutil.rmtree(place, ignore_errors=True)  # of one that was killed
        try:
            _git("clone", "--quiet", _git("rev-parse", "--show-toplevel"), str(place))
            project = place / _git("rev-parse", "--show-prefix")
            _overlay(project)
            with suppress(FileNotFoundError):
                shutil.copyfile(PROJECT / ".dvc" / "config.local", project / ".dvc" / "config.local")
            cache = _dvc(PROJECT, "cache", "dir")[-1]
            # Named from the copy: DVC cannot write an address into its settings that holds more than ASCII.
            _dvc(project, "cache", "dir", "--local", os.path.relpath(cache, project))
            _dvc(project, "checkout", "--quiet", *GIVEN)
            yield project
        finally:
            shutil.rmtree(place, ignore_errors=True)


def _overlay(copy: Path) -> None:
    """Brings parameters, lock file, code and small results in the copy to what they are in the project."""
    for name in _git("ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0"):
        source, target = PROJECT / name, copy / name
        if name and source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
        elif name and not source.exists():
            target.unlink(missing_ok=True)


def _run(baseline: Baseline, copy: Path, store: str, experiment: str) -> bool:
    """Runs an experiment, logs it, and hands it to the project.

    Returns:
        Whether it went well; what did not is said.
    """
    _say(f"{baseline.name}: begins")
    try:
        _overlay(copy)
        watch = Watch(baseline.name)
        sets = [word for key, value in baseline.sets.items() for word in ("-S", f"++{key}={_value(value)}")]
        _dvc(copy, "exp", "run", "--name", baseline.name, *ONE_FORMAT, *sets, "--single-item", *STAGES, log=watch)
        # What DVC had from before it did not run; run now, it writes the same bytes.
        seconds = watch.seconds or _timed(baseline.name, _command("train"), copy)
        of_file = ["--tracking-uri", store] if store.startswith("sqlite:") else []
        named = ["--experiment", experiment, "--name", baseline.name, "--cost", f"training_seconds={seconds:.3f}"]
        _timed(baseline.name, ["imageloom", "track", *named, *of_file], copy)
        _dvc(copy, "exp", "push", "--quiet", "--force", "--no-cache", "origin", baseline.name)
    except FailedError as fault:
        sys.stderr.write(f"error: {baseline.name}: {fault}\n")
        return False
    return True


def _value(value: Any) -> str:
    """As Hydra's grammar has it: quoted where it is a text."""
    if isinstance(value, str):
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return "null" if value is None else str(value).lower()


def _dvc(project: Path, *words: str, log: Callable[[str], object] = lambda line: None) -> list[str]:
    """Runs a command of DVC; gives its lines."""
    code, lines = dvc.run(list(words), log, project)
    if code:
        raise FailedError(dvc.error(lines, code))
    return lines


def _command(stage: str) -> list[str]:
    """What dvc.yaml runs for a stage."""
    content = yaml.safe_load((PROJECT / "dvc.yaml").read_text(encoding="utf-8"))
    return shlex.split(content["stages"][stage]["cmd"])


def _timed(name: str, words: list[str], folder: Path) -> float:
    """Runs a command in a folder; gives its seconds."""
    started = time.monotonic()
    done = subprocess.run(
        words, cwd=folder, env=dvc.environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8"
    )
    lines = done.stdout.splitlines()
    lost = next((line for line in lines if line.startswith("warning: the result was not logged")), None)
    if done.returncode or lost:
        raise FailedError(lost or dvc.error(lines, done.returncode))
    for line in lines:
        _say(f"{name}: {line}")
    return time.monotonic() - started


def _rank(experiment: str) -> bool:
    """Prints and writes the ranking; gives whether it could, and what was in the way is said."""
    words = ["rank", "-C", str(PROJECT), "--experiment", experiment]
    written = ["--markdown", str(PROJECT / MARKDOWN), "--chart", str(PROJECT / CHART)]
    _say("")
    code = subprocess.run(["imageloom", *words, *written], env=dvc.environment(), check=False).returncode
    _say(f"\nchart      {CHART}" if code == 0 else "")
    _say("dvc exp show lists the experiments, dvc exp apply NAME takes one into your project")
    return code == 0


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=PROJECT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotStartError(f"git {words[0]}: {(done.stderr.strip().splitlines() or ['failed'])[-1]}", "mend that")
    return done.stdout.removesuffix("\n")


def _stop(number: int, frame: FrameType | None) -> None:
    raise SystemExit(143)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
