"""One Meta app with two numbers, its samples, and deliveries signed with the app secret by the standard library."""

import hashlib
import hmac
from pathlib import Path

from sluiceway import Intake, Request, Secret
from sluiceway.testing import deliver
from sluiceway_gateways._meta import App
from sluiceway_gateways.whatsapp.cloud import Number, WhatsAppCloud

SAMPLES = Path(__file__).parents[1] / "samples" / "whatsapp"
CASES = sorted(file.stem for file in SAMPLES.glob("*.json") if not file.stem.startswith("request."))
HOOK = "https://gw.example/hooks/meta"
SECRET, VERIFY, TOKEN = "0123456789abcdef", "our own word", "EAAtoken"
FIRST, SECOND = "100000000000001", "100000000000002"
CUSTOMER, USER_ID = "whatsapp:447700900456", "whatsapp:GB.10000000000000000456"

APP = App(app_secret=Secret(SECRET), verify_token=Secret(VERIFY), access_token=Secret(TOKEN))
NUMBER = Number(connection="meta", tenant="acme", address="whatsapp:447700900123", phone_number_id=FIRST)
OTHER = Number(connection="meta", tenant="acme", address="whatsapp:447700900124", phone_number_id=SECOND)
GATEWAY = WhatsAppCloud(APP, HOOK, (NUMBER, OTHER))


def sample(case: str) -> bytes:
    """The bytes of a delivery, by file name."""
    return (SAMPLES / f"{case}.json").read_bytes()


def signature(body: bytes, secret: str = SECRET) -> str:
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def post(body: bytes, header: str | None = None) -> Request:
    """A delivery with this signature, the right one by default; none where it is empty."""
    given = signature(body) if header is None else header
    headers = {"content-type": "application/json"} | ({"x-hub-signature-256": given} if given else {})
    return Request(method="POST", url=HOOK, headers=headers, body=body)


def taken(case: str) -> Intake:
    """A sample, taken in."""
    return deliver(GATEWAY, post(sample(case)))
