"""``neva decide replay`` and ``neva decide log``: what alerts would have done, and did."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from neva.cli.console import AsOf, HospitalPath, Json, now, snapshot_of, table, tell
from neva.errors import NotFoundError, UsageError

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add the commands to ``neva decide``."""
    app.command()(replay)
    app.command()(log)


Outcome = Annotated[
    str,
    typer.Option(metavar="ID", help="a feature that is a time: what rules should warn of; or none"),
]
Horizon = Annotated[float, typer.Option(metavar="HOURS", help="a card this long before counts")]
_FIGURES = (
    "rule",
    "unit",
    "stays",
    "patient_days",
    "cards",
    "cards_per_100_days",
    "cards_per_stay_with_card",
    "unknown_share",
    "outcomes",
    "sensitivity",
    "ppv",
    "lead_hours",
)


def _outcome(name: str) -> Any:
    from neva.definitions.programme import load_programme

    if name == "none":
        return None
    features = {one.id: one for one in load_programme(name.partition(".")[0]).features}
    if name not in features:
        message = (
            f"--outcome: no feature of this id; found {name!r}; there are "
            f"{', '.join(features) or 'none'}"
        )
        raise NotFoundError(message)
    return features[name]


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
        list[str] | None, typer.Option("--rule", metavar="ID", help="all of patient-view otherwise")
    ] = None,
    model: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="a saved model instead of rules")
    ] = None,
    threshold: Annotated[float | None, typer.Option(help="of the model; its own otherwise")] = None,
    every: Annotated[
        float, typer.Option(metavar="HOURS", help="how often stays are looked at")
    ] = 1,
    outcome: Outcome = "acute-care.deterioration",
    horizon: Horizon = 24.0,
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

    Each hour of each stay is looked at with what had been recorded by then and
    was not yet withdrawn. Nothing is shown to anybody.

    Example: neva decide replay hospital --rule acute-care.news2-emergency
    """
    from neva.cli.decide import rule_named, rules_of
    from neva.decisions import replay_figures as figures
    from neva.decisions.replay import replay as run

    _, snapshot = snapshot_of(hospital, as_of)
    warned = _outcome(outcome)
    delays = _delays(delay)
    if model is not None:
        from neva.decisions.families import load_for_use
        from neva.decisions.model_rules import replay_model

        made = replay_model(
            snapshot,
            load_for_use(model),
            threshold=threshold,
            every_hours=every,
            outcome=warned,
            delays=delays or None,
        )
    else:
        if threshold is not None:
            message = "--threshold: goes with --model; found it without; leave it out"
            raise UsageError(message)
        chosen = (
            [rule_named(name) for name in rule]
            if rule
            else [one for one in rules_of(None).values() if "patient-view" in one.hooks]
        )
        made = run(snapshot, chosen, every_hours=every, outcome=warned, delays=delays or None)
    found = figures.figures(made, horizon_hours=horizon, by_unit=by_unit)
    shared = figures.overlap(made)
    sweeps = (
        {one.id: figures.sweep(made, one, horizon_hours=horizon) for one in made.rules}
        if sweep
        else {}
    )
    if out is not None:
        from neva.reports.replay_page import replay_page

        replay_page(made, found, shared, sweeps, made=now()).write(out)
    content = {
        "data": made.identity,
        "synthetic": made.synthetic,
        "every_hours": made.every_hours,
        "outcome": made.outcome,
        "horizon_hours": horizon,
        "recording_assumed_share": made.assumed_share,
        "delays": made.delays,
        "optimistic": found.optimistic,
        "figures": found.rules,
        "overlap": shared,
        "sweep": sweeps,
        "page": out,
    }

    def text() -> str:
        lines = [_head(made, horizon)]
        shown = [name for name in _FIGURES if name in found.rules.columns]
        if not by_unit:
            shown.remove("unit")
        lines += ["", table(found.rules.select(shown), rows=200)]
        for name, frame in sweeps.items():
            names = [one for one in ("threshold", *_FIGURES[4:]) if one in frame.columns]
            lines += ["", f"{name}, with higher thresholds:", table(frame.select(names))]
        if out is not None:
            lines += ["", f"page: {out}"]
        return "\n".join(lines)

    tell(as_json, content, text)


def _head(made: Any, horizon: float) -> str:
    words = [f"Replay on {made.identity}, every {made.every_hours:g} h."]
    if made.synthetic:
        words.append("SYNTHETIC patients: the figures say nothing about real ones.")
    if made.outcome:
        words.append(f"Outcome: {made.outcome}, within {horizon:g} h.")
    share = f"{made.assumed_share * 100:.1f} % of the events used have an assumed time of recording"
    if made.is_optimistic:
        words.append(f"OPTIMISTIC: {share} and count as known at once; state delays with --delay.")
    elif made.assumed_share:
        words.append(f"{share}; the stated delays were added.")
    return " ".join(words)


def log(
    hospital: HospitalPath,
    days: Annotated[float, typer.Option(help="of the past")] = 28.0,
    outcome: Outcome = "none",
    horizon: Horizon = 24.0,
    every: Annotated[str, typer.Option(help="1d, 1w or 1mo, for feedback")] = "1w",
    as_json: Json = False,
) -> None:
    """Say what silent and live rules did, and what became of their cards.

    Example: neva decide log hospital
    """
    from neva.cli.decide import rules_of
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
        said = state.feedback.between(first, last)
    asked = set(zip(cards["rule"], cards["version"], strict=True))
    rules = [one for one in rules_of(None).values() if (one.id, one.version) in asked]
    made = replay_of_log(cards, snapshot, rules, first=first, last=last, outcome=_outcome(outcome))
    found = figures(made, horizon_hours=horizon).rules if rules else None
    feedback = feedback_by_period(cards, said, zone=snapshot.zone, every=every)
    content = {
        "data": made.identity,
        "first": first,
        "last": last,
        "cards": cards.height,
        "shown": int(cards["shown"].sum()),
        "figures": [] if found is None else found,
        "feedback": feedback,
    }

    def text() -> str:
        head = (
            f"{cards.height:,} cards raised in {days:g} days, {int(cards['shown'].sum()):,} shown; "
            f"{said.height:,} feedback. Cards of charts that nobody opened are not in the log."
        )
        lines = [head]
        if found is not None:
            names = [name for name in _FIGURES if name in found.columns and name != "unit"]
            lines += ["", table(found.select(names))]
        if feedback.height:
            lines += ["", table(feedback)]
        return "\n".join(lines)

    tell(as_json, content, text)
