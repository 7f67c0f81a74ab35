"""Backups of a live hospital: taken, listed, verified, restored."""

from neva.backups.contents import Backup
from neva.backups.restoring import RestoreSummary, restore_backup
from neva.backups.taking import BackupSummary, create_backup
from neva.backups.targets import Target, open_target
from neva.backups.verifying import verify_backups

__all__ = [
    "Backup",
    "BackupSummary",
    "RestoreSummary",
    "Target",
    "create_backup",
    "open_target",
    "restore_backup",
    "verify_backups",
]
