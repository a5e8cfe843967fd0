"""When a tenant's lines are open, in the time of its zone. Knows no calls, and no time but the one it is given."""

from __future__ import annotations

import datetime
from bisect import bisect_left
from collections.abc import Iterator
from typing import get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from sluiceway_contracts import utc

from ..sections import Day, TenantCalls

Span = tuple[datetime.timedelta, datetime.timedelta]
"""From when to when, as a clock on the wall shows it, since the 0:00 of its day."""
Opening = tuple[datetime.datetime, datetime.datetime]

DAYS: tuple[Day, ...] = get_args(Day)
_DAY = datetime.timedelta(days=1)
_SECOND = datetime.timedelta(seconds=1)
_FIRST = datetime.datetime(1900, 1, 1, tzinfo=datetime.UTC)
_LAST = datetime.datetime(9000, 1, 1, tzinfo=datetime.UTC)
_NEAR = 366
"""So many days ahead somebody may care when it closes."""


class Hours:
    """The opening hours of one tenant; outside the years 1900 to 8999 it is closed.

    A span begins when the clock first shows its start, or jumps over it, and ends when it first shows its end. Where
    an hour comes twice, as in autumn, "00:00-01:30" ends the first time, and "01:30-09:00" begins then.
    """

    def __init__(self, settings: TenantCalls) -> None:
        """Raises `ValueError` for an unknown zone, a span that ends before it starts, a date that there is not."""
        self._zone = _zone(settings.zone)
        given = {day: sorted(_span(day, text) for text in spans) for day, spans in settings.hours.items()}
        whole = [] if given else [(datetime.timedelta(), _DAY)]
        self._week = tuple(given.get(day, whole) for day in DAYS)
        self._holidays = frozenset(map(_date, settings.holidays))

    def is_open(self, moment: datetime.datetime) -> bool:
        """Whether it is open at a moment. Raises `ValueError` for one without an offset, as all here do."""
        moment = utc(moment)
        return self.opens_at(moment) == moment

    def opens_at(self, moment: datetime.datetime) -> datetime.datetime | None:
        """The moment itself where it is open then, else when it opens next, in UTC; None where it never does."""
        moment = utc(moment)
        return next((max(start, moment) for start, _ in self._openings(moment)), None)

    def closes_at(self, moment: datetime.datetime) -> datetime.datetime | None:
        """When the opening ends that the moment is in, in UTC.

        None where it is closed then, and where it stays open for a year.
        """
        moment = end = utc(moment)
        for start, stop in self._openings(moment):
            if start > end:
                break
            end = max(end, stop)
            if end - moment > _NEAR * _DAY:
                return None
        return None if end == moment else end

    def _openings(self, moment: datetime.datetime) -> Iterator[Opening]:
        """All that are not over by then, by their start; one may begin before the last has ended."""
        if not any(self._week) or not _FIRST <= moment < _LAST:
            return
        date = moment.astimezone(self._zone).date() - _DAY
        while date.year < _LAST.year:
            for start, stop in self._of(date):
                if max(start, moment) < stop:
                    yield start, stop
            date += _DAY

    def _of(self, date: datetime.date) -> Iterator[Opening]:
        midnight = datetime.datetime.combine(date, datetime.time())
        for start, end in () if date in self._holidays else self._week[date.weekday()]:
            yield self._shown(midnight + start), self._shown(midnight + end)

    def _shown(self, wall: datetime.datetime) -> datetime.datetime:
        """When the zone's clocks first show this, or jump over it."""
        local = wall.replace(tzinfo=self._zone)
        first = local.astimezone(datetime.UTC)
        if first.astimezone(self._zone).replace(tzinfo=None) == wall:
            return first
        # PEP 495: in a gap, fold=0 reckons with the offset before it, and fold=1 with the one after
        later = local.replace(fold=1)
        begin, after = later.astimezone(datetime.UTC), later.utcoffset()

        def is_after(second: int) -> bool:
            return (begin + second * _SECOND).astimezone(self._zone).utcoffset() == after

        return begin + bisect_left(range((first - begin) // _SECOND), True, key=is_after) * _SECOND


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:  # OSError: a folder of zones, such as Europe
        raise ValueError(f"zone: {name!r} is unknown; name one of IANA's, such as Europe/London") from error


def _span(day: str, text: str) -> Span:
    start, _, end = text.partition("-")
    span = _since_midnight(start), _since_midnight(end)
    if span[1] > _DAY:
        raise ValueError(f"hours.{day}: {text!r} ends after 24:00; what goes on after midnight is the next day's")
    if span[1] <= span[0]:
        raise ValueError(f"hours.{day}: {text!r} ends before it has started; after midnight it is the next day's")
    return span


def _since_midnight(clock: str) -> datetime.timedelta:
    hours, _, minutes = clock.partition(":")
    return datetime.timedelta(hours=int(hours), minutes=int(minutes))


def _date(text: str) -> datetime.date:
    try:
        return datetime.date.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"holidays: there is no {text!r}; write dates as 2026-12-25") from error
