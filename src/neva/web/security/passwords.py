"""Passwords are checked a few at a time, without blocking other requests."""

from __future__ import annotations

from functools import partial
from typing import Final

import anyio
from anyio import CapacityLimiter

from neva.state import Account
from neva.state.accounts import Accounts

__all__ = ["PasswordChecks"]

#: Of each kind at once: a check takes 64 MiB and all of a processor.
AT_ONCE: Final = 2
#: So many wait; others are asked to come back.
MOST_WAITING: Final = 20


class PasswordChecks:
    """Checks of passwords, in threads of their own.

    Strangers and known devices have places of their own, so that strangers
    keep nobody out who has been here before, and pages are not kept waiting.
    """

    def __init__(self) -> None:
        self._places = {is_known: CapacityLimiter(AT_ONCE) for is_known in (False, True)}

    def is_full(self, *, is_known: bool) -> bool:
        """Say whether too many wait already."""
        return self._places[is_known].statistics().tasks_waiting >= MOST_WAITING

    async def verify(
        self, accounts: Accounts, name: str, password: str, *, is_known: bool
    ) -> Account | None:
        """Return the account if name and password are right and it is not disabled."""
        return await anyio.to_thread.run_sync(
            partial(accounts.verify, name, password), limiter=self._places[is_known]
        )
