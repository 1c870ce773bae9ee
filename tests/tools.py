"""Other people's programs, each in an environment of its own below .bench/, made once with uv."""

import shutil
import subprocess
import sys
from pathlib import Path

from skips import skip_or_fail

BENCH = Path(__file__).parents[1] / ".bench"


def python_with(name: str, *packages: str) -> Path:
    """The interpreter of an environment that holds the packages.

    Args:
        name: Of the environment.
        packages: With their versions, so that a test means the same next year.
    """
    folder = BENCH / name
    if not (folder / ".made").exists():
        shutil.rmtree(folder, ignore_errors=True)
        _uv("venv", "--python", sys.executable, str(folder))
        _uv("pip", "install", "--python", str(folder / "bin" / "python"), *packages)
        (folder / ".made").touch()
    return folder / "bin" / "python"


def beside(name: str, *packages: str) -> Path:
    """A folder for PYTHONPATH that adds packages, without what they depend on, to this interpreter's own."""
    folder = BENCH / name
    if not (folder / ".made").exists():
        shutil.rmtree(folder, ignore_errors=True)
        _uv("pip", "install", "--python", sys.executable, "--no-deps", "--target", str(folder), *packages)
        (folder / ".made").touch()
    return folder


def _uv(*arguments: str) -> None:
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    if uv is None:
        skip_or_fail("uv is not installed")
    done = subprocess.run([uv, "--quiet", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        skip_or_fail(f"uv {' '.join(arguments[:2])} failed: {done.stderr.strip().splitlines()[-1:]}")
