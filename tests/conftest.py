"""For all tests: how long hypothesis searches, and that no example is judged by the clock. `make fuzz` takes long."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("short", deadline=None)
settings.register_profile("long", max_examples=3000, deadline=None)
settings.load_profile("short")
