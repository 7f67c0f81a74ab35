"""Neva: what a hospital already records, turned into decisions."""

from neva.events.hospital import open_hospital as open  # noqa: A004

__all__ = ["open"]
