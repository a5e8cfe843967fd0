"""What Meta's channels share: login, proof of deliveries, walking through them, refusals. Knows no channel's fields."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, TypeVar
from urllib.parse import quote

from msgspec import Meta, Raw, Struct

from sluiceway import (
    Ambiguous,
    File,
    Gateway,
    Malformed,
    Request,
    Response,
    Secret,
    SendError,
    Settings,
    Throttled,
    Unreadable,
    Unverified,
    signing,
)
from sluiceway.wire import JSON, read_json

from ._origin import origin

T = TypeVar("T", bound=Struct)

SIGNATURE = "x-hub-signature-256"
# The newest version that Meta's own OpenAPI document describes: https://github.com/facebook/openapi. Versions live for
# two years at least: https://developers.facebook.com/docs/graph-api/guides/versioning
VERSION = "v23.0"
# A delivery has up to 3 MB: https://developers.facebook.com/docs/whatsapp/cloud-api/guides/set-up-webhooks
MAX_DELIVERY_BYTES = 3 << 20
MAX_CHALLENGE = 200
# Files that people sent: Meta names no list of hosts. lookaside.fbsbx.com is seen for WhatsApp and Instagram
# (https://docs.360dialog.com/docs/messaging-api/api-reference/media, https://github.com/airyhq/airy/issues/2406),
# cdn.fbsbx.com and hosts of fbcdn.net for Messenger, of cdninstagram.com for stories. All of them are Meta's own:
# https://github.com/mozilla/contain-facebook
MEDIA_HOSTS = ("*.fbsbx.com", "*.fbcdn.net", "*.cdninstagram.com")
# The end of the year 9998: what follows from a time must be one too
LATEST_S = 253_370_764_799


class App(Settings, frozen=True, kw_only=True):
    """A Meta app: its secret proves deliveries, `verify_token` is our word for the hook, `access_token` sends.

    With `appsecret_proof` requests carry the proof that the token is used by its own app; leave it out only where the
    token is another app's.
    """

    app_secret: Secret
    verify_token: Secret
    access_token: Secret
    api_url: str = "https://graph.facebook.com"
    api_version: Annotated[str, Meta(pattern=r"^v[0-9]{1,3}\.[0-9]$")] = VERSION
    appsecret_proof: bool = True

    def __post_init__(self) -> None:
        for name in ("app_secret", "verify_token", "access_token"):
            if not getattr(self, name).reveal():
                raise ValueError(f"{name} is empty")


class Entry(Struct, frozen=True):
    """What happened to one of our identities, or business accounts; `changes` and `messaging` are not read yet."""

    id: str
    changes: tuple[Raw, ...] = ()
    messaging: tuple[Raw, ...] = ()


class Change(Struct, frozen=True):
    """One thing of an entry; `value` is not read yet."""

    field: str
    value: Raw


class Problem(Struct, frozen=True):
    """An error as Meta writes it, in answers and deliveries."""

    code: int | None = None
    title: str | None = None
    message: str | None = None
    error_data: dict[str, Any] | str | None = None
    error_subcode: int | None = None
    is_transient: bool | None = None

    @property
    def text(self) -> str:
        """The most that it says."""
        details = self.error_data.get("details") if isinstance(self.error_data, dict) else self.error_data
        return str(details or self.message or self.title or "")[:200]


def sign(secret: Secret, body: bytes) -> str:
    """The header of a delivery with this body. https://developers.facebook.com/docs/graph-api/webhooks/getting-started"""
    return "sha256=" + signing.hmac_hex(secret.reveal().encode(), body)


def verify(request: Request, app: App) -> None:
    """Return if Meta made this request: signed, or the hook's validation. Raises `Unverified` or `Malformed`."""
    if request.method == "GET":
        challenge(request, app)
    else:
        signing.check(request.headers.get(SIGNATURE, ""), sign(app.app_secret, request.body), SIGNATURE)


def challenge(request: Request, app: App) -> Response:
    """The answer by which Meta knows the hook for ours. Raises `Unverified` or `Malformed`."""
    query = request.query
    if query.get("hub.mode") != "subscribe":
        raise Unverified("hub.mode is missing, or not subscribe")
    signing.check(query.get("hub.verify_token", ""), app.verify_token.reveal(), "hub.verify_token")
    word = query.required("hub.challenge")
    if re.fullmatch(rf"[A-Za-z0-9_.-]{{1,{MAX_CHALLENGE}}}", word) is None:
        raise Malformed("hub.challenge is no plain word")
    return Response(headers={"content-type": "text/plain; charset=utf-8"}, body=word.encode())


def entries(body: bytes, of: str, nobody: str) -> Iterator[Entry | Unreadable]:
    """The entries of a delivery about objects `of`. Raises `Malformed` where it has none to be found."""
    delivery = read_json(body, _Delivery)
    if delivery.object != of:
        raise Malformed(f"the delivery is about {delivery.object[:40]}, expected {of}")
    for raw in delivery.entry:
        yield read(raw, Entry, nobody)


def changes(entry: Entry, nobody: str) -> Iterator[Change | Unreadable]:
    """The changes of an entry, in order."""
    for raw in entry.changes:
        yield read(raw, Change, nobody)


def read(raw: Raw, type: type[T], at: str) -> T | Unreadable:
    """One piece of a delivery; one that can't be read spoils only itself."""
    try:
        return read_json(bytes(raw), type)
    except Malformed as error:
        return unreadable(raw, str(error), at)


def unreadable(raw: Raw | bytes, why: str, at: str) -> Unreadable:
    """The fact for a piece that can't be used; its key follows from what it says."""
    data = bytes(raw)
    return Unreadable(at=at, key=signing.sha256_hex(data), raw=data, why=why)


def moment(timestamp: str | int | None) -> datetime.datetime | None:
    """A Unix time in seconds, as Meta writes it in text or number. Raises `Malformed`."""
    if timestamp is None or timestamp == "":
        return None
    if re.fullmatch("[0-9]{1,12}", str(timestamp)) is None or int(timestamp) > LATEST_S:
        raise Malformed("the timestamp is no Unix time in seconds")
    return datetime.datetime.fromtimestamp(int(timestamp), datetime.UTC)


def sole(gateway: Gateway[Any, Any]) -> str:
    """The connection's identity where it has only one; what belongs to nobody else is about that."""
    return next(iter(gateway.accounts)) if len(gateway.accounts) == 1 else ""


def post(app: App, path: str, body: bytes, token_of_its_own: Secret | None = None) -> Request:
    """A POST of JSON to the Graph API, with the app's token unless the account has one of its own.

    https://developers.facebook.com/docs/graph-api/guides/secure-requests
    """
    token = token_of_its_own or app.access_token
    headers = {"content-type": JSON, **_bearer(token)}
    return Request(method="POST", url=_url(app, quote(path, safe="/"), token), headers=headers, body=body)


def get(app: App, id: str) -> Request:
    """A GET of one thing of the Graph API, by its id; it may be made again."""
    url = _url(app, quote(id, safe=""), app.access_token)
    return Request(method="GET", url=url, headers=_bearer(app.access_token), repeatable=True)


def upload(app: App, path: str, fields: Iterable[tuple[str, str]], file: File) -> Request:
    """A POST of a form with a file to the Graph API; made again, it makes another copy, which nobody misses."""
    headers = _bearer(app.access_token)
    return Request.post_multipart(_url(app, path, app.access_token), fields, file, headers=headers)


def download(app: App, url: str) -> Request:
    """The GET of a file at the address that the Graph API gave for it."""
    return Request(method="GET", url=url, headers=_bearer(app.access_token), repeatable=True)


def media_hosts(app: App) -> tuple[str, ...]:
    """Where files may be: with Meta, or where its simulator is, or a proxy."""
    return (*MEDIA_HOSTS, origin(app.api_url))


def refusal(gateway: Gateway[Any, Any], response: Response) -> SendError:
    """The exception for a response that is no success. https://developers.facebook.com/docs/graph-api/guides/error-handling

    The code counts where there is one, whatever the HTTP status; without it, 5xx leaves open what became of it. Where
    the table has `code/subcode`, that counts instead.
    """
    try:
        problem = response.json(_Refusal).error
    except Malformed:
        problem = Problem()
    code = str(problem.code) if problem.code is not None else ""
    for known in (f"{code}/{problem.error_subcode}", code):
        if known in gateway.errors:
            return gateway.refusal(known)
    if not 400 <= response.status < 500:
        return Ambiguous(f"Meta answered with HTTP status {response.status}")
    if problem.is_transient:
        return Throttled(problem.text or "Meta says that it will pass")
    return gateway.refusal(code or str(response.status), problem.text)


def _url(app: App, path: str, token: Secret) -> str:
    """`path` is quoted."""
    url = f"{app.api_url.rstrip('/')}/{app.api_version}/{path}"
    if not app.appsecret_proof:
        return url
    return f"{url}?appsecret_proof={signing.hmac_hex(app.app_secret.reveal().encode(), token.reveal().encode())}"


def _bearer(token: Secret) -> dict[str, str]:
    return {"authorization": f"Bearer {token.reveal()}"}


class _Delivery(Struct, frozen=True):
    object: str
    entry: tuple[Raw, ...]


class _Refusal(Struct, frozen=True):
    error: Problem
