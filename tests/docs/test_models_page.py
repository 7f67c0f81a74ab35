"""The page of models is true: its names exist, its list of figures is complete."""

import re
from pathlib import Path

import typer

from neva.cli.decide import app
from neva.models.evaluation import FIGURES
from neva.models.families import load_family
from neva.statistics.models import model_names

PAGE = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")


def test_every_figure_is_explained():
    assert [name for name in FIGURES if f"`{name}`" not in PAGE] == []


def test_every_landmark_and_classifier_is_named():
    family = load_family("covid19.mortality")
    assert [one.name for one in family.landmarks if f"`{one.name}`" not in PAGE] == []
    assert [name for name in model_names("classifier") if f"`{name}`" not in PAGE] == []


def test_options_on_the_page_exist():
    group = typer.main.get_command(app)
    known = {
        option
        for command in group.commands.values()
        for parameter in command.params
        for option in parameter.opts
    }
    asked = {
        option
        for line in re.findall(r"neva decide [^`\n]*", PAGE)
        for option in re.findall(r"--[a-z-]+", line)
    }
    assert asked
    assert asked <= known


def test_names_in_code_can_be_imported():
    for module, names in re.findall(r"^from (neva[\w.]*) import (.+)$", PAGE, re.M):
        found = __import__(module, fromlist=["_"])
        for name in names.split(", "):
            assert hasattr(found, name), name
