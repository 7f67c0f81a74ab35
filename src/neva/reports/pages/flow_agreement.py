"""Whether the simulation agrees with the forecast of the same time, in words and as a section."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from neva.flow.simulation.agreement import Agreement
from neva.languages.english import number
from neva.reports.pages.flow_words import ahead, hours_ahead, listed, local, place_name, signed
from neva.reports.pages.page import Cell, Details, Section, Table, Text

__all__ = ["agreement_section", "agreement_words", "reason_words"]

_WHAT = "patients by unit"
_VERDICTS = {"agrees": "agrees", "differs": "differs", "undecided": "too close to tell"}


def reason_words(row: Mapping[str, Any]) -> str:
    """Say why a simulated number differs from that forecast; empty where it does not."""
    return "; ".join(_reason(row, part) for part in row["reasons"])


def _reason(row: Mapping[str, Any], part: str) -> str:
    more = signed("", row[part])
    if part == "arrivals":
        if not max(row["come_forecast"], row["come_simulated"]):
            return f"arrivals in other units: {more}"
        return (
            f"arrivals: the forecast expects {number(row['come_forecast'], digits=1)} by then, the "
            f"simulation {number(row['come_simulated'], digits=1)}: {more}"
        )
    if part == "stays_here":
        return (
            "lengths of stay: of those in hospital now the forecast expects "
            f"{number(row['here_forecast'], digits=1)} here then, the simulation "
            f"{number(row['here_simulated'], digits=1)}: {more}"
        )
    if part == "stays_to_come":
        return f"lengths of stay of those who arrive by then: {more}"
    if part == "beds":
        why = "wait here for a bed elsewhere" if row["beds"] > 0 else "find no bed here"
        return (
            f"beds: some {why}; with beds for all it would be "
            f"{number(row['unlimited'], digits=1)}: {more}"
        )
    if part == "entries":
        return f"entries, which the simulation does not use: {more}"
    return f"not explained: {more}"


def _range(row: Mapping[str, Any], name: str) -> str:
    low, high = (number(row[f"{name}_{end}"], digits=0) for end in ("q05", "q95"))
    return f"{low} to {high}"


def agreement_words(made: Agreement | None, note: str) -> list[str]:
    """Say in a few lines whether they agree; why nothing was compared, where nothing was."""
    if made is None:
        return [f"not compared with the forecast: {note}"]
    frame = made.frame
    hours = [hours_ahead(one) for one in frame["hours"].unique().sort()]
    counts = [f"{made.count('agrees')} of {frame.height} numbers of patients agree"]
    if differing := made.count("differs"):
        counts.append(f"{differing} {'differs' if differing == 1 else 'differ'}")
    if close := made.count("undecided"):
        counts.append(f"{close} {'is' if close == 1 else 'are'} too close to tell")
    sentences = [
        (
            f"the hospital as it is, beside its forecast: {listed(counts)} "
            f"({frame['place'].n_unique()} places, {listed(hours)} ahead; {made.replications} "
            "replications)"
        )
    ]
    sentences += [
        (
            f"differs: {place_name(row['place'], _WHAT)} {ahead(row['hours'])}: simulated "
            f"{number(row['simulated'], digits=1)} ({_range(row, 'simulated')}), forecast "
            f"{number(row['forecast'], digits=1)} ({_range(row, 'forecast')}), because of "
            f"{reason_words(row)}"
        )
        for row in made.differing().iter_rows(named=True)
    ]
    return sentences


def agreement_section(made: Agreement | None, note: str, zone: str) -> Section:
    """Lay the simulation of the hospital as it is beside the forecast.

    Parameters
    ----------
    made : Agreement or None
    note : str
        Why nothing was compared, where `made` is missing.
    zone : str
        Of the hospital's clocks.
    """
    title = "Does the forecast say the same?"
    if made is None:
        return Section(title, (Text(f"Not compared with the forecast: {note}", "warning"),))
    frame = made.frame
    sentence = agreement_words(made, note)[0]
    blocks: list[Text | Table | Details] = [
        Text(f"{sentence[0].upper()}{sentence[1:]}."),
        Text(
            "The hospital as it is, simulated with its beds, beside the forecast, which does not "
            "consider beds. They agree if the simulated mean, with its 95 % interval, is no "
            "farther from that forecast than a quarter of the width of the forecast's 5 % to "
            "95 %, or half a patient.",
            "small",
        ),
    ]
    whole = pl.col("place") == "all"
    shown = frame.filter(whole | (pl.col("verdict") != "agrees")).sort(~whole, maintain_order=True)
    if shown.height:
        blocks.append(_table(shown, zone, "The whole hospital, and what does not agree"))
    everything = _table(frame, zone, "Simulated and forecast patients; mean, and 5 % to 95 %")
    blocks.append(Details(f"All {frame.height} comparisons", (everything,)))
    return Section(title, tuple(blocks))


def _table(frame: pl.DataFrame, zone: str, caption: str) -> Table:
    rows = []
    for row in frame.iter_rows(named=True):
        differs = row["verdict"] == "differs"
        rows.append(
            (
                Cell(place_name(row["place"], _WHAT), is_text=True),
                Cell(ahead(row["hours"]), small=local(row["time"], zone), is_text=True),
                *(
                    Cell(number(row[name], digits=1), small=_range(row, name), is_strong=differs)
                    for name in ("simulated", "forecast")
                ),
                Cell(_VERDICTS[row["verdict"]], is_text=True),
                Cell(reason_words(row) or "–", is_text=True),
            )
        )
    head = (
        Cell("place", is_text=True), Cell("when", is_text=True), Cell("simulated"),
        Cell("forecast"), Cell("", is_text=True), Cell("because of", is_text=True),
    )  # fmt: skip
    return Table(caption, head, tuple(rows))
