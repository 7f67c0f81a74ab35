"""What is public is in ``__all__``, exists, and is documented."""

import importlib
import inspect
import pkgutil

import pytest

import neva

FOLDERS = ["neva.census", "neva.flow", "neva.pathways", "neva.reports"]
MODULES = [
    name
    for _, name, _ in pkgutil.walk_packages(neva.__path__, "neva.")
    if not any(part.startswith("_") for part in name.split("."))
]


@pytest.mark.parametrize("name", MODULES)
def test_every_public_module_is_documented_and_names_what_is_public(name):
    module = importlib.import_module(name)
    assert module.__doc__
    if name.startswith("neva.cli"):
        return
    for public in getattr(module, "__all__", []):
        assert hasattr(module, public), public


@pytest.mark.parametrize("name", FOLDERS)
def test_everything_public_of_a_subject_has_a_docstring(name):
    module = importlib.import_module(name)
    for public in module.__all__:
        thing = getattr(module, public)
        if inspect.isclass(thing) or inspect.isfunction(thing):
            assert inspect.getdoc(thing), public


def test_subjects_are_found_from_the_package():
    assert neva.pathways.__name__ == "neva.pathways"
    with pytest.raises(AttributeError):
        _ = neva.nonsense
