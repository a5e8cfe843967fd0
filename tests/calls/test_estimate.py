"""Estimated waits: what is told is true often enough, narrow enough to be of use, and nothing where nobody knows."""

from __future__ import annotations

import itertools
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway.calls.estimate import MAX_WIDTH_MS, MIN_SAMPLES, NORMAL_90, Holding, estimate, quantile
from sluiceway_contracts import Wait

from . import line

MINUTE_MS = 60_000
SEEDS = range(6)


def known(*holding_ms: int) -> Holding:
    holding = Holding()
    for one in holding_ms:
        holding = holding.after(one)
    return holding


USUAL = known(*[120_000, 480_000, 240_000, 60_000, 300_000] * 20)


@pytest.mark.parametrize("name", line.HOLDING_TIMES)
def test_at_least_eight_in_ten_waits_are_in_the_range_that_was_told(name: str) -> None:
    """On arrival, and at each step forward, of those who can't be put through at once."""
    runs = [line.play(line.HOLDING_TIMES[name], seed) for seed in SEEDS]
    for told in ([run.arriving for run in runs], [run.moving for run in runs]):
        figures = line.figures(itertools.chain.from_iterable(told))
        assert figures.true >= 0.8
        assert figures.told >= 0.95
        assert figures.relative_width <= 1


def test_until_so_many_have_been_seen_all_calls_count_alike() -> None:
    times = [120_000, 480_000, 240_000, 60_000]
    holding = known(*times)
    assert holding.count == 4
    assert holding.mean_ms == pytest.approx(statistics.mean(times))
    assert holding.variance == pytest.approx(statistics.pvariance(times))


def test_times_that_change_are_followed() -> None:
    holding = known(*[600_000] * 200, *[60_000] * 60)
    assert 60_000 < holding.mean_ms < 90_000


def test_a_clock_that_was_put_back_counts_as_no_time() -> None:
    assert known(-5_000) == known(0)


@pytest.mark.parametrize(
    ("holding", "agents"),
    [
        (known(*[240_000] * (MIN_SAMPLES - 1)), 5),
        (known(*[0] * 10), 5),
        (Holding(), 5),
        (USUAL, 0),
        (known(*[3_600_000, 60_000] * 20), 1),
    ],
)
def test_nothing_is_told_where_nothing_honest_can_be_said(holding: Holding, agents: int) -> None:
    assert estimate(holding, 6, agents) is None


def test_whoever_an_agent_is_free_for_waits_a_moment() -> None:
    assert estimate(USUAL, 2, 5, free=2) == Wait(low=0, high=30_000)


def test_free_agents_are_so_many_places_forward() -> None:
    assert estimate(USUAL, 7, 5, free=2) == estimate(USUAL, 5, 5)


def test_ranges_are_in_half_minutes_below_ten_minutes_and_in_minutes_from_there() -> None:
    assert estimate(USUAL, 5, 5) == Wait(low=120_000, high=360_000)
    assert estimate(USUAL, 40, 5) == Wait(low=25 * MINUTE_MS, high=41 * MINUTE_MS)


def test_few_samples_make_the_range_wider() -> None:
    few, many = (estimate(known(*[240_000] * count), 10, 5) for count in (MIN_SAMPLES, 100))
    assert few is not None
    assert many is not None
    assert few.low < many.low < 10 * 240_000 / 5 < many.high < few.high


def test_times_that_vary_more_make_the_range_wider() -> None:
    steady, varied = (estimate(known(*times * 20), 10, 5) for times in ([240_000], [60_000, 60_000, 600_000]))
    assert steady is not None
    assert varied is not None
    assert varied.low < steady.low < steady.high < varied.high


@pytest.mark.parametrize(
    ("degrees", "lower", "upper"),
    [(2, 0.211, 4.605), (4, 1.064, 7.779), (10, 4.865, 15.987), (30, 20.599, 40.256), (100, 82.358, 118.498)],
)
def test_the_quantiles_are_those_of_the_tables_within_a_tenth(degrees: int, lower: float, upper: float) -> None:
    """https://www.itl.nist.gov/div898/handbook/eda/section3/eda3674.htm: chi-square, which is Gamma by half of it."""
    assert degrees * quantile(degrees / 2, -NORMAL_90) == pytest.approx(lower, rel=0.1)
    assert degrees * quantile(degrees / 2, NORMAL_90) == pytest.approx(upper, rel=0.02)


HOLDINGS = st.lists(st.integers(-1000, 10**8), max_size=30).map(lambda times: known(*times))


@given(HOLDINGS, st.integers(1, 1000), st.integers(0, 100), st.integers(0, 100))
def test_a_range_is_whole_half_minutes_and_not_too_wide(
    holding: Holding, position: int, agents: int, free: int
) -> None:
    wait = estimate(holding, position, agents, free)
    if wait is not None:
        assert 0 <= wait.low < wait.high <= wait.low + MAX_WIDTH_MS + 2 * MINUTE_MS
        assert wait.low % 30_000 == wait.high % 30_000 == 0


@given(HOLDINGS, st.integers(1, 200), st.integers(1, 50))
def test_nobody_further_forward_or_with_more_agents_is_told_to_wait_longer(
    holding: Holding, position: int, agents: int
) -> None:
    wait, behind, more = (
        estimate(holding, place, many)
        for place, many in ((position, agents), (position + 1, agents), (position, agents + 1))
    )
    for shorter, longer in ((wait, behind), (more, wait)):
        if shorter is not None and longer is not None:
            assert shorter.low <= longer.low
            assert shorter.high <= longer.high
