"""Judges the documents of a CDS service: the discovery and the cards."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from neva.cds.conformance.hooks import HOOK_TOKENS, USER_TOKENS
from neva.cds.conformance.report import Findings

__all__ = ["judge_answer", "judge_discovery"]

_TOKEN = re.compile(r"\{\{([^{}]*)\}\}")
_CONTEXT = re.compile(r"context\.[A-Za-z_][A-Za-z0-9_-]*")
_TYPE = re.compile(r"[A-Z][A-Za-z]+([/?][^\s]*)?")
_REFERENCE = re.compile(r"[A-Z][A-Za-z]+/[A-Za-z0-9\-.]{1,64}")
_ACTIONS = ("create", "update", "delete")


def _empty(value: Any, path: str, *, may_be: frozenset[str]) -> Iterator[str]:
    """Give the paths of what is null or empty."""
    waiting = [(value, path)]
    while waiting:
        one, at = waiting.pop()
        if one is None or (isinstance(one, (str, list, dict)) and not one):
            if at not in may_be:
                yield at
        elif isinstance(one, dict):
            waiting += [(item, f"{at}.{name}" if at else str(name)) for name, item in one.items()]
        elif isinstance(one, list):
            waiting += [(item, f"{at}[{k}]") for k, item in enumerate(one)]


def _is_text(value: Any) -> bool:
    # Empty text is found by the check of empty elements, once.
    return isinstance(value, str)


def _is_absolute(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    try:
        parts = urlsplit(value)
    except ValueError:
        return False
    return bool(parts.scheme and (parts.netloc or parts.path))


def _is_coding(value: Any, *, display: bool) -> bool:
    needed = ("code", "system", "display") if display else ("code", "system")
    return isinstance(value, dict) and all(_is_text(value.get(name)) for name in needed)


def _objects(
    findings: Findings, check: str, value: Any, place: str
) -> list[tuple[dict[str, Any], str]]:
    """Return the objects of an array, each with its path."""
    is_list = isinstance(value, list) and all(isinstance(one, dict) for one in value)
    findings.expect(check, is_list, place)
    if not isinstance(value, list):
        return []
    return [(one, f"{place}[{k}]") for k, one in enumerate(value) if isinstance(one, dict)]


def judge_discovery(findings: Findings, document: Any) -> list[dict[str, Any]]:
    """Check the discovery; return the services that can be called."""
    is_list = isinstance(document, dict) and isinstance(document.get("services"), list)
    services = document["services"] if is_list else []
    holds = is_list and all(isinstance(one, dict) for one in services)
    if not findings.expect("discovery.services", holds, "discovery"):
        services = [one for one in services if isinstance(one, dict)]
    empty = list(_empty(document, "", may_be=frozenset({"services"}))) if is_list else []
    findings.expect("discovery.not-empty", not empty, f"discovery: {', '.join(empty[:3])}")
    callable_ones: list[dict[str, Any]] = []
    seen: set[str] = set()
    for k, service in enumerate(services):
        at = f"services[{k}]"
        missing = [n for n in ("hook", "description", "id") if not _is_text(service.get(n))]
        findings.expect("discovery.required", not missing, f"{at}: {', '.join(missing)}")
        findings.expect("discovery.title", _is_text(service.get("title")), at)
        _judge_prefetch(findings, service, at)
        name = service.get("id")
        if not isinstance(name, str) or not name:
            continue
        if findings.expect("discovery.unique", name not in seen, f"{at}: {name}"):
            seen.add(name)
            if isinstance(service.get("hook"), str) and service["hook"]:
                callable_ones.append(service)
    return callable_ones


def _judge_prefetch(findings: Findings, service: Mapping[str, Any], at: str) -> None:
    if "prefetch" not in service:
        return
    prefetch = service["prefetch"]
    is_texts = isinstance(prefetch, dict) and all(_is_text(one) for one in prefetch.values())
    findings.expect("discovery.prefetch", is_texts, f"{at}.prefetch")
    if not isinstance(prefetch, dict):
        return
    offered = HOOK_TOKENS.get(str(service.get("hook")))
    for key, template in prefetch.items():
        if not isinstance(template, str) or not template:
            continue
        place = f"{at}.prefetch.{key}"
        rest = _TOKEN.sub("", template)
        whole = "{{" not in rest and "}}" not in rest
        findings.expect("discovery.delimiters", whole, place)
        for token in _TOKEN.findall(template):
            is_context = _CONTEXT.fullmatch(token) is not None
            known = findings.expect("discovery.tokens", is_context or token in USER_TOKENS, place)
            if known and is_context and offered is not None:
                field = token.partition(".")[2]
                findings.expect("discovery.hook-fields", field in offered, place)
        if whole:
            is_user = template == "{{context.userId}}"
            relative = _TYPE.fullmatch(_TOKEN.sub("x", template)) is not None
            findings.expect("discovery.queries", is_user or relative, place)


def judge_answer(findings: Findings, document: Any, request: str) -> list[dict[str, Any]]:
    """Check an answer of 200; return its cards.

    Parameters
    ----------
    findings : Findings
    document : Any
        The JSON of the answer.
    request : str
        Which request it answers, in words.
    """
    cards = document.get("cards") if isinstance(document, dict) else None
    holds = isinstance(cards, list) and all(isinstance(card, dict) for card in cards)
    findings.expect("call.cards", holds, request)
    if not isinstance(document, dict):
        return []
    empty = list(_empty(document, "", may_be=frozenset({"cards"})))
    findings.expect("response.not-empty", not empty, f"{request}: {', '.join(empty[:3])}")
    found = [card for card in cards if isinstance(card, dict)] if isinstance(cards, list) else []
    for k, card in enumerate(found):
        _judge_card(findings, card, f"{request}: cards[{k}]")
    uuids = [card["uuid"] for card in found if isinstance(card.get("uuid"), str)]
    if uuids:
        findings.expect("card.uuid-unique", len(set(uuids)) == len(uuids), request)
    if "systemActions" in document:
        place = f"{request}: systemActions"
        for action, at in _objects(
            findings, "system-action.list", document["systemActions"], place
        ):
            findings.expect("system-action.type", action.get("type") in _ACTIONS, at)
            findings.expect("system-action.description", _is_text(action.get("description")), at)
            if action.get("type") in ("create", "update"):
                findings.expect("system-action.resource", _is_resource(action), at)
    _judge_extension(findings, document, request)
    return found


def _judge_extension(findings: Findings, holder: Mapping[str, Any], place: str) -> None:
    if "extension" in holder:
        is_object = isinstance(holder["extension"], dict)
        findings.expect("response.extension", is_object, f"{place}: extension")


def _judge_card(findings: Findings, card: Mapping[str, Any], at: str) -> None:
    expect = findings.expect
    summary = card.get("summary")
    if expect("card.summary", _is_text(summary), at):
        expect("card.summary-length", len(str(summary)) < 140, at)
    expect("card.indicator", card.get("indicator") in ("info", "warning", "critical"), at)
    if "detail" in card:
        expect("card.detail", _is_text(card["detail"]), at)
    if "uuid" in card:
        expect("card.uuid", _is_text(card["uuid"]), at)
    source = card.get("source")
    expect("card.source", isinstance(source, dict) and _is_text(source.get("label")), at)
    if isinstance(source, dict):
        for name in ("url", "icon"):
            if name in source:
                expect("card.source-url", _is_absolute(source[name]), f"{at}.source.{name}")
        if "topic" in source:
            expect("card.topic", _is_coding(source["topic"], display=False), f"{at}.source.topic")
    if "overrideReasons" in card:
        reasons = card["overrideReasons"]
        good = isinstance(reasons, list) and all(_is_coding(one, display=True) for one in reasons)
        expect("card.override-reasons", good, f"{at}.overrideReasons")
    if "suggestions" in card:
        _judge_suggestions(findings, card, at)
    if "links" in card:
        for link, place in _objects(findings, "link.list", card["links"], f"{at}.links"):
            expect("link.label", _is_text(link.get("label")), place)
            expect("link.url", _is_absolute(link.get("url")), place)
            expect("link.type", link.get("type") in ("absolute", "smart"), place)
            if "appContext" in link:
                good = _is_text(link["appContext"]) and link.get("type") != "absolute"
                expect("link.app-context", good, place)
    _judge_extension(findings, card, at)


def _judge_suggestions(findings: Findings, card: Mapping[str, Any], at: str) -> None:
    expect = findings.expect
    suggestions = _objects(findings, "suggestion.list", card["suggestions"], f"{at}.suggestions")
    behavior = card.get("selectionBehavior")
    if expect("suggestion.behavior", "selectionBehavior" in card, at):
        expect("suggestion.behavior-value", behavior in ("at-most-one", "any"), at)
    seen: set[str] = set()
    recommended = 0
    for suggestion, place in suggestions:
        expect("suggestion.label", _is_text(suggestion.get("label")), place)
        if "uuid" in suggestion:
            uuid = suggestion["uuid"]
            expect("suggestion.uuid", _is_text(uuid) and uuid not in seen, place)
            if isinstance(uuid, str):
                seen.add(uuid)
        if "isRecommended" in suggestion:
            value = suggestion["isRecommended"]
            if expect("suggestion.recommended", isinstance(value, bool), place):
                recommended += value
        if "actions" in suggestion:
            for action, where in _objects(
                findings, "action.list", suggestion["actions"], f"{place}.actions"
            ):
                _judge_action(findings, action, where)
    if behavior == "at-most-one" and recommended:
        expect("suggestion.one-recommended", recommended == 1, at)


def _judge_action(findings: Findings, action: Mapping[str, Any], at: str) -> None:
    expect = findings.expect
    kind = action.get("type")
    expect("action.type", kind in _ACTIONS, at)
    expect("action.description", _is_text(action.get("description")), at)
    if kind in ("create", "update"):
        expect("action.resource", _is_resource(action), at)
    if kind == "delete":
        expect("action.resource-id", "resourceId" in action, at)
    if "resourceId" in action:
        value = action["resourceId"]
        is_reference = isinstance(value, str) and _REFERENCE.fullmatch(value) is not None
        expect("action.reference", is_reference, at)


def _is_resource(action: Mapping[str, Any]) -> bool:
    resource = action.get("resource")
    return isinstance(resource, dict) and _is_text(resource.get("resourceType"))
