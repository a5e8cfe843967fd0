"""Checks that providers share: what passes, and that what is refused tells nothing."""

import time

import pytest

from sluiceway import Unverified, signing


def test_an_hmac_in_hexadecimal_is_that_of_rfc_4231() -> None:
    expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    assert signing.hmac_hex(b"Jefe", b"what do ya want for nothing?") == expected


def test_a_moment_within_the_tolerance_passes() -> None:
    for seconds in (-290, 0, 290):
        signing.check_recent(str(int(time.time()) + seconds), "the time")


@pytest.mark.parametrize("given", ["", "now", "-1", "1e9", "１２３", "9" * 5000, "0", "99999999999"])
def test_any_other_time_is_refused(given: str) -> None:
    with pytest.raises(Unverified, match="the time is"):
        signing.check_recent(given, "the time")


@pytest.mark.parametrize("seconds", [-310, 310])
def test_a_moment_outside_the_tolerance_is_refused(seconds: int) -> None:
    with pytest.raises(Unverified, match="a replay"):
        signing.check_recent(str(int(time.time()) + seconds), "the time")
