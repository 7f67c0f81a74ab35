"""What can go wrong, in two families.

::

    Exception
    ├── NevaError                 the user's problem: shown without traceback
    │   ├── UsageError            exit 2  the command or option is wrong
    │   ├── BadInputError         exit 3  a file, mapping or row cannot be used
    │   │   └── MappingError      exit 3  a mapping file is wrong (with its line)
    │   ├── NotFoundError         exit 4  a file, hospital, table or unit is absent
    │   └── ConflictError         exit 5  another writer, or a file that changed
    └── anything else             exit 1  our bug: shown with traceback

Every message says what is wrong, where, what was found and what to do. It
never carries a value from a patient's row: a row is named by file and number.
"""

from __future__ import annotations

__all__ = [
    "BadInputError",
    "ConflictError",
    "MappingError",
    "NevaError",
    "NotFoundError",
    "UsageError",
]


class NevaError(Exception):
    """A problem that the user can mend; carries the process's exit code."""

    exit_code = 3


class UsageError(NevaError):
    """The command line or an argument is wrong."""

    exit_code = 2


class BadInputError(NevaError):
    """A file or its content cannot be used."""

    exit_code = 3


class MappingError(BadInputError):
    """A mapping file is wrong; the message names its line."""


class NotFoundError(NevaError):
    """Something that was named does not exist."""

    exit_code = 4


class ConflictError(NevaError):
    """Another process writes, or a file differs from what was imported."""

    exit_code = 5
