"""What a user's definition file may say: an allow-list of Python's syntax.

The check looks at the tree of the file only; nothing is run. What is not
named here is refused, with its place and what to write instead.
"""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterator
from typing import Any

from neva.definitions import language, writing
from neva.errors import BadInputError

__all__ = ["ATTRIBUTES", "WORDS", "checked_tree"]

#: Where the lists of a file of codelists come in.
FROM_FILES = "codelist_named"

#: The words of the language; its types have no use in a definition.
WORDS = {
    name: getattr(module, name)
    for module in (language, writing)
    for name in module.__all__
    if not isinstance(getattr(module, name), type)
}

_KINDS = (
    language.Boolean,
    language.Quantity,
    language.Time,
    language.Words,
    language.Row,
    language.Rows,
    language._ForEach,
    language._Grid,
    language._Stay,
    language._Subject,
    language._ThisItem,
    language._ThisRow,
)
#: What may stand behind a dot: methods of the language, not of Python.
ATTRIBUTES = {
    name
    for kind in _KINDS
    for name in dir(kind)
    if not name.startswith("_") and name not in ("frame", "node")
}

_MODULES = ("neva.definitions", "neva.definitions.language", "neva.definitions.writing")
_OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.BitAnd, ast.BitOr)
_COMPARISONS = (ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq)

#: A file is a page or two of definitions; beyond this it is something else.
MOST_NODES = 40_000
MOST_DEPTH = 100
MOST_TEXT = 5_000
MOST_NUMBER = 1e15

#: What people write from habit, and what to write here.
_INSTEAD: dict[type[ast.AST], tuple[str, str]] = {
    ast.BoolOp: ("and, or", "combine conditions with & and |, each in brackets"),
    ast.Not: ("not", "write ~(condition)"),
    ast.In: ("in", 'write .one_of("a", "b")'),
    ast.NotIn: ("not in", 'write ~(... .one_of("a", "b"))'),
    ast.Is: ("is", "write .is_missing()"),
    ast.IsNot: ("is not", "write .is_known()"),
    ast.Pow: ("**", "multiply"),
    ast.IfExp: ("if ... else", "write case((condition, value), otherwise=value)"),
    ast.If: ("if", "write case((condition, value), otherwise=value)"),
    ast.For: ("for", "name each definition, or write a comprehension over a list"),
    ast.While: ("while", "a definition has no loops; write rows.each(...)"),
    ast.FunctionDef: ("def", "assign the expression to a name"),
    ast.AsyncFunctionDef: ("async def", "assign the expression to a name"),
    ast.Lambda: ("lambda", "assign the expression to a name"),
    ast.ClassDef: ("class", "a file holds definitions only; take it out"),
    ast.Import: ("import", "only 'from neva.definitions import *' has a meaning here"),
    ast.ImportFrom: ("import", "only 'from neva.definitions import *' has a meaning here"),
    ast.NamedExpr: (":=", "assign the expression on a line of its own"),
    ast.AugAssign: ("an assignment with an operator", "write name = name + ..."),
    ast.Subscript: ("[...]", "give the value a name of its own"),
}
_ALLOWED = (
    ast.Module,
    ast.Expr,
    ast.Assign,
    ast.Name,
    ast.Constant,
    ast.Tuple,
    ast.List,
    ast.Set,
    ast.Dict,
    ast.BinOp,
    ast.UnaryOp,
    ast.USub,
    ast.UAdd,
    ast.Invert,
    ast.Compare,
    ast.Call,
    ast.keyword,
    ast.Attribute,
    ast.Starred,
    ast.ListComp,
    ast.SetComp,
    ast.DictComp,
    ast.GeneratorExp,
    ast.comprehension,
    ast.JoinedStr,
    ast.FormattedValue,
    ast.Load,
    ast.Store,
    *_OPERATORS,
    *_COMPARISONS,
)


class _Check:
    def __init__(self, tree: ast.Module, name: str, words: set[str]) -> None:
        self.tree, self.name, self.words = tree, name, words
        self.own: set[str] = set()

    def refused(self, node: Any, what: str, found: str, instead: str) -> BadInputError:
        line, column = getattr(node, "lineno", 1), getattr(node, "col_offset", 0) + 1
        message = f"{self.name}:{line}:{column}: {what}; found {found}; {instead}"
        return BadInputError(message)

    def nodes(self) -> Iterator[tuple[ast.AST, ast.AST]]:
        """Every node with the nearest one that has a place; never by recursion."""
        waiting: list[tuple[ast.AST, ast.AST, int]] = [(self.tree, self.tree, 0)]
        count = 0
        while waiting:
            node, placed, depth = waiting.pop()
            placed = node if hasattr(node, "lineno") else placed
            count += 1
            if depth > MOST_DEPTH or count > MOST_NODES:
                raise self.refused(
                    placed,
                    "the file is too large or nested too deeply",
                    f"{count} parts, {depth} deep",
                    "give parts names, or split the file",
                )
            yield node, placed
            below = [(part, placed, depth + 1) for part in ast.iter_child_nodes(node)]
            waiting.extend(reversed(below))

    def run(self) -> None:
        everything = list(self.nodes())
        for node, placed in everything:
            self._kind(node, placed)
        for node, _ in everything:
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                self._own_name(node)
        for node, _ in everything:
            self._details(node)

    def _kind(self, node: ast.AST, placed: ast.AST) -> None:
        if isinstance(node, ast.ImportFrom) and node.module in _MODULES and not node.level:
            unknown = [one.name for one in node.names if one.name not in (*self.words, "*")]
            if not unknown and not any(one.asname for one in node.names):
                return
        if isinstance(node, ast.alias):
            return
        if not isinstance(node, _ALLOWED):
            kind = type(node)
            shown, instead = _INSTEAD.get(
                kind, (kind.__name__, "a file holds assignments and calls of the language only")
            )
            raise self.refused(
                placed, "this is not part of the language of definitions", shown, instead
            )

    def _own_name(self, node: ast.Name) -> None:
        if node.id.startswith("__"):
            raise self.refused(
                node, "a name begins with two underscores", node.id, "give it another name"
            )
        if node.id in self.words:
            raise self.refused(
                node, "a word of the language gets another meaning", node.id, "choose another name"
            )
        self.own.add(node.id)

    def _details(self, node: ast.AST) -> None:
        match node:
            case ast.Name(ctx=ast.Load()):
                self._name(node)
            case ast.Attribute():
                self._attribute(node)
            case ast.Call():
                self._call(node)
            case ast.keyword(arg=name) if name is not None and name.startswith("_"):
                raise self.refused(node, "an argument begins with _", name, "take it out")
            case ast.Constant():
                self._constant(node)
            case ast.Compare(ops=operations) if len(operations) > 1:
                raise self.refused(
                    node,
                    "a chain of comparisons has no meaning here",
                    f"{len(operations)} in a row",
                    "write (a < x) & (x < b)",
                )
            case ast.Assign():
                self._assignment(node)
            case ast.comprehension():
                self._comprehension(node)
            case ast.FormattedValue():
                self._filled_in(node)

    def _name(self, node: ast.Name) -> None:
        if node.id in self.words or node.id in self.own:
            return
        close = difflib.get_close_matches(node.id, [*self.words, *self.own], 1)
        instead = f"write {close[0]}" if close else "see the list of words in docs/definitions.md"
        raise self.refused(node, "the name is not known", node.id, instead)

    def _attribute(self, node: ast.Attribute) -> None:
        if node.attr in ATTRIBUTES:
            return
        close = difflib.get_close_matches(node.attr, ATTRIBUTES, 1)
        instead = f"write .{close[0]}" if close else "see the list of words in docs/definitions.md"
        raise self.refused(node, "there is no such thing in the language", f".{node.attr}", instead)

    def _call(self, node: ast.Call) -> None:
        called = isinstance(node.func, ast.Attribute) or (
            isinstance(node.func, ast.Name) and node.func.id in self.words
        )
        if not called:
            raise self.refused(
                node,
                "only words of the language are called",
                ast.unparse(node.func)[:40],
                "call one of them",
            )

    def _assignment(self, node: ast.Assign) -> None:
        for target in node.targets:
            parts = target.elts if isinstance(target, ast.Tuple) else [target]
            if not all(isinstance(part, ast.Name) for part in parts):
                raise self.refused(
                    target,
                    "only names are assigned to",
                    ast.unparse(target)[:40],
                    "write name = ...",
                )

    def _filled_in(self, node: ast.FormattedValue) -> None:
        spec = node.format_spec
        if node.conversion != -1 or (spec is not None and ast.unparse(spec) not in _SPECS):
            raise self.refused(
                node,
                "a text is filled in with more than a name",
                "a conversion or format",
                'write f"{name}" or f"{name:g}"',
            )
        if not isinstance(node.value, (ast.Name, ast.Constant)):
            raise self.refused(
                node,
                "a text is filled in with more than a name",
                ast.unparse(node.value)[:40],
                "give the value a name first",
            )

    def _constant(self, node: ast.Constant) -> None:
        value = node.value
        if value is not None and not isinstance(value, (bool, int, float, str)):
            raise self.refused(
                node, "not a number, text or truth value", type(value).__name__, "take it out"
            )
        if isinstance(value, str) and len(value) > MOST_TEXT:
            raise self.refused(
                node, "a text is too long", f"{len(value)} letters", f"use at most {MOST_TEXT}"
            )
        if isinstance(value, (int, float)) and not -MOST_NUMBER < value < MOST_NUMBER:
            raise self.refused(node, "a number is too large", "one of 16 digits", "check it")

    def _comprehension(self, node: ast.comprehension) -> None:
        if node.ifs or node.is_async:
            raise self.refused(
                node.target,
                "a comprehension goes over a list as it stands",
                "if or async",
                "leave out of the list what is not wanted",
            )
        if not isinstance(node.iter, (ast.List, ast.Tuple, ast.Set, ast.Name)):
            raise self.refused(
                node.iter,
                "a comprehension goes over a list",
                ast.unparse(node.iter)[:40],
                "write the list there, or its name",
            )


_SPECS = {"f'g'", "f'.0f'", "f'.1f'", "f'.2f'"}


def checked_tree(text: str, name: str) -> ast.Module:
    """Parse a definition file and refuse what is not of the language.

    Imports of the language are taken out: its words are there anyhow.

    Raises
    ------
    BadInputError
        The message names file, line and column, what was found and what to do.
    """
    try:
        tree = ast.parse(text, filename=name)
    except SyntaxError as error:
        # Foreign text of the error describes syntax, never a value.
        message = (
            f"{name}:{error.lineno or 1}:{error.offset or 1}: not well-formed Python; "
            f"found {error.msg}; mend the line"
        )
        raise BadInputError(message) from None
    except (RecursionError, MemoryError, ValueError) as error:
        message = (
            f"{name}:1:1: the file cannot be read as Python; found {type(error).__name__} while "
            "reading it; give parts names instead of nesting them, and take control characters out"
        )
        raise BadInputError(message) from None
    _Check(tree, name, {*WORDS, FROM_FILES}).run()
    tree.body = [part for part in tree.body if not isinstance(part, ast.ImportFrom)]
    return tree
