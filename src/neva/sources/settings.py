"""Settings of a source as a user writes them: NAME=VALUE, by the source's own signature."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import polars as pl

from neva.errors import UsageError
from neva.events.clock import read_iso

__all__ = ["read_settings"]

#: What the command line says in other ways.
_NOT_SETTINGS = ("path", "zone", "mapping")


def read_settings(
    open_source: Callable[..., Any], written: Mapping[str, str], *, zone: str
) -> dict[str, Any]:
    """Turn the texts of settings into what the source takes.

    Parameters
    ----------
    open_source : callable
        The source's door; its keyword parameters are its settings, and their
        annotations say how a text is read: whole numbers, times, JSON objects,
        else text.
    written : mapping of str to str
        Name to text.
    zone : str
        The zone of times without offset.

    Returns
    -------
    dict
        Arguments for `open_source`.

    Raises
    ------
    neva.errors.UsageError
        There is no such setting, or its text cannot be read.

    Examples
    --------
    >>> def open_lists(path, *, zone, mapping=None, batch: int = 10, name: str | None = None): ...
    >>> read_settings(open_lists, {"batch": "20", "name": "lists"}, zone="UTC")
    {'batch': 20, 'name': 'lists'}
    """
    parameters = {
        name: parameter
        for name, parameter in inspect.signature(open_source).parameters.items()
        if name not in _NOT_SETTINGS and parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }
    read = {}
    for name, text in written.items():
        if name not in parameters:
            message = f"--set: the source has no such setting; found {name!r}; " + (
                f"choose of {', '.join(parameters)}" if parameters else "leave it out"
            )
            raise UsageError(message)
        read[name] = _value(name, text, str(parameters[name].annotation), zone)
    return read


def _value(name: str, text: str, annotation: str, zone: str) -> Any:
    if annotation == "int" or annotation == str(int):
        if not text.isdecimal() or int(text) < 1:
            message = f"--set {name}: must be a whole number from 1; found {text!r}; write 1000"
            raise UsageError(message)
        return int(text)
    if "datetime" in annotation:
        moment: datetime | None = read_iso(pl.Series([text]), zone)[0]["time"]
        if moment is None:
            message = f"--set {name}: must be a time; found {text!r}; write 2020-05-01T08:00+03:00"
            raise UsageError(message)
        return moment
    if "Mapping" in annotation:
        try:
            pairs = json.loads(text)
        except json.JSONDecodeError:
            pairs = None
        if not isinstance(pairs, dict) or not all(isinstance(v, str) for v in pairs.values()):
            message = (
                f"--set {name}: must be JSON with a text for each name; found {text!r}; "
                'write {"https://ward.example/codes": "WARD"}'
            )
            raise UsageError(message)
        return pairs
    return text
