"""InstagramMeta on typed payloads: what Messenger has not; the rest is in test_messenger_incoming."""

import pytest

from sluiceway import Received, Seen
from sluiceway_contracts import Media, Notice, Referral, Unknown

from .messaging import FOLLOWER, INSTAGRAM, only, received, taken, told

CDN = "https://cdn.example/v/"


def test_an_answer_to_a_story_names_the_story() -> None:
    fact = received(INSTAGRAM, "story-reply")
    assert fact.parts[0].plain() == "Is this in stock?"
    assert fact.referral == Referral(kind="post", url=f"{CDN}story.jpg", title="story", id="18000000000000001")
    assert fact.reply_to is None


@pytest.mark.parametrize(
    ("store_media", "state", "url", "media"),
    [(False, "remote", f"{CDN}asset?id=2", {}), (True, "pending", None, {"2": f"{CDN}asset?id=2"})],
)
def test_a_mention_in_a_story_comes_with_the_story(
    store_media: bool, state: str, url: str | None, media: dict[str, str]
) -> None:
    fact = received(told(INSTAGRAM, store_media=store_media), "story-mention")
    notice, story = fact.parts
    assert isinstance(notice, Notice)
    assert isinstance(story, Media)
    assert (notice.code, story.kind, story.state, story.url) == ("story_mention", "file", state, url)
    assert fact.media == media


def test_a_shared_post_is_told_once() -> None:
    (part,) = received(INSTAGRAM, "share").parts
    assert isinstance(part, Unknown)
    assert (part.was, part.plain()) == ("share", f"New colours\n{CDN}p?id=1")


def test_the_product_that_it_is_about() -> None:
    assert received(INSTAGRAM, "product").referral == Referral(kind="post", id="4000")


def test_what_was_read_is_told_by_its_id() -> None:
    fact = only(INSTAGRAM, "read")
    assert isinstance(fact, Seen)
    assert (fact.target, fact.sender) == ("m_OURS", FOLLOWER)
    assert taken(INSTAGRAM, "read-by-us").facts == ()


def test_a_story_that_is_gone_is_still_a_mention() -> None:
    facts = taken(INSTAGRAM, "story-mention-gone").facts
    assert isinstance(facts[0], Received)
    assert [part.plain() for part in facts[0].parts] == ["The customer mentioned you in a story"]
