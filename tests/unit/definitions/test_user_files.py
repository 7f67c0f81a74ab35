"""A user's files: what they may say, what they may do, how they are told of mistakes."""

import inspect
import json
import re
import time

import pytest

from neva.definitions import language, writing
from neva.definitions._syntax import ATTRIBUTES, WORDS, checked_tree
from neva.definitions.documents import to_json
from neva.definitions.language import codelist, events, hours, stay, value
from neva.definitions.programme import load_programme
from neva.definitions.user_files import FILE_BYTES, SECONDS, read_user_files
from neva.definitions.writing import feature, measure, named
from neva.errors import BadInputError, ConflictError, NevaError, NotFoundError

STEROID = """\
from neva.definitions import *

drugs = ["ATC//H02AB02", "ATC//H02AB04"]
crp = events(codelist("crp", "LOINC//1988-5"))
inflamed = crp.where(value("mg/L") >= 75).during(stay)

measure(
    "demo.steroid",
    version="1.0.0",
    population=inflamed.exists() & (stay.kind == "inpatient"),
    exclusions={"palliative": events("CARE//palliative-care").during(stay).exists()},
    clock_start=inflamed.first().time,
    due=hours(24),
    numerator=events(*drugs).since(stay.start).exists(),
    stratifiers=[named(f"sex-{name}", subject.sex == name) for name in ("female", "male")],
)
"""


@pytest.fixture
def write(tmp_path):
    def written(name, text):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return written


def refused(*paths, error=BadInputError):
    with pytest.raises(error) as found:
        read_user_files(paths)
    return str(found.value)


def test_a_file_becomes_what_the_language_makes_of_it(write):
    found = read_user_files([write("mine.py", STEROID)])
    from neva.definitions.language import subject

    crp = events(codelist("crp", "LOINC//1988-5"))
    inflamed = crp.where(value("mg/L") >= 75).during(stay)
    expected = measure(
        "demo.steroid",
        version="1.0.0",
        population=inflamed.exists() & (stay.kind == "inpatient"),
        exclusions={"palliative": events("CARE//palliative-care").during(stay).exists()},
        clock_start=inflamed.first().time,
        due=hours(24),
        numerator=events("ATC//H02AB02", "ATC//H02AB04").since(stay.start).exists(),
        stratifiers=[
            named("sex-female", subject.sex == "female"),
            named("sex-male", subject.sex == "male"),
        ],
    )
    assert found.documents == (expected,)
    assert found.places == {"demo.steroid": "mine.py:7"}


def test_a_programme_goes_through_a_json_file(write):
    documents = load_programme("stroke").documents
    text = json.dumps([json.loads(to_json(one)) for one in documents])
    assert read_user_files([write("stroke.json", text)]).documents == documents
    one = read_user_files([write("one.json", to_json(documents[0]))])
    assert one.documents == documents[:1]


def test_every_public_method_of_the_language_may_be_written():
    kinds = [one for one in vars(language).values() if inspect.isclass(one)]
    kinds = [
        one for one in kinds if one.__module__ == language.__name__ and one is not language.Duration
    ]
    public = {name for kind in kinds for name in vars(kind) if not name.startswith("_")}
    assert public - ATTRIBUTES == {"frame", "node"}
    assert {name for name in language.__all__ if name[0].islower()} <= set(WORDS)
    assert set(writing.__all__) <= set(WORDS)


# ------------------------------------------------------------------- codelists

LISTS = """\
codelists:
  - id: dexamethasone
    codes: [ATC//H02AB02]
  - id: steroids
    title: Systemic steroids
    codes: [ATC//H02AB04]
    includes: [dexamethasone]
"""


def test_definitions_take_codelists_from_a_file(write):
    mine = 'feature("demo.steroid", events(codelist_named("steroids")).exists(), version="1.0.0")'
    found = read_user_files([write("mine.py", mine), write("lists.yaml", LISTS)])
    expected = codelist("steroids", "ATC//H02AB02", "ATC//H02AB04", title="Systemic steroids")
    assert found.codelists["steroids"] == expected
    assert found.documents == (feature("demo.steroid", events(expected).exists(), version="1.0.0"),)


def test_codelists_may_be_json(write):
    path = write("lists.json", json.dumps({"codelists": [{"id": "a", "codes": ["A//a"]}]}))
    assert read_user_files([path]).codelists == {"a": codelist("a", "A//a")}


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        ("codelists:\n  - id: a\n    includes: [b]\n  - id: b\n    includes: [a]\n",
         "lists.yaml:2: ", "form a cycle: found a -> b -> a; take one of these steps out"),
        ("codelists:\n  - id: a\n    codes: [A//a]\n  - id: b\n    includes: [c]\n",
         "lists.yaml:4: ", "codelist b: includes an unknown codelist; found 'c'"),
        ("codelists:\n  - id: a\n    codes: [H02AB02]\n",
         "lists.yaml:3: ", "code 'H02AB02' is not of the form SYSTEM//code"),
        ("codelists:\n  - id: a\n    code: [A//a]\n", "lists.yaml:3: ", "write 'codes'"),
        ("codelists:\n  - id: a\n", "lists.yaml:2: ", "codelist 'a' has no codes"),
        ("a: &x [1]\nb: *x\n", "lists.yaml:1: ", "an alias or anchor"),
        ("codelists: [\n", "lists.yaml:2: ", "not well-formed YAML"),
        ("[" * 300_000, "lists.yaml:1: ", "nested too deeply"),
        ("- a\n", "lists.yaml:1: ", "must be a table of keys"),
    ],
)  # fmt: skip
def test_a_wrong_codelist_is_told_with_its_line(write, text, place, said):
    found = refused(write("lists.yaml", text))
    assert found.startswith(place)
    assert said in found


def test_two_codelists_of_one_id_are_refused(write):
    one, two = write("one.yaml", LISTS), write("two.yaml", LISTS)
    assert "codelist dexamethasone: two codelists have this id; found the other at one.yaml:2" in (
        refused(one, two, error=ConflictError)
    )


# -------------------------------------------------------------------- mistakes

FEATURE = 'feature("demo.x", {}, version="1.0.0")\n'


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        ("\n" + FEATURE.format('events("H02AB02").exists()'),
         "mine.py:2: ", "code 'H02AB02' is not of the form SYSTEM//code"),
        ('\nx = events("A//a").where(value("mg/L") < number(3, "mmol/L"))\n',
         "mine.py:2: ", "mmol/L cannot be converted to mg/L"),
        ('x = events("A//a").maximum("furlongs")', "mine.py:1: ", "not a UCUM unit"),
        ('measure("demo.x", version="1.0.0", numerator=stay.end.is_known())',
         "mine.py:1: ", "measure: an argument is missing; found no 'population'; say whom"),
        ('measure("demo.x", version="1.0.0", population=None, numerator=stay.end.is_known())',
         "mine.py:1: ", "it has no population; say whom it is about"),
        ('x = 1\nfeature("demo.x", events("A//a"), version="1.0.0")',
         "mine.py:2: ", "a part of a definition is needed here; found Rows"),
        ('x = events("A//a").within(24)', "mine.py:1: ", "found int; write hours(...)"),
        ('x = events("A//a").floor()', "mine.py:1: ", "a Rows has no .floor"),
        ('feature("Demo x", stay.start, version="1")', "mine.py:1: ", "id: "),
        ('feature("demo.x", value("%"), version="1.0.0")', "mine.py:1: ", "pick a row first"),
        ('x = codelist_named("steroids")', "mine.py:1: ", "none of the files has it"),
        ("x = 1\n", "mine.py: ", "no definition in it"),
        ("x = (1\n", "mine.py:1:5: ", "not well-formed Python"),
        ("\x00", "mine.py:1:", ""),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_line(write, text, place, said):
    found = refused(write("mine.py", text))
    assert found.startswith(place)
    assert said in found


def test_two_definitions_of_one_id_are_refused_with_both_places(write):
    text = FEATURE.format("stay.start") + FEATURE.format("stay.end")
    found = refused(write("mine.py", text), error=ConflictError)
    assert found.startswith("mine.py:2: definition demo.x: two definitions have this id")
    assert "mine.py:1" in found


def test_wrong_json_is_told_with_its_place(write):
    assert refused(write("a.json", '{"kind": }')).startswith("a.json:1:10: not well-formed JSON")
    document = json.loads(to_json(load_programme("stroke").documents[0]))
    document["population"]["of"][0]["operation"] = "~"
    assert "population/all/of/0/compare/operation" in refused(
        write("b.json", json.dumps([document]))
    )
    assert "not a valid definition" in refused(write("c.json", "[" * 500 + "]" * 500))
    assert refused(write("d.json", "[" * 100_000)).startswith("d.json:1:1: nested too deeply")


def test_files_that_are_none_are_refused(write, tmp_path):
    assert "found '.txt'" in refused(write("a.txt", ""))
    assert "no such file" in refused(tmp_path / "no.py", error=NotFoundError)
    assert "too large" in refused(write("b.py", "#" * (FILE_BYTES + 1)))
    (tmp_path / "c.py").write_bytes(b"\xff")
    assert "not UTF-8" in refused(tmp_path / "c.py")


# --------------------------------------------------------------------- attacks

#: What is refused by looking at it; nothing of it runs.
ATTACKS = [
    "import os",
    "from os import system",
    "from neva.definitions.language import m",
    "from neva.definitions import feature as open",
    "from . import language",
    "__import__('os')",
    "open('/etc/passwd')",
    "eval('1')",
    "exec('1')",
    "getattr(stay, 'start')",
    "globals()",
    "x = __builtins__",
    "__name__ = 1",
    "x = ().__class__",
    "x = ().__class__.__bases__[0].__subclasses__()",
    "x = stay.start.node",
    "x = events('A//a').frame",
    "x = stay.start.node.model_construct",
    "x = stay._start",
    "x = '{0.__class__}'.format(stay)",
    "x = '%999999999d' % 1",
    "x = 'a'.join(['b'])",
    "x = f'{().__class__}'",
    "x = f'{open(1)}'",
    "x = f'{stay!r}'",
    "x = f'{1:>999999999}'",
    "x = [1][0]",
    "x = 9 ** 9 ** 9",
    "x = 1 << 999999999",
    "x = 0x" + "f" * 5000,
    "x = 1" + "0" * 5000,
    "x = 'a' 'b' * 3 ; x += x",
    "x = lambda: 1",
    "def x(): pass",
    "@measure\ndef x(): pass",
    "@measure\nclass x: pass",
    "class x: pass",
    "async def x(): await 1",
    "x = [y for y in stay for z in y.x]",
    "x = [y for y in (1,) if y]",
    "x = [y for y in hours(1)]",
    "while True: pass",
    "for x in (1, 2): pass",
    "with stay: pass",
    "try: pass\nexcept: pass",
    "global x",
    "del stay",
    "assert stay",
    "raise stay",
    "if True: pass",
    "match stay:\n  case _: pass",
    "x = (y := 1)",
    "x = yield",
    "stay = 1",
    "events = feature",
    "x = hours\nx(1)",
    "(hours)(1)(2)",
    "stay.start = 1",
    "x[0] = 1",
    "x = 1 < 2 < 3",
    "x = stay and stay",
    "x = b'bytes'",
    "x = 1j",
    "x = ...",
    "feature('a', stay.start, version='1.0.0', __class__=1)",
    "x = " + "(" * 90 + "1" + ")" * 90 + " + " + "-" * 150 + "1",
    "x = " + "-" * 100_000 + "1",
    "x = " + "[" * 3000 + "]" * 3000,
    "x = '" + "a" * 6000 + "'",
    "x = (" + "1," * 50_000 + ")",
]


@pytest.mark.parametrize("text", ATTACKS, ids=lambda text: text[:40])
def test_an_attack_is_refused_before_anything_runs(text):
    with pytest.raises(BadInputError, match=r"^mine\.py:\d+:\d+: ") as found:
        checked_tree(text, "mine.py")
    assert str(found.value).count(";") >= 2
    assert len(str(found.value)) < 400


def test_the_check_is_part_of_reading_a_file(write):
    assert refused(write("mine.py", "x = 1\nx = __import__('os')")) == (
        "mine.py:2:5: only words of the language are called; found __import__; call one of them"
    )


#: What looks like a definition and never ends, or grows without end.
EXPLOSIONS = {
    "text": "x = 'a' * 999999999 * 999",
    "list": "x = [0] * 999999999999",
    "number": "x = 999999999999999\n" + "x = x * x\n" * 60,
    "loops": "a = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0]\nx = ["
    "0 " + " ".join(f"for x{number} in a" for number in range(12)) + "]",
    "stars": "a = [0, 0]\n" + "a = [*a, *a, *a, *a]\n" * 30,
    "keywords": "feature(**{'id': 1}, **{'id': 2})",
    "shared": "x = stay.length()\n" + "x = x + x\n" * 60 + FEATURE.format("x"),
    "shared logic": "x = stay.end.is_known()\n" + "x = x | x\n" * 40 + FEATURE.format("x"),
    "depth": "x = stay.end.is_known()\n" + "x = ~x\n" * 5000 + FEATURE.format("x"),
    "a little deep": "x = stay.end.is_known()\n" + "x = ~x\n" * 300 + FEATURE.format("x"),
    "texts": "a = 'aaaaaaaaaa'\n" + "a = f'{a}{a}{a}{a}{a}{a}{a}{a}{a}{a}'\n" * 12,
    "unit too long": 'x = number(1, "' + "(" * 3000 + '")',
    "many": "x = ["
    "feature(f'demo.x{a}', stay.start, version='1.0.0') for a in (" + "1," * 5000 + ")]",
}


@pytest.mark.parametrize("text", EXPLOSIONS.values(), ids=EXPLOSIONS)
def test_what_never_ends_is_stopped(write, text):
    began = time.monotonic()
    found = refused(write("mine.py", text), error=NevaError)
    assert time.monotonic() - began < SECONDS + 2
    assert re.match(r"mine\.py(:\d+)*: ", found)
    assert found.count(";") >= 1
    assert len(found) < 600


def test_a_json_file_is_read_in_the_other_process_too(write):
    """A unit may take long to understand, wherever it stands."""
    began = time.monotonic()
    one = {"kind": "number", "value": 1, "unit": "(" * 3000}
    document = {"kind": "feature", "id": "demo.x", "version": "1.0.0", "value": one}
    assert refused(write("a.json", json.dumps(document))).startswith("a.json: ")
    assert time.monotonic() - began < SECONDS + 2


def test_the_building_process_sees_no_environment(write, monkeypatch):
    """Nothing of the parent's environment or working folder reaches it."""
    from neva.definitions import user_files

    seen = {}
    plain = user_files.subprocess.run

    def run(command, **words):
        seen.update(words, command=command)
        return plain(command, **words)

    monkeypatch.setattr(user_files.subprocess, "run", run)
    monkeypatch.setenv("SECRET", "s")
    read_user_files([write("mine.py", FEATURE.format("stay.start"))])
    assert set(seen["env"]) == {"POLARS_MAX_THREADS"}
    assert "-I" in seen["command"]
    assert str(write("x", "").parent) not in str(seen["command"]) + str(seen["cwd"])
    assert b"/" not in seen["input"].replace(b"//", b"")
