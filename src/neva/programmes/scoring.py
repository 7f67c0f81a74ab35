"""What rules ask of scores: how much is known, and what the total is at least."""

from __future__ import annotations

from typing import Any

from neva.definitions.documents import Score
from neva.definitions.language import (
    Boolean,
    Quantity,
    Time,
    any_of,
    case,
    exponential,
    first_known,
    greatest,
    least,
    logarithm,
    missing,
    number,
    subject,
    wrap,
)

__all__ = ["at_least", "glomerular_filtration", "has_missing", "single_item_of"]


def _items(score: Score) -> list[Quantity]:
    return [wrap(item.of) for item in score.items]


def at_least(score: Score) -> Quantity:
    """The sum of the items that are known; no item is negative."""
    parts = [first_known(item, 0) for item in _items(score)]
    total: Quantity = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def has_missing(score: Score) -> Boolean:
    """Whether an item is missing, so that the total is only a lower limit."""
    return any_of(*[item.is_missing() for item in _items(score)])


def single_item_of(score: Score, points: float) -> Boolean:
    """Whether one item alone has so many points; what is missing has none."""
    return any_of(*[first_known(item, 0) >= points for item in _items(score)])


def glomerular_filtration(creatinine: Quantity, at: Time) -> Any:
    """Estimate the filtration rate (CKD-EPI 2021, without race), mL/min per 1.73 m2.

    Parameters
    ----------
    creatinine : Quantity
        In umol/L; 88.42 umol/L are 1 mg/dL.
    at : Time
        When the age counts.

    Notes
    -----
    142 x min(c/k, 1)^a x max(c/k, 1)^-1.200 x 0.9938^age, x 1.012 for women; k is
    0.7 and a -0.241 for women, 0.9 and -0.302 for men. The coefficients are
    from memory and unconfirmed. Missing for other sexes.

    References
    ----------
    Inker LA et al. N Engl J Med 2021;385:1737-1749, doi 10.1056/NEJMoa2102953.
    """
    bare = creatinine.to("umol/L") / number(88.42, "umol/L")
    years = subject.age_at(at).to("a") / number(1, "a")

    def power(of: Quantity, exponent: float) -> Quantity:
        return exponential(logarithm(of) * exponent)

    def rate(k: float, a: float, factor: float) -> Quantity:
        ratio = bare / k
        made: Quantity = (
            power(least(ratio, number(1)), a)
            * power(greatest(ratio, number(1)), -1.200)
            * exponential(years * -0.00621926)
            * (142 * factor)
        )
        # Least and greatest pass over what is missing; a missing input must not.
        found: Quantity = case((ratio.is_known(), made), otherwise=ratio)
        return found

    return case(
        (subject.sex == "female", rate(0.7, -0.241, 1.012)),
        (subject.sex == "male", rate(0.9, -0.302, 1.0)),
        otherwise=missing(bare),
    )
