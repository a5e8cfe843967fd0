"""How a call goes on, step by step: from being asked for to its end. Decides for one call; who is next is the queue's.

Each offer and each giving up of one is a new attempt: what is told of an earlier one changes nothing.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from functools import partial
from zoneinfo import ZoneInfo

from sluiceway_contracts import CallDial, CallRecording, CallStep, Error

from ..fetches import Fetch
from ..sections import TenantCalls
from .change import Change
from .endings import end, hang_up, hang_up_leg
from .hours import Hours
from .records import ACCEPTED, ARRIVED, CONNECTED, ENDED, OFFERED, UNPROVEN, WAITING, Agent
from .texts import Texts

PROOF = datetime.timedelta(minutes=15)
"""For so long an answer proves a number."""
GRACE = datetime.timedelta(seconds=45)
"""So much longer than it rings it may take until the next step is heard of."""
LONGEST = datetime.timedelta(hours=5)
PAUSE = datetime.timedelta(minutes=1)
"""Until a call that could not be placed is tried again: others are, meanwhile."""
MISSED = frozenset({"busy", "no_answer", "failed", "canceled", "declined"})
NOT_THEIRS = frozenset(
    {"credentials_refused", "throttled", "unreachable", "not_placed", "unknown", "expired", "unknown_account"}
)
"""Codes of what kept us from dialling: nobody was called in vain."""
ALWAYS = frozenset({"due", "proven", "recording", "left_message", "placed"})
"""Steps that count whatever their attempt."""


class Steps:
    """The rules of one tenant."""

    def __init__(self, policy: TenantCalls) -> None:
        self._policy = policy
        self._hours = Hours(policy)
        self._patience = datetime.timedelta(seconds=policy.ring_s) + GRACE
        self.texts = Texts(policy.lang, policy.texts)
        self._rules: Mapping[str, Callable[[Change, CallStep], None]] = {
            "placed": _placed,
            "ringing": self._ringing,
            "answered": self._answered,
            "accepted": self._accepted,
            "connected": self._connected,
            **dict.fromkeys(MISSED, self._missed),
            "completed": self._completed,
            "lost": self._lost,
            "wants_call_back": partial(self._call_back, reason="asked for while calling"),
            "wants_person": self._wants_person,
            "left_message": self._left_message,
            "hung_up": self._hung_up,
            "recording": _recording,
            "proven": _proven,
            "due": self._due,
        }

    @property
    def allowed(self) -> tuple[str, ...]:
        """How addresses begin that may be called."""
        return tuple(f"tel:{prefix}" for prefix in self._policy.prefixes)

    def take(self, change: Change, step: CallStep) -> None:
        """What a step does."""
        record = change.record
        stale = step.attempt != record.attempt
        if step.step == "placed" and (stale or record.state == ENDED) and step.external_id:
            hang_up_leg(change, step.external_id)  # it was called off while it was being dialled
            return
        if (stale and step.step not in ALWAYS) or (record.state == ENDED and step.step != "recording"):
            return
        rule = self._rules.get(step.step)
        if rule is not None:
            rule(change, step)

    def offer(self, change: Change, agent: Agent, account: str) -> None:
        """Give it to an agent: whoever is called first is dialled."""
        record = change.record
        until = change.now + self._patience
        change.set(
            state=OFFERED,
            account=account,
            attempt=record.attempt + 1,
            agent=agent.agent_id,
            agent_address=agent.reach[0],
            agent_name=agent.name,
            legs=(),
            offered_at=change.now,
            deadline=until,
        )
        change.updated("offered")
        dialled = agent.reach[0] if record.first == "agent" else record.address or ""
        change.order(
            CallDial(
                call_id=record.call_id,
                attempt=record.attempt + 1,
                leg=record.first,
                address=dialled,
                ring_ms=self._policy.ring_s * 1000,
                expires_at=until,
            ),
            account=account,
        )

    def cancel(self, change: Change, reason: str | None) -> None:
        """The customer, or whoever decides for them, wants it no more; customers who speak just say so."""
        state = change.record.state
        if reason == "customer" and state in (CONNECTED, ARRIVED):
            return
        hang_up(change)
        end(change, "answered" if state == CONNECTED else "canceled")
        if reason == "customer":
            change.write(self.texts.say("canceled"))

    def clock(self, at: datetime.datetime, now: datetime.datetime) -> str:
        """A time as the tenant's customers have it, with the day where that is not today."""
        zone = ZoneInfo(self._policy.zone)
        local = at.astimezone(zone)
        return local.strftime("%H:%M" if local.date() == now.astimezone(zone).date() else "%d.%m. %H:%M")

    def _ringing(self, change: Change, step: CallStep) -> None:
        _placed(change, step)
        self._goes_on(change)
        if step.leg == "customer":
            change.updated("ringing")

    def _answered(self, change: Change, step: CallStep) -> None:
        _placed(change, step)
        self._goes_on(change)
        if step.leg == "customer":
            change.updated("answered")

    def _goes_on(self, change: Change) -> None:
        """It has as long again."""
        if change.record.state in (OFFERED, ACCEPTED):
            change.set(deadline=change.now + self._patience)

    def _accepted(self, change: Change, step: CallStep) -> None:
        if change.record.state not in (OFFERED, ARRIVED):
            return
        change.set(state=ACCEPTED, deadline=change.now + self._patience)
        if step.address and step.leg == "agent" and change.record.agent is None:
            change.set(agent_address=step.address, offered_at=change.now)
        change.updated("answered")

    def _connected(self, change: Change, step: CallStep) -> None:
        if change.record.state in (OFFERED, ACCEPTED, ARRIVED):
            change.set(state=CONNECTED, connected_at=change.now, deadline=change.now + LONGEST)
            change.updated("connected")

    def _missed(self, change: Change, step: CallStep) -> None:
        """A leg came to nothing: an agent's sends it to the next, the customer's is tried again later, or given up."""
        record = change.record
        if record.state not in (OFFERED, ACCEPTED, CONNECTED) or not record.attempt:
            return
        change.set(connected_at=None)
        if step.error is not None and step.error.code in NOT_THEIRS:
            if record.state == OFFERED and not record.legs:  # else it was placed after all
                change.updated("retrying", error=step.error)
                self.release(change, due=change.now + PAUSE)
        elif step.leg == "customer":
            self._customer_missed(change, step)
        else:
            error = Error(code=step.step, message=f"{record.agent} did not take the call")
            change.updated("retrying", error=step.error or error)
            self.release(change)

    def release(self, change: Change, due: datetime.datetime | None = None) -> None:
        """Back to its place in the queue. Who is on the line still hears why: their leg ends by itself."""
        change.set(
            state=WAITING,
            attempt=change.record.attempt + 1,
            agent=None,
            agent_address=None,
            agent_name=None,
            legs=(),
            deadline=None,
            due=due,
        )

    def _customer_missed(self, change: Change, step: CallStep) -> None:
        tries, retries = change.record.tries + 1, self._policy.retries_s
        word = "no_answer" if step.step not in ("busy", "failed") else step.step
        error = step.error or Error(code=word, message="the customer was not reached")
        if tries > len(retries):
            end(change, "given_up", word, error=error)
            change.write(self.texts.say("given_up"))
            return
        at = change.now + datetime.timedelta(seconds=retries[tries - 1])
        if not self._hours.is_open(at):
            at = self._hours.opens_at(at) or at
        change.updated("retrying", error=error, retry_at=at)
        change.set(tries=tries)
        self.release(change, due=at)
        change.write(self.texts.say("missed", time=self.clock(at, change.now)))

    def _completed(self, change: Change, step: CallStep) -> None:
        """A leg is over. Whoever was dialled first may hang up before the other is there."""
        record = change.record
        if record.state == CONNECTED or (record.state == ACCEPTED and step.leg == "customer" and step.duration_ms):
            end(change, "answered", duration_ms=step.duration_ms if step.leg == "customer" else None)
        elif record.state == ARRIVED:
            self._hung_up(change, step)
        elif record.state in (OFFERED, ACCEPTED) and step.leg == "customer" and record.attempt:
            self._customer_missed(change, step)
        elif record.state in (OFFERED, ACCEPTED) and record.attempt:
            self.release(change)

    def _lost(self, change: Change, step: CallStep) -> None:
        """Nobody can say whether it was placed. The customer is not dialled again; an agent who rings is told why."""
        record = change.record
        if record.state != OFFERED or record.legs:
            return
        if step.leg == "customer":
            end(change, "unknown", "failed", error=step.error)
        else:
            change.updated("retrying", error=step.error)
            self.release(change)

    def _call_back(self, change: Change, step: CallStep, reason: str) -> None:
        """Somebody who called waits for a call, at the place of their arrival."""
        record = change.record
        if record.state != ARRIVED:
            return
        if record.address is None or not record.address.startswith(self.allowed):
            end(change, "given_up", "no_answer")
            return
        change.set(direction="outbound", reason=reason, connected_at=None)
        self.release(change)

    def _hung_up(self, change: Change, step: CallStep) -> None:
        """Who called us is gone: that is the end where they spoke, else a missed call, and is called back."""
        if change.record.state == CONNECTED:
            end(change, "answered", duration_ms=step.duration_ms)
            return
        if change.record.state == ACCEPTED:
            change.set(state=ARRIVED)
        self._call_back(change, step, "missed call")

    def _wants_person(self, change: Change, step: CallStep) -> None:
        change.updated("ringing")

    def _left_message(self, change: Change, step: CallStep) -> None:
        """Also where the hanging up was told first, as long as nobody was called back."""
        record = change.record
        called_back = record.state == WAITING and record.reason == "missed call" and not record.tries
        if record.state == ARRIVED or called_back:
            end(change, "voicemail", "voicemail")

    def _due(self, change: Change, step: CallStep) -> None:
        """Its deadline has come."""
        record = change.record
        if record.deadline is None or change.now < record.deadline:
            return
        overdue = Error(code="overdue", message="nothing was heard of it in time")
        match record.state:
            case "unproven":
                error = Error(code="unproven", message="nobody proved the number")
                end(change, "given_up", "canceled", error=error)
            case "accepted" if record.attempt:
                hang_up(change)
                self._customer_missed(change, step)
            case "offered":
                hang_up(change)
                change.updated("retrying", error=overdue)
                self.release(change)
            case "connected":
                hang_up(change)
                end(change, "unknown", "failed", error=overdue)
            case "arrived" | "accepted":
                self._hung_up(change, step)


def _placed(change: Change, step: CallStep) -> None:
    if step.external_id is not None and step.external_id not in change.record.legs:
        change.set(legs=(*change.record.legs, step.external_id))


def _proven(change: Change, step: CallStep) -> None:
    if change.record.state == UNPROVEN:
        change.set(state=WAITING, deadline=None)


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
