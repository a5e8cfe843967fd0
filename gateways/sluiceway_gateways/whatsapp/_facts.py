"""What the Cloud API delivers, as facts: each credited to the number that it is about. One bad entry spoils itself."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Raw

from sluiceway import (
    Consent,
    Deleted,
    Edited,
    Malformed,
    Outcome,
    Reaction,
    Receipt,
    Received,
    Unreadable,
)
from sluiceway.gateway import AnyFact, Gateway
from sluiceway.wire import read_json
from sluiceway_contracts import InvalidAddress, MessageRef, Referral, addresses

from .. import _meta
from ._content import reading
from ._payload import Advertisement, Content, Incoming, Person, Preference, Pricing, Revoke, State, Value

# https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/messages/status
STATUS = {
    "accepted": "accepted",
    "held_for_quality_assessment": "queued",
    "sent": "sent",
    "delivered": "delivered",
    "read": "read",
    "played": "read",
    "failed": "failed",
    "deleted": "revoked",
}
# https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/user_preferences
PREFERENCES = {"stop": "revoked", "resume": "granted", "signup": "granted"}
# https://developers.facebook.com/documentation/business-messaging/whatsapp/messages/send-messages#customer-service-windows
WINDOW = datetime.timedelta(hours=24)
OBJECT = "whatsapp_business_account"
FIELDS = frozenset({"messages", "smb_message_echoes", "user_preferences"})
"""The webhook fields that are about people; all others are about accounts and templates."""


def facts(gateway: Gateway[Any, Any], body: bytes) -> Iterator[AnyFact]:
    """Everything that a delivery says, in its order. Raises `Malformed`."""
    nobody = _meta.sole(gateway)
    for entry in _meta.entries(body, OBJECT, nobody):
        if isinstance(entry, Unreadable):
            yield entry
            continue
        for change in _meta.changes(entry, nobody):
            if isinstance(change, Unreadable):
                yield change
            elif change.field in FIELDS:
                value = _meta.read(change.value, Value, nobody)
                yield from (value,) if isinstance(value, Unreadable) else _Number(gateway, value).facts()


class _Number:
    """What one change says of one of our numbers."""

    def __init__(self, gateway: Gateway[Any, Any], value: Value) -> None:
        self._gateway = gateway
        self._value = value
        self._at = value.metadata.phone_number_id
        people = (_meta.read(raw, Person, self._at) for raw in value.contacts)
        self._people = [person for person in people if isinstance(person, Person)]

    def facts(self) -> Iterator[AnyFact]:
        for raw in self._value.messages:
            yield from self._tried(raw, self._message)
        for raw in self._value.message_echoes:
            yield from self._tried(raw, self._echo)
        for raw in self._value.statuses:
            yield from self._tried(raw, self._status)
        for raw in self._value.user_preferences:
            yield from self._tried(raw, self._preference)
        for raw in self._value.errors:
            yield from self._tried(raw, self._error)

    def _tried(self, raw: Raw, read: Any) -> Iterator[AnyFact]:
        data = bytes(raw)
        try:
            yield from tuple(read(data))
        except (Malformed, InvalidAddress) as error:
            yield _meta.unreadable(
                raw, str(error) if isinstance(error, Malformed) else "it has no usable sender", self._at
            )

    def _message(self, raw: bytes) -> Iterator[AnyFact]:
        message = _incoming(raw)
        person = self._person(message.from_, message.from_user_id)
        yield self._said(message, raw, person, echo=False)

    def _echo(self, raw: bytes) -> Iterator[AnyFact]:
        """What one of us typed on the phone: from our number, to the customer."""
        message = _incoming(raw)
        person = self._person(message.to, message.to_user_id)
        yield self._said(message, raw, person, echo=True)

    def _said(self, message: Incoming, raw: bytes, person: Person, *, echo: bool) -> AnyFact:
        sender, *others = _addresses(person)
        at = _meta.moment(message.timestamp)
        common: dict[str, Any] = {
            "at": self._at,
            "key": message.id,
            "occurred_at": at,
            "sender": sender,
            "name": person.profile.name,
            "echo": echo,
        }
        match message:
            case Incoming(type="reaction", reaction=reaction) if reaction:
                return Reaction(
                    target=reaction.message_id,
                    emoji=reaction.emoji or None,
                    action="added" if reaction.emoji else "removed",
                    **common,
                )
            case Incoming(type="edit", edit=edit) if edit:
                inner = bytes(edit.message)
                parts, media = reading(read_json(inner, Content), inner)
                return Edited(target=edit.original_message_id, parts=parts, media=media, **common)
            case Incoming(type="revoke", revoke=Revoke(original_message_id=target)):
                return Deleted(target=target, **common)
        parts, media = reading(message, raw)
        system = message.system if message.type == "system" else None
        if system is not None:  # what they were and what they are now are the same person's
            now_as = msgspec.structs.replace(
                person,
                wa_id=system.wa_id or system.new_wa_id or person.wa_id,
                user_id=system.user_id or person.user_id,
            )
            others = [*_addresses(now_as)[1:], sender, *others]
            common["sender"] = _addresses(now_as)[0]
        context = message.context
        return Received(
            parts=parts,
            media=media,
            also=tuple(dict.fromkeys(other for other in others if other != common["sender"])),
            reply_to=MessageRef(external_id=context.id) if context and context.id else None,
            referral=_referral(message.referral),
            external_ids=(message.id,),
            reply_window_ends=at + WINDOW if at and not echo and system is None else None,
            ext=_ext(message, person),
            **common,
        )

    def _person(self, number: str | None, user_id: str | None) -> Person:
        """The customer by the message's own word, with what the contacts say of the same one."""
        known = (
            person
            for person in self._people
            if (number and person.wa_id == number) or (user_id and person.user_id == user_id)
        )
        person = next(known, None) or (
            self._people[0] if len(self._people) == 1 and not (number or user_id) else Person()
        )
        return msgspec.structs.replace(
            person, wa_id=number or person.wa_id or None, user_id=user_id or person.user_id or None
        )

    def _status(self, raw: bytes) -> Iterator[AnyFact]:
        state = read_json(raw, State)
        status = STATUS.get(state.status)
        if status is None:
            raise Malformed(f"the status {state.status[:40]} is not known")
        problem = next(iter(state.errors), None)
        code = str(problem.code) if problem is not None and problem.code is not None else None
        at = _meta.moment(state.timestamp)
        yield Receipt(
            at=self._at,
            key=f"{state.id}:{state.status}",
            occurred_at=at,
            external_id=state.id,
            status=status,
            error=self._gateway.error(code, problem.text) if code and problem else None,
            ext=_billing(state),
        )
        fault = self._gateway.errors.get(code or "")
        if fault is not None and fault.outcome is Outcome.OPTED_OUT:
            customer = _addresses(self._person(state.recipient_id, state.recipient_user_id), ())
            if customer:
                yield Consent(
                    at=self._at,
                    key=state.id,
                    occurred_at=at,
                    address=customer[0],
                    state="revoked",
                    purpose=fault.purpose,
                    method="provider",
                    evidence=code,
                )

    def _preference(self, raw: bytes) -> Iterator[AnyFact]:
        decided = read_json(raw, Preference)
        state = PREFERENCES.get(decided.value)
        if state is None:
            raise Malformed(f"the preference {decided.value[:40]} is not known")
        customer = _addresses(self._person(decided.wa_id, decided.user_id))
        yield Consent(
            at=self._at,
            key=f"{customer[0]}:{decided.value}:{decided.timestamp}",
            occurred_at=_meta.moment(decided.timestamp),
            address=customer[0],
            state=state,
            purpose="marketing",
            method="provider",
            evidence=decided.detail,
        )

    def _error(self, raw: bytes) -> Iterator[AnyFact]:
        """Meta could not do something for this number: as it is nobody's message, a dead letter tells it."""
        problem = read_json(raw, _meta.Problem)
        raise Malformed(f"Meta reports error {problem.code}: {problem.text}")


def _incoming(raw: bytes) -> Incoming:
    message = read_json(raw, Incoming)
    if not message.id:
        raise Malformed("the message has no id")
    if message.group_id:
        raise Malformed("the message was written in a group; groups are not supported")
    return message


def _addresses(person: Person, default: tuple[str, ...] | None = None) -> tuple[str, ...]:
    """The number first, which answers go to, then the business-scoped id. Raises `Malformed` where there is neither."""
    found = tuple(addresses.build("whatsapp", id) for id in (person.wa_id, person.user_id) if id)
    if not found and default is None:
        raise Malformed("the message has neither a number nor a user id")
    return found


def _referral(source: Advertisement | None) -> Referral | None:
    if source is None:
        return None
    kind = source.source_type if source.source_type in ("ad", "post") else "link"
    return Referral(kind=kind, url=source.source_url, title=source.headline, id=source.source_id)


def _ext(message: Incoming, person: Person) -> dict[str, Any]:
    context, source = message.context, message.referral
    known = {
        "username": person.profile.username,
        "parent_user_id": person.parent_user_id,
        "forwarded": context is not None and (context.forwarded or context.frequently_forwarded),
        "frequently_forwarded": context is not None and context.frequently_forwarded,
        "product": context.referred_product if context else None,
        "ctwa_clid": source.ctwa_clid if source else None,
        "ad_body": source.body if source else None,
        "errors": [str(problem.code) for problem in message.errors if problem.code is not None],
    }
    return {name: value for name, value in known.items() if value}


def _billing(state: State) -> dict[str, Any]:
    """What Meta says of the price, which is no amount, and of the conversation that it bills."""
    pricing, conversation = state.pricing or Pricing(), state.conversation
    known = {
        "billable": pricing.billable,
        "pricing_model": pricing.pricing_model,
        "pricing_type": pricing.type,
        "category": pricing.category,
        "conversation": conversation.id if conversation else None,
        "origin": conversation.origin.type if conversation else None,
        "played": True if state.status == "played" else None,
    }
    return {name: value for name, value in known.items() if value is not None}
