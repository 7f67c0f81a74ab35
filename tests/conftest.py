"""Settings of all tests."""

from hypothesis import settings

# A shared machine has no steady clock: no example fails for being slow.
settings.register_profile("neva", deadline=None)
settings.load_profile("neva")
