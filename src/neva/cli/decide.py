"""``neva decide``: rules, scores, the work list; models stand in ``decide_models``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import polars as pl
import typer

from neva.cli import decide_models, decide_replay
from neva.cli._rules import rule_named, rules_of
from neva.cli.console import (
    AsOf,
    HospitalPath,
    Json,
    moment,
    now,
    snapshot_of,
    system_user,
    table,
    tell,
)
from neva.errors import ConflictError, NotFoundError, UsageError

if TYPE_CHECKING:
    from neva.decisions.rules import Rule
    from neva.decisions.tasks import WorkList

__all__ = ["app"]

app = typer.Typer(
    help="Scores, rules, models: what to do next, and how an alert would have performed.",
    no_args_is_help=True,
)
decide_models.add_to(app)
decide_replay.add_to(app)

Programmes = Annotated[
    list[str] | None,
    typer.Option("--programme", metavar="NAME", help="whose rules; all installed by default"),
]


@app.command("rules")
def list_rules(hospital: HospitalPath, programme: Programmes = None, as_json: Json = False) -> None:
    """List the rules and their states in this hospital.

    A rule whose content is no longer the one that was made silent or live is
    "changed": it is not evaluated until somebody makes it silent again.

    Example: neva decide rules hospital
    """
    from neva.decisions.cards import hash_of
    from neva.events.hospital import open_hospital
    from neva.state import read_state, state_of

    open_hospital(hospital)
    with read_state(state_of(hospital)) as state:
        known = {one.rule: one for one in state.rules.all()}
    rows = []
    for rule in rules_of(programme).values():
        one = known.get(rule.id)
        changed = one is not None and one.is_evaluated and one.hash != hash_of(rule)
        rows.append(
            {
                "rule": rule.id,
                "version": rule.version,
                "state": "draft" if one is None else "changed" if changed else one.state,
                "since": None if one is None else one.since,
                "stage": rule.stage,
                "hooks": ", ".join(rule.hooks),
                "owner": rule.owner,
                "title": rule.title,
            }
        )
    frame = pl.DataFrame(rows, infer_schema_length=None)
    tell(as_json, frame, lambda: table(frame.drop("hooks")))


def _warned(rule: Any) -> str:
    """Say what a rule warns of."""
    outcome = rule.warns_of
    if outcome is None:
        return "no outcome: it checks an order or reminds of a step"
    hours = outcome.within_hours
    return f"{outcome.title}, " + (
        "until the end of the stay" if hours is None else f"within {hours:g} hours"
    )


@app.command()
def explain(
    rule: Annotated[str, typer.Argument(metavar="RULE", help="its id")],
    programme: Programmes = None,
    as_json: Json = False,
) -> None:
    """Say in plain words when a rule holds, what it shows and who should act.

    Example: neva decide explain covid19.steroid-on-oxygen
    """
    from neva.cds.prefetch import needs_of
    from neva.decisions.cards import hash_of
    from neva.definitions.words.explain import explain as in_words

    one = rule_named(rule, programme)
    parts = {
        "whom it is about": in_words(one.population),
        "when it holds": in_words(one.condition),
        "cleared when": "" if one.treated is None else in_words(one.treated),
        "silent when": "" if one.limited is None else in_words(one.limited),
        "how severe": in_words(one.severity),
    }
    content = {
        "id": one.id,
        "version": one.version,
        "hash": hash_of(one),
        "title": one.title,
        "summary": one.summary,
        "owner": one.owner,
        "act_within_minutes": one.act_within_minutes,
        "escalation": [[step.after_minutes, step.owner] for step in one.escalation],
        "quiet_hours": one.quiet_hours,
        "warns_of": None if one.warns_of is None else one.warns_of.of.id,
        "warns_within_hours": None if one.warns_of is None else one.warns_of.within_hours,
        "evidence": one.evidence,
        "notes": one.notes,
        "validation": one.validation,
        "intended_use": one.intended_use,
        "needs": [search.template for search in needs_of([one]).searches],
        **{name: text for name, text in parts.items() if text},
    }

    def text() -> str:
        lines = [f"{one.title} ({one.id}, version {one.version}, {hash_of(one)[:12]})", ""]
        lines += [f"Card: {one.summary}", f"{one.detail}", ""]
        for name, words in parts.items():
            if words:
                lines += [f"{name.capitalize()}:", words, ""]
        lines += ["Shows:", *(f"- {read.title}" for read in one.inputs), ""]
        minutes = one.act_within_minutes
        lines.append(f"Owner: {one.owner}" + (f", within {minutes:g} minutes" if minutes else ""))
        lines += [f"After {step.after_minutes:g} minutes: {step.owner}" for step in one.escalation]
        lines.append(f"Not again within {one.quiet_hours:g} hours, unless worse.")
        lines.append(f"Warns of: {_warned(one)}.")
        lines += [f"Evidence: {text}" for text in (*one.evidence, *one.notes)]
        lines.append(f"Validation: {one.validation}. {one.intended_use}")
        return "\n".join(lines)

    tell(as_json, content, text)


@app.command()
def state(
    hospital: HospitalPath,
    rule: Annotated[str, typer.Argument(metavar="RULE", help="its id")],
    to: Annotated[str, typer.Argument(metavar="STATE", help="draft, silent, live or retired")],
    reason: Annotated[str, typer.Option(help="why; it is audited")],
    actor: Annotated[str | None, typer.Option(help="who decides; the user by default")] = None,
    programme: Programmes = None,
    model: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="RULE is that of this saved model")
    ] = None,
    as_json: Json = False,
) -> None:
    """Change the state of a rule: draft, silent, live, retired.

    A rule becomes live only after it was silent with the same content. A model
    that is locked to demonstration never becomes live.

    Example: neva decide state hospital acute-care.news2-urgent draft --reason "to be tried"
    """
    from neva.decisions.cards import hash_of
    from neva.events.hospital import open_hospital
    from neva.state import open_state, state_of

    open_hospital(hospital)
    one = rule_named(rule, programme) if model is None else _rule_of(model, rule, to)
    with open_state(state_of(hospital)) as database:
        changed = database.rules.change(
            one.id,
            one.version,
            hash_of(one),
            to,
            actor=actor or system_user(),
            reason=reason,
            at=now(),
        )
    tell(
        as_json,
        {"rule": changed.rule, "version": changed.version, "state": changed.state},
        f"{changed.rule} {changed.version}: {changed.state}",
    )


def _rule_of(folder: Path, name: str, to: str) -> Rule:
    """Return the rule of a saved model; a locked one is not made live."""
    from neva.models.artefact import artefact_hash
    from neva.models.families import load_for_use
    from neva.models.rules import rule_of_model

    model = load_for_use(folder)
    if model.id != name:
        message = f"--model: it is another model; found {model.id!r}; name that as the rule"
        raise UsageError(message)
    if to == "live" and model.demonstration_only:
        message = (
            f"{name}: locked to demonstration; found {model.lock_reason}; recalibrate it on this "
            "hospital's own patients first"
        )
        raise ConflictError(message)
    return rule_of_model(model, artefact=artefact_hash(folder))


@app.command()
def score(
    hospital: HospitalPath,
    name: Annotated[str, typer.Option("--score", metavar="ID", help="such as covid19.news2")],
    open_only: Annotated[bool, typer.Option("--open", help="only patients still there")] = False,
    as_of: AsOf = None,
    as_json: Json = False,
) -> None:
    """Calculate a score for every stay, as known at the data cut or at a time.

    With an item missing there is no total, but still "at least".

    Example: neva decide score hospital --score covid19.news2
    """
    from neva.definitions.points import EachStay
    from neva.definitions.programme import load_programme
    from neva.definitions.run import answer, points_of
    from neva.programmes.scoring import at_least, has_missing

    programme = load_programme(name.partition(".")[0])
    scores = {one.id: one for one in programme.scores}
    if name not in scores:
        message = f"score: there is none of this id; found {name!r}; there are {', '.join(scores)}"
        raise NotFoundError(message)
    chosen = scores[name]
    _, snapshot = snapshot_of(hospital, as_of)
    points = points_of(snapshot, EachStay())
    if open_only:
        there = snapshot.stays().filter(pl.col("end").is_null()).select("stay_id").collect()
        points = points.join(there, on="stay_id", how="semi", maintain_order="left")
    outputs = {
        "at_least": at_least(chosen).node,
        "incomplete": has_missing(chosen).node,
        **{item.name: item.of for item in chosen.items},
    }
    found = answer(snapshot, outputs, points=points)
    frame = found.frame.drop("point_id", "now").with_columns(
        total=pl.when(~pl.col("incomplete")).then("at_least")
    )
    frame = frame.select("subject_id", "stay_id", "total", "at_least", *(
        item.name for item in chosen.items
    )).sort("at_least", "stay_id", descending=[True, False], nulls_last=True)  # fmt: skip
    summary = {
        "score": chosen.id,
        "version": chosen.version,
        "data": snapshot.identity,
        "stays": frame.height,
        "complete": frame["total"].is_not_null().sum(),
        "not_evaluated": found.errors.height,
        "scores": frame,
    }
    head = (
        f"{chosen.title} ({chosen.id}, version {chosen.version}), {snapshot.identity}: "
        f"{frame.height:,} stays, {summary['complete']:,} with every item; not validated here"
    )
    tell(as_json, summary, lambda: head + "\n\n" + table(frame))


@app.command("work-list")
def show_work_list(
    hospital: HospitalPath,
    programme: Programmes = None,
    every_rule: Annotated[
        bool, typer.Option("--every-rule", help="also rules that are not live, for review")
    ] = False,
    stale_after: Annotated[
        float, typer.Option(metavar="MINUTES", help="after which a silent feed is stale")
    ] = 60.0,
    as_of: AsOf = None,
    as_json: Json = False,
) -> None:
    """List who needs attention now, whose task it is, and by when.

    Example: neva decide work-list hospital --every-rule
    """
    chosen, made = _work_list(hospital, programme, every_rule, stale_after, as_of)
    frame = made.to_frame()

    def text() -> str:
        lines = [made.feed.banner] if made.feed.is_stale else []
        lines.append(
            f"{len(made.tasks)} tasks of {made.patients} patients in hospital, as known at "
            f"{made.now.isoformat(timespec='minutes')}; {len(chosen)} rules; data {made.identity}"
        )
        if frame.height:
            names = ["indicator", "unit", "stay_id", "summary", "owner", "deadline", "is_overdue"]
            lines += ["", table(frame.select(names))]
        lines += ["", f"Observations overdue: {made.unobserved.height} patients"]
        if made.unobserved.height:
            lines.append(table(made.unobserved.drop("subject_id"), rows=15))
        return "\n".join(lines)

    content = {
        "banner": made.feed.banner,
        "now": made.now,
        "data": made.identity,
        "patients": made.patients,
        "tasks": frame,
        "unobserved": made.unobserved,
    }
    tell(as_json, content, text)


def _work_list(
    hospital: Path,
    programme: list[str] | None,
    every_rule: bool,
    stale_after: float,
    as_of: str | None,
) -> tuple[list[Rule], WorkList]:
    """Build the work list with the actions recorded for its tasks."""
    from neva.decisions.cards import hash_of
    from neva.decisions.work_list import work_list
    from neva.programmes.acute_care.outcomes import observation_plan
    from neva.state import read_state, state_of

    opened, snapshot = snapshot_of(hospital, as_of)
    with read_state(state_of(hospital)) as database:
        live = {one.rule: one.hash for one in database.rules.all() if one.state == "live"}
        touched = {
            (row["rule"], row["stay"], row["since"]): _Touched(row)
            for row in database.work.to_frame().iter_rows(named=True)
        }
    chosen = [
        rule
        for rule in rules_of(programme).values()
        if every_rule or live.get(rule.id) == hash_of(rule)
    ]
    if not chosen:
        message = (
            "work list: no rule is live in this hospital; found none; make rules live with "
            "'neva decide state', or see all of them with --every-rule"
        )
        raise UsageError(message)
    made = work_list(
        snapshot,
        chosen,
        # A list of the past is judged by its own time, never by the clock of today.
        at=moment(as_of, opened.settings.zone, "--as-of") or now(),
        touched=touched,
        observations=observation_plan(),
        stale_after_minutes=stale_after,
    )
    return chosen, made


@app.command()
def acknowledge(
    hospital: HospitalPath,
    rule: Annotated[str, typer.Argument(metavar="RULE", help="its id")],
    stay: Annotated[int, typer.Argument(metavar="STAY", help="as the work list names it")],
    owner: Annotated[str | None, typer.Option(help="who accepts it; the user by default")] = None,
    done: Annotated[
        bool, typer.Option("--done", help="complete the task: action was taken")
    ] = False,
    reason: Annotated[str | None, typer.Option(help="why; needed with --done")] = None,
    as_of: AsOf = None,
    as_json: Json = False,
) -> None:
    """Accept or complete a task of the work list; audited.

    Example: neva decide acknowledge synthetic-hospital acute-care.news2-urgent 17 --owner Ivanova
    """
    from neva.state import open_state, state_of

    if done and not reason:
        message = "--done: needs a --reason; found none; say what was done"
        raise UsageError(message)
    _, made = _work_list(hospital, None, True, 60.0, as_of)
    found = [one for one in made.tasks if one.rule == rule and one.stay_id == stay]
    if not found:
        message = (
            f"work list: no such task now; found rule {rule!r} for no such stay; check with "
            "'neva decide work-list'"
        )
        raise NotFoundError(message)
    task, who = found[0], owner or system_user()
    with open_state(state_of(hospital)) as database:
        if done:
            item = database.work.clear(
                rule, stay, task.begun_after, actor=who, reason=reason or "", at=now()
            )
        else:
            item = database.work.acknowledge(
                rule,
                stay,
                task.begun_after,
                actor=system_user(),
                owner=who,
                at=now(),
                reason=reason,
            )  # fmt: skip
    content = {"rule": rule, "stay": stay, "state": item.state, "owner": item.owner}
    tell(as_json, content, f"{rule}, stay {stay}: {item.state} by {item.owner or item.actor}")


class _Touched:
    """A row of the state's work items."""

    def __init__(self, row: dict[str, Any]) -> None:
        self.state: str = row["state"]
        self.owner: str | None = row["owner"]
        self.deadline = row["deadline"]
