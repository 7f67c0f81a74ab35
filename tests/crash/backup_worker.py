"""Takes or restores backups, one after the other, until it is killed; started by the crash test.

Waits for a line with what to do, the hospital's folder and the target; everything slow is
loaded before.
"""

import itertools
import sys
from datetime import UTC, datetime
from pathlib import Path

from neva.backups import create_backup, restore_backup


def work() -> None:
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    act, hospital, target = sys.stdin.readline().rstrip("\n").split("\t")
    sys.stdout.write("went\n")
    sys.stdout.flush()
    for number in itertools.count():
        now = datetime.now(UTC)
        if act == "create":
            create_backup(Path(hospital), Path(target), now=now, keep=3)
        else:
            restore_backup(Path(target), Path(f"{hospital}-{number}"), actor="test", now=now)


if __name__ == "__main__":
    work()
