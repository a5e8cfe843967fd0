"""The same job as anybody would write it: FastAPI, pydantic, Twilio's own validator and nats-py, each used plainly."""

from __future__ import annotations

import contextlib
import os
import sys
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import nats
import uvicorn
from fastapi import FastAPI, HTTPException, Request, Response
from nats.js.api import StreamConfig
from pydantic import BaseModel
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]  # it has no py.typed

PREFIX, STREAM = "naive", "NAIVE_EVENTS"
NAMESPACE = uuid.UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8")
TWIML = '<?xml version="1.0" encoding="UTF-8"?><Response />'


class Party(BaseModel):
    role: str
    address: str
    contact_id: str | None = None
    assurance: str | None = None


class Text(BaseModel):
    type: str = "text"
    id: str
    text: str


class Message(BaseModel):
    id: str
    author: Party
    to: list[Party]
    parts: list[Text]
    text: str
    external_ids: list[str]
    received_at: datetime
    ext: dict[str, dict[str, str | int]]


class MessageReceived(BaseModel):
    message: Message
    resolved_by: str


class Event(BaseModel):
    specversion: str = "1.0"
    id: str
    source: str
    type: str = "sluiceway.message.received"
    time: datetime
    tenant: str
    subject: str
    channel: str
    account: str
    contactid: str
    actorrole: str
    data: MessageReceived


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    connection = await nats.connect(os.environ["BENCH_NATS"])
    app.state.js = connection.jetstream()
    await app.state.js.add_stream(StreamConfig(name=STREAM, subjects=[f"{PREFIX}.>"], duplicate_window=86_400))
    yield
    await connection.close()


app = FastAPI(lifespan=lifespan)
validator = RequestValidator(os.environ.get("BENCH_TOKEN", ""))
known: dict[str, tuple[str, str]] = {}


@app.post("/hooks/twilio")
async def incoming(request: Request) -> Response:
    form = {name: str(value) for name, value in (await request.form()).items()}
    if not validator.validate(str(request.url), form, request.headers.get("X-Twilio-Signature", "")):
        raise HTTPException(403)
    address = f"tel:{form['From']}"
    if address not in known:
        known[address] = str(uuid.uuid4()), str(uuid.uuid4())
    contact, conversation = known[address]
    id, now = str(uuid.uuid5(NAMESPACE, form["MessageSid"])), datetime.now(UTC)
    message = Message(
        id=id,
        author=Party(role="customer", address=address, contact_id=contact, assurance="channel"),
        to=[Party(role="system", address=f"tel:{form['To']}")],
        parts=[Text(id="1", text=form["Body"])],
        text=form["Body"],
        external_ids=[form["MessageSid"]],
        received_at=now,
        ext={"sms": {"segments": int(form["NumSegments"]), "country": form["FromCountry"]}},
    )
    event = Event(
        id=id,
        source="/acme/sms/main",
        time=now,
        tenant="acme",
        subject=conversation,
        channel="sms",
        account="main",
        contactid=contact,
        actorrole="customer",
        data=MessageReceived(message=message, resolved_by="open"),
    )
    await request.app.state.js.publish(
        f"{PREFIX}.v1.acme.events.message.received.sms.{contact}.{conversation}",
        event.model_dump_json(exclude_none=True).encode(),
        headers={"content-type": "application/cloudevents+json", "Nats-Msg-Id": f"acme:{id}"},
    )
    return Response(TWIML, media_type="text/xml")


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", access_log=False)
