"""When it is open, by the clock on the wall, over changes of the clocks and holidays."""

from __future__ import annotations

import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sluiceway.calls.hours import DAYS, Hours
from sluiceway.sections import Day, TenantCalls

SECOND = datetime.timedelta(seconds=1)
OFFICE: dict[Day, tuple[str, ...]] = dict.fromkeys(DAYS[:5], ("09:00-12:30", "13:30-17:30"))
LONDON = TenantCalls(prefixes=("+44",), zone="Europe/London", hours=OFFICE)


def utc(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text + "+00:00")


def daily(zone: str, *spans: str, holidays: tuple[str, ...] = ()) -> Hours:
    return Hours(TenantCalls(prefixes=("+44",), zone=zone, hours=dict.fromkeys(DAYS, spans), holidays=holidays))


@pytest.mark.parametrize(
    ("moment", "is_open", "opens", "closes"),
    [
        ("2026-01-05T08:59:59", False, "2026-01-05T09:00:00", None),
        ("2026-01-05T09:00:00", True, "2026-01-05T09:00:00", "2026-01-05T12:30:00"),
        ("2026-01-05T12:29:59", True, "2026-01-05T12:29:59", "2026-01-05T12:30:00"),
        ("2026-01-05T12:30:00", False, "2026-01-05T13:30:00", None),
        ("2026-01-05T17:30:00", False, "2026-01-06T09:00:00", None),
        ("2026-01-09T17:30:00", False, "2026-01-12T09:00:00", None),
        ("2026-07-06T08:00:00", True, "2026-07-06T08:00:00", "2026-07-06T11:30:00"),
        ("2026-03-27T17:30:00", False, "2026-03-30T08:00:00", None),
        ("2026-10-23T16:30:00", False, "2026-10-26T09:00:00", None),
    ],
)
def test_an_office_is_open_by_its_own_clock_in_winter_and_in_summer(
    moment: str, is_open: bool, opens: str, closes: str | None
) -> None:
    hours = Hours(LONDON)
    assert hours.is_open(utc(moment)) == is_open
    assert hours.opens_at(utc(moment)) == utc(opens)
    assert hours.closes_at(utc(moment)) == (None if closes is None else utc(closes))


@pytest.mark.parametrize(
    ("zone", "span", "date", "opens", "closes"),
    [
        ("Europe/London", "00:30-09:00", "2026-03-29", "2026-03-29T00:30:00", "2026-03-29T08:00:00"),
        ("Europe/London", "01:30-09:00", "2026-03-29", "2026-03-29T01:00:00", "2026-03-29T08:00:00"),
        ("Europe/London", "00:30-01:30", "2026-03-29", "2026-03-29T00:30:00", "2026-03-29T01:00:00"),
        ("Europe/London", "01:15-01:45", "2026-03-29", "2026-03-30T00:15:00", "2026-03-30T00:45:00"),
        ("Europe/London", "00:30-09:00", "2026-10-25", "2026-10-24T23:30:00", "2026-10-25T09:00:00"),
        ("Europe/London", "00:30-01:30", "2026-10-25", "2026-10-24T23:30:00", "2026-10-25T00:30:00"),
        ("Europe/London", "01:30-09:00", "2026-10-25", "2026-10-25T00:30:00", "2026-10-25T09:00:00"),
        ("America/New_York", "02:30-09:00", "2026-03-08", "2026-03-08T07:00:00", "2026-03-08T13:00:00"),
        ("America/New_York", "01:30-03:30", "2026-03-08", "2026-03-08T06:30:00", "2026-03-08T07:30:00"),
        ("America/New_York", "01:30-09:00", "2026-11-01", "2026-11-01T05:30:00", "2026-11-01T14:00:00"),
        ("America/New_York", "00:00-01:30", "2026-11-01", "2026-11-01T04:00:00", "2026-11-01T05:30:00"),
        ("America/Santiago", "00:00-08:00", "2026-09-06", "2026-09-06T04:00:00", "2026-09-06T11:00:00"),
        ("Africa/Cairo", "20:00-24:00", "2026-10-29", "2026-10-29T17:00:00", "2026-10-29T22:00:00"),
    ],
)
def test_a_span_begins_and_ends_once_where_the_clocks_change(
    zone: str, span: str, date: str, opens: str, closes: str
) -> None:
    hours = daily(zone, span)
    midnight = datetime.datetime.fromisoformat(date).replace(tzinfo=ZoneInfo(zone))
    start = hours.opens_at(midnight)
    assert start == utc(opens)
    assert hours.closes_at(utc(opens)) == utc(closes)
    assert not hours.is_open(utc(opens) - SECOND)
    assert not hours.is_open(utc(closes))


def test_an_hour_that_comes_twice_is_open_once_where_a_span_ends_in_it() -> None:
    first = datetime.datetime(2026, 10, 25, 1, 15, tzinfo=ZoneInfo("Europe/London"))
    second = first.replace(fold=1)
    assert daily("Europe/London", "00:00-01:30").is_open(first)
    assert not daily("Europe/London", "00:00-01:30").is_open(second)
    assert not daily("Europe/London", "01:30-09:00").is_open(first)
    assert daily("Europe/London", "01:30-09:00").is_open(second)


def test_a_day_that_a_zone_left_out_has_no_hours() -> None:
    hours = daily("Pacific/Apia", "09:00-17:00")
    assert hours.opens_at(utc("2011-12-30T03:00:00")) == utc("2011-12-30T19:00:00"), "29 December's end to the 31st"


def test_a_holiday_is_a_day_of_the_zone() -> None:
    hours = daily("America/New_York", "00:00-24:00", holidays=("2026-12-25",))
    assert hours.is_open(utc("2026-12-25T04:59:59"))
    assert hours.closes_at(utc("2026-12-24T12:00:00")) == utc("2026-12-25T05:00:00")
    assert not hours.is_open(utc("2026-12-25T05:00:00"))
    assert hours.opens_at(utc("2026-12-25T05:00:00")) == utc("2026-12-26T05:00:00")


def test_holidays_in_a_row_are_passed_over() -> None:
    closed = tuple(f"2026-{month:02}-{day:02}" for month in range(1, 13) for day in range(1, 29))
    hours = Hours(TenantCalls(prefixes=("+44",), hours={"mon": ("09:00-17:00",)}, holidays=closed))
    assert hours.opens_at(utc("2026-01-01T00:00:00")) == utc("2026-03-30T09:00:00")


def test_without_hours_it_is_always_open_but_for_holidays() -> None:
    always = Hours(TenantCalls(prefixes=("+44",)))
    now = utc("2026-12-24T12:00:00")
    assert always.is_open(now)
    assert always.opens_at(now) == now
    assert always.closes_at(now) is None
    assert Hours(TenantCalls(prefixes=("+44",), holidays=("2026-12-25",))).closes_at(now) == utc("2026-12-25T00:00:00")


@pytest.mark.parametrize("hours", [{"mon": ()}, dict.fromkeys(DAYS, ())])
def test_with_hours_that_are_all_empty_it_never_opens(hours: dict[Day, tuple[str, ...]]) -> None:
    never = Hours(TenantCalls(prefixes=("+44",), hours=hours))
    assert never.opens_at(utc("2026-01-05T12:00:00")) is None
    assert never.closes_at(utc("2026-01-05T12:00:00")) is None
    assert not never.is_open(utc("2026-01-05T12:00:00"))


def test_spans_that_touch_or_overlap_are_one_opening() -> None:
    hours = Hours(
        TenantCalls(
            prefixes=("+44",), hours={"mon": ("13:00-24:00", "09:00-12:00", "11:00-13:00"), "tue": ("00:00-02:00",)}
        )
    )
    assert hours.closes_at(utc("2026-01-05T09:00:00")) == utc("2026-01-06T02:00:00")
    assert hours.is_open(utc("2026-01-06T00:00:00"))


def test_a_span_within_another_does_not_end_it() -> None:
    hours = Hours(TenantCalls(prefixes=("+44",), hours={"mon": ("09:00-17:00", "10:00-11:00")}))
    assert hours.closes_at(utc("2026-01-05T09:30:00")) == utc("2026-01-05T17:00:00")
    assert hours.closes_at(utc("2026-01-05T10:30:00")) == utc("2026-01-05T17:00:00")


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00", "9999-12-31T23:59:59"])
def test_at_the_ends_of_the_calendar_it_is_closed(moment: str) -> None:
    for hours in (Hours(LONDON), daily("Pacific/Kiritimati", "00:00-24:00"), daily("America/Adak", "00:00-24:00")):
        assert not hours.is_open(utc(moment))
        assert hours.opens_at(utc(moment)) is None


def test_whoever_opens_after_the_end_of_the_calendar_never_does() -> None:
    sundays = Hours(TenantCalls(prefixes=("+44",), hours={"sun": ("09:00-17:00",)}))
    assert sundays.opens_at(utc("8999-12-31T18:00:00")) is None


def test_a_time_without_an_offset_is_refused() -> None:
    with pytest.raises(ValueError, match="no offset"):
        Hours(LONDON).is_open(datetime.datetime(2026, 1, 5, 12))  # noqa: DTZ001


@pytest.mark.parametrize("zone", ["Europe/Londn", "Europe", "", "../etc/passwd", "/etc/localtime", "a\0b", "\ud800"])
def test_an_unknown_zone_is_refused_by_name(zone: str) -> None:
    with pytest.raises(ValueError, match=r"zone: '.*' is unknown"):
        Hours(TenantCalls(prefixes=("+44",), zone=zone))


@pytest.mark.parametrize(
    ("span", "fault"),
    [
        ("17:30-09:00", "before it has started"),
        ("09:00-09:00", "before it has started"),
        ("09:00-24:01", "after 24:00"),
    ],
)
def test_a_span_that_ends_too_early_or_too_late_is_refused_by_name(span: str, fault: str) -> None:
    with pytest.raises(ValueError, match=rf"hours\.wed: '{span}' ends {fault}"):
        Hours(TenantCalls(prefixes=("+44",), hours={"wed": ("08:00-08:30", span)}))


def test_a_holiday_that_no_calendar_has_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="holidays: there is no '2026-02-30'"):
        Hours(TenantCalls(prefixes=("+44",), holidays=("2026-02-30",)))


MOMENTS = st.datetimes(datetime.datetime(2026, 1, 1), datetime.datetime(2027, 12, 31), timezones=st.just(datetime.UTC))  # noqa: DTZ001
CLOCKS = st.integers(0, 95).map(lambda quarter: 15 * quarter)
SPANS = (
    st.tuples(CLOCKS, CLOCKS.map(lambda minutes: minutes + 15))
    .filter(lambda span: span[0] < span[1])
    .map(lambda span: "-".join(f"{minutes // 60:02}:{minutes % 60:02}" for minutes in span))
)
SETTINGS = st.builds(
    TenantCalls,
    zone=st.sampled_from(["Europe/London", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "UTC"]),
    hours=st.dictionaries(st.sampled_from(DAYS), st.lists(SPANS, max_size=3).map(tuple)),
    holidays=st.lists(
        st.dates(datetime.date(2026, 1, 1), datetime.date(2027, 12, 31)).map(str), max_size=5, unique=True
    ).map(tuple),
)
THOUSANDTHS = st.lists(st.integers(0, 999), max_size=20)
CHANGE = utc("2026-10-25T00:40:00")


def is_shown_open(settings: TenantCalls, moment: datetime.datetime) -> bool:
    """By the wall clock alone, which tells the truth but for an hour that comes a second time."""
    local = moment.astimezone(ZoneInfo(settings.zone))
    spans = settings.hours.get(DAYS[local.weekday()], ()) if settings.hours else ("00:00-24:00",)
    clock = f"{local:%H:%M}"
    is_within = any(start <= clock < end for start, end in (span.split("-") for span in spans))
    return is_within and str(local.date()) not in settings.holidays


@given(SETTINGS, MOMENTS)
@example(TenantCalls(prefixes=("+44",), zone="Europe/London", hours={"sun": ("01:30-09:00",)}), CHANGE)
def test_it_is_open_when_the_clock_on_the_wall_says_so(settings: TenantCalls, moment: datetime.datetime) -> None:
    if not moment.astimezone(ZoneInfo(settings.zone)).fold:
        assert Hours(settings).is_open(moment) == is_shown_open(settings, moment)


@given(SETTINGS, MOMENTS, THOUSANDTHS)
@example(TenantCalls(prefixes=("+44",), zone="Europe/London", hours={"sun": ("00:00-01:30",)}), CHANGE, [0, 500])
def test_it_is_open_when_it_opens_and_at_no_moment_before(
    settings: TenantCalls, moment: datetime.datetime, parts: list[int]
) -> None:
    hours = Hours(settings)
    opens = hours.opens_at(moment)
    if opens is None:
        assert settings.hours
        assert not any(settings.hours.values())
        return
    assert opens >= moment
    assert opens.tzinfo is datetime.UTC
    assert hours.is_open(opens)
    if opens > moment:
        assert not any(hours.is_open(moment + part * (opens - moment) // 1000) for part in parts)
        assert not hours.is_open(opens - datetime.datetime.resolution)


@given(SETTINGS, MOMENTS, THOUSANDTHS)
def test_it_is_closed_when_it_closes_and_at_no_moment_before(
    settings: TenantCalls, moment: datetime.datetime, parts: list[int]
) -> None:
    hours = Hours(settings)
    closes = hours.closes_at(moment)
    if closes is None:
        assert not hours.is_open(moment) or hours.is_open(moment + datetime.timedelta(days=366))
        return
    assert hours.is_open(moment)
    assert not hours.is_open(closes)
    assert all(hours.is_open(moment + part * (closes - moment) // 1000) for part in parts)
