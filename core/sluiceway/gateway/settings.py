"""What the configuration gives a gateway: its connection's settings, its accounts, secrets that no log shows."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct


class Secret:
    """A value that no log shows. `reveal()` gives it to whoever needs it.

    `again` reads it where it came from once more; empty: it can't be had.
    """

    __slots__ = ("_again", "_value")

    def __init__(self, value: str, again: Callable[[], str] | None = None) -> None:
        self._value = value
        self._again = again

    def reveal(self) -> str:
        return self._value

    def reveal_now(self) -> str:
        """As it is now in its file; as it was read, where it has none or that can't be read."""
        return (self._again() if self._again is not None else "") or self._value

    def __repr__(self) -> str:
        return "Secret(…)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A connection's settings, as `[connections.<name>]` gives them: derive from it, one field a setting.

    Fields of type `Secret` are read from `env:NAME` or `file:PATH`. Give every base URL of the provider a setting.
    """


class Account(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One of our identities, as `[accounts.<name>]` gives it. Derive from it where the provider needs more."""

    connection: str
    tenant: str
    address: str

    def __hash__(self) -> int:
        """By what it is known by: settings of a gateway's own may be tables."""
        return hash((self.connection, self.address))
