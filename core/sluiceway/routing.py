"""Which ways lead to a contact, in the order to try them, and why each closed one is closed. Asks and sends nothing."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from msgspec import Struct

from .accounts import Notice
from .contacts import Reach

PAUSED = "paused"
FREE = ""


class Way(NamedTuple):
    """An account of ours and an address that it reaches. `code` says why it is closed; empty: it is open."""

    channel: str
    account: str
    address: str
    code: str = FREE
    why: str = ""

    @property
    def is_open(self) -> bool:
        return self.code == FREE


class Wish(NamedTuple):
    """What a command itself says of the way to take; None leaves it to the dispatcher."""

    channel: str | None = None
    account: str | None = None
    address: str | None = None

    def fits(self, way: Way) -> bool:
        return all(wanted in (None, there) for wanted, there in zip(self, way[:3], strict=True))


class View(Struct, frozen=True, kw_only=True):
    """What is known of a contact and of a tenant's accounts, which are by channel and name.

    `reaches` are where the contact wrote or was written to, latest last; `asserted` are addresses that somebody gave
    as theirs. `last` is where the customer last wrote. `windows` are the ends of reply windows, `revoked` the
    addresses that want nothing more, each with its channel.
    """

    reaches: tuple[Reach, ...]
    accounts: Mapping[tuple[str, str], Notice]
    at: datetime.datetime
    asserted: tuple[str, ...] = ()
    last: Reach | None = None
    windows: Mapping[Reach, datetime.datetime] = {}
    revoked: frozenset[tuple[str, str]] = frozenset()


def ways(view: View, is_template: Callable[[str], bool] = lambda channel: False) -> tuple[Way, ...]:
    """Every way, in the order in which to try them.

    `is_template` says of a channel whether what it is given may go outside a reply window.
    """
    return tuple(
        Way(reach.channel, reach.account, reach.address, *_closed(view, reach, is_template(reach.channel)))
        for reach in candidates(view)
    )


def candidates(view: View) -> tuple[Reach, ...]:
    """Where the customer last wrote, then the other reaches, the latest first, then what somebody asserted."""
    known = list(dict.fromkeys(reversed(view.reaches)))
    if view.last in known:
        known.remove(view.last)
        known.insert(0, view.last)
    used = {(reach.channel, reach.account) for reach in known}
    return tuple(dict.fromkeys((*known, *_asserted(view, used))))


def first(every: Iterable[Way], wish: Wish, fallback: tuple[str, ...] = ()) -> Way | None:
    """The way to begin with; None where none is open.

    That is the best one that the command's wish leaves, where that is closed one on the fallback channels, in their
    order, else any other that fits.
    """
    every = tuple(every)
    fitting = [way for way in every if wish.fits(way)]
    best = next((way.channel for way in fitting), None)
    preferred = [way for way in fitting if way.channel == best]
    return _open(preferred) or following(every, fallback, frozenset()) or _open(fitting)


def following(every: Iterable[Way], fallback: tuple[str, ...], tried: frozenset[str]) -> Way | None:
    """The way to fall back to: the first that is open on the fallback channels that were not tried."""
    every = tuple(every)
    left = (channel for channel in fallback if channel not in tried)
    return next(filter(None, (_open(way for way in every if way.channel == channel) for channel in left)), None)


def explain(every: Iterable[Way], wish: Wish) -> str:
    """For people: why nothing can be sent."""
    fitting = [way for way in every if wish.fits(way)]
    if not fitting:
        wanted = " ".join(name for name in wish[:2] if name)
        what = f" by {wanted}" if wanted else ""
        return f"nothing here reaches them{what}; name another channel, or give an address"
    reasons = dict.fromkeys(f"{way.channel} {way.account}: {way.why}" for way in fitting)
    return f"no channel is open; {'; '.join(reasons)}"


def _open(some: Iterable[Way]) -> Way | None:
    return next((way for way in some if way.is_open), None)


def _asserted(view: View, used: set[tuple[str, str]]) -> Iterator[Reach]:
    """From each account that reaches such an address, those first that the contact knows."""
    for address in view.asserted:
        scheme = address.partition(":")[0]
        fitting = [where for where, notice in view.accounts.items() if notice.sends and scheme in notice.schemes]
        for channel, account in sorted(fitting, key=lambda where: (where not in used, where)):
            yield Reach(address=address, channel=channel, account=account)


def _closed(view: View, reach: Reach, by_template: bool) -> tuple[str, str]:
    notice = view.accounts.get((reach.channel, reach.account))
    if notice is None:
        return "unknown_account", "no gateway serves it"
    if not notice.sends:
        return "unsupported", "it only receives"
    if (reach.channel, reach.address) in view.revoked:
        return "opted_out", "the address opted out"
    if notice.health == PAUSED:
        return "account_paused", "the provider refuses its credentials"
    ends = view.windows.get(reach)
    if ends is not None and ends <= view.at and not by_template:
        return "window_closed", f"the reply window ended at {ends:%Y-%m-%d %H:%M} UTC; a template may still pass"
    return FREE, ""
