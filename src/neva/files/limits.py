"""Limits of a process that reads what somebody else has written."""

from __future__ import annotations

import resource
from pathlib import Path

__all__ = ["limit_resources"]


def limit_resources(*, seconds: int, memory: int, output: int) -> None:
    """Give what follows in this process little time, memory and room to write.

    Parameters
    ----------
    seconds : int
        Of computing, beyond what the start has taken.
    memory : int
        Bytes, beyond what the start has taken.
    output : int
        Bytes of each file that is written.
    """
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        taken = pages * resource.getpagesize()
    except (OSError, ValueError):
        # Not Linux: a round figure above what the libraries map at the start.
        taken = 8 * 2**30
    used = resource.getrusage(resource.RUSAGE_SELF)
    for what, most in (
        (resource.RLIMIT_AS, taken + memory),
        (resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime) + seconds),
        (resource.RLIMIT_FSIZE, output),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(what)
        wanted = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (wanted, wanted))
