"""Words that printed sheets show for codes, as literals that translations find."""

from __future__ import annotations

from neva.languages.language import Language

__all__ = ["spread", "words_for", "words_of_change", "words_of_urgency"]


def words_for(words: Language) -> dict[str, str]:
    """Return every operational code, state and value of entries in words."""
    return {
        "DELAY//care-package-assessment": words("assessment for a care package"),
        "DELAY//care-package-start": words("start of the care package"),
        "DELAY//care-home-place": words("place in a care home"),
        "DELAY//rehabilitation-bed": words("rehabilitation bed"),
        "DELAY//transport": words("transport"),
        "DELAY//other-hospital-bed": words("bed in another hospital"),
        "DELAY//medicines-to-take-out": words("medicines to take out"),
        "DELAY//investigation": words("investigation or result"),
        "DELAY//specialist-review": words("specialist review"),
        "DELAY//family-choice": words("family choice"),
        "DELAY//patient-choice": words("patient choice"),
        "DELAY//housing": words("housing"),
        "DELAY//other": words("other reason"),
        "ISOLATION//contact": words("contact isolation"),
        "ISOLATION//droplet": words("droplet isolation"),
        "ISOLATION//airborne": words("airborne isolation"),
        "ISOLATION//protective": words("protective isolation"),
        "CARE//ceiling-of-care": words("ceiling of care"),
        "CARE//palliative-care": words("palliative care"),
        "CARE//full-escalation": words("for full escalation"),
        "CARE//not-for-resuscitation": words("not for resuscitation"),
        "full-escalation": words("for full escalation"),
        "no-intensive-care": words("not for intensive care"),
        "ward-based-care": words("ward-based care"),
        "palliative-care": words("palliative care"),
        "immediate": words("immediate"),
        "urgent": words("urgent"),
        "routine": words("routine"),
        "request": words("request"),
        "boarder": words("boarding in the ED, no request"),
        "confirmed": words("confirmed"),
        "possible": words("possible"),
        "overdue": words("expected date of discharge passed"),
        "fit": words("medically fit"),
    }


def words_of_change(words: Language) -> dict[str, str]:
    """Return the kinds of changes since a handover in words."""
    return {
        "admission": words("new stays, including emergency visits"),
        "transfer": words("transfers"),
        "discharge": words("discharges"),
        "death": words("deaths"),
        "request": words("requests for beds"),
    }


def words_of_urgency(words: Language) -> dict[str, str]:
    """Return the places of the attention list in words."""
    return {
        "critical-overdue": words("critical, past its deadline"),
        "critical": words("critical"),
        "unobserved-unwell": words("NEWS2 ≥ 5, observations overdue"),
        "warning-overdue": words("warning, past its deadline"),
        "clock-closing": words("due within an hour"),
        "warning": words("warning"),
        "unobserved": words("observations overdue"),
        "clock-open": words("due soon"),
        "info": words("for information"),
    }


def spread(words: Language, mean: float | None, low: float | None, high: float | None) -> str:
    """Write an expected number with its limits; missing as a dash."""
    if mean is None or low is None or high is None:
        return words.number(mean, 1)
    return f"{words.number(mean, 1)} ({words.number(low)}–{words.number(high)})"
