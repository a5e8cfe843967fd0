"""What messages ask for: a wish is one by itself, or a button, or a box that was ticked, and nothing else is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway.calls.wishes import CANCELLING, KIND_WORDS, Wish, wish
from sluiceway.sections import TenantCalls
from sluiceway_contracts import (
    AnyPart,
    Choice,
    FormAnswer,
    FormResponse,
    Location,
    Media,
    Message,
    Party,
    Text,
    Unknown,
)

WORDS = TenantCalls(prefixes=("+44",)).words
ID = "0190f5d2-7c3a-7b1e-8f00-000000000001"
REQUEST = Wish(kind="request")
CANCEL = Wish(kind="cancel")
HARMLESS = {*KIND_WORDS, "back"}


def message(*parts: AnyPart, role: str = "customer") -> Message:
    return Message(id=ID, author=Party(role=role), parts=parts)


def said(text: str, *, waiting: bool = False, words: tuple[str, ...] = WORDS) -> Wish | None:
    return wish(message(Text(text=text)), words, waiting)


def form(**fields: str) -> FormResponse:
    return FormResponse(form_id="contact", fields=tuple(FormAnswer(name=n, value=v) for n, v in fields.items()))


def filled_in(**fields: str) -> Wish | None:
    return wish(message(form(**fields)), WORDS, waiting=False)


@pytest.mark.parametrize("word", WORDS)
def test_each_word_of_the_configuration_asks_for_a_call(word: str) -> None:
    assert said(word) == said(word.upper()) == REQUEST


@pytest.mark.parametrize(
    "text",
    [
        "Call me back please!",
        "📞 Call me ☎️❤️",
        "“Please call me.”",
        "Hi, could you please call me back?",
        "call-back",
        "CALL\n\nME",
        "Ruf mich bitte an 🙏",
        "Hallo! Rückruf bitte, danke.",
        "Ru\u0308ckruf",
        "Rappel s’il vous plaît",
        "rappel svp, merci",
        "call me now",
    ],
)
def test_punctuation_emoji_and_kind_words_change_no_wish(text: str) -> None:
    assert said(text) == REQUEST


@pytest.mark.parametrize(
    "text",
    [
        "don't call me",
        "Don’t call me!",
        "please don't call me back",
        "he said call me Ishmael",
        "call me Ishmael",
        "no, call me",
        "thanks for the call back",
        "call",
        "please",
        "",
        "!!!",
        "👎",
        "I want you to call me back tomorrow about my order",
        "ruf mich nicht an",
        "call me. " * 4,
        "please " * 7 + "call me",
        "please " * 200 + "call me",
    ],
)
def test_a_text_that_says_anything_else_is_no_wish(text: str) -> None:
    assert said(text) is None


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("Bitte um Rückruf", "bitte um rückruf!"),
        ("Please phone", "phone, please"),
        ("appelez-moi", "Appelez-moi, s'il vous plaît"),
        ("電話して", "電話して！"),
        ("कॉल करें", "कॉल करें 🙏"),
    ],
)
def test_a_tenants_own_words_are_read_in_the_same_way(word: str, text: str) -> None:
    assert said(text, words=(word,)) == REQUEST


def test_a_word_that_says_nothing_asks_for_nothing() -> None:
    assert said("", words=("", "!", "👍")) is None
    assert said("👍", words=("", "!", "👍")) is None


@pytest.mark.parametrize(
    "text", [*sorted(CANCELLING), "Cancel, please", "Stop calling me!", "Bitte nicht anrufen.", "Annuler…"]
)
def test_while_a_call_waits_a_word_takes_it_back(text: str) -> None:
    assert said(text, waiting=True) == CANCEL
    assert said(text, waiting=False) is None


@pytest.mark.parametrize("text", ["cancel my order", "I will cancel", "don't cancel", "annuler ma commande"])
def test_what_is_cancelled_may_be_something_else(text: str) -> None:
    assert said(text, waiting=True) is None


def test_a_word_that_does_both_cancels_what_waits() -> None:
    assert said("cancel", words=("cancel",), waiting=True) == CANCEL
    assert said("cancel", words=("cancel",)) == REQUEST


def test_a_file_beside_the_words_changes_nothing() -> None:
    picture = Media(kind="image", caption="my receipt")
    assert wish(message(picture, Text(text="Call me please")), WORDS, waiting=False) == REQUEST


@pytest.mark.parametrize("role", ["agent", "bot", "system"])
def test_only_customers_have_wishes(role: str) -> None:
    assert wish(message(Text(text="call me"), role=role), WORDS, waiting=False) is None


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("call_me", REQUEST),
        ("call_me:returns", Wish(kind="request", skill="returns")),
        ("call_me:", REQUEST),
        ("call_me:two words", REQUEST),
        ("call_me:" + "x" * 65, REQUEST),
        ("call_cancel", CANCEL),
        ("call_meg", None),
        ("yes", None),
    ],
)
def test_an_option_asks_by_its_id_or_by_its_payload(option: str, expected: Wish | None) -> None:
    by_id = Choice(option_ids=("other", option), titles=("Yes, please",))
    by_payload = Choice(option_ids=("1",), payload=option)
    assert wish(message(by_id), WORDS, waiting=False) == expected
    assert wish(message(by_payload), WORDS, waiting=True) == expected


def test_whoever_picks_both_is_not_called() -> None:
    assert wish(message(Choice(option_ids=("call_me", "call_cancel"))), WORDS, waiting=True) == CANCEL


@pytest.mark.parametrize("field", ["call_me", "callback", "call_back", "Call-Me", "CALLBACK"])
@pytest.mark.parametrize("value", ["1", "yes", "on", "true", "JA", " Oui ", "0, 1"])
def test_a_box_that_was_ticked_asks_for_a_call(field: str, value: str) -> None:
    assert filled_in(**{field: value}) == REQUEST


@pytest.mark.parametrize("value", ["", "0", "no", "off", "false", "nein", "1, 0", "tomorrow"])
def test_a_box_that_was_not_ticked_asks_for_nothing(value: str) -> None:
    assert filled_in(call_me=value, phone="+447700900123") is None


@pytest.mark.parametrize(
    ("number", "address"),
    [
        ("+447700900123", "tel:+447700900123"),
        ("+44 7700 900-123", "tel:+447700900123"),
        ("0044 (7700) 900123", "tel:+447700900123"),
        ("+44 (0)7700 900123", "tel:+447700900123"),
        ("+44\u00a07700\u2011900\u2011123", "tel:+447700900123"),
        ("07700 900123", None),
        ("7700900123", None),
        ("+0447700900123", None),
        ("+112", None),
        ("+44770090012345678", None),
        ("+447700900123 or +447700900456", None),
        ("+44770090012३", None),
        ("ask my wife", None),
        ("", None),
    ],
)
def test_a_number_is_taken_from_a_form_only_with_its_country(number: str, address: str | None) -> None:
    assert filled_in(callback="yes", phone=number) == Wish(kind="request", address=address)


def test_of_several_numbers_the_first_that_is_one_is_taken() -> None:
    asked = filled_in(call_me="1", phone="07700 900123", tel="+447700900456", number="+447700900789")
    assert asked == Wish(kind="request", address="tel:+447700900456")


def test_of_a_field_that_came_twice_the_first_counts() -> None:
    again = form(call_me="no", phone="+447700900456")
    asked = wish(message(form(call_me="yes", phone="+447700900123"), again), WORDS, waiting=False)
    assert asked == Wish(kind="request", address="tel:+447700900123")


@pytest.mark.parametrize(
    ("fields", "skill"),
    [
        ({"skill": "returns"}, "returns"),
        ({"topic": " returns_2-b "}, "returns_2-b"),
        ({"skill": "my order!", "topic": "returns"}, "returns"),
        ({"topic": "Where is my parcel?"}, None),
        ({"topic": "returns\nsales"}, None),
        ({"topic": ""}, None),
    ],
)
def test_a_topic_is_a_skill_where_it_can_be_one(fields: dict[str, str], skill: str | None) -> None:
    assert filled_in(call_me="on", **fields) == Wish(kind="request", skill=skill)


def test_what_it_is_about_is_what_was_written_in_200_characters_at_most() -> None:
    asked = filled_in(call_me="on", message=" My parcel \n is wet. " + "x" * 300)
    assert asked is not None
    assert asked.reason == "My parcel is wet. " + "x" * 182


def test_what_it_is_about_may_stand_beside_the_form() -> None:
    asked = wish(message(Text(text="My parcel is wet."), form(call_me="on")), WORDS, waiting=False)
    assert asked == Wish(kind="request", reason="My parcel is wet.")


def test_words_beside_a_form_ask_for_a_call_to_its_number() -> None:
    asked = wish(message(Text(text="Call me back please"), form(phone="+447700900123")), WORDS, waiting=False)
    assert asked == Wish(kind="request", address="tel:+447700900123")


TEXTS = st.text(max_size=60) | st.sampled_from(["call me", "cancel", "+447700900123", "yes", "call_me:", *WORDS])
NAMES = TEXTS | st.sampled_from(["call_me", "phone", "tel", "skill", "topic", "message"])
PARTS = st.one_of(
    st.builds(Text, text=TEXTS),
    st.builds(Choice, option_ids=st.lists(TEXTS, max_size=3).map(tuple), payload=st.none() | TEXTS),
    st.builds(
        FormResponse,
        form_id=TEXTS,
        fields=st.lists(st.builds(FormAnswer, name=NAMES, value=TEXTS), max_size=6).map(tuple),
    ),
    st.builds(Media, kind=TEXTS, caption=TEXTS),
    st.builds(Location, lat=st.floats(), lon=st.floats()),
    st.builds(Unknown, was=TEXTS, raw=st.none() | TEXTS),
)
ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=()), max_size=60)


@given(st.lists(PARTS, max_size=5), st.lists(TEXTS, max_size=4), st.booleans())
def test_no_message_raises_and_every_request_can_be_carried_out(
    parts: list[AnyPart], words: list[str], waiting: bool
) -> None:
    asked = wish(message(*parts), words, waiting)
    if asked is not None and asked.kind == "request":
        assert asked.address is None or asked.address.removeprefix("tel:+").isdecimal()
        assert asked.reason is None or 0 < len(asked.reason) <= 200


@given(ANY_TEXT, ANY_TEXT)
def test_no_text_raises_even_with_half_characters(text: str, word: str) -> None:
    wish(message(Text(text=text), form(call_me="1", phone=text, message=text)), (word,), waiting=True)
    said(text, words=(word,), waiting=True)


@given(st.text("abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=8).filter(lambda word: word not in HARMLESS))
def test_one_word_more_makes_it_no_wish(word: str) -> None:
    assert said(f"{word} call me") is None
    assert said(f"call me {word}!") is None
