"""How long a conversation stays open, by tenant and channel, as `[conversations]` says. Keeps no time itself."""

from __future__ import annotations

import datetime

from .cache import Cache
from .contacts import Window
from .sections import ChannelWindow, Conversations, TenantWindow

MAX_REMEMBERED = 10_000
USUAL = {"email": ChannelWindow(idle_h=336)}
"""Channels on which people take their time."""


class Windows:
    """The windows of one configuration."""

    def __init__(self, settings: Conversations) -> None:
        self._settings = settings
        self._made: Cache[tuple[str, str], Window] = Cache(MAX_REMEMBERED)

    def of(self, tenant: str, channel: str) -> Window:
        """What holds for a tenant's conversation on a channel: the nearest that is set."""
        found = self._made.get((tenant, channel))
        if found is None:
            found = self._make(tenant, channel)
            self._made.put((tenant, channel), found)
        return found

    def _make(self, tenant: str, channel: str) -> Window:
        own = self._settings.tenants.get(tenant)
        places: list[ChannelWindow | TenantWindow | Conversations | None] = []
        places += [own.channels.get(channel), own] if own is not None else []
        places += [self._settings.channels.get(channel), USUAL.get(channel), self._settings]
        idle = next((place.idle_h for place in places if place is not None and place.idle_h is not None), 0)
        reopen = next((place.reopen_h for place in places if place is not None and place.reopen_h is not None), 0)
        return Window(datetime.timedelta(hours=idle), datetime.timedelta(hours=reopen))
