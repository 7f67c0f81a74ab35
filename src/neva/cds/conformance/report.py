"""Findings of a check of a CDS service: collected, printed, and written as JUnit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import polars as pl

from neva.cds.conformance.checks import CHECKS, Check

__all__ = ["CheckResult", "ConformanceReport", "Findings"]

#: Places shown of one check; the number of all is told.
PLACES = 5

SCHEMA: dict[str, Any] = {
    "check": pl.String,
    "level": pl.String,
    "result": pl.String,
    "sentence": pl.String,
    "section": pl.String,
    "tested": pl.Int64,
    "failed": pl.Int64,
    "places": pl.List(pl.String),
}


def printable(text: str, longest: int = 120) -> str:
    """Return what a service sent so that it can be printed: no control characters.

    Examples
    --------
    >>> printable("a" + chr(27) + "[31m")
    'a?[31m'
    """
    shown = "".join(sign if sign.isprintable() else "?" for sign in text[: longest + 1])
    return shown if len(shown) <= longest else shown[:longest] + "…"


class Findings:
    """Collects, check by check, where it held and where it did not."""

    def __init__(self) -> None:
        self._tested = dict.fromkeys(CHECKS, 0)
        self._places: dict[str, list[str]] = {name: [] for name in CHECKS}

    def expect(self, check: str, holds: bool, place: str) -> bool:
        """Note that a check was made; return whether it held."""
        self._tested[check] += 1
        if not holds:
            self._places[check].append(printable(place))
        return holds

    def report(self, url: str, services: int, cards: int) -> ConformanceReport:
        """Return what was found."""
        return ConformanceReport(
            url=printable(url, 500),
            services=services,
            cards=cards,
            results=tuple(
                CheckResult(check, self._tested[name], tuple(self._places[name]))
                for name, check in CHECKS.items()
            ),
        )


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of one check.

    Attributes
    ----------
    check : Check
    tested : int
        How often it could be made.
    places : tuple of str
        Where it did not hold: the request, and the path in the answer. Never
        a value of the answer.
    """

    check: Check
    tested: int
    places: tuple[str, ...]

    @property
    def result(self) -> str:
        """``passed``, ``failed``, ``warning`` or ``not tested``."""
        if not self.tested:
            return "not tested"
        if not self.places:
            return "passed"
        return "failed" if self.check.level == "SHALL" else "warning"


@dataclass(frozen=True, slots=True)
class ConformanceReport:
    """Whether a CDS service does what CDS Hooks 2.0 asks.

    Attributes
    ----------
    url : str
    services, cards : int
        How many services were called, and how many cards they answered.
    results : tuple of CheckResult
        One for each check, in the order of the catalogue.
    """

    url: str
    services: int
    cards: int
    results: tuple[CheckResult, ...]

    def of(self, result: str) -> list[CheckResult]:
        """Return the checks with this result."""
        return [one for one in self.results if one.result == result]

    @property
    def conforms(self) -> bool:
        """Whether no check of level SHALL failed."""
        return not self.of("failed")

    def to_frame(self) -> pl.DataFrame:
        """Return a row for each check.

        Returns
        -------
        polars.DataFrame
            ``check``, ``level``, ``result``, ``sentence``, ``section``
            String; ``tested``, ``failed`` Int64 (how often); ``places``
            List(String).
        """
        rows = [
            (
                one.check.id,
                one.check.level,
                one.result,
                one.check.sentence,
                one.check.section,
                one.tested,
                len(one.places),
                list(one.places),
            )
            for one in self.results
        ]
        return pl.DataFrame(rows, schema=SCHEMA, orient="row")

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "url": self.url,
            "specification": "CDS Hooks 2.0",
            "conforms": self.conforms,
            "services": self.services,
            "cards": self.cards,
            "counts": self.counts(),
            "checks": self.to_frame(),
        }

    def counts(self) -> dict[str, int]:
        """Return how many checks had which result."""
        return {
            result: len(self.of(result)) for result in ("passed", "failed", "warning", "not tested")
        }

    def to_text(self) -> str:
        """Return a page for people: failures first, then warnings, then the rest."""
        counts = ", ".join(f"{number} {result}" for result, number in self.counts().items())
        lines = [
            f"{self.url}: {self.services} services, {self.cards} cards",
            f"{counts} of {len(self.results)} checks of CDS Hooks 2.0",
        ]
        for result, title in (("failed", "failed (SHALL)"), ("warning", "warnings (SHOULD)")):
            found = self.of(result)
            if found:
                lines += ["", f"{title}:"]
            for one in found:
                lines.append(f"  {one.check.id}: {one.check.sentence}")
                lines.append(f"      see '{one.check.section}'; not so in:")
                lines += [f"      - {place}" for place in one.places[:PLACES]]
                if len(one.places) > PLACES:
                    lines.append(f"      … and {len(one.places) - PLACES} more")
        untested = self.of("not tested")
        if untested:
            lines += ["", "not tested:"]
            lines.append("  " + ", ".join(one.check.id for one in untested))
            if any(place.endswith("(401)") for one in self.of("failed") for place in one.places):
                lines.append("  calls were answered with 401: sign them (--key, --kid, --issuer)")
            elif not self.cards:
                lines.append("  no card came back: give the data that lead to one with --prefetch")
        verdict = "conforms" if self.conforms else "does not conform"
        lines += ["", f"the service {verdict}, as far as it was tested"]
        return "\n".join(lines)

    def write_junit(self, path: Path) -> None:
        """Write JUnit XML; a warning and an untested check count as skipped."""
        counts = self.counts()
        suite = ElementTree.Element(
            "testsuite",
            name="CDS Hooks 2.0",
            tests=str(len(self.results)),
            failures=str(counts["failed"]),
            errors="0",
            skipped=str(counts["warning"] + counts["not tested"]),
        )
        for one in self.results:
            case = ElementTree.SubElement(
                suite, "testcase", classname=one.check.id.partition(".")[0], name=one.check.id
            )
            if one.result == "failed":
                failure = ElementTree.SubElement(case, "failure", message=one.check.sentence)
                failure.text = "\n".join([f"see '{one.check.section}'", *one.places])
            elif one.result != "passed":
                reason = f"warning: {one.check.sentence}" if one.places else "not tested"
                ElementTree.SubElement(case, "skipped", message=reason)
                if one.places:
                    ElementTree.SubElement(case, "system-out").text = "\n".join(one.places)
        ElementTree.ElementTree(suite).write(path, encoding="utf-8", xml_declaration=True)
