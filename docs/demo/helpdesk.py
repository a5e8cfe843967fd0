"""A helpdesk in twenty lines: it answers customers on whatever channel they write, and knows the contract alone."""

import asyncio
import os

import nats

from sluiceway_contracts import Command, Event, MessageReceived, MessageSend, Party, Text, uuid7

EVENTS = "sluiceway.v1.acme.events.message.received.>"


async def main() -> None:
    js = (await nats.connect(os.environ.get("NATS_URL", "nats://127.0.0.1:4222"))).jetstream()
    inbox = await js.subscribe(EVENTS, durable="desk", manual_ack=True)
    print("helpdesk: waiting for customers", flush=True)
    async for stored in inbox.messages:
        event = Event.decode(stored.data)
        if isinstance(event.data, MessageReceived):
            words = f"Thank you! We have received: {event.data.message.text}"
            answer = MessageSend(message_id=uuid7(), author=Party(role="bot"), parts=(Text(text=words),))
            command = Command(
                tenant="acme", source="/acme/apps/desk", channel=event.channel, account=event.account,
                subject=event.subject, correlationid=event.id, data=answer,
            )  # fmt: skip
            await js.publish(command.nats_subject(), command.encode(), headers=command.headers())
        await stored.ack()


asyncio.run(main())
