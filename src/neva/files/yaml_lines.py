"""YAML with line numbers, so that an error can name the line it is on."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from neva.errors import MappingError
from neva.files.opening import utf8_text

__all__ = ["Document", "read_document"]

Model = TypeVar("Model", bound=BaseModel)
Location = tuple[str | int, ...]


_BOOLEAN = "tag:yaml.org,2002:bool"


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses a key written twice.

    The words on, off, yes and no are words, as in YAML 1.2.
    """


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _BOOLEAN or first in "tTfF"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _unique_mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node)
        if key in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {key!r} stands twice", key_node.start_mark
            )
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _unique_mapping)


class Document:
    """A YAML file: its content, and the line of each part of it.

    Attributes
    ----------
    name : str
        How messages call the file.
    content : object
        What stands in it.
    """

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        try:
            self.content = yaml.load(text, Loader=_Loader)
            node = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark
            line = mark.line + 1 if mark else 1
            message = f"{name}:{line}: not well-formed YAML; found: {error.problem}; mend the line"
            raise MappingError(message) from None
        self._lines: dict[Location, int] = {}
        if node is not None:
            self._walk(node, ())

    def _walk(self, node: yaml.Node, at: Location) -> None:
        self._lines.setdefault(at, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                self._lines[(*at, key.value)] = key.start_mark.line + 1
                self._walk(value, (*at, key.value))
        elif isinstance(node, yaml.SequenceNode):
            for number, item in enumerate(node.value):
                self._walk(item, (*at, number))

    def line(self, at: Location) -> int:
        """Line of a part, or of the nearest part around it that has one."""
        while at and at not in self._lines:
            at = at[:-1]
        return self._lines.get(at, 1)

    def error(self, at: Location, what: str) -> MappingError:
        """Make the error for a part of this document; `what` says found and do."""
        path = ".".join(str(part) for part in at)
        return MappingError(f"{self.name}:{self.line(at)}: {path or 'the file'}: {what}")

    def read(self, model: type[Model]) -> Model:
        """Validate the content against a model; raise on the first problem."""
        if not isinstance(self.content, dict):
            found = type(self.content).__name__
            raise self.error((), f"must be a table of keys; found {found}; see the documentation")
        try:
            return model.model_validate(self.content)
        except ValidationError as error:
            raise self._mapping_error(error, model) from None

    def _mapping_error(self, error: ValidationError, model: type[BaseModel]) -> MappingError:
        problems = error.errors(include_url=False, include_context=False)
        # Where a part may be written in several ways, the deepest complaint is
        # about the way that was tried.
        problem = max(problems, key=lambda p: (len(p["loc"]), p["type"] == "extra_forbidden"))
        if not any(part in ("str", "constrained-str") for part in problems[0]["loc"]):
            problem = problems[0]
        at = tuple(part for part in problem["loc"] if self._names(part))
        kind = problem["type"]
        if kind == "extra_forbidden":
            wrong = str(problem["loc"][-1])
            known = _all_fields(model)
            close = difflib.get_close_matches(wrong, known, 1)
            hint = f"write {close[0]!r}" if close else "remove it or see the documentation"
            return self.error(at, f"unknown key; found {wrong!r}; {hint}")
        if kind == "missing":
            missing = str(problem["loc"][-1])
            return self.error(at[:-1], f"a key is missing; found no {missing!r}; add it")
        return self.error(at, f"{problem['msg'].removeprefix('Value error, ')}")

    def _names(self, part: str | int) -> bool:
        return isinstance(part, int) or any(part in at for at in self._lines) or part.islower()


def _all_fields(model: type[BaseModel]) -> list[str]:
    names: set[str] = set()
    schema = model.model_json_schema(by_alias=True)
    for part in (schema, *schema.get("$defs", {}).values()):
        names.update(part.get("properties", {}))
    return sorted(names)


def read_document(path: Path) -> Document:
    """Read a YAML file.

    Raises
    ------
    NotFoundError
        There is no such file.
    MappingError
        It is not UTF-8 or not YAML.
    """
    return Document(path.name, utf8_text(path, MappingError))
