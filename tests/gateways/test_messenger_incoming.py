"""MessengerMeta on typed payloads: what every kind of delivery comes to, and that none of them is too much."""

import datetime
import json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sluiceway import (
    Deleted,
    Edited,
    Malformed,
    Reaction,
    Receipt,
    Received,
    Request,
    Seen,
    Unreadable,
    Unverified,
)
from sluiceway.gateway import AnyFact
from sluiceway.testing import check_gateway, deliver
from sluiceway_contracts import (
    AnyPart,
    Choice,
    Location,
    Media,
    MessageRef,
    Notice,
    Referral,
    Text,
    Unknown,
)
from sluiceway_gateways._meta_messaging import MetaMessaging
from sluiceway_gateways.instagram.meta import InstagramMeta
from sluiceway_gateways.messenger.meta import MessengerMeta

from .messaging import (
    APP,
    CUSTOMER,
    FIRST,
    FOLLOWER,
    INSTAGRAM,
    MESSENGER,
    OTHER,
    SECOND,
    VERIFY,
    cases,
    only,
    post,
    received,
    sample,
    signature,
    taken,
    told,
)

SENT_AT = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)
CDN = "https://cdn.example/v/"
BOTH = pytest.mark.parametrize("gateway", [MESSENGER, INSTAGRAM], ids=["messenger", "instagram"])


def of(gateway: MetaMessaging) -> str:
    return CUSTOMER if gateway is MESSENGER else FOLLOWER


def why(gateway: MetaMessaging, case: str) -> str:
    fact = only(gateway, case)
    assert isinstance(fact, Unreadable)
    return fact.why


def media(kind: str, mime: str, **fields: Any) -> Media:
    return Media(kind=kind, mime=mime, **fields)


def states(fact: Received) -> list[tuple[str, str, str | None]]:
    """Id, state and address of each file."""
    return [(part.id, part.state, part.url) for part in fact.parts if isinstance(part, Media)]


def bare(fact: AnyFact) -> AnyFact:
    """The fact without what becomes of its files."""
    if not isinstance(fact, Received):
        return fact
    parts = tuple(
        msgspec.structs.replace(part, state="", url=None) if isinstance(part, Media) else part for part in fact.parts
    )
    return msgspec.structs.replace(fact, parts=parts, media={})


@pytest.mark.parametrize("gateway", [MessengerMeta, InstagramMeta])
def test_it_passes_the_conformance_checks(gateway: type[MetaMessaging]) -> None:
    check_gateway(gateway)


@pytest.mark.parametrize(("gateway", "stores"), [(MESSENGER, True), (INSTAGRAM, False)])
def test_unless_it_is_told_messenger_stores_files_and_instagram_none(gateway: MetaMessaging, stores: bool) -> None:
    assert type(gateway.settings) is gateway.settings_type
    assert gateway.settings.store_media is stores


@BOTH
class TestProof:
    def test_what_meta_signed_passes(self, gateway: MetaMessaging) -> None:
        gateway.verify(post(sample(gateway.channel, "text")))

    @pytest.mark.parametrize("header", ["", "sha256=", "sha256=00", signature(b"another")])
    def test_any_other_signature_is_refused(self, gateway: MetaMessaging, header: str) -> None:
        with pytest.raises(Unverified):
            gateway.verify(post(sample(gateway.channel, "text"), header))

    def test_the_hook_is_validated_with_our_word_only(self, gateway: MetaMessaging) -> None:
        query = "hub.mode=subscribe&hub.challenge=4711&hub.verify_token="
        asked = Request(method="GET", url=f"{gateway.hook_url}?{query}{VERIFY.replace(' ', '%20')}")
        assert deliver(gateway, asked).reply.body == b"4711"
        with pytest.raises(Unverified):
            gateway.verify(Request(method="GET", url=f"{gateway.hook_url}?{query}guess"))


@BOTH
class TestMessages:
    def test_a_text(self, gateway: MetaMessaging) -> None:
        fact = received(gateway, "text")
        assert fact == Received(
            at=fact.at,
            key="m_THEIRS",
            occurred_at=SENT_AT,
            sender=of(gateway),
            parts=(Text(id="1", text="Where is my order?"),),
            external_ids=("m_THEIRS",),
            reply_window_ends=SENT_AT + DAY,
        )
        assert fact.at == of(gateway).partition(":")[2].partition("/")[0]

    @pytest.mark.parametrize(
        ("case", "parts"),
        [
            ("image", (Text(text="It came broken"), media("image", "image/jpeg"))),
            ("video", (media("video", "video/mp4"),)),
            ("audio", (media("audio", "audio/ogg"),)),
            ("file", (media("file", "application/pdf", name="my invoice.pdf"),)),
            ("file-without-name", (media("file", "application/octet-stream"),)),
            ("images", (media("image", "image/png"), media("image", "image/png"))),
            ("reel", (media("video", "video/mp4", caption="Our new shop"),)),
            ("quick-reply", (Choice(option_ids=("COLOUR-RED",), titles=("Red",), payload="COLOUR-RED"),)),
            ("postback", (Choice(option_ids=("TRACK",), titles=("Track my order",), payload="TRACK"),)),
            ("unsupported", (Unknown(was="unsupported"),)),
            ("empty-message", (Unknown(was="unsupported"),)),
            (
                "kind-of-tomorrow",
                (Unknown(was="hologram", raw={"type": "hologram", "payload": {"depth": 3}}, fallback="[hologram]"),),
            ),
        ],
    )
    def test_every_kind_has_its_part(self, gateway: MetaMessaging, case: str, parts: tuple[AnyPart, ...]) -> None:
        numbered = tuple(msgspec.structs.replace(part, id=str(n)) for n, part in enumerate(parts, 1))
        assert received(told(gateway, store_media=True), case).parts == numbered

    @pytest.mark.parametrize(
        ("case", "files"),
        [
            ("image", {"2": f"{CDN}broken%20box.JPG?oh=1"}),
            ("file", {"1": f"{CDN}my%20invoice.pdf?oh=1"}),
            ("images", {"1": f"{CDN}1.png", "2": f"{CDN}2.png"}),
            ("reel", {"1": f"{CDN}r.mp4"}),
            ("text", {}),
            ("kind-of-tomorrow", {}),
            ("unsupported", {}),
        ],
    )
    def test_a_file_is_pending_and_its_address_kept_aside_or_it_stays_with_meta(
        self, gateway: MetaMessaging, case: str, files: dict[str, str]
    ) -> None:
        pending = received(told(gateway, store_media=True), case)
        assert pending.media == files
        assert states(pending) == [(id, "pending", None) for id in files]
        remote = received(told(gateway, store_media=False), case)
        assert remote.media == {}
        assert states(remote) == [(id, "remote", url) for id, url in files.items()]

    def test_but_for_files_it_is_the_same_whether_they_are_stored(self, gateway: MetaMessaging) -> None:
        for case in cases(gateway.channel):
            pending, remote = (taken(told(gateway, store_media=value), case) for value in (True, False))
            assert [bare(fact) for fact in pending.facts] == [bare(fact) for fact in remote.facts], case

    def test_a_template_is_told_in_words(self, gateway: MetaMessaging) -> None:
        (part,) = received(gateway, "template").parts
        assert isinstance(part, Unknown)
        assert (part.was, part.plain()) == ("template", "Blue shoes\nSize 42\nRed shoes")
        assert part.raw["payload"]["template_type"] == "generic"

    def test_an_address_that_is_none_is_kept_as_it_came(self, gateway: MetaMessaging) -> None:
        fact = received(told(gateway, store_media=True), "image-address-broken")
        assert fact.media == {"2": "https://[broken/1.png"}

    def test_a_reply_names_what_it_answers(self, gateway: MetaMessaging) -> None:
        assert received(gateway, "text-reply").reply_to == MessageRef(external_id="m_OURS")

    def test_a_tapped_button_is_the_customers_word(self, gateway: MetaMessaging) -> None:
        fact = received(gateway, "postback")
        assert (fact.key, fact.external_ids, fact.reply_window_ends) == ("m_TAP", ("m_TAP",), SENT_AT + DAY)

    def test_who_came_by_a_link_has_said_nothing(self, gateway: MetaMessaging) -> None:
        fact = received(gateway, "referral")
        assert fact.referral == Referral(kind="link", url="https://shop.example/", campaign="summer")
        assert isinstance(fact.parts[0], Notice)
        assert fact.reply_window_ends is None

    def test_without_a_time_nobody_knows_the_window(self, gateway: MetaMessaging) -> None:
        fact = received(gateway, "time-absent")
        assert (fact.occurred_at, fact.reply_window_ends) == (None, None)


@BOTH
class TestRemarks:
    def test_a_reaction_and_its_end(self, gateway: MetaMessaging) -> None:
        added, removed = only(gateway, "reaction"), only(gateway, "reaction-removed")
        assert isinstance(added, Reaction)
        assert isinstance(removed, Reaction)
        assert (added.target, added.emoji, added.action, added.sender) == ("m_OURS", "❤️", "added", of(gateway))
        assert (removed.emoji, removed.action, removed.echo) == (None, "removed", False)
        assert added.key != removed.key

    def test_a_reaction_by_name(self, gateway: MetaMessaging) -> None:
        fact = only(gateway, "reaction-without-emoji")
        assert isinstance(fact, Reaction)
        assert fact.emoji == "😮"
        assert why(gateway, "reaction-unheard-of") == "the reaction react other is not known"

    def test_what_one_of_us_felt_is_ours(self, gateway: MetaMessaging) -> None:
        fact = only(gateway, "reaction-by-us")
        assert isinstance(fact, Reaction)
        assert (fact.echo, fact.sender, fact.target) == (True, of(gateway), "m_THEIRS")

    def test_an_edit_says_what_it_says_now(self, gateway: MetaMessaging) -> None:
        fact = only(gateway, "edit")
        assert isinstance(fact, Edited)
        assert (fact.target, fact.key) == ("m_THEIRS", "m_THEIRS:edit:1")
        assert fact.parts == (Text(id="1", text="Where is my second order?"),)

    def test_a_deletion(self, gateway: MetaMessaging) -> None:
        theirs, ours = only(gateway, "deleted"), only(gateway, "deleted-by-us")
        assert isinstance(theirs, Deleted)
        assert isinstance(ours, Deleted)
        assert (theirs.target, theirs.echo, ours.target, ours.echo) == ("m_THEIRS", False, "m_TYPED", True)
        assert theirs.sender == ours.sender == of(gateway)


@BOTH
class TestEchoes:
    def test_what_one_of_us_typed_elsewhere_went_to_the_customer(self, gateway: MetaMessaging) -> None:
        fact = received(gateway, "echo")
        assert (fact.echo, fact.sender, fact.reply_window_ends) == (True, of(gateway), None)
        assert (fact.parts[0].plain(), fact.ext) == ("It left our store today", {"app_id": "263902037430900"})
        assert received(gateway, "echo-without-app").ext == {}
        assert received(gateway, "echo-template").parts[0].plain() == "What next?"

    def test_what_we_sent_ourselves_is_left_out(self, gateway: MetaMessaging) -> None:
        assert taken(gateway, "echo-of-ours").facts == ()


@BOTH
class TestDeliveries:
    @pytest.mark.parametrize("case", ["standby", "comment", "empty", "event-of-tomorrow", "to-itself"])
    def test_what_is_not_ours_to_read_is_counted(self, gateway: MetaMessaging, case: str) -> None:
        intake = taken(gateway, case)
        assert (intake.facts, intake.discarded) == ((), True)

    def test_each_message_is_credited_to_its_own_account(self, gateway: MetaMessaging) -> None:
        facts = [fact for fact in taken(gateway, "several").facts if isinstance(fact, Received)]
        assert [fact.parts[0].plain() for fact in facts] == ["One", "Two", "Three"]
        assert facts[0].at == facts[1].at != facts[2].at
        assert facts[2].sender.startswith(f"{gateway.channel}:{facts[2].at}/")

    @pytest.mark.parametrize("case", ["bad-event-among-good", "bad-entry-among-good"])
    def test_one_bad_piece_spoils_only_itself(self, gateway: MetaMessaging, case: str) -> None:
        bad, good = taken(gateway, case).facts
        assert isinstance(bad, Unreadable)
        assert isinstance(good, Received)
        assert good.parts[0].plain() == "Good"

    def test_what_lacks_the_needed_says_so(self, gateway: MetaMessaging) -> None:
        assert why(gateway, "without-mid") == "the message has no mid"
        assert why(gateway, "time-broken") == "the timestamp is no Unix time in milliseconds"
        assert why(gateway, "text-from-nobody") == "it has no usable sender"

    def test_a_delivery_about_something_else_is_refused(self, gateway: MetaMessaging) -> None:
        with pytest.raises(Malformed):
            deliver(gateway, post(b'{"object": "user", "entry": []}'))


class TestMessenger:
    @pytest.mark.parametrize(
        ("case", "part"),
        [
            ("location", Location(id="1", lat=51.5, lon=-0.12, name="The shop")),
            ("sticker", media("sticker", "image/png", id="1")),
            ("fallback-empty", Unknown(id="1", was="fallback", raw={"type": "fallback"}, fallback="[fallback]")),
            ("postback-bare", Choice(id="1", option_ids=("?",))),
        ],
    )
    def test_the_kinds_that_only_it_has(self, case: str, part: AnyPart) -> None:
        assert received(MESSENGER, case).parts == (part,)

    def test_a_shared_link_keeps_its_title(self) -> None:
        text, link = received(MESSENGER, "fallback").parts
        assert (text.plain(), link.plain()) == ("https://shop.example/1", "Blue shoes\nhttps://shop.example/1")

    def test_the_advertisement_that_brought_the_customer(self) -> None:
        fact = received(MESSENGER, "postback-first")
        assert fact.referral == Referral(kind="ad", title="Summer sale", id="400000000000001", campaign="summer")
        assert (fact.external_ids, fact.key) == ((), "5520011000000456:postback:START:1767225600000")

    def test_what_was_delivered(self) -> None:
        facts = taken(MESSENGER, "delivery").facts
        assert facts == tuple(
            Receipt(
                at=FIRST,
                key=f"{mid}:delivered",
                occurred_at=SENT_AT + datetime.timedelta(milliseconds=253),
                external_id=mid,
                status="delivered",
            )
            for mid in ("m_OURS", "m_OURS2")
        )
        assert taken(MESSENGER, "delivery-without-mids").facts == ()

    def test_until_when_all_was_read(self) -> None:
        fact = only(MESSENGER, "read")
        assert isinstance(fact, Seen)
        assert (fact.target, fact.occurred_at) == ("", SENT_AT + datetime.timedelta(milliseconds=500))

    @pytest.mark.parametrize("case", ["optin", "account-linking"])
    def test_matters_of_set_up_are_left_out(self, case: str) -> None:
        assert taken(MESSENGER, case).facts == ()

    def test_where_people_answer_the_window_is_a_week(self) -> None:
        assert OTHER.human_agent
        fact = taken(MESSENGER, "several").facts[2]
        assert isinstance(fact, Received)
        assert (fact.at, fact.reply_window_ends) == (SECOND, SENT_AT + 7 * DAY)


CHANNELS = {"messenger": MESSENGER, "instagram": INSTAGRAM}
EVERY = [(channel, case) for channel in CHANNELS for case in cases(channel)]


@pytest.mark.parametrize(("channel", "case"), EVERY)
def test_no_sample_raises(channel: str, case: str) -> None:
    taken(CHANNELS[channel], case)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where there is something in a JSON document."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, item in inner for found in places(item, (*path, key)))]


JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(allow_nan=False),
    st.text(max_size=20),
    st.builds(list),
    st.builds(dict),
    st.builds(lambda: [None]),
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(EVERY), st.data())
def test_no_mutation_of_a_sample_is_an_unhandled_error(chosen: tuple[str, str], data: st.DataObject) -> None:
    channel, case = chosen
    document = json.loads(sample(channel, case))
    for _ in range(data.draw(st.integers(1, 3))):
        *path, last = data.draw(st.sampled_from(places(document)[1:]))
        inner = document
        for key in path:
            inner = inner[key]
        if data.draw(st.booleans()) and isinstance(inner, dict):
            del inner[last]
        else:
            inner[last] = data.draw(JUNK)
        if len(places(document)) < 2:
            break
    gateway = CHANNELS[channel]
    try:
        facts = deliver(gateway, post(json.dumps(document).encode())).facts
    except Malformed:
        return
    for fact in facts:
        assert fact.key
        if isinstance(fact, Received):
            assert {id for id, state, _ in states(fact) if state == "pending"} == fact.media.keys()
            assert all(url for _, state, url in states(fact) if state == "remote")


@settings(deadline=None)
@given(st.binary(max_size=300))
@example(b"")
@example(b'{"object": "page", "entry": 1}')
def test_no_bytes_are_an_unhandled_error(body: bytes) -> None:
    try:
        deliver(MESSENGER, post(body))
    except Malformed:
        return


def test_an_app_without_an_account_reads_too() -> None:
    assert len(deliver(MessengerMeta(APP), post(sample("messenger", "text"))).facts) == 1
