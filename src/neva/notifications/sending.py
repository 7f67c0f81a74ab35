"""Which tasks somebody is notified of, and sending until it succeeded or is given up."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

from neva.decisions.tasks import Task
from neva.errors import NevaError
from neva.languages.language import Language
from neva.notifications.doors import Refusal, hand_over, post
from neva.notifications.settings import Channel, NotificationSettings
from neva.notifications.texts import email_of, payload_of
from neva.state import State
from neva.state.notifications import Due, Notification, id_of

__all__ = ["Sender", "send", "wanted"]

#: So many are taken at once.
_AT_ONCE: Final = 20
#: Between two attempts: 10 s, 20 s, 40 s, ... an hour.
_FIRST_WAIT: Final = timedelta(seconds=10)
_LONGEST_WAIT: Final = timedelta(hours=1)
_HOUR: Final = timedelta(hours=1)


def _concerns(channel: Channel, task: Task) -> bool:
    return (
        task.indicator in channel.indicators
        and (channel.owners is None or task.owner in channel.owners)
        and (channel.units is None or task.unit in channel.units)
        and (channel.rules is None or task.rule in channel.rules)
        and (task.tier > 0 or not channel.escalations_only)
    )


def wanted(channel: Channel, tasks: Sequence[Task]) -> list[Notification]:
    """Return what a channel must say of the tasks as they are.

    Parameters
    ----------
    channel : Channel
    tasks : sequence of Task

    Returns
    -------
    list of Notification
        Accepted tasks have somebody, and are in none.
    """
    return [
        Notification(
            id=id_of(channel.name, one.rule, one.stay_id, one.begun_after, one.owner, one.tier),
            channel=channel.name,
            rule=one.rule,
            version=one.version,
            title=one.title,
            subject=str(one.subject_id),
            stay=str(one.stay_id),
            unit=one.unit,
            indicator=one.indicator,
            owner=one.owner,
            tier=one.tier,
            since=one.since,
            deadline=one.deadline,
        )
        for one in tasks
        if not one.acknowledged and _concerns(channel, one)
    ]


class Sender:
    """Notes what is to be sent, and sends it in a thread of its own.

    Parameters
    ----------
    state : State
    settings : NotificationSettings
    words : Language
    now : callable
        The clock.
    """

    def __init__(
        self,
        state: State,
        settings: NotificationSettings,
        words: Language,
        now: Callable[[], datetime],
    ) -> None:
        self._state, self._settings, self._words, self._now = state, settings, words, now
        self._wake = threading.Event()

    def note(self, tasks: Sequence[Task], at: datetime) -> None:
        """Write down what must be sent of the tasks as they are at a time."""
        found = [
            notification
            for channel in self._settings.channels
            for notification in wanted(channel, tasks)
        ]
        names = [channel.name for channel in self._settings.channels]
        if self._state.notifications.note(found, channels=names, at=at):
            self._wake.set()

    def send_due(self) -> int:
        """Send what is due; return how many were sent."""
        sent = 0
        for channel in self._settings.channels:
            at = self._now()
            left = channel.most_per_hour - self._state.notifications.sent_since(
                channel.name, at - _HOUR
            )
            most = max(0, min(left, _AT_ONCE))
            for one in self._state.notifications.take(channel.name, at=at, most=most):
                sent += self._send(channel, one)
        return sent

    def _send(self, channel: Channel, due: Due) -> bool:
        at, one = self._now(), due.notification
        outbox = self._state.notifications
        try:
            send(channel, one, self._settings, self._words, at=at)
        except Refusal as refusal:
            if refusal.is_final or at - due.created >= self._settings.give_up_after:
                outbox.give_up(one, at=at, problem=refusal.problem)
            else:
                wait = refusal.after or min(
                    _FIRST_WAIT * 2 ** min(due.tries - 1, 12), _LONGEST_WAIT
                )
                outbox.try_again(one, after=at + wait, problem=refusal.problem)
            return False
        except NevaError as error:  # a secret that is not there
            outbox.try_again(one, after=at + _LONGEST_WAIT / 12, problem=str(error))
            return False
        outbox.sent(one, at=at)
        return True

    def wait(self, seconds: float) -> None:
        """Wait until there is something new, at most so long."""
        self._wake.wait(seconds)
        self._wake.clear()

    def wake(self) -> None:
        """End the waiting."""
        self._wake.set()


def send(
    channel: Channel,
    one: Notification,
    settings: NotificationSettings,
    words: Language,
    *,
    at: datetime,
) -> None:
    """Send one notification by a channel, now.

    Raises
    ------
    Refusal
    NotFoundError
        A secret is not there.
    """
    if channel.webhook is not None:
        post(channel, one.id, payload_of(one, settings, at=at), at=at)
    elif settings.mail is not None:
        message = email_of(one, channel, settings, words, at=at)
        hand_over(message, settings.mail)
