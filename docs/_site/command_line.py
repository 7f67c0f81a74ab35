"""The reference of the command line, made from the commands themselves."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

import typer

from neva.cli import app

__all__ = ["command_line_page", "commands"]

_EXAMPLE = re.compile(r"^Example: ", re.MULTILINE)


def commands(group: Any, *names: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Give every group and every command under a group, with its words."""
    for name, command in group.commands.items():
        yield (*names, name), command
        if hasattr(command, "commands"):
            yield from commands(command, *names, name)


def command_line_page(_: str | None = None) -> str:
    """Return the page: a heading for each command, its arguments, options and example."""
    parts = []
    for words, command in commands(typer.main.get_command(app)):
        parts.append(f"{'#' * (1 + len(words))} neva {' '.join(words)}")
        parts += _about(command.help)
        # A group may be a command, too.
        if not hasattr(command, "commands") or command.invoke_without_command:
            parts += _parameters(command.params)
    return "\n\n".join(parts)


def _about(text: str | None) -> list[str]:
    about, *example = _EXAMPLE.split(inspect.cleandoc(text or ""))
    parts = [_escaped(about.strip())]
    for one in example:
        command, _, after = one.partition("\n\n")
        parts.append(f"```sh\n{' '.join(command.split())}\n```")
        parts += [_escaped(after.strip())] if after.strip() else []
    return parts


def _parameters(parameters: list[Any]) -> list[str]:
    parts = []
    for kind, title in (("argument", "Argument"), ("option", "Option")):
        shown = [one for one in parameters if one.param_type_name == kind and not one.hidden]
        if shown:
            lines = [f"| {title} | Meaning | Default |", "|---|---|---|", *map(_line, shown)]
            parts.append("\n".join(lines))
    return parts


def _line(one: Any) -> str:
    names = ", ".join((*one.opts, *one.secondary_opts))
    if one.param_type_name == "argument":
        written = one.metavar or one.name.upper()
    elif one.is_flag:
        written = names
    else:
        written = f"{names} {one.metavar or one.name.upper().replace('_', '-')}"
    if one.required:
        default = "required"
    elif one.default in (None, "", False, ()) or callable(one.default):
        default = ""
    else:
        default = f"`{one.default}`"
    cells = (f"`{written}`", _escaped(one.help or ""), default)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _escaped(text: str) -> str:
    """Escape what Markdown would take as its own."""
    return re.sub(r"([<>*_\[\]])", r"\\\1", text)
