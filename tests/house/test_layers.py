"""Imports run one way: flows -> command line -> stages and clients -> their parts -> ground."""

import ast
import importlib

import pytest
from closure import ROOT, SOURCE, imports
from pydantic import BaseModel

from imageloom.cli import COMMANDS, STAGES

GROUND = {"errors", "params", "files", "images", "engine", "tables", "console", "quiet", "graphs", "features"}
GROUND |= {
    "fonts",
    "arrays",
    "backbone_files",
    "jpeg_scans",
    "card",
    "decisions",
    "estimator",
    "heatmap",
    "ood",
    "schema",
    "sheet",
    "tflite_editor",
    "thumbnails",
    "tflite_graph",
    "tflite_metadata",
    "trained_on",
    "mlflow_epochs",
    "mlflow_store",
    "network",
    "wilson",
}
MODULES = sorted((SOURCE / "imageloom").rglob("*.py"))
STAGE_MODULES = {module.removeprefix("imageloom.") for module in STAGES.values()}
GROUND |= {"web", "web.problems", "web.sockets"}
CLIENTS = {"compare", "predict", "predictor", "rank", "review", "runtimes", "serving", "summary"}


def name_of(path) -> str:
    return ".".join(path.relative_to(SOURCE / "imageloom").with_suffix("").parts)


def own_imports(path) -> set[str]:
    """Modules of imageloom that the file imports, without the package's name."""
    modules = {name_of(module) for module in MODULES}
    return {name.removeprefix("imageloom.") for name in imports(path) if name.startswith("imageloom.")} & modules


def broken_rules(path, me: str) -> list[str]:
    used = own_imports(path)
    foreign = {name.split(".")[0] for name in imports(path)}
    room = me.split(".")[0]
    rules = {
        "imports flows": "flows" in foreign,
        "imports Prefect": "prefect" in foreign,
        "imports DVC": "dvc" in foreign,
        "imports MLflow outside track and its store": "mlflow" in foreign
        and me not in {"track", "mlflow_store", "mlflow_epochs"},
        "imports TensorFlow outside graphs and backbone": bool(
            {"tensorflow", "tf_keras", "tensorflow_hub"} & foreign
            and me not in {"graphs", "backbone.mobilenet_v2", "backbone.hub", "recipes.cnn", "recipes.finetune"}
        ),
        "is ground and imports what stands on it": room in GROUND and bool(used - GROUND),
        # `forget` asks `track` what it logged of each model, `lr_find` asks `train` for its pictures; `make` stands
        # where DVC stands, above the stages, and runs them one after another for those who have no project.
        "is a part and imports a stage": room not in {"cli", "forget", "lr_find", "make"}
        and bool(used & (STAGE_MODULES - {me})),
        "imports what runs stages": room != "make" and any(name.split(".")[0] == "make" for name in used),
        "imports the command line": "cli" in used,
        "is a stage and imports a client": me in STAGE_MODULES
        and any(name.split(".")[0] in CLIENTS - {"predictor"} for name in used),
        "is a client and imports a stage's parts": room in CLIENTS
        and any(name.split(".")[0] in {"backbone", "clean", "evaluate", "recipes", "sources"} for name in used),
        "opens pictures outside images": me not in {"images"} and "PIL" in foreign and calls_image_open(path),
    }
    return [rule for rule, broken in rules.items() if broken]


def calls_image_open(path) -> bool:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return any(
        isinstance(node, ast.Attribute) and node.attr == "open" and getattr(node.value, "id", "") == "Image"
        for node in ast.walk(tree)
    )


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_point_downwards(path):
    assert broken_rules(path, name_of(path)) == []


def test_an_import_that_points_upwards_is_noticed(tmp_path):
    copy = tmp_path / "tables.py"
    text = (SOURCE / "imageloom" / "tables.py").read_text(encoding="utf-8")
    wrong = "\nimport prefect\nfrom imageloom.split import Params\nfrom imageloom.make import flags\n"
    copy.write_text(text + wrong, encoding="utf-8")
    assert broken_rules(copy, "tables") == [
        "imports Prefect",
        "is ground and imports what stands on it",
        "is a part and imports a stage",
        "imports what runs stages",
    ]


def test_flows_use_nothing_of_imageloom_but_its_table_of_stages():
    for path in (ROOT / "flows").glob("*.py"):
        used = {name for name in imports(path) if name.split(".")[0] == "imageloom"}
        assert used <= {"imageloom.cli", "imageloom.cli.STAGES"}, path.name


@pytest.mark.parametrize("path", [path for path in MODULES if path.name == "__init__.py"], ids=name_of)
def test_packages_hold_a_docstring_only(path):
    body = ast.parse(path.read_text(encoding="utf-8")).body
    assert len(body) == 1
    assert isinstance(body[0], ast.Expr)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_modules_and_functions_stay_small(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno < 60, node.name


def models(model: type[BaseModel]):
    yield model
    for field in model.model_fields.values():
        for kind in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from models(kind)


@pytest.mark.parametrize("stage", list(STAGES))
def test_every_parameter_says_what_it_is_for(stage):
    for model in models(importlib.import_module(STAGES[stage]).Params):
        for name, field in model.model_fields.items():
            assert field.description, f"{model.__qualname__}.{name}"


@pytest.mark.parametrize("command", list(COMMANDS))
def test_every_command_answers_help(command, capsys):
    from imageloom.cli import main

    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert len(capsys.readouterr().out.splitlines()) > 4
