"""What a notification says: the task, its unit, its times and where to look; no patient's value.

The subject line names neither patient nor finding. The text names the rule and, by
its pseudonym in the link, the record; names, numbers and results are on the page only.
"""

from __future__ import annotations

import json
from datetime import datetime
from email.message import EmailMessage
from typing import Any
from urllib.parse import quote

from neva.languages.language import Language
from neva.notifications.settings import Channel, NotificationSettings
from neva.state.notifications import Notification

__all__ = ["email_of", "payload_of", "subject_of"]


def _link(settings: NotificationSettings, one: Notification) -> str | None:
    if settings.pages is None:
        return None
    return f"{settings.pages.rstrip('/')}/patient/{quote(one.subject, safe='')}"


def subject_of(one: Notification, words: Language) -> str:
    """Return the subject line: how urgent, where, by when; nothing of the patient."""
    kind = {
        "critical": words("critical task"),
        "warning": words("task"),
        "info": words("task for information"),
    }[one.indicator]
    parts = [kind if not one.tier else words("escalated: %(kind)s", kind=kind)]
    parts.append(one.unit or words("unit not known"))
    if one.deadline is not None:
        parts.append(words("act by %(time)s", time=words.clock(one.deadline)))
    return "Neva: " + ", ".join(_one_line(part) for part in parts)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def email_of(
    one: Notification,
    channel: Channel,
    settings: NotificationSettings,
    words: Language,
    *,
    at: datetime,
) -> EmailMessage:
    """Write the e-mail of a task; the same task has the same id, however often it is sent.

    Parameters
    ----------
    one : Notification
    channel : Channel
        To whom.
    settings : NotificationSettings
    words : Language
    at : datetime
        Aware; when it is sent.
    """
    if settings.mail is None:
        raise ValueError
    message = EmailMessage()
    message["Subject"] = subject_of(one, words)
    message["From"] = settings.mail.sender
    message["To"] = ", ".join(channel.email)
    message["Date"] = at
    message["Message-ID"] = f"<{one.id}@{settings.mail.sender.rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"
    lines = [
        words("Task: %(title)s", title=one.title),
        words("Unit: %(unit)s", unit=one.unit or words("unit not known")),
        words("Whose task: %(owner)s", owner=one.owner),
        words("On the work list since: %(time)s", time=words.when(one.since)),
        words("Act by: %(time)s", time=words.when(one.deadline)),
    ]
    if one.tier:
        lines.append(words("It was handed up because nobody accepted it in time."))
    if (link := _link(settings, one)) is not None:
        lines += ["", link]
    lines += [
        "",
        words(
            "Sent by Neva from what was recorded by %(time)s. Look at the work list before you "
            "act: the task may be accepted or over by now.",
            time=words.when(at),
        ),
        words("Rule %(rule)s, version %(version)s", rule=one.rule, version=one.version),
    ]
    message.set_content("\n".join(lines) + "\n")
    return message


def payload_of(one: Notification, settings: NotificationSettings, *, at: datetime) -> bytes:
    """Write the body of a webhook: JSON, the same bytes for the same attempt."""
    content: dict[str, Any] = {
        "type": "task.escalated" if one.tier else "task.opened",
        "timestamp": at.isoformat(),
        "data": {
            "id": one.id,
            "rule": one.rule,
            "version": one.version,
            "title": one.title,
            "indicator": one.indicator,
            "unit": one.unit,
            "owner": one.owner,
            "tier": one.tier,
            "since": one.since.isoformat(),
            "deadline": None if one.deadline is None else one.deadline.isoformat(),
            "subject": one.subject,
            "stay": one.stay,
            "link": _link(settings, one),
        },
    }
    return json.dumps(content, ensure_ascii=False, sort_keys=True).encode()
