"""Strangers' bytes are parsed in processes that can be killed. Parses nothing, and knows nothing of what is parsed."""

from .pool import Workers
from .process import Crashed

__all__ = ["Crashed", "Workers"]
