"""The house stays in order: no circle of imports, no crowded room, no overlong file."""

import ast
from collections import Counter, defaultdict
from pathlib import Path

from radon.complexity import cc_visit
from radon.visitors import Function

ROOT = Path(__file__).parents[2] / "src"

MOST_FILES = 25
MOST_LINES = 600
#: What begins the reason in the head of a longer file.
REASON = f"More than {MOST_LINES} lines: "
MOST_BRANCHES = 25
#: Functions with more branches, and why they are one.
BRANCHED = {
    "neva.definitions.columnar._kernels.aggregate": "compiled by numba",
    "neva.definitions.columnar._kernels.pick": "compiled by numba",
    "neva.definitions.reference.engine._combine": "a table of cases, one for each node",
}


def modules():
    found = {}
    for path in sorted(ROOT.glob("neva/**/*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        found[name.removesuffix(".__init__")] = path
    return found


def imports(found):
    """Every import, also those for types and those made late."""
    graph = defaultdict(set)
    for name, path in found.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                graph[name] |= {one.name for one in node.names if one.name in found}
            elif isinstance(node, ast.ImportFrom) and node.module in found and not node.level:
                for one in node.names:
                    inner = f"{node.module}.{one.name}"
                    graph[name].add(inner if inner in found else node.module)
    return graph


def circles(graph, names):
    """Strongly connected parts of two and more modules (Tarjan 1972)."""
    number, lowest, stack, found = {}, {}, [], []

    def visit(name):
        number[name] = lowest[name] = len(number)
        stack.append(name)
        for other in graph[name] - {name}:
            if other not in number:
                visit(other)
            if other in stack:
                lowest[name] = min(lowest[name], lowest[other])
        if lowest[name] == number[name]:
            part = set()
            while name not in part:
                part.add(stack.pop())
            if len(part) > 1:
                found.append(part)

    for name in names:
        if name not in number:
            visit(name)
    return found


def test_imports_run_in_no_circle():
    found = modules()
    assert circles(imports(found), found) == []


def test_a_circle_would_be_found():
    graph = defaultdict(set, {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set()})
    assert circles(graph, "abcd") == [{"a", "b", "c"}]


def test_no_room_holds_more_files_than_a_reader_finds():
    counted = Counter(path.parent for path in modules().values() if path.name != "__init__.py")
    assert {str(room): many for room, many in counted.items() if many > MOST_FILES} == {}


def head_of(text):
    """What stands in a file before its first statement that is no docstring."""
    tree = ast.parse(text)
    after = tree.body[1 if ast.get_docstring(tree) else 0 :]
    lines = text.splitlines()[: after[0].lineno - 1 if after else None]
    return " ".join(" ".join(lines).split())


def test_a_long_file_says_why_it_is_one_and_no_other_does():
    texts = {path: path.read_text(encoding="utf-8") for path in modules().values()}
    long = {str(path) for path, text in texts.items() if len(text.splitlines()) > MOST_LINES}
    told = {str(path) for path, text in texts.items() if REASON in head_of(text)}
    assert long == told


def functions_of(blocks):
    """Functions and methods, and those within them."""
    for block in blocks:
        if isinstance(block, Function):
            yield block
            yield from functions_of(block.closures)


def test_a_function_of_many_branches_has_a_reason():
    branched = {
        f"{name}.{one.fullname}"
        for name, path in modules().items()
        for one in functions_of(cc_visit(path.read_text(encoding="utf-8")))
        if one.complexity > MOST_BRANCHES
    }
    assert branched == set(BRANCHED)


def test_a_function_of_many_branches_would_be_found():
    inner = "if x:\n   pass\n  " * MOST_BRANCHES
    text = f"class Many:\n def method(self, x):\n  def within():\n   pass\n  {inner}"
    found = {one.fullname: one.complexity for one in functions_of(cc_visit(text))}
    assert found["Many.method"] > MOST_BRANCHES


def test_every_room_says_what_it_is():
    for path in ROOT.glob("neva/**/__init__.py"):
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), path
