"""``neva decide replay`` and ``neva decide log``: how alerts would have performed, and did."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from neva.cli._replay_words import tables
from neva.cli.console import AsOf, HospitalPath, Json, now, snapshot_of, table, tell
from neva.errors import NotFoundError, UsageError
from neva.events.synthetic import SYNTHETIC_NOTE
from neva.languages.english import share

__all__ = ["add_to"]

_SWEPT = (
    "threshold",
    "cards",
    "cards_per_100_days",
    "cards_per_100_moments",
    "cards_per_stay_with_card",
    "outcomes",
    "sensitivity",
    "ppv",
    "lead_hours",
)


def add_to(app: typer.Typer) -> None:
    """Add the commands to ``neva decide``."""
    app.command()(replay)
    app.command()(log)


Outcome = Annotated[
    str | None,
    typer.Option(
        metavar="ID",
        help="a feature that is a time, to assess every rule against instead of its own "
        "outcome; or none",
    ),
]
Horizon = Annotated[
    float | None,
    typer.Option(metavar="HOURS", help="a card this long before counts; each rule's own otherwise"),
]


def _judging(name: str | None) -> dict[str, Any]:
    """What rules are assessed against: settings of a replay."""
    from neva.definitions.programme import load_programme

    if name is None:
        return {}
    if name == "none":
        return {"judge": False}
    programme = load_programme(name.partition(".")[0])
    features = {one.id: one for one in programme.features}
    if name not in features:
        message = (
            f"--outcome: no feature of this id; found {name!r}; there are "
            f"{', '.join(features) or 'none'}"
        )
        raise NotFoundError(message)
    # Where a rule of the programme warns of it, that says how long it is waited for.
    own = (one.warns_of for one in programme.rules if one.warns_of is not None)
    known = {one.of.id: one for one in own}
    return {"outcome": known.get(name, features[name])}


def _delays(given: list[str] | None) -> dict[str, float]:
    found = {}
    for one in given or ():
        code, _, hours = one.rpartition("=")
        try:
            found[code] = float(hours)
        except ValueError:
            code = ""
        if not code or not found.get(code, -1.0) >= 0:
            message = (
                "--delay: must be CODE=HOURS; found something else; write for example 'LOINC//*=2'"
            )
            raise UsageError(message)
    return found


def replay(
    hospital: HospitalPath,
    rule: Annotated[
        list[str] | None,
        typer.Option("--rule", metavar="ID", help="all installed ones by default"),
    ] = None,
    model: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="a saved model instead of rules")
    ] = None,
    threshold: Annotated[float | None, typer.Option(help="of the model; its own otherwise")] = None,
    every: Annotated[
        float,
        typer.Option(metavar="HOURS", help="how often rules for an open record are evaluated"),
    ] = 1,
    outcome: Outcome = None,
    horizon: Horizon = None,
    delay: Annotated[
        list[str] | None,
        typer.Option(
            "--delay", metavar="CODE=HOURS", help="where the time of recording is assumed"
        ),
    ] = None,
    by_unit: Annotated[bool, typer.Option("--by-unit", help="also for each unit")] = False,
    sweep: Annotated[bool, typer.Option("--sweep", help="also with higher thresholds")] = False,
    out: Annotated[Path | None, typer.Option(metavar="FILE.html", help="write a page")] = None,
    as_of: AsOf = None,
    as_json: Json = False,
) -> None:
    """Run rules or a model over the history as if they had been live.

    Rules for an open record are evaluated every hour of each stay, those for a
    discharge or an order just before it, with what had been recorded by then and was
    not yet withdrawn. Each is assessed against the outcome it warns of. Nothing is
    shown to anybody.

    Example: neva decide replay hospital --rule acute-care.news2-emergency
    """
    from neva.cli._rules import rule_named, rules_of
    from neva.decisions import replay_figures as figures
    from neva.decisions.replay import replay as run

    _, snapshot = snapshot_of(hospital, as_of)
    judging = _judging(outcome)
    delays = _delays(delay)
    if model is not None:
        from neva.models.families import load_for_use
        from neva.models.rules import replay_model

        made = replay_model(
            snapshot,
            load_for_use(model),
            threshold=threshold,
            every_hours=every,
            delays=delays or None,
            **judging,
        )
    else:
        if threshold is not None:
            message = "--threshold: goes with --model; found it without; leave it out"
            raise UsageError(message)
        chosen = [rule_named(name) for name in rule] if rule else list(rules_of(None).values())
        made = run(snapshot, chosen, every_hours=every, delays=delays or None, **judging)
    found = figures.figures(made, horizon_hours=horizon, by_unit=by_unit)
    shared = figures.overlap(made)
    sweeps = (
        {one.id: figures.sweep(made, one, horizon_hours=horizon) for one in made.rules}
        if sweep
        else {}
    )
    if out is not None:
        from neva.reports.pages.replay import replay_page

        replay_page(made, found, shared, sweeps, made=now()).write(out)
    content = {
        "data": made.identity,
        "synthetic": made.synthetic,
        "every_hours": made.every_hours,
        "outcome_of_all": _for_all(made),
        "horizon_hours": horizon,
        "recording_assumed_share": made.assumed_share,
        "delays": made.delays,
        "optimistic": found.optimistic,
        "figures": found.rows(),
        "overlap": shared,
        "sweep": sweeps,
        "page": out,
    }

    def text() -> str:
        lines = [_head(made, horizon)]
        lines += tables(found, every_hours=made.every_hours, by_unit=by_unit)
        for name, frame in sweeps.items():
            names = [one for one in _SWEPT if one in frame.columns]
            if "threshold" in names and "cards" in names:
                lines += ["", f"{name}, with higher thresholds:", table(frame.select(names))]
        if out is not None:
            lines += ["", f"page: {out}"]
        return "\n".join(lines)

    tell(as_json, content, text)


def _for_all(made: Any) -> str | None:
    """Name the outcome that every rule is assessed against instead of its own."""
    titles = {one.title for one in made.judged_by.values()}
    return None if made.is_own else next(iter(titles), "none")


def _head(made: Any, horizon: float | None) -> str:
    words = [f"Replay on {made.identity}."]
    if made.synthetic:
        words.append(SYNTHETIC_NOTE.capitalize() + ".")
    instead = _for_all(made)
    if instead is None:
        words.append("Each rule is assessed against the outcome that it warns of.")
    elif instead == "none":
        words.append("No rule is assessed against an outcome (--outcome none).")
    else:
        words.append(f"EVERY rule is assessed against one outcome, not its own: {instead}.")
    if horizon is not None:
        words.append(f"Horizon of every rule: {horizon:g} h.")
    assumed = f"{share(made.assumed_share)} of the events used have an assumed time of recording"
    if made.is_optimistic:
        words.append(
            f"OPTIMISTIC: {assumed} and count as known at once; state delays with --delay."
        )
    elif made.assumed_share:
        words.append(f"{assumed}; the stated delays were added.")
    return " ".join(words)


def log(
    hospital: HospitalPath,
    days: Annotated[float, typer.Option(help="of the past")] = 28.0,
    outcome: Outcome = None,
    horizon: Horizon = None,
    every: Annotated[str, typer.Option(help="1d, 1w or 1mo, for feedback")] = "1w",
    as_json: Json = False,
) -> None:
    """Show the cards of silent and live rules, and the responses to them.

    Example: neva decide log hospital
    """
    from neva.cli._rules import rules_of
    from neva.decisions.log_figures import feedback_by_period, replay_of_log
    from neva.decisions.replay_figures import figures
    from neva.state import read_state, state_of

    if every not in ("1d", "1w", "1mo"):
        message = f"--every: must be 1d, 1w or 1mo; found {every!r}; choose one"
        raise UsageError(message)
    _, snapshot = snapshot_of(hospital)
    last = now()
    first = last - timedelta(days=days)
    with read_state(state_of(hospital)) as state:
        cards = state.cards.between(first, last)
        responses = state.feedback.between(first, last)
    asked = set(zip(cards["rule"], cards["version"], strict=True))
    rules = [one for one in rules_of(None).values() if (one.id, one.version) in asked]
    made = replay_of_log(cards, snapshot, rules, first=first, last=last, **_judging(outcome))
    found = figures(made, horizon_hours=horizon) if rules else None
    feedback = feedback_by_period(cards, responses, zone=snapshot.zone, every=every)
    content = {
        "data": made.identity,
        "first": first,
        "last": last,
        "cards": cards.height,
        "shown": int(cards["shown"].sum()),
        "outcome_of_all": _for_all(made),
        "figures": [] if found is None else found.rows(),
        "feedback": feedback,
    }

    def text() -> str:
        head = (
            f"{cards.height:,} cards raised in {days:g} days, {int(cards['shown'].sum()):,} shown; "
            f"{responses.height:,} feedback. Cards for records that nobody opened are not "
            "in the log."
        )
        lines = [head]
        if found is not None:
            lines += tables(found, every_hours=made.every_hours, is_log=True)
        if feedback.height:
            lines += ["", table(feedback)]
        return "\n".join(lines)

    tell(as_json, content, text)
