"""Fresh clones of the project, in which tests type what a person would."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]


class Clone:
    """A copy of the working tree as `git clone` would give it, on the interpreter that runs the tests."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.log = ""  # of the run that brought it here
        self.env = {key: value for key, value in os.environ.items() if not key.startswith(("PREFECT_", "MLFLOW_"))}
        self.env["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        self.env["PYTHONPATH"] = str(root / "src")  # before the project that the interpreter has installed

    @classmethod
    def make(cls, root: Path, demo_port: int) -> "Clone":
        """A fresh one, with the demo's gallery at a port of its own: the usual one may be in use on this machine."""
        listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(listing, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
        for name in filter(None, names):
            if (ROOT / name).is_file():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, root / name)
        clone = cls(root)
        clone.configure(scrape={"sources": [{"kind": "demo", "port": demo_port}]})
        clone.run("git", "init", "-q")
        clone.commit()
        return clone

    def copy(self, root: Path) -> "Clone":
        """Another one in the same state."""
        shutil.copytree(self.root, root, symlinks=True)
        return Clone(root)

    def environment(self) -> dict[str, str]:
        """The surroundings of its commands, as `flow_projects.Ui` asks for them."""
        return self.env

    def commit(self) -> None:
        """Commits everything that git does not ignore."""
        self.run("git", "add", "-A")
        self.run("git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "state")

    def run(self, *command: str, code: int = 0, env: dict[str, str] | None = None) -> str:
        """Runs a command in it and returns all that it printed."""
        done = subprocess.run(
            command, cwd=self.root, env={**self.env, **(env or {})}, capture_output=True, text=True, check=False
        )
        assert done.returncode == code, f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def start(self, *command: str, **options: object) -> subprocess.Popen[str]:
        """Starts a command in it."""
        return subprocess.Popen(command, cwd=self.root, env=self.env, text=True, **options)  # type: ignore[call-overload]

    def configure(self, **sections: object) -> None:
        """Replaces sections of params.yaml."""
        path = self.root / "params.yaml"
        content = yaml.safe_load(path.read_text(encoding="utf-8")) | sections
        path.write_text(yaml.safe_dump(content, allow_unicode=True, sort_keys=False), encoding="utf-8")

    def outs(self) -> dict[str, str]:
        """Digest of every output in dvc.lock, by `stage: path`."""
        lock = yaml.safe_load((self.root / "dvc.lock").read_text(encoding="utf-8"))
        return {
            f"{stage}: {out['path']}": out["md5"] for stage, entry in lock["stages"].items() for out in entry["outs"]
        }
