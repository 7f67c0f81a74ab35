"""The activity file: which events a pathway is made of, and what they are called.

An activity file is YAML. Without one every code is an activity of its own.

::

    name: Sepsis, first day
    case: stay                 # or subject; without it the log decides
    activities:
      - name: Antibiotics
        codes: ["ATC//J01*"]           # a prefix
      - name: Laboratory
        codes: ["LOINC//*"]            # a whole system
      - name: Triage
        codes: [SEPSIS//ER Triage]     # one code
    others: leave out          # or keep: under their own name
    movements: unit            # entering a unit is an activity
    outcome: true              # the end of the stay is the last activity

An activity is written with ``codes`` today. The list is a list of *rules*
(:class:`Activity`): each is a yes-or-no question about an event row, so that a
definition, which is a yes-or-no function of events, takes the same place.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal

import polars as pl
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from neva.errors import BadInputError, NotFoundError
from neva.events.codes import OWN_SYSTEM

__all__ = ["Activity", "ActivityFile", "read_activities"]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)


class Activity(_Model):
    """One activity: a name and the codes that mean it.

    Attributes
    ----------
    name : str
        What maps and tables call it.
    codes : tuple of str
        Exact codes (``LOINC//2708-6``), or beginnings that end in ``*``
        (``ATC//J01*``; a whole system is ``LOINC//*``). A ``*`` elsewhere is
        an error.
    """

    name: str = Field(min_length=1)
    codes: tuple[str, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> Activity:
        for code in self.codes:
            if not code or "*" in code[:-1]:
                raise ValueError(
                    f"code {code!r} is no code and no beginning of one; write an exact code, "
                    "or a beginning with one * at its end"
                )
        return self

    def selects(self) -> pl.Expr:
        """Return the boolean expression over event rows that are this activity."""
        exact = [code for code in self.codes if not code.endswith("*")]
        selected = pl.col("code").is_in(exact)
        for code in self.codes:
            if code.endswith("*"):
                selected = selected | pl.col("code").str.starts_with(code[:-1])
        return selected


class ActivityFile(_Model):
    """A checked activity file; frozen, saved as JSON and read back equal.

    Attributes
    ----------
    name, version : str
        For people; part of the hash.
    case : {"stay", "subject"} or None
        What a case is. None: a stay when every event has one, else a subject.
    activities : tuple of Activity
        An event is the first activity, in file order, whose codes match.
        Empty: every code is an activity, but for the marks of system NEVA.
    others : {"leave out", "keep"}
        What happens to events that match no activity. Left-out events are
        counted. Without `activities` there are no others.
    labels : {"description", "code"}
        The name of an activity that is a single code: its description in the
        codes table where there is one, otherwise the part behind ``//``; or
        always the latter.
    statuses : tuple of str
        Events with another status (planned, not-done, cancelled) did not
        happen; they are left out and counted.
    events : {"every code", "none"}
        Without `activities`: whether codes are activities at all.
    movements : {"none", "unit"}
        ``unit``: entering a unit is an activity, named after the unit.
        Consecutive movements within one unit (bed changes) are one entry.
    outcome : bool
        The end of a stay is an activity, named after its outcome.
    """

    name: str = "every code"
    version: str = "1"
    case: Literal["stay", "subject"] | None = None
    activities: tuple[Activity, ...] = ()
    others: Literal["leave out", "keep"] = "leave out"
    labels: Literal["description", "code"] = "description"
    statuses: tuple[Literal["done", "planned", "not-done", "cancelled"], ...] = ("done",)
    events: Literal["every code", "none"] = "every code"
    movements: Literal["none", "unit"] = "none"
    outcome: bool = False

    @model_validator(mode="after")
    def _check(self) -> ActivityFile:
        if self.activities and self.events == "none":
            raise ValueError("activities are named though events is none; leave one of them out")
        names = [activity.name for activity in self.activities]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"activity {name!r} stands twice; put its codes into one entry")
        owner: dict[str, str] = {}
        for activity in self.activities:
            for code in activity.codes:
                if code in owner:
                    raise ValueError(
                        f"code {code!r} stands under {owner[code]!r} and {activity.name!r}; "
                        "keep it in one"
                    )
                owner[code] = activity.name
        return self

    @property
    def hash(self) -> str:
        """SHA-256 of the content as JSON: the version of every figure made with it."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    def name_codes(self, codes: pl.DataFrame) -> pl.DataFrame:
        """Give every code its activity.

        Parameters
        ----------
        codes : polars.DataFrame
            Columns ``code`` (distinct) and ``description`` (may be missing).

        Returns
        -------
        polars.DataFrame
            ``code`` and ``label`` (missing: the code is no activity).
        """
        own = pl.col("code").str.splitn("//", 2).struct.field("field_1")
        own = pl.when(own.str.len_chars() > 0).then(own).otherwise(pl.col("code"))
        if self.labels == "description":
            own = pl.coalesce(pl.col("description"), own)
        if not self.activities:
            # Neva's own marks (follow-up ends) are no activities of a patient.
            mark = pl.col("code").str.starts_with(OWN_SYSTEM) | pl.lit(self.events == "none")
            return codes.select("code", label=pl.when(~mark).then(own))
        label = own if self.others == "keep" else pl.lit(None, dtype=pl.String)
        for activity in reversed(self.activities):
            label = pl.when(activity.selects()).then(pl.lit(activity.name)).otherwise(label)
        return codes.select("code", label=label)


def _line(node: Any, path: tuple[str | int, ...]) -> int:
    """Find the line of a YAML node by the path of a validation error."""
    line = int(node.start_mark.line) + 1
    for step in path:
        if isinstance(node, yaml.MappingNode):
            found = [(key, value) for key, value in node.value if key.value == step]
            if not found:
                break
            line, node = int(found[0][0].start_mark.line) + 1, found[0][1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int):
            node = node.value[step]
            line = int(node.start_mark.line) + 1
        else:
            break
    return line


def read_activities(path: Path) -> ActivityFile:
    """Read and check an activity file.

    Parameters
    ----------
    path : Path
        A YAML file (JSON is YAML too).

    Returns
    -------
    ActivityFile

    Raises
    ------
    NotFoundError
        There is no such file.
    BadInputError
        The file is no YAML, or says something that an activity file does not;
        the message names the line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise NotFoundError(
            f"{path}: no such activity file; name an existing one, or none to make every "
            "code an activity"
        ) from None
    except UnicodeDecodeError as error:
        raise BadInputError(
            f"{path}: byte {error.start}: not UTF-8 text; save the activity file as UTF-8"
        ) from None
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}" if mark else "line unknown"
        problem = getattr(error, "problem", None) or "unreadable"
        raise BadInputError(
            f"{path}: {where}: not YAML ({problem}); check indentation, quotes and colons there"
        ) from None
    if not isinstance(content, dict):
        raise BadInputError(
            f"{path}: line 1: found a {type(content).__name__} where named settings belong; "
            "begin with 'activities:'"
        )
    try:
        return ActivityFile.model_validate(content)
    except ValidationError as error:
        # A misspelt setting also makes the right one missing: name the former.
        fault = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
        steps = tuple(step for step in fault["loc"] if isinstance(step, (str, int)))
        field = ".".join(str(step) for step in steps) or "the file"
        message = fault["msg"].removeprefix("Value error, ")
        advice = ""
        if fault["type"] == "extra_forbidden":
            message = "no such setting"
            known = ActivityFile if len(steps) == 1 else Activity
            advice = f"; the settings here are {', '.join(known.model_fields)}"
        elif fault["type"] == "tuple_type" and isinstance(fault["input"], str):
            message = f"found the text {fault['input']!r} where a list belongs"
            advice = f"; write [{fault['input']}]"
        elif not fault["type"].startswith("value_error"):
            message = f"{message}, found {fault['input']!r}"
            advice = "; see the activity file reference in docs/pathways.md"
        raise BadInputError(f"{path}: line {_line(node, steps)}: {field}: {message}{advice}") from (
            None
        )
