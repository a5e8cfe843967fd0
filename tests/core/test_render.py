"""Parts, as a channel can take them."""

from __future__ import annotations

import pytest

from sluiceway.gateway import Capabilities, Chars
from sluiceway.render import Unsendable, render
from sluiceway_contracts import AnyPart, Location, Media, Option, Rating, Text
from sluiceway_contracts.parts import Choices

CHANNEL = Capabilities(text=Chars(40), media={"image/*": 1000, "image/png": 5000, "text/vcard": 10}, media_count=2)


def photo(url: str | None = "https://shop.example/1.jpg", **fields: object) -> Media:
    return Media(**({"kind": "image", "mime": "image/jpeg", "url": url} | fields))  # type: ignore[arg-type]  # they fit


def shown(*parts: AnyPart) -> tuple[str, list[str | None]]:
    """The text, and the addresses of the media."""
    rendered = render(parts, CHANNEL)
    words = [part.text for part in rendered if isinstance(part, Text)]
    assert len(words) <= 1, "a message has one text"
    return "".join(words), [part.url for part in rendered if isinstance(part, Media)]


def test_texts_become_one_text() -> None:
    assert shown(Text(text="Hello,"), Text(text=" "), Text(text="Ann")) == ("Hello,\nAnn", [])


def test_every_part_has_an_id() -> None:
    rendered = render((Text(text="Look"), photo()), CHANNEL)
    assert [part.id for part in rendered] == ["1", "2"]


def test_media_that_the_channel_takes_stays_media_with_its_caption_as_text() -> None:
    assert shown(photo(caption="Your parcel")) == ("Your parcel", ["https://shop.example/1.jpg"])


def test_media_alone_needs_no_text() -> None:
    assert shown(photo()) == ("", ["https://shop.example/1.jpg"])


@pytest.mark.parametrize(
    "media",
    [
        photo(mime="video/mp4"),
        photo(url=None),
        photo(url="http://shop.example/1.jpg"),
        photo(url="file:///etc/passwd"),
        photo(size=1001),
        photo(mime="text/vcard", size=11),
    ],
)
def test_media_that_the_channel_does_not_take_is_its_plain_text(media: Media) -> None:
    assert shown(media) == (media.plain(), [])


def test_the_largest_size_that_fits_the_type_counts() -> None:
    assert shown(photo(mime="image/png", size=5000)) == ("", ["https://shop.example/1.jpg"])


def test_media_beyond_the_channels_number_are_their_plain_text() -> None:
    text, media = shown(photo(), photo(), photo(fallback="See shop.example/3"))
    assert (text, len(media)) == ("See shop.example/3", 2)


@pytest.mark.parametrize(
    ("part", "text"),
    [
        (Location(lat=51.5, lon=-0.1, fallback="Our shop"), "Our shop"),
        (Rating(value=4, worst=1, best=5, fallback="4 of 5"), "4 of 5"),
        (Choices(prompt="Which?", options=(Option(id="a", title="Red"), Option(id="b", title="Blue"))), ""),
    ],
)
def test_what_is_neither_text_nor_media_is_its_plain_text(part: AnyPart, text: str) -> None:
    assert shown(part) == (text or part.plain(), [])


@pytest.mark.parametrize("parts", [(), (Text(text=""),), (Text(text=" \n"),), (photo(url=None, fallback=" "),)])
def test_a_message_without_content_is_refused(parts: tuple[AnyPart, ...]) -> None:
    with pytest.raises(Unsendable) as caught:
        render(parts, CHANNEL)
    assert caught.value.code == "empty_message"


def test_a_text_of_the_limit_passes_and_one_longer_is_refused() -> None:
    assert shown(Text(text="ä" * 40))[0] == "ä" * 40
    with pytest.raises(Unsendable, match="41 characters, the channel takes 40") as caught:
        render((Text(text="ä" * 41),), CHANNEL)
    assert caught.value.code == "too_long"
