"""The rules that are installed, by name."""

from __future__ import annotations

from neva.decisions.rules import Rule
from neva.errors import NotFoundError


def rules_of(programmes: list[str] | None) -> dict[str, Rule]:
    """Return the rules of programmes, all installed ones by default, by id."""
    from neva.definitions.programme import load_programme, programme_names

    names = programmes or programme_names()
    return {rule.id: rule for name in names for rule in load_programme(name).rules}


def rule_named(name: str, programmes: list[str] | None = None) -> Rule:
    """Return a rule by its id.

    Raises
    ------
    NotFoundError
        No programme has it.
    """
    found = rules_of(programmes)
    if name not in found:
        message = (
            f"rule: there is none of this id; found {name!r}; there are {', '.join(sorted(found))}"
        )
        raise NotFoundError(message)
    return found[name]
