"""For all tests: how long hypothesis searches, and that no example is judged by the clock. `make fuzz` takes long."""

from __future__ import annotations

import signal

from hypothesis import settings

settings.register_profile("short", deadline=None)
settings.register_profile("long", max_examples=3000, deadline=None)
settings.load_profile("short")

# Whoever starts the tests in the background ignores SIGINT for all that they start; here it is a signal like any other.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
