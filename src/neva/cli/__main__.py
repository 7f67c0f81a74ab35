"""``python -m neva.cli``."""

from neva.cli import main

main()
