"""How providers count: characters, UTF-16 units, bytes, and the segments of 3GPP TS 23.038 and 23.040."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway.units import Chars, Segments, Unit, Utf8, Utf16

EVERY: tuple[Unit, ...] = (Chars(1), Utf16(1), Utf8(1), Segments(1))


@pytest.mark.parametrize(
    ("text", "segments"),
    [
        ("", 0),
        ("x", 1),
        ("x" * 160, 1),
        ("x" * 161, 2),
        ("x" * 306, 2),
        ("x" * 307, 3),
        ("x" * 459, 3),
        ("x" * 460, 4),
        ("é" * 160, 1),
        ("@£$¥èéùìòÇ\nØø\rÅå" * 10, 1),
        # of the extension table: each counts two
        ("€" * 80, 1),
        ("€" * 81, 2),
        ("x" * 159 + "€", 2),
        ("^{}\\[~]|" * 10, 1),
        # an escape and its character stay together: 76 of them leave one septet of 153 unused
        ("€" * 152, 2),
        ("€" * 153, 3),
        ("x" + "€" * 152, 2),
        # one character that GSM-7 lacks, and the whole message is UCS-2
        ("x" * 69 + "字", 1),
        ("x" * 70 + "字", 2),
        ("字" * 70, 1),
        ("字" * 71, 2),
        ("字" * 134, 2),
        ("字" * 135, 3),
        ("á" * 71, 2),
        ("`" * 71, 2),
        # an emoji is two units, and is not cut: 33 of them leave one unit of 67 unused
        ("😀" * 35, 1),
        ("😀" * 36, 2),
        ("😀" * 66, 2),
        ("😀" * 67, 3),
        ("👨‍👩‍👧‍👦" * 6, 1),
        ("👨‍👩‍👧‍👦" * 7, 2),
    ],
)
def test_an_sms_is_billed_in_these_segments(text: str, segments: int) -> None:
    assert Segments(1).length(text) == segments


@pytest.mark.parametrize(
    ("text", "chars", "utf16", "utf8"),
    [
        ("", 0, 0, 0),
        ("abc", 3, 3, 3),
        ("é", 1, 1, 2),
        ("e\u0301", 2, 2, 3),
        ("字", 1, 1, 3),
        ("😀", 1, 2, 4),
        ("🇬🇧", 2, 4, 8),
        ("👨‍👩‍👧‍👦", 7, 11, 25),
    ],
)
def test_characters_units_and_bytes_are_three_things(text: str, chars: int, utf16: int, utf8: int) -> None:
    assert (Chars(1).length(text), Utf16(1).length(text), Utf8(1).length(text)) == (chars, utf16, utf8)


@given(st.text(st.characters(), max_size=400), st.text(st.characters(), max_size=20), st.sampled_from(EVERY))
def test_a_longer_text_is_never_counted_as_less(text: str, more: str, unit: Unit) -> None:
    assert 0 <= unit.length(text) <= unit.length(text + more)


@pytest.mark.parametrize("unit", EVERY)
def test_half_an_emoji_is_counted_and_breaks_nothing(unit: Unit) -> None:
    assert unit.length("\ud83d") >= 1
