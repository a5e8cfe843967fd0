"""What Mailgun signs is checked, and nothing else is believed."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlencode

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway import Malformed, Request, Secret, Unverified
from sluiceway.signing import hmac_hex
from sluiceway.testing import check_gateway
from sluiceway.wire import FORM, JSON
from sluiceway_gateways.email._mailgun_storage import unwrap
from sluiceway_gateways.email.mailgun import EmailMailgun, Mailgun

KEY = "a signing key"
SETTINGS = Mailgun(signing_key=Secret(KEY), api_key=Secret("an api key"))
GATEWAY = EmailMailgun(SETTINGS)
RequestOf = Callable[[dict[str, str]], Request]


def signed(seconds_ago: float = 0, token: str = "t" * 50, key: str = KEY) -> dict[str, str]:
    stamp = str(int(time.time() - seconds_ago))
    return {"timestamp": stamp, "token": token, "signature": hmac_hex(key.encode(), f"{stamp}{token}".encode())}


def a_form(fields: dict[str, str]) -> Request:
    body = urlencode(fields).encode()
    return Request(method="POST", url="https://x.example/", headers={"content-type": FORM}, body=body)


def a_webhook(fields: dict[str, str]) -> Request:
    told = {"signature": fields, "event-data": {"event": "opened", "id": "e", "timestamp": 1.5}}
    headers = {"content-type": JSON}
    return Request(method="POST", url="https://x.example/", headers=headers, body=msgspec.json.encode(told))


KINDS = pytest.mark.parametrize("request_of", [a_form, a_webhook])


def test_it_keeps_to_the_gateway_api() -> None:
    check_gateway(EmailMailgun, SETTINGS)


@KINDS
@pytest.mark.parametrize("seconds_ago", [0, 299, 8 * 3600, -300])
def test_what_mailgun_signed_passes_also_when_it_tells_again_for_hours(request_of: RequestOf, seconds_ago: int) -> None:
    GATEWAY.verify(request_of(signed(seconds_ago)))


@KINDS
@pytest.mark.parametrize(
    "fields",
    [
        {},
        signed() | {"signature": ""},
        signed() | {"signature": signed()["signature"][:-1]},
        signed() | {"token": "another"},
        signed() | {"timestamp": "1"},
        signed() | {"timestamp": ""},
        signed(key="another key"),
        signed(12 * 3600),
        signed(-12 * 3600),
        {"timestamp": "", "token": "", "signature": hmac_hex(KEY.encode(), b"")},
        {"timestamp": "now", "token": "", "signature": hmac_hex(KEY.encode(), b"now")},
    ],
)
def test_what_it_did_not_sign_is_refused(request_of: RequestOf, fields: dict[str, str]) -> None:
    with pytest.raises((Unverified, Malformed)):
        GATEWAY.verify(request_of(fields))


@given(st.binary(max_size=300), st.sampled_from([FORM, JSON, "multipart/form-data; boundary=x", ""]))
def test_hostile_bodies_are_refused_and_raise_nothing_else(body: bytes, content_type: str) -> None:
    request = Request(method="POST", url="https://x.example/", headers={"content-type": content_type}, body=body)
    with pytest.raises((Unverified, Malformed)):
        GATEWAY.verify(request)


def test_a_stored_mail_comes_out_of_its_answer_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "answer").write_bytes(msgspec.json.encode({"body-mime": "Subject: é\r\n\r\nhi", "sender": "x"}))
    unwrap(str(tmp_path / "answer"), str(tmp_path / "mail"))
    assert (tmp_path / "mail").read_bytes() == "Subject: é\r\n\r\nhi".encode()
