"""`imageloom lr-find` draws what it measured."""

import csv
import shutil

from projects import Project, picture

from imageloom import images
from imageloom.cli import main


def test_it_writes_curve_and_picture_and_says_the_rate(tmp_path, tiles_backbone, capsys):
    project = Project(tmp_path / "项目 one", split={"method": "stratified"})
    shutil.copytree(tiles_backbone, project.paths.backbone)
    for hue in ("warm", "cold"):
        project.add(hue, [picture(hue, seed) for seed in range(20)])
    project.run("embed", "clean", "split")
    capsys.readouterr()
    assert main(["lr-find", "-C", str(project.paths.root)]) == 0
    said = capsys.readouterr().out
    with (project.paths.reports / "lr_find.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    rates, losses = ([float(row[name]) for row in rows] for name in ("learning_rate", "loss"))
    assert rates == sorted(rates)
    assert min(losses) < losses[0] / 1.5
    suggested = float(said.split("learning_rate: ")[1].split("}")[0])
    assert rates[0] < suggested < rates[-1]
    assert images.inspect((project.paths.reports / "lr_find.png").read_bytes()).width > 400
    assert main(["lr-find", "-C", str(tmp_path)]) == 2
    assert "hint:" in capsys.readouterr().err
