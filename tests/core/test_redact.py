"""Card numbers are masked wherever a customer may have written them; nothing else is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway import Edited, Received
from sluiceway.record import Record, decode
from sluiceway.redact import mask, redact
from sluiceway_contracts import AnyPart, ContactCard, Location, Media, Option, Text, now
from sluiceway_contracts.parts import Choices

VISA = "4111111111111111"


def fact(*parts: AnyPart) -> Received:
    return Received(at="+44", key=VISA, sender="tel:+447700900456", parts=parts)


def check_digit(digits: str) -> str:
    """The digit that makes the number pass the check of ISO/IEC 7812-1, reckoned by its table."""
    doubled = {"0": 0, "1": 2, "2": 4, "3": 6, "4": 8, "5": 1, "6": 3, "7": 5, "8": 7, "9": 9}
    total = sum(doubled[d] if n % 2 == 0 else int(d) for n, d in enumerate(reversed(digits)))
    return str(-total % 10)


def is_card(digits: str) -> bool:
    return check_digit(digits[:-1]) == digits[-1]


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        (VISA, "************1111"),
        ("My card is 4111 1111 1111 1111, thanks", "My card is **** **** **** 1111, thanks"),
        ("4111-1111-1111-1111.", "****-****-****-1111."),
        ("378282246310005", "***********0005"),
        ("6011000990139424 and 5555555555554444", "************9424 and ************4444"),
        ("(4222222222222)", "(*********2222)"),
        ("card:4111111111111111exp12/30", "card:************1111exp12/30"),
        ("番号は4111111111111111です", "番号は************1111です"),
    ],
)
def test_a_card_number_keeps_its_last_four_digits(text: str, masked: str) -> None:
    assert mask(text) == masked


@pytest.mark.parametrize(
    "text",
    [
        "",
        "4111111111111112",  # a wrong check digit
        "411111111111",  # too short
        "+44 7700 900456",
        "Order 2026-11-21-0001",
        "4111111111111111" * 2,  # part of a longer run of digits
        "4111  1111  1111  1111",  # no grouping that cards have
        "٤١١١١١١١١١١١١١١١",
    ],
)
def test_what_is_no_card_number_stays(text: str) -> None:
    assert mask(text) == text


def test_every_text_of_a_message_is_searched() -> None:
    written = f"it is {VISA}"
    parts = (
        Text(text=written),
        Media(kind="image", url=f"https://x.example/{VISA}", caption=written, alt=written, name=written),
        Choices(prompt=written, options=(Option(id=VISA, title=written),)),
        ContactCard(name=written, vcard=written),
        Location(lat=1, lon=2, name=written, fallback=written),
    )
    masked, names = redact(fact(*parts))
    assert names == ("card_number",)
    shown = repr(masked.parts)
    assert written not in shown
    media, choices = masked.parts[1], masked.parts[2]
    assert isinstance(media, Media)
    assert isinstance(choices, Choices)
    assert media.url == f"https://x.example/{VISA}", "an address that is changed leads nowhere"
    assert choices.options[0].id == VISA, "an id that is changed names nothing"


def test_what_makes_the_fact_itself_is_not_touched() -> None:
    masked, _ = redact(fact(Text(text=VISA)))
    assert (masked.key, masked.sender) == (VISA, "tel:+447700900456")


def test_a_fact_without_a_card_number_is_the_same_fact() -> None:
    plain = fact(Text(text="Hello"), Location(lat=1, lon=2))
    masked, names = redact(plain)
    assert masked is plain
    assert names == ()


def test_masking_twice_is_masking_once() -> None:
    once, _ = redact(fact(Text(text=f"{VISA} and 5555-5555-5555-4444")))
    assert redact(once) == (once, ())


@given(
    st.text("0123456789", min_size=12, max_size=18),
    st.sampled_from(["", " ", "-"]),
    st.text("abc,. \n字😀", max_size=10),
    st.integers(2, 6),
)
def test_any_card_number_in_any_grouping_is_masked(body: str, gap: str, around: str, size: int) -> None:
    number = body + check_digit(body)
    grouped = gap.join(number[n : n + size] for n in range(0, len(number), size))
    masked = mask(f"{around}x{grouped}x{around}")
    assert grouped not in masked
    shown = [character for character in masked if character.isdigit()]
    assert "".join(shown) == number[-4:]


@given(st.text("0123456789", min_size=13, max_size=19).filter(lambda digits: not is_card(digits)))
def test_a_number_whose_check_digit_is_wrong_stays(digits: str) -> None:
    assert mask(digits) == digits


@given(st.text(st.characters(), max_size=200))
def test_masking_only_turns_digits_into_stars(text: str) -> None:
    masked = mask(text)
    assert len(masked) == len(text)
    assert all(new == old or (new == "*" and old in "0123456789") for new, old in zip(masked, text, strict=True))


def test_what_an_edit_says_is_masked_before_it_comes_to_disk() -> None:
    edited = Edited(at="x", key="1", sender="tel:+447700900456", target="0", parts=(Text(text="4111 1111 1111 1111"),))
    record = Record(connection="c", arrived_at=now(), facts=(edited,)).for_disk(whole=False)
    assert b"4111" not in record.encode()
    assert decode(record.encode()) == record
