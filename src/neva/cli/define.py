"""``neva define``: check, explain and run definitions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import polars as pl
import typer

from neva.cli.console import AsOf, HospitalPath, Json, now, snapshot_of, table, tell
from neva.errors import ConflictError, NotFoundError, UsageError
from neva.files.whole import whole_file

__all__ = ["app"]

app = typer.Typer(
    help="Definitions: check them, explain them in plain words, run them.",
    no_args_is_help=True,
)

Files = Annotated[
    list[Path],
    typer.Argument(metavar="FILE...", help="definitions (.py, .json), codelists (.yaml)"),
]
Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME_OR_FILE", help="programme, programme.definition, or a file of definitions"
    ),
]
Codelists = Annotated[
    list[Path] | None,
    typer.Option("--codelists", metavar="FILE", help="codelists named by a file of definitions"),
]


def _documents(name: str, codelists: list[Path] | None = None) -> list[Any]:
    """Definitions of a file, of a programme, or one of a programme."""
    from neva.definitions.programme import load_programme, programme_names
    from neva.definitions.user_files import read_user_files

    path = Path(name)
    if path.suffix in (".py", ".json", ".yaml", ".yml") or path.is_file():
        return list(read_user_files([path, *(codelists or [])]).documents)
    programme, _, part = name.partition(".")
    if programme not in programme_names():
        message = (
            f"{name}: neither a file nor a programme; found none of that name; programmes are "
            f"{', '.join(programme_names())}, files end in .py or .json"
        )
        raise NotFoundError(message)
    loaded = load_programme(programme)
    return [loaded.document(part)] if part else list(loaded.documents)


@app.command()
def check(
    files: Files,
    hospital: Annotated[
        Path | None, typer.Option(help="also check whether codes and units occur in this hospital")
    ] = None,
    as_json: Json = False,
) -> None:
    """Check files of definitions and codelists, and whether they fit a hospital if one is given.

    Example: neva define check admissions.py --hospital hospital
    """
    from neva.definitions.binding import bind
    from neva.definitions.documents import content_hash
    from neva.definitions.fit import misfits
    from neva.definitions.record import check_versions
    from neva.definitions.user_files import read_user_files
    from neva.events.hospital import open_hospital

    found = read_user_files(files)
    rows = [
        {
            "definition": one.id,
            "kind": one.kind,
            "version": one.version,
            "hash": content_hash(one)[:12],
            "place": found.places[one.id],
        }
        for one in found.documents
    ]
    problems, conflicts = [], []
    if hospital is not None:
        snapshot = open_hospital(hospital).snapshot()
        problems = misfits(found.documents, bind(snapshot))
        for one in found.documents:
            try:
                check_versions(snapshot, [one])
            except ConflictError as error:
                conflicts.append(f"{found.places[one.id]}: {error}")
    lists = sorted(found.codelists)
    content = {
        "definitions": rows,
        "codelists": lists,
        "misfits": problems,
        "conflicts": conflicts,
    }

    def text() -> str:
        lines = [table(pl.DataFrame(rows))] if rows else []
        lines += [f"codelist {name}: {len(found.codelists[name].codes)} codes" for name in lists]
        lines += [f"{found.places[one.definition]}: {one.to_text()}" for one in problems]
        lines += conflicts
        wrong = len(problems) + len(conflicts)
        asked = "" if hospital is None else " for this hospital"
        lines.append(f"{wrong} to look at{asked}" if wrong else f"all right{asked}")
        return "\n".join(lines)

    tell(as_json, content, text)
    if conflicts:
        raise typer.Exit(ConflictError.exit_code)


@app.command()
def explain(
    name: Name,
    language: Annotated[str, typer.Option(help="en or ru")] = "en",
    codelists: Codelists = None,
    as_json: Json = False,
) -> None:
    """Say in plain words what definitions count.

    Example: neva define explain covid19.steroid-when-on-oxygen --language ru
    """
    from neva.definitions.words.explain import explain as say

    explanations = {one.id: say(one, language) for one in _documents(name, codelists)}
    tell(as_json, explanations, lambda: "\n\n\n".join(explanations.values()))


def _option_number(text: str, option: str) -> float:
    try:
        found = float(text.removesuffix("h"))
    except ValueError:
        found = float("nan")
    if not 0 < found < 1e6:
        message = f"{option}: a number of hours is needed; found {text!r}; write 6 or 24h"
        raise UsageError(message)
    return found


def _population(given: str | None, documents: list[Any]) -> Any:
    from neva.definitions.points import EachStay, EachSubject, EveryHours

    if given is None:
        kinds = {getattr(one, "each", "stay") for one in documents}
        return EachSubject() if kinds == {"subject"} else EachStay()
    name, _, hours = given.partition("=")
    if given == "each-stay":
        return EachStay()
    if given == "each-subject":
        return EachSubject()
    if given in ("start", "end"):
        return EachStay(at="start" if given == "start" else "end")
    if name == "every-hours":
        return EveryHours(hours=_option_number(hours, "--population every-hours"))
    if given.startswith("start+"):
        after = _option_number(given.removeprefix("start+"), "--population start+")
        return EachStay(at="start", hours_after_start=after)
    message = (
        f"--population: no such population; found {given!r}; write each-stay, each-subject, start, "
        "end, start+24h or every-hours=6"
    )
    raise UsageError(message)


def _outputs(documents: list[Any]) -> dict[str, Any]:
    """One column per definition; the items of a score, the status of a measure."""
    from neva.definitions.documents import Feature, Score

    found: dict[str, Any] = {}
    for one in documents:
        if isinstance(one, Feature):
            found[one.id] = one.value
        elif isinstance(one, Score):
            found |= {f"{one.id}/{item.name}": item.of for item in one.items}
        else:
            found[one.id] = one.status
    return found


def _counted(frame: pl.DataFrame, outputs: dict[str, Any]) -> pl.DataFrame:
    """For each column, the number of answers of each kind."""
    from neva.definitions import model as m

    rows = []
    for name, node in outputs.items():
        column = frame[name]
        answers: dict[str, int]
        if node.type.name == "boolean":
            answers = {"true": int(column.sum()), "false": int((~column).sum())}
        elif node.type.name == "text":
            # Only words of the definition: a text of a row is a patient's value.
            words = {part.value for part in m.walk(node) if isinstance(part, m.Text)}
            answers = {}
            for word, points in column.drop_nulls().value_counts().sort(name).iter_rows():
                shown = word if word in words else "other"
                answers[shown] = answers.get(shown, 0) + points
        else:
            answers = {"known": column.len() - column.null_count()}
        answers["unknown"] = column.null_count()
        rows += [{"output": name, "answer": word, "points": n} for word, n in answers.items()]
    return pl.DataFrame(rows, schema={"output": pl.String, "answer": pl.String, "points": pl.Int64})


def _with_scores(frame: pl.DataFrame, documents: list[Any]) -> pl.DataFrame:
    """Add the total of a score, or its lower bound, to its items."""
    from neva.definitions.documents import Score

    for one in documents:
        if isinstance(one, Score):
            items = [pl.col(f"{one.id}/{item.name}") for item in one.items]
            frame = frame.with_columns(
                pl.sum_horizontal(items, ignore_nulls=False).alias(one.id),
                pl.sum_horizontal(items).alias(f"{one.id}/at-least"),
            )
    return frame


_WRITERS: dict[str, Callable[[pl.DataFrame, Path], Any]] = {
    ".csv": pl.DataFrame.write_csv,
    ".parquet": pl.DataFrame.write_parquet,
}


@app.command()
def run(
    name: Name,
    hospital: HospitalPath,
    population: Annotated[
        str | None,
        typer.Option(
            help="each-stay, each-subject, start, end, start+24h, every-hours=6; "
            "by default what the definitions count"
        ),
    ] = None,
    engine: Annotated[str, typer.Option(help="relational or reference")] = "relational",
    show_sql: Annotated[
        bool, typer.Option("--show-sql", help="print the SQL of the plan and do not run it")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="answers point by point: .csv or .parquet")
    ] = None,
    codelists: Codelists = None,
    record: Annotated[
        bool, typer.Option("--record", help="keep the definitions in the hospital's record")
    ] = False,
    as_of: AsOf = None,
    as_json: Json = False,
) -> None:
    """Run definitions on a hospital; print the number of answers of each kind.

    Example: neva define run stroke hospital --population each-stay
    """
    from neva.definitions.documents import content_hash, library
    from neva.definitions.record import record_definitions
    from neva.definitions.run import answer, plan_of

    if engine not in ("relational", "reference"):
        message = f"--engine: must be relational or reference; found {engine!r}; choose one"
        raise UsageError(message)
    documents = _documents(name, codelists)
    library(documents)
    outputs = _outputs(documents)
    store, snapshot = snapshot_of(hospital, as_of)
    if show_sql:
        sql = plan_of(snapshot, outputs).to_sql()
        tell(as_json, {"sql": sql}, sql)
        return
    if out is not None and out.suffix not in _WRITERS:
        message = f"--out: must end in .csv or .parquet; found {out.name!r}; rename it"
        raise UsageError(message)
    answers = answer(
        snapshot,
        outputs,
        population=_population(population, documents),
        engine="reference" if engine == "reference" else "relational",
    )
    frame = _with_scores(answers.frame, documents)
    counts = _counted(frame, outputs)
    errors = answers.errors.group_by("reason").len("points").sort("reason")
    if out is not None:
        with whole_file(out) as draft:
            _WRITERS[out.suffix](frame, draft)
    if record:
        record_definitions(store, documents, now())
    versions = [
        {"definition": one.id, "version": one.version, "hash": content_hash(one)[:12]}
        for one in documents
    ]
    content = {
        "data": snapshot.identity,
        "now": snapshot.now,
        "engine": answers.engine,
        "points": answers.frame.height,
        "definitions": versions,
        "answers": counts,
        "errors": errors,
    }

    def text() -> str:
        lines = [
            f"data {snapshot.identity}, {answers.frame.height:,} points, {answers.engine} engine",
            "",
            table(pl.DataFrame(versions)),
            "",
            table(counts, rows=400),
        ]
        if errors.height:
            lines += ["", "points that were not evaluated:", table(errors)]
        if out is not None:
            lines += ["", f"written: {out}"]
        return "\n".join(lines)

    tell(as_json, content, text)
