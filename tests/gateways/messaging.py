"""A Meta app with two pages and an Instagram account, their samples, and deliveries that it signed."""

import hashlib
import hmac
from pathlib import Path

import msgspec

from sluiceway import Intake, Received, Request, Secret
from sluiceway.gateway import AnyFact
from sluiceway.testing import deliver
from sluiceway_gateways._meta_messaging import MessagingApp, MetaMessaging
from sluiceway_gateways.instagram.meta import InstagramApp, InstagramMeta, Profile
from sluiceway_gateways.messenger.meta import MessengerMeta, Page

SAMPLES = Path(__file__).parents[1] / "samples"
HOOK = "https://gw.example/hooks/meta"
SECRET, VERIFY, TOKEN, APP_ID = "0123456789abcdef", "our own word", "EAAtoken", "600000000000001"
APP = MessagingApp(app_secret=Secret(SECRET), verify_token=Secret(VERIFY), access_token=Secret(TOKEN), app_id=APP_ID)

FIRST, SECOND = "104829000000001", "104829000000002"
PAGE = Page(connection="meta", tenant="acme", address=f"messenger:{FIRST}/{FIRST}")
OTHER = Page(
    connection="meta",
    tenant="acme",
    address=f"messenger:{SECOND}/{SECOND}",
    access_token=Secret("EAAother"),
    human_agent=True,
)
MESSENGER = MessengerMeta(APP, HOOK, (PAGE, OTHER))
CUSTOMER = f"messenger:{FIRST}/5520011000000456"

ACCOUNT_ID = "17841400000000001"
PROFILE = Profile(connection="meta", tenant="acme", address=f"instagram:{ACCOUNT_ID}/{ACCOUNT_ID}")
INSTAGRAM_APP = InstagramApp(
    app_secret=Secret(SECRET), verify_token=Secret(VERIFY), access_token=Secret(TOKEN), app_id=APP_ID
)
INSTAGRAM = InstagramMeta(INSTAGRAM_APP, HOOK, (PROFILE,))
FOLLOWER = f"instagram:{ACCOUNT_ID}/9988770000000456"


def told(gateway: MetaMessaging, *, store_media: bool) -> MetaMessaging:
    """The same gateway, with this said in its settings."""
    settings = msgspec.structs.replace(gateway.settings, store_media=store_media)
    return type(gateway)(settings, gateway.hook_url, gateway.accounts.values())


def cases(channel: str) -> list[str]:
    return sorted(file.stem for file in (SAMPLES / channel).glob("*.json"))


def sample(channel: str, case: str) -> bytes:
    """The bytes of a delivery, by file name."""
    return (SAMPLES / channel / f"{case}.json").read_bytes()


def signature(body: bytes, secret: str = SECRET) -> str:
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def post(body: bytes, header: str | None = None) -> Request:
    """A delivery with this signature, the right one by default; none where it is empty."""
    given = signature(body) if header is None else header
    headers = {"content-type": "application/json"} | ({"x-hub-signature-256": given} if given else {})
    return Request(method="POST", url=HOOK, headers=headers, body=body)


def taken(gateway: MetaMessaging, case: str) -> Intake:
    """A sample, taken in."""
    return deliver(gateway, post(sample(gateway.channel, case)))


def only(gateway: MetaMessaging, case: str) -> AnyFact:
    (fact,) = taken(gateway, case).facts
    return fact


def received(gateway: MetaMessaging, case: str) -> Received:
    fact = only(gateway, case)
    assert isinstance(fact, Received)
    return fact
