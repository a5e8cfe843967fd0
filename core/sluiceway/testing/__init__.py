"""What tests of a gateway need: a flow played with scripted answers, a delivery taken in, the conformance checks.

None of these does I/O. `sluiceway.testing.nats` has a real nats-server, `sluiceway.testing.provider` runs a
simulator behind HTTP.
"""

from .conformance import check_gateway
from .play import consult, deliver, play

__all__ = ["check_gateway", "consult", "deliver", "play"]
