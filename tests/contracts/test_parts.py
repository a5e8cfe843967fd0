"""Parts: each says itself in plain text, and a message's parts are told apart by id."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway_contracts import parts
from sluiceway_contracts.parts import (
    RESERVED,
    AnyPart,
    Call,
    Choice,
    Choices,
    ContactCard,
    Form,
    FormAnswer,
    FormField,
    FormResponse,
    Location,
    Media,
    Notice,
    Option,
    Part,
    Rating,
    Template,
    TemplateValue,
    Text,
    Unknown,
)

CALL = "019bbbc6-c3e2-792e-82e4-6aa12752135b"
PLAIN: list[tuple[AnyPart, str]] = [
    (Text(text="Hello"), "Hello"),
    (Media(kind="image"), "[image]"),
    (Media(kind="file", name="bill.pdf", alt="Your bill"), "[file: bill.pdf] Your bill"),
    (Media(kind="image", caption="The lid", alt="A lid"), "[image] The lid"),
    (Location(lat=51.5, lon=-0.1), "51.500000,-0.100000"),
    (Location(lat=0, lon=0, name="Null Island", address="Atlantic"), "Null Island, Atlantic, 0.000000,0.000000"),
    (ContactCard(name="Jo", addresses=("tel:+447700900456",)), "Jo, tel:+447700900456"),
    (
        Choices(
            prompt="What now?",
            options=(Option(id="a", title="Swap"), Option(id="b", title="Terms", kind="url", url="https://a.example")),
        ),
        "What now?\n1. Swap\n2. Terms https://a.example",
    ),
    (Choices(options=(Option(id="a", title="Swap"),)), "1. Swap"),
    (Choice(option_ids=("a",), titles=("Swap",)), "Swap"),
    (Choice(option_ids=("a", "b")), "a, b"),
    (Form(title="Where to?", fields=(FormField(name="street", label="Street"),)), "Where to?\nStreet:"),
    (Form(fields=(FormField(name="street", label="Street"),)), "Street:"),
    (
        FormResponse(form_id="f", fields=(FormAnswer(name="a", label="A", value="1"), FormAnswer(name="b", value="2"))),
        "A: 1\nb: 2",
    ),
    (Template(name="update", lang="en", params=("Sam", "Friday")), "[update] Sam, Friday"),
    (Template(name="update", lang="en"), "[update]"),
    (
        Template(
            name="paid",
            lang="en",
            params=("Sam",),
            values=(TemplateValue(value="€12.50"), TemplateValue(value="yes", kind="payload", place="button")),
        ),
        "[paid] Sam, €12.50",
    ),
    (Call(call_id=CALL, outcome="busy"), "[call: busy]"),
    (Call(call_id=CALL, outcome="answered", summary="Solved."), "[call: answered] Solved."),
    (Rating(value=4), "4 (1 to 5)"),
    (Rating(value=7.5, worst=0, best=10), "7.5 (0 to 10)"),
    (Notice(code="missed_call", text="Sam called."), "Sam called."),
    (Unknown(was="hologram"), "[hologram]"),
]


@pytest.mark.parametrize(("part", "wanted"), PLAIN)
def test_a_part_says_itself_in_plain_text(part: AnyPart, wanted: str) -> None:
    assert part.plain() == wanted


@pytest.mark.parametrize("part", [part for part, _ in PLAIN if not isinstance(part, Text)])
def test_a_fallback_that_is_there_is_what_a_part_says(part: AnyPart) -> None:
    assert msgspec.structs.replace(part, fallback="In short").plain() == "In short"


def test_a_part_of_no_kind_says_nothing() -> None:
    with pytest.raises(NotImplementedError):
        Part().plain()


def test_every_known_part_has_its_tag_and_none_is_reserved() -> None:
    assert {type(part) for part, _ in PLAIN} == set(parts.KNOWN.values())
    assert not RESERVED & parts.KNOWN.keys()


class TestComplete:
    def test_fills_in_ids_and_fallbacks(self) -> None:
        done = parts.complete([Text(text="Hi"), Media(kind="image"), Rating(value=4)])
        assert done == (
            Text(id="1", text="Hi"),
            Media(id="2", kind="image", fallback="[image]"),
            Rating(id="3", value=4, fallback="4 (1 to 5)"),
        )

    def test_keeps_ids_that_differ_even_from_those_it_would_have_given(self) -> None:
        done = parts.complete([Text(text="a"), Text(id="1", text="b"), Text(id="2", text="c")])
        assert [part.id for part in done] == ["1+", "1", "2"]

    def test_gives_a_new_id_to_the_second_of_a_pair(self) -> None:
        done = parts.complete([Text(id="a", text="1"), Text(id="a", text="2"), Text(id="2", text="3")])
        assert [part.id for part in done] == ["a", "2+", "2"]

    def test_keeps_a_fallback_that_is_there(self) -> None:
        assert parts.complete([Media(kind="image", fallback="A lid")]) == (
            Media(id="1", kind="image", fallback="A lid"),
        )

    @given(st.lists(st.sampled_from(["", "1", "2", "3", "1+", "2+", "a"]), max_size=8))
    def test_makes_all_ids_differ_and_twice_is_the_same_as_once(self, ids: list[str]) -> None:
        once = parts.complete(Text(id=id, text="x") for id in ids)
        assert len({part.id for part in once}) == len(ids)
        assert parts.complete(once) == once
        assert {id for id in ids if id} <= {part.id for part in once}


class TestPlain:
    def test_is_a_line_for_each_part(self) -> None:
        assert parts.plain([Text(text="Look:"), Media(kind="image")]) == "Look:\n[image]"

    def test_leaves_out_parts_with_nothing_to_say(self) -> None:
        assert parts.plain([Text(text=""), Notice(code="x", text=""), Text(text="Hi")]) == "Hi"
