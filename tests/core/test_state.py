"""The fold of events into records: what each event tells, and that no replay tells anything twice."""

from __future__ import annotations

import datetime
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway.state import CONTACT, CONVERSATION, Key, Record, fold, keys, stands_alone
from sluiceway_contracts import (
    ConsentChanged,
    ContactConflict,
    ContactLinked,
    ContactMerged,
    ContactState,
    ContactUnlinked,
    ContactUnmerged,
    ContactVerified,
    Continuation,
    ConversationChannelChanged,
    ConversationClosed,
    ConversationOpened,
    ConversationReopened,
    ConversationState,
    Event,
    EventData,
    Message,
    MessageReceived,
    MessageSent,
    MessageStatus,
    Party,
    Text,
    subjects,
)

ANNA, BEN = "019c22f1-d578-7b69-b91e-e6031249eeb2", "019c22f1-d578-7b69-b91e-e6031249eeb3"
FIRST, SECOND = "019c22f1-d578-7625-af24-35aeedc2728d", "019c22f1-d578-7625-af24-35aeedc2728e"
PHONE, MAIL = "tel:+447700900456", "mailto:anna@customer.example"
START = datetime.datetime(2026, 2, 3, 10, tzinfo=datetime.UTC)

Store = dict[Key, Record]


def at(sequence: int) -> datetime.datetime:
    return START + datetime.timedelta(seconds=sequence)


def event(
    data: EventData, sequence: int = 0, contact: str | None = ANNA, subject: str | None = FIRST, channel: str = "sms"
) -> Event:
    return Event(
        tenant="acme",
        time=at(sequence),
        channel=channel,
        account=f"uk-{channel}",
        contactid=contact,
        subject=subject,
        data=data,
    )


def received(
    id: str = "m1", address: str = PHONE, assurance: str | None = "channel", contact: str | None = ANNA
) -> MessageReceived:
    author = Party(role="customer", address=address, assurance=assurance, contact_id=contact)
    return MessageReceived(message=Message(id=id, author=author, parts=(Text(text="Hi"),)), resolved_by="open")


def sent(id: str = "r1", address: str = PHONE, contact: str = ANNA) -> MessageSent:
    to = (Party(role="customer", address=address, contact_id=contact), Party(role="customer", address="tel:+1555"))
    return MessageSent(message=Message(id=id, author=Party(role="agent"), to=to, parts=(Text(text="Hello"),)))


def status(overall: str, id: str = "r1") -> MessageStatus:
    return MessageStatus(message_id=id, status=overall, overall=overall, pieces=())


def opened(conversation: str = FIRST, contact: str = ANNA, previous: str | None = None) -> ConversationOpened:
    return ConversationOpened(
        conversation_id=conversation, contact_id=contact, channel="sms", reason="inbound", previous_id=previous
    )


def closed(conversation: str = FIRST, contact: str = ANNA, into: str | None = None) -> ConversationClosed:
    return ConversationClosed(
        conversation_id=conversation, contact_id=contact, channel="sms", reason="idle", continued_as=into
    )


def reopened(conversation: str = FIRST, contact: str = ANNA) -> ConversationReopened:
    return ConversationReopened(conversation_id=conversation, contact_id=contact, channel="sms", reason="inbound")


def linked(*addresses: str, contact: str = ANNA, assurance: str = "channel") -> ContactLinked:
    return ContactLinked(contact_id=contact, addresses=addresses, assurance=assurance, method="reply_token")


def conflict(*addresses: str, contact: str = ANNA, candidate: str = BEN) -> ContactConflict:
    return ContactConflict(
        contact_id=contact, candidate_id=candidate, addresses=addresses, assurance="asserted", method="form"
    )


def consent(state: str, address: str = PHONE, purpose: str = "all") -> ConsentChanged:
    return ConsentChanged(address=address, channel="sms", purpose=purpose, state=state, method="keyword")


MERGED = ContactMerged(
    from_id=BEN, into_id=ANNA, conversations=(Continuation(from_id=SECOND, into_id=FIRST),), method="command"
)
UNMERGED = ContactUnmerged(
    from_id=ANNA,
    into_id=BEN,
    addresses=(MAIL,),
    conversations=(Continuation(from_id=FIRST, into_id=SECOND),),
    method="command",
)


def played(*told: EventData | Event, store: Store | None = None, since: int = 1) -> Store:
    """The records after events in this order; the first of them has the number `since`."""
    store = {} if store is None else dict(store)
    for sequence, one in enumerate(told, since):
        whole = one if isinstance(one, Event) else event(one, sequence)
        store |= fold(whole, sequence, {key: store.get(key) for key in keys(whole)})
    return store


def conversation(store: Store, id: str = FIRST) -> ConversationState:
    record = store[Key(CONVERSATION, id)]
    assert isinstance(record, ConversationState)
    return record


def contact(store: Store, id: str = ANNA) -> ContactState:
    record = store[Key(CONTACT, id)]
    assert isinstance(record, ContactState)
    return record


class TestConversation:
    def test_is_open_from_its_opening_on_and_names_the_one_before(self) -> None:
        record = conversation(played(opened(previous=SECOND)))
        assert (record.state, record.contact, record.previous_id) == ("open", ANNA, SECOND)
        assert (record.opened_at, record.first_at, record.last_at) == (at(1), at(1), at(1))
        assert (record.first_sequence, record.last_sequence, record.channels) == (1, 1, ("sms",))

    def test_knows_the_customers_last_message_and_counts_them(self) -> None:
        mail = event(received("m2", MAIL), 3, channel="email")
        record = conversation(played(opened(), received("m1"), mail))
        last = record.last_inbound
        assert last is not None
        assert (last.message_id, last.channel, last.account, last.address) == ("m2", "email", "uk-email", MAIL)
        assert (last.at, last.sequence) == (at(3), 3)
        assert (record.message_count.inbound, record.channels) == (2, ("sms", "email"))

    def test_counts_a_message_that_is_stored_twice_once(self) -> None:
        record = conversation(played(received("m1"), received("m1"), sent("r1"), sent("r1")))
        assert (record.message_count.inbound, record.message_count.outbound) == (1, 1)

    def test_knows_what_became_of_our_last_message(self) -> None:
        record = conversation(played(sent("r1"), status("queued"), status("delivered"), status("sent")))
        assert record.last_outbound is not None
        assert (record.last_outbound.status, record.last_sequence) == ("delivered", 3)

    @pytest.mark.parametrize("later", ["read", "failed"])
    def test_a_final_failure_stays(self, later: str) -> None:
        record = conversation(played(sent("r1"), status("failed"), status(later)))
        assert record.last_outbound is not None
        assert record.last_outbound.status == "failed"

    def test_a_receipt_of_an_earlier_message_changes_nothing(self) -> None:
        before = played(sent("r1"), sent("r2"))
        assert played(status("read", "r1"), store=before, since=3) == before

    def test_a_receipt_of_a_conversation_that_is_not_known_makes_none(self) -> None:
        assert played(status("read"), event(status("read"), 2, subject=None)) == {}

    def test_closes_and_says_why_and_where_it_goes_on(self) -> None:
        record = conversation(played(opened(), closed(into=SECOND)))
        assert (record.state, record.closed_reason, record.continued_as) == ("closed", "idle", SECOND)
        assert record.closed_at == at(2)

    def test_reopens_as_if_it_had_never_closed(self) -> None:
        record = conversation(played(opened(), closed(), reopened()))
        assert (record.state, record.closed_at, record.closed_reason, record.continued_as) == ("open", None, None, None)

    def test_gains_a_channel(self) -> None:
        change = ConversationChannelChanged(
            conversation_id=FIRST, contact_id=ANNA, channel="voice", previous_channel="sms", reason="inbound"
        )
        assert conversation(played(opened(), change)).channels == ("sms", "voice")

    def test_whose_opening_the_stream_has_no_more_is_open_since_its_first_message(self) -> None:
        record = conversation(played(received()))
        assert (record.state, record.contact, record.opened_at, record.first_sequence) == ("open", ANNA, None, 1)


class TestContact:
    def test_has_the_addresses_it_wrote_from_and_was_written_to(self) -> None:
        record = contact(played(received(), sent(address=MAIL), received("m2")))
        assert [(one.address, one.assurance, one.method) for one in record.addresses] == [
            (PHONE, "channel", "inbound"),
            (MAIL, "asserted", "outbound"),
        ]
        assert (record.first_sequence, record.last_sequence) == (1, 2), "the third tells nothing new"

    def test_is_surer_of_an_address_but_never_less_sure(self) -> None:
        proof = ContactVerified(contact_id=ANNA, addresses=(PHONE,), assurance="verified", method="code")
        (one,) = contact(played(received(assurance=None), proof, linked(PHONE), received("m2"))).addresses
        assert (one.assurance, one.method, one.since, one.channel) == ("verified", "code", at(1), "sms")

    def test_an_assurance_of_a_later_version_is_kept_and_ranks_lowest(self) -> None:
        (one,) = contact(played(linked(PHONE, assurance="notarised"))).addresses
        assert one.assurance == "notarised"
        (one,) = contact(played(linked(PHONE, assurance="notarised"), received(assurance=None))).addresses
        assert one.assurance == "asserted"

    @pytest.mark.parametrize("guest", [None, BEN])
    def test_gains_no_address_of_a_guest_in_its_conversation(self, guest: str | None) -> None:
        assert contact(played(received(address=MAIL, contact=guest))).addresses == ()

    def test_loses_an_address(self) -> None:
        gone = ContactUnlinked(contact_id=ANNA, addresses=(PHONE,), method="command")
        assert [one.address for one in contact(played(linked(PHONE, MAIL), gone)).addresses] == [MAIL]

    def test_knows_its_conversations_and_the_open_one(self) -> None:
        store = played(opened(), closed(), event(opened(SECOND), 3, subject=SECOND))
        assert contact(store).conversations == (FIRST, SECOND)
        assert contact(store).open_conversation == SECOND
        assert contact(played(closed(SECOND), store=store, since=4)).open_conversation is None
        assert contact(played(closed(FIRST), store=store, since=4)).open_conversation == SECOND
        assert contact(played(reopened(FIRST), store=store, since=4)).open_conversation == FIRST

    def test_that_only_spoke_is_in_the_conversation_it_spoke_in(self) -> None:
        record = contact(played(received()))
        assert (record.conversations, record.open_conversation) == ((FIRST,), FIRST)
        assert contact(played(event(received(), 1, subject=None))).conversations == ()

    def test_lists_only_the_last_fifty_conversations(self) -> None:
        record = contact(played(*(opened(f"c{n}") for n in range(60))))
        assert record.conversations == tuple(f"c{n}" for n in range(10, 60))

    def test_consents_are_the_last_word_for_address_channel_and_purpose(self) -> None:
        record = contact(played(consent("granted"), consent("granted", purpose="marketing"), consent("revoked")))
        assert [(one.purpose, one.state, one.at) for one in record.consents] == [
            ("marketing", "granted", at(2)),
            ("all", "revoked", at(3)),
        ]
        assert played(event(consent("granted"), contact=None)) == {}

    def test_a_conflict_is_open_until_its_addresses_are_linked(self) -> None:
        store = played(conflict(PHONE), conflict(MAIL, PHONE))
        (one,) = contact(store).conflicts
        assert (one.candidate_id, one.addresses, one.at) == (BEN, (PHONE, MAIL), at(2))
        assert played(conflict(PHONE), store=store, since=3) == store
        (one,) = contact(played(linked(PHONE), store=store, since=3)).conflicts
        assert one.addresses == (MAIL,)
        assert contact(played(linked(PHONE, MAIL), store=store, since=3)).conflicts == ()

    def test_lists_no_more_than_the_last_fifty_conflicts(self) -> None:
        record = contact(played(*(conflict(PHONE, candidate=f"c{n}") for n in range(60))))
        assert [one.candidate_id for one in record.conflicts] == [f"c{n}" for n in range(10, 60)]


def two() -> Store:
    """Anna by telephone, and Ben by mail, who may be her."""
    ben = event(received("m2", MAIL, contact=BEN), 4, contact=BEN, subject=SECOND, channel="email")
    no = event(consent("revoked", MAIL), 5, contact=BEN)
    return played(opened(), received(), opened(SECOND, BEN), ben, no, conflict(MAIL))


class TestMerge:
    def test_gives_one_contact_all_that_the_other_had(self) -> None:
        store = played(MERGED, store=two(), since=7)
        one, other = contact(store), contact(store, BEN)
        assert [address.address for address in one.addresses] == [PHONE, MAIL]
        assert (one.conversations, one.open_conversation, one.merged_from) == ((SECOND, FIRST), FIRST, (BEN,))
        assert (len(one.consents), one.conflicts) == (1, ())
        assert (other.merged_into, other.open_conversation) == (ANNA, None)

    def test_closes_the_conversation_that_goes_on_as_another(self) -> None:
        record = conversation(played(MERGED, store=two(), since=7), SECOND)
        assert (record.state, record.closed_reason, record.continued_as) == ("closed", "merged", FIRST)
        assert record.contact == BEN
        told_before = played(closed(SECOND, BEN), MERGED, store=two(), since=7)
        assert conversation(told_before, SECOND).closed_reason == "idle"
        assert conversation(told_before, SECOND).continued_as == FIRST

    def test_of_contacts_without_records_leaves_the_redirect(self) -> None:
        store = played(MERGED)
        assert contact(store).merged_from == (BEN,)
        assert contact(store, BEN).merged_into == ANNA

    def test_keeps_the_later_of_two_consents(self) -> None:
        ours = event(consent("granted", MAIL), 9, contact=ANNA)
        theirs = event(consent("revoked", MAIL), 8, contact=BEN)
        assert [one.state for one in contact(played(ours, theirs, MERGED)).consents] == ["granted"]
        assert [one.state for one in contact(played(theirs, ours, MERGED)).consents] == ["granted"]

    def test_of_one_who_was_merged_brings_those_along(self) -> None:
        chain = ContactMerged(from_id=ANNA, into_id="carla", method="x")
        assert contact(played(MERGED, chain), "carla").merged_from == (ANNA, BEN)

    def test_taken_back_leaves_both_as_they_were(self) -> None:
        before = two()
        store = played(MERGED, UNMERGED, reopened(SECOND, BEN), store=before, since=7)
        one, other = contact(store), contact(store, BEN)
        assert (one.addresses, one.conversations) == (contact(before).addresses, (FIRST,))
        assert (one.open_conversation, one.merged_from, one.consents) == (FIRST, (), ())
        assert (other.addresses, other.merged_into) == (contact(before, BEN).addresses, None)
        assert (other.open_conversation, other.consents) == (SECOND, contact(before, BEN).consents)
        assert (conversation(store, SECOND).state, conversation(store, SECOND).continued_as) == ("open", None)

    def test_taken_back_gives_back_what_was_told_of_the_addresses_meanwhile(self) -> None:
        store = played(MERGED, event(consent("granted", MAIL), 9), UNMERGED, store=two(), since=7)
        assert [one.state for one in contact(store, BEN).consents] == ["granted"]
        assert contact(store).consents == ()

    def test_taken_back_without_addresses_gives_back_those_it_had(self) -> None:
        plain = ContactUnmerged(from_id=ANNA, into_id=BEN, method="x")
        store = played(MERGED, plain, store=two(), since=7)
        assert [one.address for one in contact(store, BEN).addresses] == [MAIL]
        assert [one.address for one in contact(store).addresses] == [PHONE]

    def test_taken_back_leaves_a_conversation_closed_that_was_so_before(self) -> None:
        store = played(closed(SECOND, BEN), MERGED, UNMERGED, store=two(), since=7)
        assert (conversation(store, SECOND).state, conversation(store, SECOND).continued_as) == ("closed", None)
        assert contact(store, BEN).open_conversation is None

    def test_taken_back_returns_the_conversation_in_which_both_went_on_to_whose_it_is(self) -> None:
        went_on = Continuation(from_id=FIRST, into_id=SECOND)
        back = Continuation(from_id=SECOND, into_id=FIRST)
        merge = ContactMerged(from_id=BEN, into_id=ANNA, conversations=(went_on,), method="command")
        store = played(closed(FIRST, into=SECOND), merge, store=two(), since=7)
        assert contact(store).open_conversation == SECOND
        split = ContactUnmerged(from_id=ANNA, into_id=BEN, addresses=(MAIL,), conversations=(back,), method="command")
        store = played(split, reopened(FIRST), store=store, since=9)
        assert (contact(store).open_conversation, contact(store, BEN).open_conversation) == (FIRST, SECOND)
        assert [conversation(store, id).state for id in (FIRST, SECOND)] == ["open", "open"]

    def test_that_never_was_can_be_taken_back_too(self) -> None:
        assert contact(played(UNMERGED), BEN).merged_into is None


@pytest.mark.parametrize("id", ["", "a.b", "*", ">", "a\r\nPUB x 1", "x" * 65])
def test_an_id_that_is_no_token_is_no_key(id: str) -> None:
    with pytest.raises(subjects.InvalidSubject):
        Key(CONTACT, id).at("acme")


CONTACTS, TALKS = st.sampled_from([ANNA, BEN]), st.sampled_from([FIRST, SECOND])
ADDRESSES = st.sampled_from([PHONE, MAIL])
MOVES = st.lists(st.builds(Continuation, from_id=TALKS, into_id=TALKS), max_size=2).map(tuple)
DATA: st.SearchStrategy[EventData] = st.one_of(
    st.builds(received, st.sampled_from(["m1", "m2"]), ADDRESSES, st.sampled_from(["asserted", "channel"]), CONTACTS),
    st.builds(sent, st.sampled_from(["r1", "r2"]), ADDRESSES, CONTACTS),
    st.builds(status, st.sampled_from(["sent", "read", "failed"]), st.sampled_from(["r1", "r2"])),
    st.builds(opened, TALKS, CONTACTS, st.none() | TALKS),
    st.builds(closed, TALKS, CONTACTS, st.none() | TALKS),
    st.builds(reopened, TALKS, CONTACTS),
    st.builds(linked, ADDRESSES, contact=CONTACTS, assurance=st.sampled_from(["channel", "verified"])),
    st.builds(ContactUnlinked, contact_id=CONTACTS, addresses=st.tuples(ADDRESSES), method=st.just("x")),
    st.builds(conflict, ADDRESSES, contact=CONTACTS, candidate=CONTACTS),
    st.builds(consent, st.sampled_from(["granted", "revoked"]), ADDRESSES),
)
MERGES: st.SearchStrategy[EventData] = st.one_of(
    st.builds(ContactMerged, from_id=CONTACTS, into_id=CONTACTS, conversations=MOVES, method=st.just("x")),
    st.builds(
        ContactUnmerged,
        from_id=CONTACTS,
        into_id=CONTACTS,
        addresses=st.lists(ADDRESSES, max_size=1).map(tuple),
        conversations=MOVES,
        method=st.just("x"),
    ),
)


@st.composite
def stories(draw: st.DrawFn) -> list[Event]:
    data = draw(st.lists(DATA | MERGES, max_size=25))
    return [event(one, n, draw(CONTACTS), draw(TALKS)) for n, one in enumerate(data, 1)]


def groups(story: list[Event], start: int, end: int) -> Iterable[list[int]]:
    """The numbers from `start` to before `end`, cut where an event stands alone."""
    group: list[int] = []
    for sequence in range(start, end):
        if stands_alone(story[sequence - 1]):
            yield group
            yield [sequence]
            group = []
        else:
            group.append(sequence)
    yield group


def changes(story: list[Event], group: list[int], store: Store) -> Store:
    """What a group changes, folded in memory, in the order in which it is written."""
    changed: Store = {}
    for sequence in group:
        one = story[sequence - 1]
        held = store | changed
        changed |= fold(one, sequence, {key: held.get(key) for key in keys(one)})
    return changed


@given(stories(), st.data())
def test_however_often_it_is_broken_off_and_begun_again_the_records_are_the_same(
    story: list[Event], data: st.DataObject
) -> None:
    """A batch is written in part and not acknowledged; the next process begins at the last acknowledgement."""
    store: Store = {}
    floor = 1
    for _ in range(data.draw(st.integers(0, 4))):
        end = data.draw(st.integers(floor, len(story) + 1))
        for group in groups(story, floor, end):
            changed = changes(story, group, store)
            if data.draw(st.booleans()):
                store |= changed
                continue
            if group and stands_alone(story[group[0] - 1]):
                some = list(changed)[: data.draw(st.integers(0, len(changed)))]
            else:
                some = [key for key in changed if data.draw(st.booleans())]
            store |= {key: changed[key] for key in some}
            break
        else:
            floor = end
    for start in (floor, data.draw(st.integers(1, len(story) + 1))):  # the last acknowledgements got lost
        for group in groups(story, start, len(story) + 1):
            store |= changes(story, group, store)
    assert store == played(*story)
