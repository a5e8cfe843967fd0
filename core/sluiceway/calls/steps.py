"""How a call goes on, step by step: from being asked for to its end. Decides for one call; who is next is the queue's.

A step of an earlier attempt changes nothing: that attempt is over.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from functools import partial
from zoneinfo import ZoneInfo

from sluiceway_contracts import (
    Call,
    CallDial,
    CallEnded,
    CallHangUp,
    CallRecording,
    CallStep,
    Error,
    Message,
    MessageSent,
    Party,
)
from sluiceway_contracts.parts import complete, plain

from ..fetches import Fetch
from ..sections import TenantCalls
from .change import Change
from .records import ACCEPTED, ARRIVED, CONNECTED, ENDED, IN_HAND, OFFERED, UNPROVEN, WAITING, Agent
from .texts import Texts

PROOF = datetime.timedelta(minutes=15)
"""For so long an answer proves a number."""
CONNECTING = datetime.timedelta(minutes=2)
GRACE = datetime.timedelta(seconds=45)
"""So much longer than it rings it may take until a step is heard of."""
LONGEST = datetime.timedelta(hours=5)
# vCon's dispositions: https://datatracker.ietf.org/doc/draft-ietf-vcon-vcon-core/
DISPOSITION = {"busy": "busy", "no_answer": "no-answer", "failed": "failed", "canceled": "hung-up"}
MISSED = frozenset({"busy", "no_answer", "failed", "canceled"})
CALLS_US = frozenset({ARRIVED})


class Steps:
    """The rules of one tenant."""

    def __init__(self, policy: TenantCalls) -> None:
        self._policy = policy
        self._texts = Texts(policy.lang, policy.texts)
        self._rules: Mapping[str, Callable[[Change, CallStep], None]] = {
            "placed": _placed,
            "ringing": _ringing,
            "answered": _answered,
            "accepted": self._accepted,
            "connected": self._connected,
            "declined": self._missed,
            **dict.fromkeys(MISSED, self._missed),
            "completed": self._completed,
            "lost": self._lost,
            "wants_call_back": partial(self._call_back, reason="asked for while calling"),
            "wants_person": _wants_person,
            "left_message": self._left_message,
            "hung_up": self._hung_up,
            "recording": _recording,
            "proven": self._proven,
            "due": self._due,
        }

    @property
    def texts(self) -> Texts:
        return self._texts

    def take(self, change: Change, step: CallStep) -> None:
        """What a step does."""
        record = change.record
        stale = bool(step.attempt) and step.attempt != record.attempt
        if step.step == "placed" and (stale or record.state == ENDED) and step.external_id:
            _hang_up(change, step.external_id)  # it was called off while it was being dialled
        if stale or (record.state == ENDED and step.step != "recording"):
            return
        rule = self._rules.get(step.step)
        if rule is not None:
            rule(change, step)

    def offer(self, change: Change, agent: Agent) -> None:
        """Give it to an agent: whoever is called first is dialled."""
        record, ring = change.record, self._policy.ring_s
        change.set(
            state=OFFERED,
            attempt=record.attempt + 1,
            agent=agent.agent_id,
            agent_address=agent.reach[0],
            agent_name=agent.name,
            legs=(),
            offered_at=change.now,
            deadline=change.now + datetime.timedelta(seconds=ring) + GRACE,
            position=None,
        )
        change.wake(change.record.deadline or change.now)
        change.updated("offered")
        dialled = agent.reach[0] if record.first == "agent" else record.address or ""
        change.order(
            CallDial(
                call_id=record.call_id,
                attempt=record.attempt + 1,
                leg=record.first,
                address=dialled,
                ring_ms=ring * 1000,
            ),
            account=record.account,
        )

    def cancel(self, change: Change, reason: str | None) -> None:
        """The customer, or whoever decides for them, wants it no more."""
        for leg in change.record.legs:
            _hang_up(change, leg)
        self.end(change, "canceled")
        if reason == "customer":
            change.write(self._texts.say("canceled"))

    def end(self, change: Change, state: str, outcome: str = "canceled", **fields: object) -> None:
        """It is over: told as an event, and as a message of the conversation."""
        record, now = change.record, change.now
        connected = record.connected_at
        said = fields.pop("duration_ms", None)
        duration = int(str(said)) if said is not None else _ms(now - connected) if connected is not None else None
        if state == "answered":
            outcome = "answered"
        waited = _ms((connected or now) - record.since)
        change.set(state=ENDED, outcome=state, ended_at=now, deadline=None, position=None)
        disposition = None if state == "answered" else DISPOSITION.get(outcome)
        error = fields.get("error")
        change.tell(
            CallEnded(
                call_id=record.call_id,
                state=state,
                disposition=disposition,
                duration_ms=duration if state == "answered" else None,
                waited_ms=waited,
                by=change.by,
                error=error if isinstance(error, Error) else None,
            )
        )
        if record.conversation is not None and (state != "canceled" or record.attempt):
            change.tell(_message(change, outcome, duration if state == "answered" else None))

    def _accepted(self, change: Change, step: CallStep) -> None:
        if change.record.state not in (OFFERED, ARRIVED):
            return
        change.set(state=ACCEPTED, deadline=change.now + CONNECTING)
        if step.address and step.leg == "agent" and change.record.agent is None:
            change.set(agent_address=step.address)
        change.wake(change.now + CONNECTING)
        change.updated("answered")

    def _connected(self, change: Change, step: CallStep) -> None:
        if change.record.state not in (OFFERED, ACCEPTED, ARRIVED):
            return
        change.set(state=CONNECTED, connected_at=change.now, deadline=change.now + LONGEST)
        change.updated("connected")

    def _missed(self, change: Change, step: CallStep) -> None:
        """A leg came to nothing: an agent's sends it to the next, the customer's is tried again later, or given up."""
        record = change.record
        if record.state == CONNECTED:
            self._completed(change, step)
        elif record.state in (OFFERED, ACCEPTED) and step.leg == "customer":
            self._customer_missed(change, step)
        elif record.state in (OFFERED, ACCEPTED):
            error = Error(code=step.step, message=f"{change.record.agent} did not take the call")
            change.updated("retrying", error=step.error or error)
            self.release(change)

    def release(self, change: Change) -> None:
        """Back to its place in the queue; whoever still rings is hung up on."""
        for leg in change.record.legs:
            _hang_up(change, leg)
        change.set(state=WAITING, agent=None, agent_address=None, agent_name=None, legs=(), deadline=None)

    def _customer_missed(self, change: Change, step: CallStep) -> None:
        tries, retries = change.record.tries + 1, self._policy.retries_s
        error = step.error or Error(code=step.step, message="the customer was not reached")
        if tries > len(retries):
            self.end(change, "given_up", step.step, error=error)
            change.write(self._texts.say("given_up"))
            return
        at = change.now + datetime.timedelta(seconds=retries[tries - 1])
        change.updated("retrying", error=error, retry_at=at)
        change.set(tries=tries)
        self.release(change)
        change.set(due=at)
        change.wake(at)
        change.write(self._texts.say("missed", time=self.clock(at)))

    def clock(self, at: datetime.datetime) -> str:
        """A time of day, as the tenant's customers have it."""
        return at.astimezone(ZoneInfo(self._policy.zone)).strftime("%H:%M")

    def _completed(self, change: Change, step: CallStep) -> None:
        record = change.record
        if record.state == CONNECTED or (record.state == ACCEPTED and step.leg == "customer" and step.duration_ms):
            self.end(change, "answered", duration_ms=step.duration_ms)
        elif record.state == ARRIVED:
            self._hung_up(change, step)
        elif record.state in (OFFERED, ACCEPTED):
            self.release(change)  # whoever was dialled first hung up before the other was there

    def _lost(self, change: Change, step: CallStep) -> None:
        """Nobody can say whether it was placed: it is not dialled again."""
        if change.record.state in IN_HAND:
            self.end(change, "unknown", "failed", error=step.error)

    def _call_back(self, change: Change, step: CallStep, reason: str) -> None:
        record = change.record
        if record.state != ARRIVED:
            return
        if record.address is None or not record.address.startswith(self.allowed):
            self.end(change, "given_up", "no_answer")
            return
        change.set(state=WAITING, direction="outbound", reason=reason, deadline=None)

    @property
    def allowed(self) -> tuple[str, ...]:
        """How addresses begin that may be called."""
        return tuple(f"tel:{prefix}" for prefix in self._policy.prefixes)

    def _left_message(self, change: Change, step: CallStep) -> None:
        if change.record.state == ARRIVED:
            self.end(change, "voicemail", "voicemail")

    def _hung_up(self, change: Change, step: CallStep) -> None:
        """Nobody spoke with somebody who called: a missed call is called back."""
        self._call_back(change, step, "missed call")

    def _proven(self, change: Change, step: CallStep) -> None:
        if change.record.state == UNPROVEN:
            change.set(state=WAITING, deadline=None)

    def _due(self, change: Change, step: CallStep) -> None:
        """Its deadline has come."""
        record = change.record
        if record.deadline is None or change.now < record.deadline:
            return
        match record.state:
            case "unproven":
                self.end(
                    change, "given_up", "canceled", error=Error(code="unproven", message="nobody proved the number")
                )
            case "offered" | "accepted":
                self.release(change)
            case "connected":
                self.end(change, "unknown", "failed")
            case "arrived":
                self._hung_up(change, step)


def _placed(change: Change, step: CallStep) -> None:
    if step.external_id is not None and step.external_id not in change.record.legs:
        change.set(legs=(*change.record.legs, step.external_id))


def _ringing(change: Change, step: CallStep) -> None:
    _placed(change, step)
    if step.leg == "customer":
        change.updated("ringing")


def _answered(change: Change, step: CallStep) -> None:
    _placed(change, step)
    if step.leg == "customer":
        change.updated("answered")


def _wants_person(change: Change, step: CallStep) -> None:
    change.updated("ringing")


def _recording(change: Change, step: CallStep) -> None:
    record = change.record
    change.tell(CallRecording(call_id=record.call_id, state="pending", duration_ms=step.duration_ms))
    if step.recording and record.contact and record.conversation:
        change.fetch(
            Fetch(
                message_id=record.call_id,
                part_id="recording",
                reference=step.recording,
                kind="audio",
                mime="audio/mpeg",
                contact=record.contact,
                conversation=record.conversation,
                wanted_at=change.now,
                call_ms=step.duration_ms or 0,
            )
        )


def _hang_up(change: Change, leg: str) -> None:
    change.order(CallHangUp(call_id=change.record.call_id, external_id=leg), account=change.record.account)


def _message(change: Change, outcome: str, duration: int | None) -> MessageSent:
    """The call as the conversation shows it."""
    record = change.record
    who = record.agent_name or record.agent or "nobody"
    summary = f"{who} spoke for {duration // 1000} s" if duration is not None else outcome.replace("_", " ")
    call = Call(id="1", call_id=record.call_id, outcome=outcome, duration_ms=duration, summary=summary)
    parts = complete((call,))
    return MessageSent(
        message=Message(
            id=record.call_id,
            author=change.by or Party(role="system"),
            to=(Party(role="customer", address=record.address, contact_id=record.contact, name=record.name),),
            parts=parts,
            text=plain(parts),
            occurred_at=record.connected_at or change.now,
        )
    )


def _ms(span: datetime.timedelta) -> int:
    return max(0, int(span.total_seconds() * 1000))
