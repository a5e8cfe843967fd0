"""What the simulators of Twilio's channels share: signed deliveries, logins, refusals, ids. Keeps nothing."""

from __future__ import annotations

import base64
import email.utils
import secrets
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from sluiceway import Answer, Fault, Request, Response
from sluiceway.wire import FORM
from sluiceway_contracts import now

from . import _twilio
from ._twilio import Connection

# HTTP statuses of errors: https://www.twilio.com/docs/usage/twilios-response; every other one is a 400
HTTP_STATUS = {20003: 401, 20404: 404, 20429: 429, 20500: 500}


def delivery(settings: Connection, url: str, fields: Mapping[str, str]) -> Request:
    """A request of Twilio's to us, signed."""
    headers = {
        "content-type": f"{FORM}; charset=UTF-8",
        "user-agent": "TwilioProxy/1.1",
        "i-twilio-idempotency-token": secrets.token_hex(16),
        _twilio.SIGNATURE: _twilio.sign(settings.token, url, tuple(fields.items())),
    }
    return Request(method="POST", url=url, headers=headers, body=urlencode(fields).encode())


def is_login(settings: Connection, request: Request) -> bool:
    """Whether a request of ours has the account's login, by token or API key."""
    logins = {settings.basic, (settings.sid, settings.token.reveal())}
    known = {"Basic " + base64.b64encode(f"{user}:{password}".encode()).decode() for user, password in logins}
    return request.headers.get("authorization") in known


def refused(code: int, errors: Mapping[str, Fault]) -> Answer:
    """https://www.twilio.com/docs/usage/twilios-response"""
    status = HTTP_STATUS.get(code, 400)
    body: dict[str, Any] = {
        "code": code,
        "message": errors[str(code)].text,
        "more_info": f"https://www.twilio.com/docs/errors/{code}",
        "status": status,
    }
    return Answer(Response.of_json(body, status))


def new_sid(prefix: str) -> str:
    return prefix + secrets.token_hex(16)


def moment() -> str:
    """Now, as Twilio writes it (RFC 2822)."""
    return email.utils.format_datetime(now())
