"""Imports files one after the other until it is killed; started by the crash test.

Waits for a line with the hospital, the folder of files and the number of the
first file; everything slow is loaded before.
"""

import sys
from datetime import UTC, datetime
from pathlib import Path

from neva.events.hospital import open_hospital
from neva.intake.importing import import_delivery
from neva.sources.csv.source import open_csv


def work() -> None:
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    folder, files, mapping, first = sys.stdin.readline().split("\t")
    sys.stdout.write("went\n")
    sys.stdout.flush()
    hospital = open_hospital(folder)
    for path in sorted(Path(files).glob("*.csv"))[int(first) :]:
        opened = open_csv(path, zone="UTC", mapping=Path(mapping))
        import_delivery(hospital, opened, label=path.name, now=datetime.now(UTC))


if __name__ == "__main__":
    work()
