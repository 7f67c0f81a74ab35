"""Programmes: the definitions of one clinical field, found by entry point.

A programme is an installed package with a function that returns a
:class:`Programme`; the entry point group is ``neva.programmes``.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import entry_points
from typing import Any

from neva.definitions.documents import Feature, Measure, Score, content_hash, library
from neva.errors import NotFoundError, UsageError

__all__ = ["Programme", "load_programme", "programme_names"]


@dataclass(frozen=True)
class Programme:
    """Definitions, codelists and guidance for one clinical field.

    Attributes
    ----------
    name, version, title, title_ru : str
        What it is.
    documents : tuple
        Its features, scores and measures.
    rules : tuple
        Its rules (:class:`neva.decisions.rules.Rule`), documents too.
    guidance : str
        For clinicians, Markdown.
    settings : mapping of str to str or float
        What was chosen where it leaves a choice, such as time zero.
    """

    name: str
    version: str
    title: str
    title_ru: str
    documents: tuple[Any, ...]
    rules: tuple[Any, ...] = ()
    guidance: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        library((*self.documents, *self.rules))

    @property
    def measures(self) -> tuple[Measure, ...]:
        """Its measures, in the order of the programme."""
        return tuple(one for one in self.documents if isinstance(one, Measure))

    @property
    def scores(self) -> tuple[Score, ...]:
        """Its scores."""
        return tuple(one for one in self.documents if isinstance(one, Score))

    @property
    def features(self) -> tuple[Feature, ...]:
        """Its features."""
        return tuple(one for one in self.documents if isinstance(one, Feature))

    def document(self, name: str) -> Any:
        """Return a definition by its id, or by what follows the programme's name.

        Raises
        ------
        NotFoundError
            There is none.
        """
        found = [one for one in self.documents if one.id in (name, f"{self.name}.{name}")]
        if not found:
            message = (
                f"programme {self.name}: it has no such definition; found {name!r}; it has "
                f"{', '.join(one.id for one in self.documents)}"
            )
            raise NotFoundError(message)
        return found[0]

    @property
    def hash(self) -> str:
        """SHA-256 over the contents of its definitions."""
        text = "\n".join(sorted(content_hash(one) for one in (*self.documents, *self.rules)))
        return hashlib.sha256(text.encode()).hexdigest()


def programme_names() -> list[str]:
    """Return the names of the installed programmes."""
    return sorted({point.name for point in entry_points(group="neva.programmes")})


def _converted(name: str, key: str, text: Any, default: Any) -> Any:
    if not isinstance(text, str) or isinstance(default, str):
        return text
    try:
        return type(default)(text)
    except ValueError:
        message = (
            f"programme {name}: setting {key} must be a {type(default).__name__}; found {text!r}; "
            f"the default is {default}"
        )
        raise UsageError(message) from None


def load_programme(name: str, **settings: Any) -> Programme:
    """Make an installed programme.

    Parameters
    ----------
    name : str
        Of its entry point, such as ``covid19``.
    settings
        What it leaves open; texts are converted to the type of the default.

    Raises
    ------
    NotFoundError
        No such programme is installed.
    UsageError
        It has no such setting, or does not accept the value.
    """
    points = {point.name: point for point in entry_points(group="neva.programmes")}
    if name not in points:
        message = (
            f"programme: not installed; found {name!r}; installed are "
            f"{', '.join(sorted(points)) or 'none'}"
        )
        raise NotFoundError(message)
    make: Callable[..., Programme] = points[name].load()
    known = {
        key: parameter.default for key, parameter in inspect.signature(make).parameters.items()
    }
    for key in settings:
        if key not in known:
            message = (
                f"programme {name}: it has no setting {key!r}; "
                f"it has {', '.join(sorted(known)) or 'none'}"
            )
            raise UsageError(message)
    chosen = {key: _converted(name, key, value, known[key]) for key, value in settings.items()}
    differing = {key: value for key, value in chosen.items() if value != known[key]}
    return _marked(make(**chosen), differing)


def _marked(programme: Programme, differing: Mapping[str, Any]) -> Programme:
    """Mark versions where settings are not the programme's own: their content differs."""
    if not differing:
        return programme
    text = json.dumps(dict(sorted(differing.items())), sort_keys=True)
    mark = hashlib.sha256(text.encode()).hexdigest()[:6]

    def renamed(documents: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(
            one.model_copy(update={"version": f"{one.version}+{mark}"}) for one in documents
        )

    return replace(
        programme, documents=renamed(programme.documents), rules=renamed(programme.rules)
    )
