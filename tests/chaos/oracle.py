"""The judge: the whole stream, read back as plain JSON, against what the load and the provider wrote down.

Knows nothing of the runtime's code, only the contract's field names. Repairs and excuses nothing.
"""

from __future__ import annotations

import heapq
import json
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import nats.errors
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.client import JetStreamContext

from .load import Delivery, Sent
from .patience import NeverCame, persist
from .provider import Provider
from .world import TENANT

STREAM = "SLUICEWAY_EVENTS"
TYPE = "sluiceway."
SETTLE_S = 60
"""Without anything new on the stream; a gateway that was killed leaves what the next one waits 25 s for."""
WHOLE_S = 600
STALLED_S = 5
SHOWN = 3
NEAR_S = 3.0
"""A send that a kill caught was asked for at most so long before."""


class Told(NamedTuple):
    """What was said of a file, by one event: what became of it, and where it is."""

    event: str
    state: str
    ref: str


@dataclass
class Story:
    """What the stream says up to `position`: positions by MessageSid, ends by message, files by message and part."""

    position: int = 0
    ids: Counter[str] = field(default_factory=Counter)
    received: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    conversation: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    opened: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    first: dict[str, int] = field(default_factory=dict)
    pending: dict[str, set[tuple[str, str]]] = field(default_factory=lambda: defaultdict(set))
    files: dict[tuple[str, str], list[Told]] = field(default_factory=lambda: defaultdict(list))
    sent: Counter[str] = field(default_factory=Counter)
    ended: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    failed: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    delivered: Counter[str] = field(default_factory=Counter)

    def hear(self, position: int, raw: bytes) -> None:
        """Take the next event of the stream."""
        event = json.loads(raw)
        self.position = position
        self.ids[event["id"]] += 1
        data, conversation = event["data"], event.get("subject") or ""
        match event["type"].removeprefix(TYPE):
            case "message.received":
                message = data["message"]
                self.received[message["external_ids"][0]].append(position)
                self.conversation[message["author"]["address"]].add(conversation)
                self.first.setdefault(conversation, position)
                waiting = (part for part in message["parts"] if _is_pending(part))
                self.pending[message["external_ids"][0]] |= {(message["id"], part["id"]) for part in waiting}
            case "message.media":
                told = Told(event["id"], data["state"], data.get("ref", ""))
                self.files[data["message_id"], data["part_id"]].append(told)
            case "message.sent":
                message = data["message"]
                self.sent[message["id"]] += 1
                self.conversation[message["to"][0]["address"]].add(conversation)
            case "message.status" if data["overall"] in ("unknown", "failed", "rejected", "expired"):
                self.ended[data["message_id"]].add(data["overall"])
            case "message.status" if data["status"] == "delivered":
                self.delivered[data["message_id"]] += 1
            case "command.failed":
                self.failed[data.get("command_id", "")].add(data["error"]["code"])
            case "conversation.opened":
                self.opened[conversation].append(position)

    def has_end(self, sent: Sent) -> bool:
        """Whether the stream says what became of a command."""
        return sent.message_id in self.sent or sent.message_id in self.ended or sent.command_id in self.failed

    def told(self, sid: str) -> list[Told]:
        """What it says of a message's file."""
        return [told for part in self.pending.get(sid, ()) for told in self.files.get(part, ())]

    def has_receipt(self, sent: Sent, acknowledged: set[str]) -> bool:
        """Whether it says that a message arrived, where the provider knows its receipt to be taken."""
        wanted = sent.body in acknowledged and sent.message_id in self.sent
        return not wanted or sent.message_id in self.delivered


def _is_pending(part: dict[str, str]) -> bool:
    """A file whose state is left out is still to be fetched."""
    return part["type"] == "media" and part.get("state", "pending") == "pending"


async def read(js: JetStreamContext, done: Callable[[Story], bool], patience_s: float = SETTLE_S) -> Story:
    """Read from the first event to the last, until it is `done`, or for so long nothing new has come.

    Raises `NeverCame` where the end of the stream is not reached: what was not read is not judged.
    """
    story, began = Story(), time.monotonic()
    reading, news, quiet = _Reading(js, story), began, 0
    while True:
        if await reading.more():
            news, quiet = time.monotonic(), 0
            continue
        now = time.monotonic()
        over = now - news > patience_s or now - began > WHOLE_S
        if await persist("the stream's last sequence", lambda: _last(js)) > story.position:
            if over:
                raise NeverCame(f"no event behind {story.position} could be read for {now - news:.0f} s")
            if now - news > STALLED_S:
                reading = _Reading(js, story)
            continue
        quiet += 1
        if over or (quiet >= 2 and done(story)):
            return story


class _Reading:
    """Reads on behind what a story has, each event once and in order."""

    def __init__(self, js: JetStreamContext, story: Story) -> None:
        self._js = js
        self._story = story
        self._subscription: JetStreamContext.PullSubscription | None = None
        self._delivered = 0

    async def more(self) -> bool:
        """Take what is there; whether there was any."""
        if self._subscription is None:
            self._subscription, self._delivered = await persist("a reader of the stream", self._subscribed), 0
        try:
            batch = await self._subscription.fetch(500, timeout=0.5)
        except (TimeoutError, nats.errors.Error):
            return False
        before = self._story.position
        for message in batch:
            sequence = message.metadata.sequence
            self._delivered += 1
            if sequence.consumer != self._delivered:  # one was lost on its way here
                self._subscription = None
                break
            self._story.hear(sequence.stream, message.data)
        return self._story.position > before

    async def _subscribed(self) -> JetStreamContext.PullSubscription:
        config = ConsumerConfig(
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=self._story.position + 1,
            ack_policy=AckPolicy.NONE,
            mem_storage=True,
            num_replicas=1,
        )
        return await self._js.pull_subscribe("", stream=STREAM, config=config)


async def _last(js: JetStreamContext) -> int:
    return int((await js.stream_info(STREAM)).state.last_seq)


@dataclass(frozen=True)
class Ledger:
    """What was written down of one line. `kills` are the times at which a gateway's sends may have been in flight."""

    deliveries: list[Delivery]
    commands: list[Sent]
    receipts: set[str]
    provider: Provider
    kills: list[float]
    conversations: int

    def is_told(self, story: Story) -> bool:
        """Whether the story has all that it must have."""
        taken = [d for d in self.deliveries if d.acknowledged is not None]
        here = all(d.sid in story.received and (d.file is None or story.told(d.sid)) for d in taken)
        return here and all(story.has_end(c) and story.has_receipt(c, self.receipts) for c in self.commands)


@dataclass
class Verdict:
    """Counts of what must not be; `unknown` is allowed up to `may_be_unknown`. `why` has a few examples each."""

    acknowledged: int = 0
    files: int = 0
    lost: int = 0
    duplicated: int = 0
    disorder: int = 0
    commands: int = 0
    unended: int = 0
    twice: int = 0
    unknown: int = 0
    may_be_unknown: int = 0
    why: list[str] = field(default_factory=list)

    def find(self, what: str, cases: Iterable[str]) -> int:
        """Note a few cases of a kind, and count them all."""
        found = list(cases)
        if found:
            self.why.append(f"{what}: {len(found)}, such as {', '.join(found[:SHOWN])}")
        return len(found)


def judge(story: Story, ledger: Ledger) -> Verdict:
    """One line."""
    acknowledged = [d for d in ledger.deliveries if d.acknowledged is not None]
    verdict = Verdict(acknowledged=len(acknowledged), commands=len(ledger.commands))
    _inbound(verdict, story, ledger.deliveries)
    _files(verdict, story, ledger.deliveries)
    _outbound(verdict, story, ledger)
    _unknown(verdict, story, ledger)
    return verdict


def _inbound(verdict: Verdict, story: Story, deliveries: list[Delivery]) -> None:
    taken = [delivery for delivery in deliveries if delivery.acknowledged is not None]
    verdict.find("never acknowledged", (d.sid for d in deliveries if d.acknowledged is None))
    verdict.lost = verdict.find("lost", (d.sid for d in taken if d.sid not in story.received))
    mine = {delivery.customer for delivery in deliveries}
    verdict.duplicated = (
        verdict.find("stored twice", (d.sid for d in deliveries if len(story.received.get(d.sid, ())) > 1))
        + verdict.find("event ids twice", (id for id, count in story.ids.items() if count > 1))
        + verdict.find("opened twice", (id for id, positions in story.opened.items() if len(positions) > 1))
        + verdict.find("several conversations", (who for who in mine if len(story.conversation[f"tel:{who}"]) > 1))
    )
    late = [sid for who in mine for sid in _late(story, [d for d in taken if d.customer == who])]
    early = [id for id, position in story.first.items() if position < min(story.opened.get(id, [position + 1]))]
    verdict.disorder += verdict.find("out of order", late) + verdict.find("spoken before opened", early)


def _files(verdict: Verdict, story: Story, deliveries: list[Delivery]) -> None:
    """Those that came with what was acknowledged: each told once, as stored, under the hash of the bytes sent."""
    wanted = {d.sid: _ref(d.file) for d in deliveries if d.file is not None}
    taken = [d.sid for d in deliveries if d.sid in wanted and d.acknowledged is not None]
    verdict.files = len(taken)
    verdict.lost += (
        verdict.find("file lost", (sid for sid in taken if not story.told(sid)))
        + verdict.find("file failed", (sid for sid in taken if any(t.state != "stored" for t in story.told(sid))))
        + verdict.find("file has wrong hash", (sid for sid in taken if _refs(story, sid) - {wanted[sid]}))
    )
    again = (sid for sid in wanted if len({told.event for told in story.told(sid)}) > 1)
    verdict.duplicated += verdict.find("file told twice", again)
    known = {part for parts in story.pending.values() for part in parts}
    verdict.find("file of no message", (f"{id} {part}" for id, part in story.files if (id, part) not in known))


def kept(story: Story, deliveries: list[Delivery]) -> set[str]:
    """Files that must be there: those that are told stored as what they are."""
    return {d.file for d in deliveries if d.file is not None and _ref(d.file) in _refs(story, d.sid)}


def _ref(digest: str) -> str:
    return f"media:{TENANT}/{digest}"


def _refs(story: Story, sid: str) -> set[str]:
    return {told.ref for told in story.told(sid) if told.state == "stored"}


def _late(story: Story, deliveries: list[Delivery]) -> Iterable[str]:
    """Those of one customer that are stored before one which was acknowledged before they were first tried."""
    answered: list[tuple[float, int]] = []
    highest = 0
    for delivery in sorted(deliveries, key=lambda delivery: delivery.began):
        while answered and answered[0][0] <= delivery.began:
            highest = max(highest, heapq.heappop(answered)[1])
        position = story.received.get(delivery.sid, [0])[0]
        if position and position < highest:
            yield delivery.sid
        heapq.heappush(answered, (delivery.acknowledged or 0.0, position))


def _outbound(verdict: Verdict, story: Story, ledger: Ledger) -> None:
    commands, provider = ledger.commands, ledger.provider
    verdict.unended = verdict.find("without end", (c.message_id for c in commands if not story.has_end(c)))
    verdict.find("told sent twice", (c.message_id for c in commands if story.sent[c.message_id] > 1))
    verdict.find("ended twice", (f"{c.message_id} {_ends(story, c)}" for c in commands if len(_ends(story, c)) > 1))
    asked = Counter(asked.body for asked in provider.taken)
    verdict.twice = verdict.find("sent twice", (body for body, count in asked.items() if count > 1))
    verdict.find("told sent, never asked for", (c.body for c in commands if _lie(story, c, asked)))
    receipts = (c.message_id for c in commands if not story.has_receipt(c, ledger.receipts))
    verdict.lost += verdict.find("receipt lost", receipts)
    verdict.duplicated += verdict.find("told delivered twice", (id for id, n in story.delivered.items() if n > 1))
    others = [c for c in commands if (set(_ends(story, c)) - {"sent", "unknown"})]
    verdict.find("refused", (f"{c.body} {_ends(story, c)}" for c in others))
    verdict.disorder += verdict.find("sent out of order", _disorder(commands, provider))


def _unknown(verdict: Verdict, story: Story, ledger: Ledger) -> None:
    """At most one a conversation at each kill, all of them asked for about then, or never."""
    provider = ledger.provider
    unknown = [c for c in ledger.commands if "unknown" in story.ended.get(c.message_id, ())]
    asked = {asked.body: asked.at for asked in provider.asked}
    verdict.unknown = len(unknown)
    verdict.may_be_unknown = len(ledger.kills) * ledger.conversations + len(provider.ambiguous)
    if len(unknown) > verdict.may_be_unknown:
        verdict.why.append(f"unknown: {len(unknown)}, but at most {verdict.may_be_unknown} were in flight")
    for c in unknown:
        at = asked.get(c.body)
        near = at is None or any(kill - NEAR_S < at < kill + NEAR_S for kill in ledger.kills)
        if not (near or c.body in provider.ambiguous):
            verdict.why.append(f"unknown, although it was in flight at no kill: {c.body}")


def _ends(story: Story, command: Sent) -> list[str]:
    sent = ["sent"] if command.message_id in story.sent else []
    return sent + sorted(story.ended.get(command.message_id, set()) | story.failed.get(command.command_id, set()))


def _lie(story: Story, command: Sent, asked: Counter[str]) -> bool:
    return command.message_id in story.sent and command.body not in asked


def _disorder(commands: list[Sent], provider: Provider) -> Iterable[str]:
    """Bodies that the provider took after a later one for the same recipient."""
    place = {command.body: number for number, command in enumerate(commands)}
    last: dict[str, int] = {}
    for taken in provider.taken:
        at = place.get(taken.body)
        if at is None:
            continue  # its publish was never acknowledged
        if at < last.get(taken.to, -1):
            yield taken.body
        last[taken.to] = max(last.get(taken.to, -1), at)
