"""What a module of imageloom imports, directly and through others, read from the source."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src"


def file_of(module: str) -> Path | None:
    """The file of a module of this project; None for a package and for what is not ours."""
    path = SOURCE.joinpath(*module.split(".")).with_suffix(".py")
    return path if path.is_file() else None


def imports(path: Path) -> set[str]:
    """Every module name that the file imports anywhere, each `from a import b` as `a` and as `a.b`."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def closure(module: str) -> set[Path]:
    """Files of this project that a run of `module` can reach, and the page templates that stand beside them."""
    todo, seen = [file_of(module)], set()
    while todo:
        path = todo.pop()
        if path is None or path in seen:
            continue
        seen.add(path)
        todo += [file_of(name) for name in imports(path)]
    folders = {path.parent for path in seen} - {SOURCE / "imageloom"}
    templates = {path for folder in folders for kind in ("html", "css", "js") for path in folder.glob(f"*.{kind}")}
    return seen | templates
