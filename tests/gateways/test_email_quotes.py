"""What is new in a text, what it quotes and how it is signed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway_gateways.email._quote_words import WROTE
from sluiceway_gateways.email._quotes import Split, split

LINES = [
    *(
        "",
        "Hello",
        "> quoted",
        ">> twice",
        "On 3 Mar 2025, Shop wrote:",
        "Am 3. März schrieb <a@b.example>:",
        "-- ",
        "--",
    ),
    *(
        "Von: Shop",
        "Gesendet: heute",
        "An: Ada",
        "Betreff: x",
        "-----Original Message-----",
        "__________",
        "Sent from my x",
    ),
]


@pytest.mark.parametrize("verb", WROTE)
def test_every_verb_of_the_table_begins_a_quotation(verb: str) -> None:
    text = f"Yes.\n\nOn 3.3.2025 Shop <a@b.example> {verb}:\n\n> Is it?\n"
    assert split(text).text == "Yes."


@pytest.mark.parametrize(
    "text",
    [
        "He wrote:\nno.",
        "From: here\nto there",
        "On 3 March he wrote: no.\nBye",
        "Shop wrote:\n\nnothing",
        "a\n" + "x" * 500 + ":\nb",
        "On 3 " + "x" * 390 + "\nwrote:\nb",
        "From: a\nbut\n\nSubject: b",
        "1\n--\n" + "2\n" * 40 + "3",
        "Sent from my phone",
        "Please cancel:\n\nFrom: Berlin\nTo: Munich\nDate: 5 May\n\nThank you.",
        "I get this:\n\nSubject: x\nTo: me\nDate: 5 May\n\nWhy?",
        "From: a\nx\nx\nx\nx\nx\nx\nx\nx\nTo: b",
    ],
)
def test_what_is_no_quotation_for_sure_is_new(text: str) -> None:
    assert split(text) == Split(text)


@pytest.mark.parametrize(
    ("text", "new", "quoted", "signature"),
    [
        ("Yes.\n\n-----Original Message-----\nFrom: a\n\nb", "Yes.", "-----Original Message-----\nFrom: a\n\nb", None),
        ("Yes.\nShop wrote:\n> b", "Yes.", "Shop wrote:\n> b", None),
        ("Yes.\n> b\n> c", "Yes.", "> b\n> c", None),
        ("Yes.\n-- \nAda\n\nOn 3 May Shop wrote:\n> b\n", "Yes.", "On 3 May Shop wrote:\n> b", "Ada"),
        ("Yes.\n\n> b\n--\nAda", "Yes.", "> b", "Ada"),
        ("> b\n\nYes.\n--\nAda", "Yes.", "> b", "Ada"),
        ("*From:* Shop\n*Sent:* today\n*To:* Ada\n*Subject:* x\n\nb", None, None, None),
        (
            "Yes.\n\n*From:* a@b.example\n*Sent:* today\n*To:* Ada\n\nb",
            "Yes.",
            "*From:* a@b.example\n*Sent:* today\n*To:* Ada\n\nb",
            None,
        ),
        ("Yes.\n____________\nFrom: Shop\nTo: a,\n b\nSubject: x\n\nb", "Yes.", None, None),
        ("Yes.\nSent from my phone\n", "Yes.", None, "Sent from my phone"),
        ("-- \nAda", "", None, "Ada"),
    ],
)
def test_the_kinds_of_lines_are_told_apart(
    text: str, new: str | None, quoted: str | None, signature: str | None
) -> None:
    found = split(text)
    assert found.text == (text if new is None else new)
    assert quoted is None or found.quoted == quoted
    assert found.signature == signature


@pytest.mark.parametrize("subject", ["Fwd: x", "WG: x", "TR : x", "I: x", " fw: Re: x"])
def test_what_is_passed_on_keeps_what_it_passes_on(subject: str) -> None:
    text = "See below.\n\n-----Original Message-----\nFrom: a"
    assert split(text, subject).text == text
    assert split(text, f"Re: {subject}").text == "See below."


def test_a_report_keeps_what_it_quotes() -> None:
    assert split("a\n> b", history=False) == Split("a\n> b")


@given(st.lists(st.sampled_from(LINES), max_size=14).map("\n".join))
def test_no_words_are_lost(text: str) -> None:
    found = split(text)
    kept = "\n".join(part for part in found[:3] if part)
    for word in ("Hello", "quoted", "Betreff", "wrote", "Sent from"):
        assert kept.count(word) == text.count(word)


@given(st.text("> \n-:_aOnFromw3", max_size=200))
def test_any_text_can_be_split(text: str) -> None:
    split(text)
