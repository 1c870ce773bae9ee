"""`make bench-pipeline`: how long a person waits, from a fresh clone to a served model.

Everything is run as a person would, in a clone of the committed state: `make run` with nothing installed and no cache
of packages, again with nothing to do, `dvc repro` with nothing to do, and `dvc repro` with all results thrown away.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from figures import Figure, show
from processes import timed

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Measures and prints."""
    with tempfile.TemporaryDirectory() as scratch:
        clone = Path(scratch) / "imageloom"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        plain = {
            key: value for key, value in os.environ.items() if key not in ("VIRTUAL_ENV", "PYTHONPATH", "MAKEFLAGS")
        }
        plain["PATH"] = os.pathsep.join(part for part in plain["PATH"].split(os.pathsep) if ".venv" not in part)
        plain["UV_NO_CACHE"] = "1"
        first, _ = run(["make", "run"], clone, plain)
        again, _ = run(["make", "run"], clone, plain)
        inside = plain | {"PATH": f"{clone}/.venv/bin{os.pathsep}{plain['PATH']}"}
        cached = min(run(["dvc", "repro"], clone, inside)[0] for _ in range(3))
        for made in (
            "dvc.lock",
            ".dvc/cache",
            ".dvc/tmp",
            "data/raw",
            "data/features",
            "data/clean",
            "data/split",
            "models",
            "reports",
        ):
            path = clone / made
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        cold, _ = run(["dvc", "repro"], clone, inside)
        picture = next((clone / "data" / "raw" / "functional").iterdir())
        predict = [run(["imageloom", "predict", str(picture)], clone, inside) for _ in range(5)]
    show(
        "pipeline",
        [
            Figure("make run from nothing, install included", first, "s", "< 360"),
            Figure("make run, nothing to do", again, "s", "< 10"),
            Figure("dvc repro, everything cached", cached, "s", "< 3"),
            Figure("dvc repro, cold, backbone included", cold, "s", "< 75"),
            Figure(
                "imageloom predict, one picture (median of 5)", sorted(seconds for seconds, _ in predict)[2], "s", "< 1"
            ),
            Figure("imageloom predict, peak memory", max(peak for _, peak in predict), "MB", "< 150"),
        ],
    )


def run(command: list[str], folder: Path, environment: dict[str, str]) -> tuple[float, float]:
    """Wall seconds and peak memory in MB of the command, whose output is shown where it fails."""
    print(f"$ {' '.join(command)}", flush=True)
    executable = str(shutil.which(command[0], path=environment["PATH"]))
    with tempfile.TemporaryFile() as output:
        try:
            return timed([executable, *command[1:]], cwd=folder, env=environment, stdout=output, stderr=output)
        except SystemExit:
            output.seek(0)
            sys.exit(output.read().decode()[-3000:])


if __name__ == "__main__":
    main()
