"""A helpdesk in thirty lines: it answers in the conversation, whatever the channel, and knows the contract alone."""

import asyncio
import os
import uuid

import nats
from nats.js.api import DeliverPolicy

from sluiceway_contracts import Command, Event, MessageReceived, MessageSend, Party, Text

EVENTS = "sluiceway.v1.acme.events.message.received.>"


def answer_to(id: str) -> str:
    """The same for the same event: delivered again, it is answered once."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, id))


async def main() -> None:
    js = (await nats.connect(os.environ.get("NATS_URL", "nats://127.0.0.1:4222"))).jetstream()
    inbox = await js.subscribe(EVENTS, durable="desk", deliver_policy=DeliverPolicy.NEW, manual_ack=True)
    print("helpdesk: waiting for customers", flush=True)
    async for stored in inbox.messages:
        event = Event.decode(stored.data)
        if isinstance(event.data, MessageReceived):
            first = next(iter(event.data.message.text.splitlines()), "your message")
            words = f"Thank you! We have received: {first}"
            answer = MessageSend(message_id=answer_to(event.id), author=Party(role="bot"), parts=(Text(text=words),))
            command = Command(
                tenant="acme", source="/acme/apps/desk", subject=event.subject, correlationid=event.id, data=answer
            )
            await js.publish(command.nats_subject(), command.encode(), headers=command.headers())
        await stored.ack()


asyncio.run(main())
