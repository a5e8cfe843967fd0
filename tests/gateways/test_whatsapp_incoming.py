"""WhatsAppCloud on typed payloads: what every kind of delivery comes to, and that none of them is too much."""

import datetime
import json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sluiceway import Consent, Deleted, Edited, Malformed, Reaction, Receipt, Received, Unreadable
from sluiceway.gateway import AnyFact
from sluiceway.testing import check_gateway, deliver
from sluiceway_contracts import (
    STATUS_ORDER,
    TERMINAL,
    AnyPart,
    Choice,
    ContactCard,
    FormAnswer,
    FormResponse,
    Location,
    Media,
    MessageRef,
    Notice,
    Referral,
    Text,
    Unknown,
    addresses,
)
from sluiceway_gateways.whatsapp import _facts
from sluiceway_gateways.whatsapp.cloud import WhatsAppCloud

from .whatsapp import CASES, CUSTOMER, FIRST, GATEWAY, SECOND, USER_ID, post, sample, taken

SENT_AT = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)


def received(case: str) -> Received:
    (fact,) = taken(case).facts
    assert isinstance(fact, Received)
    return fact


def receipt(case: str) -> Receipt:
    fact = taken(case).facts[0]
    assert isinstance(fact, Receipt)
    return fact


def why(case: str) -> str:
    (fact,) = taken(case).facts
    assert isinstance(fact, Unreadable)
    return fact.why


class TestMessages:
    def test_a_text(self) -> None:
        fact = received("text")
        assert fact == Received(
            at=FIRST,
            key=fact.external_ids[0],
            occurred_at=SENT_AT,
            sender=CUSTOMER,
            also=(USER_ID,),
            parts=(Text(id="1", text="Where is my order?"),),
            name="Customer",
            external_ids=fact.external_ids,
            reply_window_ends=SENT_AT + DAY,
        )

    @pytest.mark.parametrize(
        ("case", "part", "media"),
        [
            ("image", Media(kind="image", mime="image/jpeg", caption="It came broken"), "500000000000001"),
            ("video", Media(kind="video", mime="video/mp4"), "500000000000002"),
            ("audio", Media(kind="audio", mime="audio/mpeg"), "500000000000003"),
            ("voice", Media(kind="voice", mime="audio/ogg"), "500000000000004"),
            ("sticker", Media(kind="sticker", mime="image/webp"), "500000000000005"),
            (
                "document",
                Media(kind="file", mime="application/pdf", name="invoice.pdf", caption="This one"),
                "500000000000006",
            ),
        ],
    )
    def test_a_file_is_pending_and_its_id_is_kept_aside(self, case: str, part: Media, media: str) -> None:
        fact = received(case)
        assert fact.parts == (msgspec.structs.replace(part, id="1"),)
        assert (part.state, fact.media) == ("pending", {"1": media})

    @pytest.mark.parametrize(
        ("case", "parts"),
        [
            ("location", (Location(lat=51.5, lon=-0.12, name="The shop", address="1 High Street"),)),
            (
                "contacts",
                (
                    ContactCard(
                        name="The neighbour",
                        addresses=("whatsapp:447700900789", "tel:+447700900789", "mailto:neighbour@mail.example"),
                    ),
                    ContactCard(name="Front desk"),
                    ContactCard(name="tel:+447700900791", addresses=("tel:+447700900791",)),
                    ContactCard(name="?"),
                ),
            ),
            ("button-reply", (Choice(option_ids=("yes",), titles=("Yes, please",)),)),
            ("list-reply", (Choice(option_ids=("size-42",), titles=("42",)),)),
            ("quick-reply", (Choice(option_ids=("STOP-OFFERS",), titles=("Stop offers",), payload="STOP-OFFERS"),)),
            ("quick-reply-without-payload", (Choice(option_ids=("Stop offers",), titles=("Stop offers",)),)),
            (
                "flow",
                (
                    FormResponse(
                        form_id="return-form",
                        fields=(
                            FormAnswer(name="reason", value="too small"),
                            FormAnswer(name="size", value="42"),
                            FormAnswer(name="again", value='["a","b"]'),
                        ),
                    ),
                ),
            ),
            ("flow-without-token", (FormResponse(form_id="flow", fields=()),)),
            (
                "system-identity-changed",
                (Notice(code="identity_changed", text="The customer's identity changed"),),
            ),
            ("system-empty", (Unknown(was="system", fallback="[system]"),)),
            ("interactive-empty", (Unknown(was="interactive", fallback="[interactive]"),)),
            ("kind-of-tomorrow", (Unknown(was="hologram", raw={"id": "1"}, fallback="[hologram]"),)),
            ("unsupported-without-reason", (Unknown(was="unsupported", fallback="[unsupported]"),)),
        ],
    )
    def test_every_other_kind_has_its_part(self, case: str, parts: tuple[AnyPart, ...]) -> None:
        numbered = tuple(msgspec.structs.replace(part, id=str(n)) for n, part in enumerate(parts, 1))
        assert received(case).parts == numbered

    def test_an_answer_of_tomorrow_is_kept_as_it_came(self) -> None:
        (part,) = received("interactive-unknown").parts
        assert isinstance(part, Unknown)
        assert part.raw["call_permission_reply"] == {"response": "accept"}

    def test_what_is_not_supported_says_what_it_was_and_why(self) -> None:
        fact = received("unsupported")
        (part,) = fact.parts
        assert isinstance(part, Unknown)
        assert part.fallback == "[poll: Message type is currently not supported.]"
        assert (part.was, part.raw, fact.ext["errors"]) == ("poll", {"type": "poll"}, ["131051"])

    def test_an_order_is_kept_and_told_in_words(self) -> None:
        note, order = received("order").parts
        assert note == Text(id="1", text="Before Friday, please")
        assert isinstance(order, Unknown)
        assert order.fallback == "2 × SKU-1 (12.5 GBP)\n1 × SKU-2"
        assert order.raw["product_items"][0]["item_price"] == 12.5
        (empty,) = received("order-empty").parts
        assert empty.plain() == "[order]"

    def test_a_reply_names_what_it_answers(self) -> None:
        assert received("text-reply").reply_to == MessageRef(external_id="wamid.OURS==")
        assert received("text-forwarded").reply_to is None

    def test_how_a_message_came_about_is_told(self) -> None:
        assert received("text-forwarded").ext == {"forwarded": True, "frequently_forwarded": True}
        assert received("text-about-product").ext["product"]["product_retailer_id"] == "SKU-1"

    def test_the_advertisement_that_brought_the_customer(self) -> None:
        fact = received("text-from-advertisement")
        assert fact.referral == Referral(
            kind="ad", url="https://fb.example/ad", title="Summer sale", id="400000000000001"
        )
        assert fact.ext == {"ctwa_clid": "CLICK1", "ad_body": "Shoes at half price"}
        assert fact.reply_window_ends == SENT_AT + DAY, "the 72 hours are about the price"
        elsewhere = received("text-from-elsewhere").referral
        assert elsewhere is not None
        assert elsewhere.kind == "link"

    def test_the_last_time_that_can_be_told_has_a_window_too(self) -> None:
        body = sample("text").replace(b'"1767225600"', b'"253370764799"')
        (fact,) = deliver(GATEWAY, post(body)).facts
        assert isinstance(fact, Received)
        assert fact.reply_window_ends is not None

    def test_without_a_time_nobody_knows_the_window(self) -> None:
        fact = received("time-absent")
        assert (fact.occurred_at, fact.reply_window_ends) == (None, None)


class TestSenders:
    @pytest.mark.parametrize(
        ("case", "sender", "also"),
        [
            ("text", CUSTOMER, (USER_ID,)),
            ("text-phone-only", CUSTOMER, ()),
            ("text-user-id-only", USER_ID, ()),
            ("text-ids-in-contact-only", CUSTOMER, (USER_ID,)),
        ],
    )
    def test_the_number_is_the_sender_and_the_user_id_joins(
        self, case: str, sender: str, also: tuple[str, ...]
    ) -> None:
        fact = received(case)
        assert (fact.sender, fact.also) == (sender, also)
        assert addresses.normalise(fact.sender) == fact.sender

    def test_username_and_parent_are_told(self) -> None:
        assert received("text-user-id-only").ext == {"username": "customer.example"}
        assert received("text-ids-in-contact-only").ext == {"parent_user_id": "GB.ENT.1"}

    def test_who_changed_the_number_is_still_the_same_person(self) -> None:
        fact = received("system-number-changed")
        assert fact.sender == "whatsapp:447700900457"
        assert fact.also == ("whatsapp:GB.10000000000000000457", CUSTOMER)
        (part,) = fact.parts
        assert isinstance(part, Notice)
        assert part.code == "number_changed"
        assert fact.reply_window_ends is None, "the customer has written nothing"

    def test_who_has_a_new_user_id_keeps_the_number(self) -> None:
        fact = received("system-user-id-changed")
        assert (fact.sender, fact.also) == (CUSTOMER, ("whatsapp:GB.10000000000000000999", USER_ID))
        assert fact.parts[0].plain() == "[user_id_changed]"


class TestRemarks:
    def test_a_reaction_and_its_end(self) -> None:
        (added,) = taken("reaction").facts
        (removed,) = taken("reaction-removed").facts
        assert isinstance(added, Reaction)
        assert isinstance(removed, Reaction)
        assert (added.target, added.emoji, added.action, added.sender) == ("wamid.OURS==", "👍", "added", CUSTOMER)
        assert (removed.emoji, removed.action) == (None, "removed")
        assert added.key != removed.key

    def test_an_edit_says_what_it_says_now(self) -> None:
        (edited,) = taken("edit").facts
        assert isinstance(edited, Edited)
        assert (edited.target, edited.parts) == (
            "wamid.THEIRS==",
            (Text(id="1", text="Where is my second order?"),),
        )
        (image,) = taken("edit-image").facts
        assert isinstance(image, Edited)
        assert image.media == {"1": "500000000000007"}

    def test_a_deletion(self) -> None:
        (deleted,) = taken("revoke").facts
        assert isinstance(deleted, Deleted)
        assert (deleted.target, deleted.name, deleted.echo) == ("wamid.THEIRS==", "Customer", False)


class TestEchoes:
    def test_what_one_of_us_typed_on_the_phone_went_to_the_customer(self) -> None:
        fact = received("echo-text")
        assert (fact.echo, fact.sender, fact.also) == (True, CUSTOMER, (USER_ID,))
        assert (fact.parts, fact.reply_window_ends) == ((Text(id="1", text="It left our store today"),), None)
        assert received("echo-image").media == {"1": "500000000000008"}

    @pytest.mark.parametrize(
        ("case", "kind"), [("echo-edit", Edited), ("echo-revoke", Deleted), ("echo-reaction", Reaction)]
    )
    def test_what_one_of_us_changed_there(self, case: str, kind: type[Edited | Deleted | Reaction]) -> None:
        (fact,) = taken(case).facts
        assert isinstance(fact, kind)
        assert (fact.echo, fact.sender) == (True, CUSTOMER)


class TestStatuses:
    @pytest.mark.parametrize("word", ["sent", "delivered", "read"])
    def test_what_became_of_ours(self, word: str) -> None:
        fact = receipt(f"status-{word}")
        assert (fact.at, fact.external_id, fact.status) == (FIRST, "wamid.OURS==", word)
        assert fact.key == f"wamid.OURS==:{word}"
        assert fact.error is None

    def test_the_words_that_only_whatsapp_has(self) -> None:
        assert (receipt("status-played").status, receipt("status-played").ext) == ("read", {"played": True})
        assert receipt("status-deleted").status == "revoked"

    def test_pricing_and_origin(self) -> None:
        assert receipt("status-sent").ext == {
            "billable": True,
            "pricing_model": "PMP",
            "pricing_type": "regular",
            "category": "marketing",
            "conversation": "CONVERSATION1",
            "origin": "marketing",
        }
        assert receipt("status-delivered").ext["billable"] is False

    @pytest.mark.parametrize(
        ("case", "code", "provider_code"),
        [
            ("status-failed", "failed", "131026"),
            ("status-failed-window", "window_closed", "131047"),
            ("status-failed-opted-out", "opted_out", "131050"),
            ("status-failed-new-code", "failed", "999999"),
        ],
    )
    def test_why_it_failed(self, case: str, code: str, provider_code: str) -> None:
        fact = receipt(case)
        assert fact.error is not None
        assert (fact.status, fact.error.code, fact.error.provider_code) == ("failed", code, provider_code)

    def test_a_code_of_tomorrow_says_what_meta_says(self) -> None:
        error = receipt("status-failed-new-code").error
        assert error is not None
        assert error.message == "Something new"
        assert receipt("status-failed-without-code").error is None

    def test_who_stopped_marketing_is_told_as_consent(self) -> None:
        _, consent = taken("status-failed-opted-out").facts
        assert isinstance(consent, Consent)
        assert (consent.address, consent.state, consent.purpose) == (CUSTOMER, "revoked", "marketing")
        assert consent.evidence == "131050"
        assert len(taken("status-failed-opted-out-without-recipient").facts) == 1

    def test_a_status_of_tomorrow_is_put_aside(self) -> None:
        assert why("status-unknown") == "the status teleported is not known"

    def test_every_status_is_a_word_of_the_contract(self) -> None:
        assert set(_facts.STATUS.values()) <= STATUS_ORDER.keys() | TERMINAL


class TestPreferences:
    @pytest.mark.parametrize(("word", "state"), [("stop", "revoked"), ("resume", "granted")])
    def test_marketing_stopped_and_resumed(self, word: str, state: str) -> None:
        (fact,) = taken(f"preference-{word}").facts
        assert isinstance(fact, Consent)
        assert (fact.address, fact.state, fact.purpose, fact.method) == (CUSTOMER, state, "marketing", "provider")

    def test_another_decision_is_put_aside(self) -> None:
        assert why("preference-unheard-of") == "the preference unheard-of is not known"


class TestDeliveries:
    def test_each_is_credited_to_its_own_number_in_order(self) -> None:
        facts = taken("several").facts
        texts = [(fact.at, fact.parts[0].plain()) for fact in facts if isinstance(fact, Received)]
        assert texts == [(FIRST, "1"), (FIRST, "2"), (SECOND, "3"), (SECOND, "4")]
        assert isinstance(facts[-1], Receipt)
        assert facts[-1].at == FIRST

    def test_one_bad_message_spoils_only_itself(self) -> None:
        first, bad, last = taken("bad-message-among-good").facts
        assert isinstance(bad, Unreadable)
        assert (bad.at, b"wamid.BAD" in bad.raw, b'"1"' in bad.raw) == (FIRST, True, False)
        assert [f.parts[0].plain() for f in (first, last) if isinstance(f, Received)] == ["1", "2"]

    def test_one_bad_entry_or_change_spoils_only_itself(self) -> None:
        *bad, good = taken("bad-entry-among-good").facts
        assert isinstance(good, Received)
        assert [type(fact) for fact in bad] == [Unreadable] * 3
        assert len({fact.key for fact in bad}) == 3

    @pytest.mark.parametrize(
        ("case", "reason"),
        [
            ("group", "groups are not supported"),
            ("without-id", "has no id"),
            ("time-broken", "no Unix time"),
            ("text-from-nobody", "neither a number nor a user id"),
            ("flow-broken", "the JSON can't be read"),
            ("errors", "Meta reports error 130429: Rate limit hit"),
        ],
    )
    def test_what_can_not_be_used_says_why(self, case: str, reason: str) -> None:
        assert reason in why(case)

    def test_a_sender_who_is_no_address_is_put_aside(self) -> None:
        body = sample("text").replace(b'"447700900456"', b'"447700900456/../x"')
        (fact,) = deliver(GATEWAY, post(body)).facts
        assert isinstance(fact, Unreadable)
        assert fact.why == "it has no usable sender"

    @pytest.mark.parametrize("case", ["template-status", "empty"])
    def test_what_is_about_nobody_is_counted_and_answered(self, case: str) -> None:
        intake = taken(case)
        assert (intake.facts, intake.discarded, intake.reply.status) == ((), True, 200)

    @pytest.mark.parametrize("case", CASES)
    def test_the_same_delivery_is_the_same_facts(self, case: str) -> None:
        assert taken(case) == taken(case)


def test_no_fact_shares_its_key_with_another_of_its_kind() -> None:
    facts = [fact for case in CASES for fact in taken(case).facts if isinstance(fact, Received | Reaction | Edited)]
    assert len({(type(fact), fact.key) for fact in facts}) == len(facts)


def test_it_passes_the_conformance_checks() -> None:
    check_gateway(WhatsAppCloud)


def mutated(draw: st.DrawFn, value: Any) -> Any:
    """The same JSON with one thing in it replaced, removed or doubled."""
    if isinstance(value, dict) and value and draw(st.booleans() | st.just(True)):
        name = draw(st.sampled_from(sorted(value)))
        if draw(st.integers(0, 4)) == 0:
            return {key: item for key, item in value.items() if key != name}
        return value | {name: mutated(draw, value[name])}
    if isinstance(value, list) and value:
        place = draw(st.integers(0, len(value) - 1))
        return [*value[:place], mutated(draw, value[place]), *value[place + draw(st.integers(0, 1)) :]]
    return draw(JUNK)


JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=20),
    st.sampled_from(["", "edit", "revoke", "system", "interactive", "order", "image", "9" * 40, "whatsapp:1", "\x00"]),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=2),
)


@st.composite
def mutations(draw: st.DrawFn) -> bytes:
    value = json.loads(sample(draw(st.sampled_from(CASES))))
    for _ in range(draw(st.integers(1, 4))):
        value = mutated(draw, value)
    return json.dumps(value).encode()


class TestMutations:
    @settings(max_examples=400)
    @given(mutations())
    @example(b'{"object": "whatsapp_business_account", "entry": [{"id": "1", "changes": [[[[]]]]}]}')
    def test_whatever_is_in_a_signed_delivery_comes_to_facts_or_is_malformed(self, body: bytes) -> None:
        try:
            facts = deliver(GATEWAY, post(body)).facts
        except Malformed:
            return
        for fact in facts:
            check(fact)

    @given(st.sampled_from(CASES), st.integers(0, 2000))
    def test_a_delivery_that_ends_early_is_malformed(self, case: str, length: int) -> None:
        body = sample(case).rstrip()
        if length < len(body):
            with pytest.raises(Malformed):
                deliver(GATEWAY, post(body[:length]))


def check(fact: AnyFact) -> None:
    """What core relies on."""
    assert isinstance(fact.at, str)
    assert fact.key
    if isinstance(fact, Received | Reaction | Edited | Deleted):
        assert addresses.normalise(fact.sender) == fact.sender
    if isinstance(fact, Received):
        assert fact.parts
        assert {part.id for part in fact.parts} >= fact.media.keys()
        assert [addresses.normalise(address) for address in fact.also] == [*fact.also]
