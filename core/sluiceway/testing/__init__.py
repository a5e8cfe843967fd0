"""What tests of a gateway need: a flow played with scripted answers, a delivery taken in. No I/O, no network."""

from .play import deliver, play

__all__ = ["deliver", "play"]
