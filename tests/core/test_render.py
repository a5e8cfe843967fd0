"""Parts, as a channel can take them: what becomes text, what stays media, and texts cut where people would pause."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import regex
from hypothesis import example, given
from hypothesis import strategies as st

from sluiceway.gateway import Capabilities, Menus
from sluiceway.render import MAX_PIECES, Unsendable, render, split
from sluiceway.units import Chars, Segments, Unit, Utf8, Utf16
from sluiceway_contracts import AnyPart, Location, Media, Option, Rating, Text
from sluiceway_contracts.parts import Choices

CHANNEL = Capabilities(text=Chars(40), media={"image/*": 1000, "image/png": 5000, "text/vcard": 10}, media_count=2)
TEXT_ONLY = Capabilities(text=Chars(40))
FAMILY = "👨‍👩‍👧‍👦"
FLAG = "🇬🇧"
ACCENTED = "e\u0301"


def photo(url: str | None = "https://shop.example/1.jpg", **fields: object) -> Media:
    return Media(**({"kind": "image", "mime": "image/jpeg", "url": url} | fields))  # type: ignore[arg-type]  # they fit


def pieces(*parts: AnyPart, channel: Capabilities = CHANNEL) -> list[tuple[str, int]]:
    """Each piece: its text, and how many media it has."""
    found = []
    for piece in render(parts, channel):
        words = [part.text for part in piece if isinstance(part, Text)]
        assert len(words) <= 1, "a piece has one text"
        found.append(("".join(words), sum(isinstance(part, Media) for part in piece)))
    return found


def graphemes(text: str) -> list[str]:
    found: list[str] = regex.findall(r"\X", text)
    return found


def test_texts_become_one_text() -> None:
    assert pieces(Text(text="Hello,"), Text(text=" "), Text(text="Ann")) == [("Hello,\nAnn", 0)]


def test_every_part_of_a_piece_has_an_id() -> None:
    (piece,) = render((Text(text="Look"), photo()), CHANNEL)
    assert [part.id for part in piece] == ["1", "2"]


def test_media_that_the_channel_takes_stays_media_with_its_caption_as_text() -> None:
    assert pieces(photo(caption="Your parcel")) == [("Your parcel", 1)]


def test_media_alone_needs_no_text() -> None:
    assert pieces(photo()) == [("", 1)]


@pytest.mark.parametrize(
    "media",
    [
        photo(mime="video/mp4"),
        photo(url=None),
        photo(url="http://shop.example/1.jpg"),
        photo(url="file:///etc/passwd"),
    ],
)
def test_media_that_the_channel_does_not_take_is_its_plain_text(media: Media) -> None:
    assert pieces(media) == [(media.plain(), 0)]


@pytest.mark.parametrize("media", [photo(size=1001), photo(mime="text/vcard", size=11)])
def test_media_that_is_only_too_large_is_refused(media: Media) -> None:
    with pytest.raises(Unsendable) as error:
        pieces(Text(text="Look"), media)
    assert error.value.code == "media_too_large"
    assert str(media.size) in str(error.value)


def test_a_stored_file_needs_no_address() -> None:
    assert pieces(photo(url=None, ref="media:acme/" + "0" * 64)) == [("", 1)]


def test_an_attachment_that_the_channel_does_not_take_leaves_the_text_alone() -> None:
    assert pieces(Text(text="Look"), photo(mime="video/mp4", fallback="[film]")) == [("Look\n[film]", 0)]


def test_where_the_channel_takes_no_media_they_are_plain_text() -> None:
    assert pieces(photo(fallback="See shop.example"), channel=TEXT_ONLY) == [("See shop.example", 0)]


def test_the_largest_size_that_fits_the_type_counts() -> None:
    assert pieces(photo(mime="image/png", size=5000)) == [("", 1)]


def test_more_media_than_a_message_has_room_for_follow_in_the_next() -> None:
    assert pieces(Text(text="Look"), *[photo()] * 5) == [("Look", 2), ("", 2), ("", 1)]


def test_media_go_with_the_last_piece_of_a_long_text() -> None:
    first, last = pieces(Text(text="A sentence of some words. Another, that is longer."), photo())
    assert first == ("A sentence of some words.", 0)
    assert last == ("Another, that is longer.", 1)


@pytest.mark.parametrize(
    ("part", "text"),
    [
        (Location(lat=51.5, lon=-0.1, fallback="Our shop"), "Our shop"),
        (Rating(value=4, worst=1, best=5, fallback="4 of 5"), "4 of 5"),
        (Choices(prompt="Which?", options=(Option(id="a", title="Red"), Option(id="b", title="Blue"))), ""),
    ],
)
def test_what_is_neither_text_nor_media_is_its_plain_text(part: AnyPart, text: str) -> None:
    assert pieces(part) == [(text or part.plain(), 0)]


@pytest.mark.parametrize("parts", [(), (Text(text=""),), (Text(text=" \n"),), (photo(url=None, fallback=" "),)])
def test_a_message_without_content_is_refused(parts: tuple[AnyPart, ...]) -> None:
    with pytest.raises(Unsendable) as caught:
        render(parts, CHANNEL)
    assert caught.value.code == "empty_message"


def test_a_text_of_the_limit_is_one_piece_and_one_longer_is_two() -> None:
    assert pieces(Text(text="ä" * 40)) == [("ä" * 40, 0)]
    assert pieces(Text(text="ä" * 41)) == [("ä" * 40, 0), ("ä", 0)]


def test_what_would_be_too_many_messages_is_refused() -> None:
    assert len(pieces(Text(text="x" * 40 * MAX_PIECES))) == MAX_PIECES
    with pytest.raises(Unsendable, match="the message would be 21 messages of the channel's; shorten it") as caught:
        render((Text(text="x" * (40 * MAX_PIECES + 1)),), CHANNEL)
    assert caught.value.code == "too_long"


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("A first part of it.\n\nAnd a second. With more.", ["A first part of it.", "And a second. With more."]),
        ("A first line. Of two\nsentences. Two, no less.", ["A first line. Of two", "sentences. Two, no less."]),
        ("One sentence is here. Another one is there.", ["One sentence is here.", "Another one is there."]),
        ("words without any end to them at all or so", ["words without any end to them at all or", "so"]),
        ("今日はとても良い天気ですね。" * 3, ["今日はとても良い天気ですね。" * 2, "今日はとても良い天気ですね。"]),
        ("x" * 45, ["x" * 40, "x" * 5]),
    ],
)
def test_a_long_text_is_cut_where_people_pause(text: str, cut: list[str]) -> None:
    assert list(split(text, Chars(40))) == cut


@pytest.mark.parametrize(
    ("text", "unit", "cut"),
    [
        ("字" * 71, Segments(1), ["字" * 70, "字"]),
        ("x" * 161, Segments(1), ["x" * 160, "x"]),
        ("€" * 81, Segments(1), ["€" * 80, "€"]),
        ("x" * 307, Segments(2), ["x" * 306, "x"]),
        ("😀" * 36, Segments(1), ["😀" * 35, "😀"]),
        ("😀" * 6, Utf16(10), ["😀" * 5, "😀"]),
        ("字" * 4, Utf8(10), ["字" * 3, "字"]),
        (FAMILY * 3, Utf16(25), [FAMILY * 2, FAMILY]),
        (FLAG * 3, Chars(5), [FLAG * 2, FLAG]),
        (ACCENTED * 3, Chars(5), [ACCENTED * 2, ACCENTED]),
    ],
)
def test_a_text_is_cut_in_the_providers_unit(text: str, unit: Unit, cut: list[str]) -> None:
    assert list(split(text, unit)) == cut


def test_a_character_that_is_longer_than_a_whole_message_is_cut_rather_than_lost() -> None:
    monster = "e" + "\u0301" * 30
    cut = list(split(monster, Chars(10)))
    assert "".join(cut) == monster
    assert all(len(piece) <= 10 for piece in cut)


def test_a_very_long_text_is_cut_soon() -> None:
    assert len(list(split("字👍 and so on. " * 3000, Segments(10)))) < 200


UNITS: tuple[Unit, ...] = (Chars(30), Utf16(30), Utf8(60), Segments(1), Segments(3))
WORDS = st.lists(
    st.sampled_from(
        [FAMILY, FLAG, ACCENTED, "字", "。", "€", "x", "Hello", ".", " ", "\n", "\n\n", "\r\n", "ا", "नि", "😀"]
    ),
    max_size=150,
).map("".join)


@given(st.one_of(WORDS, st.text(max_size=300)), st.sampled_from(UNITS))
@example("\n" * 100, Chars(30))
@example(" " + "x" * 31, Chars(30))
@example("🇬" * 40, Utf16(30))
def test_whatever_is_cut_nothing_is_lost_and_no_piece_is_too_long(text: str, unit: Unit) -> None:
    cut = list(split(text, unit))
    assert all(unit.length(piece) <= unit.limit for piece in cut)
    assert all(piece.strip() for piece in cut)
    assert "".join("".join(cut).split()) == "".join(text.split()), "all but white space is there, in order"


@given(WORDS, st.sampled_from(UNITS))
def test_no_cut_is_inside_what_a_reader_sees_as_one_character(text: str, unit: Unit) -> None:
    whole = [grapheme for grapheme in graphemes(text) if grapheme.strip()]
    cut = [grapheme for piece in split(text, unit) for grapheme in graphemes(piece) if grapheme.strip()]
    assert cut == whole


@given(WORDS, st.sampled_from(UNITS))
def test_what_fits_is_left_as_it_is(text: str, unit: Unit) -> None:
    if unit.length(text) <= unit.limit:
        assert list(split(text, unit)) == ([text] if text.strip() else [])


MENUS = Menus(prompt=20, buttons=2, button_title=5, rows=3, row_title=8, row_description=10)
RICH = Capabilities(
    text=Chars(40),
    media={"*/*": 1000},
    media_count=1,
    captions={"image": Chars(10)},
    shows=("location", "template"),
    menus=MENUS,
)
SPOT = Location(lat=1, lon=2)


def menu(*titles: str, style: str = "buttons", prompt: str | None = "Which?", **fields: Any) -> Choices:
    options = tuple(Option(id=str(n), title=title, **fields) for n, title in enumerate(titles))
    return Choices(options=options, prompt=prompt, style=style)


def shapes(*parts: AnyPart) -> list[str]:
    """Each piece, as the channel shows it: its only part's text, caption or type."""
    found = []
    for piece in render(parts, RICH):
        (part,) = piece
        match part:
            case Text():
                found.append(part.text)
            case Media():
                found.append(f"{part.kind}({part.caption or ''})")
            case Choices():
                found.append(f"{part.style}({part.prompt})")
            case _:
                found.append(str(part.__struct_config__.tag))
    return found


class TestARichChannel:
    @pytest.mark.parametrize(
        ("parts", "expected"),
        [
            ((Text(text="Here"), SPOT, Text(text="come in")), ["Here", "location", "come in"]),
            ((Text(text="Look"), photo()), ["image(Look)"]),
            ((Text(text="Look"), photo(caption="A cat")), ["Look", "image(A cat)"]),
            ((Text(text="longer than ten"), photo()), ["longer than ten", "image()"]),
            ((photo(caption="longer than ten"), photo()), ["image()", "longer than ten", "image()"]),
            ((photo(kind="audio", caption="Hi"),), ["audio()", "Hi"]),
            ((photo(), Text(text="after")), ["image()", "after"]),
            ((photo(caption="x " * 30),), ["image()", "x " * 19 + "x", "x " * 9 + "x"]),
            ((Rating(value=5),), ["5 (1 to 5)"]),
        ],
    )
    def test_what_it_shows_stands_alone(self, parts: tuple[AnyPart, ...], expected: list[str]) -> None:
        assert [shape.strip() for shape in shapes(*parts)] == expected

    @pytest.mark.parametrize(
        ("choices", "expected"),
        [
            (menu("Yes", "No"), ["buttons(Which?)"]),
            (menu("Yes", "No", style="quick"), ["buttons(Which?)"]),
            (menu("Yes", "No", style="list"), ["list(Which?)"]),
            (menu("Yes", "No", "Maybe"), ["list(Which?)"]),
            (menu("Perhaps", "No"), ["list(Which?)"]),
            (menu("Yes", "No", description="short"), ["list(Which?)"]),
            (menu("Yes", description="is much too long", style="list"), ["Which?\n1. Yes"]),
            (menu("Yes", description="is much too long"), ["Which?\n1. Yes"]),
            (menu("A", "B", "C", "D"), ["Which?\n1. A\n2. B\n3. C\n4. D"]),
            (menu("A", "A"), ["Which?\n1. A\n2. A"]),
            (menu("Yes", " "), ["Which?\n1. Yes\n2."]),
            (menu("Yes", kind="url", url="https://a.example"), ["Which?\n1. Yes https://a.example"]),
            (menu("Yes", prompt=None), ["1. Yes"]),
            (menu(), ["Which?"]),
            (Choices(options=(Option(id=" a", title="A"),), prompt="Which?"), ["Which?\n1. A"]),
            (Choices(options=(Option(id="a" * 257, title="A"),), prompt="Which?"), ["Which?\n1. A"]),
            (menu("A", "B", prompt="longer than the twenty"), ["longer than the twenty\n1. A\n2. B"]),
        ],
    )
    def test_choices_are_shown_where_they_fit(self, choices: Choices, expected: list[str]) -> None:
        assert [shape.strip() for shape in shapes(choices)] == expected

    def test_several_answers_can_only_be_asked_for_in_words(self) -> None:
        assert shapes(msgspec.structs.replace(menu("A", "B"), multi=True)) == ["Which?\n1. A\n2. B"]

    def test_a_list_of_few_options_stays_one_where_no_list_is_to_be_had(self) -> None:
        menus = Menus(prompt=20, buttons=2, button_title=5)
        assert menus.form(menu("A", style="list"), "Which?") == "buttons"

    def test_the_text_before_choices_without_a_prompt_becomes_it(self) -> None:
        assert shapes(Text(text="Which?"), menu("A", prompt=None), Text(text="!")) == ["buttons(Which?)", "!"]

    def test_a_prompt_of_their_own_leaves_the_text_alone(self) -> None:
        assert shapes(Text(text="Hello"), menu("A")) == ["Hello", "buttons(Which?)"]

    def test_the_text_before_a_file_is_no_prompt(self) -> None:
        assert shapes(Text(text="Look"), photo(), menu("A", prompt=None)) == ["image(Look)", "1. A"]
