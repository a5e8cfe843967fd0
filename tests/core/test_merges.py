"""Any history of a few contacts, against a model: who has which address, and what was told of conversations."""

from __future__ import annotations

import datetime
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import partial

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sluiceway.contacts import (
    AFTERWORD,
    Change,
    ContactRecord,
    Known,
    Merge,
    Reach,
    Window,
    begun,
    closed,
    heard,
    linked,
    reopened,
    stripped,
    unlinked,
)
from sluiceway.merges import Grounds, Other, joined, parted, passed, redirected, restored
from sluiceway_contracts import (
    ContactMerged,
    ContactUnmerged,
    ConversationClosed,
    ConversationOpened,
    ConversationReopened,
    Event,
)
from sluiceway_contracts.events import EventData

START = datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC)
HOUR = datetime.timedelta(hours=1)
WINDOW = Window(72 * HOUR, 168 * HOUR)
GROUNDS = Grounds("command")
NAMES = "abcde"
SPARE = tuple(f"tel:+44770090020{n}" for n in range(3))


@dataclass
class Modelled:
    """A contact as it should be: its own addresses, and who was joined to it, by the merge's `undo`."""

    own: set[str]
    joined: dict[str, str] = field(default_factory=dict)
    into: str | None = None


class World(RuleBasedStateMachine):
    """Does to records what `directory` and `unions` do, without NATS; each step twice, the second changing nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.at = START
        self.records: dict[str, ContactRecord] = {}
        self.model: dict[str, Modelled] = {}
        self.told: list[EventData] = []
        self.merges = 0
        self.spare = list(SPARE)
        for number, name in enumerate(NAMES):
            address = f"tel:+44770090010{number}"
            reach = Reach(address, "sms", "main")
            known = Known(address, "channel", "message", self.at)
            self.write(name, begun(self.change(name), reach, known, "inbound"))
            self.model[name] = Modelled({address})

    def change(self, name: str) -> Change:
        return Change("acme", name, self.at)

    def write(self, name: str, record: ContactRecord) -> None:
        self.told += [Event.decode(bytes(raw)).data for raw in record.untold]
        self.records[name] = msgspec.structs.replace(record, untold=())

    def do(self, name: str, step: partial[ContactRecord]) -> ContactRecord:
        self.write(name, step(self.records[name]))
        again = step(self.records[name])
        assert again == self.records[name], "done again, it changes something"
        return again

    def root(self, name: str) -> str:
        while (into := self.records[name].merged_into) is not None:
            name = into
        return name

    def members(self, name: str) -> list[str]:
        return [name, *(each for other in self.model[name].joined.values() for each in self.members(other))]

    names = st.sampled_from(NAMES)

    @rule(hours=st.sampled_from([1, 5, 60, 80, 300]))
    def time_passes(self, hours: int) -> None:
        self.at += hours * HOUR

    @rule(name=names, channel=st.sampled_from(["sms", "whatsapp"]), reason=st.sampled_from(["inbound", "outbound"]))
    def speaks(self, name: str, channel: str, reason: str) -> None:
        root = self.root(name)
        own = min(self.model[name].own, default=None)
        if own is not None:
            reach, before = Reach(own, channel, "main"), self.records[root]
            self.write(root, heard(self.change(root), self.records[root], reach=reach, window=WINDOW, reason=reason))
            if reason == "outbound" and before.closed_at is not None and self.at - before.closed_at < AFTERWORD:
                assert self.records[root] == before, "it was said before the end"
                return
            assert self.records[root].closed_at is None
            assert self.records[root].is_settled(reach, reason == "inbound", self.at, WINDOW)

    @rule(name=names)
    def is_closed(self, name: str) -> None:
        root = self.root(name)
        self.do(root, partial(_closed, self.change(root)))

    @rule(name=names)
    def is_opened_by_hand(self, name: str) -> None:
        root = self.root(name)
        self.do(root, partial(_reopened, self.change(root)))

    @precondition(lambda self: self.spare)
    @rule(name=names, assurance=st.sampled_from(["channel", "verified", "agent"]))
    def gains(self, name: str, assurance: str) -> None:
        root, address = self.root(name), self.spare.pop()
        known = Known(address, assurance, "command", self.at)
        self.do(root, partial(_linked, self.change(root), known))
        self.model[root].own.add(address)

    @rule(name=names, data=st.data())
    def types_what_may_be_anothers(self, name: str, data: st.DataObject) -> None:
        root = self.root(name)
        address = data.draw(st.sampled_from([f"tel:+44770090010{n}" for n in range(len(NAMES))]))
        if self.records[root].knows(address) is None:
            known = Known(address, "asserted", "webform", self.at)
            self.do(root, partial(_linked, self.change(root), known))
            self.model[root].own.add(address)

    @rule(name=names, data=st.data())
    def loses(self, name: str, data: st.DataObject) -> None:
        root = self.root(name)
        known = sorted(each for member in self.members(root) for each in self.model[member].own)
        if known:
            address = data.draw(st.sampled_from(known))
            for member in self.members(root):
                if member != root:
                    self.do(member, partial(_stripped, address))
                self.model[member].own.discard(address)
            self.do(root, partial(_unlinked, self.change(root), address))
            if address in SPARE:
                self.spare.append(address)

    @rule(into=names, other=names, wrote_last=st.booleans())
    def is_merged(self, into: str, other: str, wrote_last: bool) -> None:
        into, other = self.root(into), self.root(other)
        if into == other:
            return
        self.merges += 1
        undo = f"undo{self.merges}"
        self.do(other, partial(redirected, into=into, undo=undo))
        joining = Other(other, self.records[other], wrote_last)
        self.do(into, partial(_joined, self.change(into), joining, undo))
        self.model[into].joined[undo] = other
        self.model[other].into = into

    @rule(data=st.data())
    def is_split(self, data: st.DataObject) -> None:
        undos = sorted((undo, name) for name in NAMES for undo in self.model[name].joined)
        if not undos:
            return
        undo, name = data.draw(st.sampled_from(undos))
        record = self.records[name]
        merge = next(merge for merge in record.merges if merge.undo == undo)
        theirs = self.records[merge.contact].conversation
        step = partial(_parted, self.change(name), merge, theirs)
        held, below, after = None, record, step(record)
        while below.merged_into is not None:
            above = below.merged_into
            there = self.records[above]
            hop = next(merge for merge in there.merges if merge.undo == below.undo)
            passing = partial(_passed, self.change(above), hop, after.addresses, merge, theirs)
            below, after = there, self.do(above, passing)
            left = next(each for each in after.merges if each.undo == hop.undo)
            if left.left == undo:
                held = msgspec.structs.replace(left, held=True)
        self.do(name, partial(step, held=held))
        merge = next(merge for merge in self.records[name].merges if merge.undo == undo)
        self.do(merge.contact, partial(_restored, self.change(merge.contact), merge))
        del self.model[name].joined[undo]
        self.model[merge.contact].into = None

    @invariant()
    def everybody_is_who_they_should_be_and_has_their_addresses(self) -> None:
        for name, modelled in self.model.items():
            assert self.records[name].merged_into == modelled.into
            wanted = {each for member in self.members(name) for each in self.model[member].own}
            assert {known.address for known in self.records[name].addresses} == wanted
            assert {reach.address for reach in self.records[name].reaches} <= wanted

    @invariant()
    def a_proven_address_is_one_living_contacts(self) -> None:
        living = [record for record in self.records.values() if record.merged_into is None]
        proven = [known.address for record in living for known in record.addresses if known.assurance != "asserted"]
        assert not [address for address, count in Counter(proven).items() if count > 1]

    @invariant()
    def a_conversation_is_one_living_contacts(self) -> None:
        living = [record.conversation for record in self.records.values() if record.merged_into is None]
        assert len({*living}) == len(living)

    @invariant()
    def what_was_told_is_what_is(self) -> None:
        is_open: dict[str, bool] = {}
        pairs: defaultdict[str, int] = defaultdict(int)
        for data in self.told:
            match data:
                case ConversationOpened():
                    assert data.conversation_id not in is_open
                    is_open[data.conversation_id] = True
                case ConversationClosed():
                    assert is_open[data.conversation_id], "closed twice"
                    is_open[data.conversation_id] = False
                case ConversationReopened():
                    assert not is_open[data.conversation_id], "reopened while it was open"
                    is_open[data.conversation_id] = True
                case ContactMerged():
                    pairs[data.from_id] += 1
                case ContactUnmerged():
                    pairs[data.into_id] -= 1
        living = {name: record for name, record in self.records.items() if record.merged_into is None}
        told = {conversation for conversation, open_now in is_open.items() if open_now}
        assert told == {record.conversation for record in living.values() if record.closed_at is None}
        assert {name for name, count in pairs.items() if count} == {*self.records} - {*living}
        assert {*pairs.values()} <= {0, 1}


def _closed(change: Change, record: ContactRecord) -> ContactRecord:
    return closed(change, record, "command", change.at)


def _reopened(change: Change, record: ContactRecord) -> ContactRecord:
    return reopened(change, record, "command") if record.closed_at is not None else record


def _linked(change: Change, known: Known, record: ContactRecord) -> ContactRecord:
    return linked(change, record, known)


def _unlinked(change: Change, address: str, record: ContactRecord) -> ContactRecord:
    return unlinked(change, record, address)


def _stripped(address: str, record: ContactRecord) -> ContactRecord:
    return stripped(record, address)


def _joined(change: Change, other: Other, undo: str, record: ContactRecord) -> ContactRecord:
    return joined(change, record, other=other, undo=undo, grounds=GROUNDS)


def _parted(
    change: Change, merge: Merge, theirs: str, record: ContactRecord, held: Merge | None = None
) -> ContactRecord:
    return parted(change, record, merge=merge, theirs=theirs, grounds=GROUNDS, held=held)


def _passed(
    change: Change, merge: Merge, below: tuple[Known, ...], gone: Merge, theirs: str, record: ContactRecord
) -> ContactRecord:
    return passed(change, record, merge=merge, below=below, gone=gone, theirs=theirs)


def _restored(change: Change, merge: Merge, record: ContactRecord) -> ContactRecord:
    return restored(change, record, merge=merge)


TestWorld = pytest.mark.hypothesis(World.TestCase)
TestWorld.settings = settings(deadline=None, stateful_step_count=40)
