"""One Twilio login with one number, and the recorded payloads."""

from collections.abc import Callable
from pathlib import Path

import pytest
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]  # it has no py.typed

from sluiceway import Request, Secret
from sluiceway.wire import FORM
from sluiceway_gateways._twilio import Connection
from sluiceway_gateways.sms.twilio import Number, TwilioSms

SAMPLES = Path(__file__).parents[1] / "samples" / "twilio"
TOKEN = "12345"
HOOK = "https://gw.example/hooks/twilio-uk"


@pytest.fixture(scope="session")
def connection() -> Connection:
    return Connection(sid="AC" + "a" * 32, token=Secret(TOKEN))


@pytest.fixture(scope="session")
def number() -> Number:
    return Number(connection="twilio-uk", tenant="acme", address="tel:+447700900123")


@pytest.fixture(scope="session")
def gateway(connection: Connection) -> TwilioSms:
    return TwilioSms(connection, HOOK)


@pytest.fixture(scope="session")
def sample() -> Callable[[str], bytes]:
    """The bytes of a recorded payload, by file name."""
    return lambda name: (SAMPLES / name).read_bytes()


@pytest.fixture(scope="session")
def signed() -> Callable[..., Request]:
    """A delivery of this form, signed by Twilio's own library."""

    def build(body: bytes, subpath: str = "") -> Request:
        url = f"{HOOK}/{subpath}".rstrip("/")
        request = Request(
            method="POST",
            url=url,
            headers={"content-type": f"{FORM}; charset=UTF-8"},
            body=body,
            subpath=subpath,
        )
        signature = RequestValidator(TOKEN).compute_signature(url, dict(request.form.pairs))
        return Request(
            method="POST",
            url=url,
            headers={**request.headers, "x-twilio-signature": signature},
            body=body,
            subpath=subpath,
        )

    return build
