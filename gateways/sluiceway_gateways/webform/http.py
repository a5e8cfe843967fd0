"""Forms on a retailer's site: posted by the visitor's browser, or by the retailer's server, which signs.

What people type into a form proves nothing about them: addresses in it are asserted, never the sender.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, Struct

from sluiceway import (
    Account,
    Capabilities,
    Chars,
    Gateway,
    Intake,
    Limit,
    Malformed,
    Rate,
    Received,
    ReplyToken,
    Request,
    Response,
    Retries,
    Secret,
    Settings,
    Unverified,
    Webhook,
    signing,
)
from sluiceway.wire import JSON
from sluiceway_contracts import AnyPart, FormAnswer, FormResponse, InvalidAddress, Text, addresses, now

SIGNATURE = "x-sluiceway-signature"
TIMESTAMP = "x-sluiceway-timestamp"
KEY = "key"
"""The query's field with the site key: in the URL it is the same for every kind of body."""
IDEMPOTENCY_KEY = "idempotency-key"
"""https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/"""

MAX_BODY_BYTES = 1 << 16
MAX_FIELDS = 100
MAX_NAME = 200
MAX_VALUE = 20_000

# https://fetch.spec.whatwg.org/#http-cors-protocol
PREFLIGHT = Response(
    status=204,
    headers={
        "access-control-allow-methods": "POST",
        "access-control-allow-headers": f"content-type, {IDEMPOTENCY_KEY}",
        "access-control-max-age": "3600",
    },
)
THANKS = Response(
    headers={"content-type": "text/plain; charset=utf-8"}, body=b"Thank you, your message has been received.\n"
)
# C0 and C1 (ISO/IEC 6429) but tab and line feed
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")

Origin = Annotated[str, Meta(pattern=r"^https?://[a-z0-9.-]+(:[0-9]{1,5})?$")]


class Connection(Settings, frozen=True, kw_only=True):
    """What the retailer's servers sign with, for all forms of the connection; without it only browsers can post."""

    secret: Secret | None = None

    def __post_init__(self) -> None:
        if self.secret is not None and not self.secret.reveal():
            raise ValueError("secret is empty")


class Fields(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the page calls the fields that have a meaning; all others are answers like any.

    `honeypot` has no usual name: whoever fills it in is taken for a robot, so it must be one that no person sees.
    """

    message: str = "message"
    name: str = "name"
    email: str = "email"
    phone: str = "phone"
    subject: str = "subject"
    order: str = "order"
    page_url: str = "page_url"
    visitor: str = "visitor"
    reply_token: str = "reply_token"  # noqa: S105  # a field's name
    submission_id: str = "submission_id"
    honeypot: str = ""

    def __post_init__(self) -> None:
        if len(set(msgspec.structs.astuple(self))) < len(self.__struct_fields__):
            raise ValueError("two fields have the same name on the page")


class SiteForm(Account, frozen=True, kw_only=True):
    """One form of one site, `web:<site>/<form>`. Browsers may post from `origins`, with `site_key` in the URL.

    The limits hold for browsers; 0: none. `labels` are for people, by the name that the answer has on the stream.
    """

    site_key: Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{8,64}$")] | None = None
    origins: tuple[Origin, ...] = ()
    thanks_url: Annotated[str, Meta(pattern="^https?://[!-~]+$")] | None = None
    country_code: Annotated[str, Meta(pattern="^[1-9][0-9]{0,2}$")] | None = None
    fields: Fields = Fields()
    labels: Mapping[str, str] = {}
    per_client_minute: Annotated[int, Meta(ge=0)] = 10
    per_form_minute: Annotated[int, Meta(ge=0)] = 120

    def __post_init__(self) -> None:
        if not self.address.startswith("web:"):
            raise ValueError("the address of a form is web:<site>/<form>")
        if (self.site_key is None) != (not self.origins):
            raise ValueError("site_key and origins go together: give both or neither")


class WebForm(Gateway[Connection, SiteForm], Webhook):
    """Forms, each at the hook's `/<site>/<form>`."""

    channel = "webform"
    schemes = ("web",)
    capabilities = Capabilities(text=Chars(MAX_VALUE), retries=Retries.BRIEF)
    methods = frozenset({"POST", "OPTIONS"})

    def verify(self, request: Request) -> None:
        """The retailer's server signs. A browser can't: it names its page's origin, and the page's key.

        What strangers send and nobody can read is refused here; kept, it would let them fill the dead letters.
        """
        form = self._form(request)
        if _is_signed(request):
            self._check_signature(request)
            return
        if request.headers.get("origin") not in form.origins:
            raise Unverified("it is not signed, and its origin is none of the form's")
        if request.method != "OPTIONS":
            signing.check(request.query.get(KEY, ""), form.site_key or "", "the site key")
            _received(form, request)

    def limits(self, request: Request) -> tuple[Limit, ...]:
        """One browser's network, and all browsers of the form; a server keeps its own."""
        if _is_signed(request) or request.method == "OPTIONS":
            return ()
        form = self._form(request)
        counts = (
            (f"{form.address} {request.client_network}", form.per_client_minute),
            (form.address, form.per_form_minute),
        )
        return tuple(Limit(key, Rate(per_second=count / 60, burst=count)) for key, count in counts if count)

    def answer_headers(self, request: Request) -> Mapping[str, str]:
        """https://fetch.spec.whatwg.org/#http-cors-protocol"""
        form, origin = self.accounts.get(request.subpath), request.headers.get("origin", "")
        if form is None or origin not in form.origins:
            return {"vary": "Origin"}
        allowed = {"access-control-allow-origin": origin, "access-control-expose-headers": "retry-after"}
        return {"vary": "Origin", **allowed}

    def receive(self, request: Request) -> Intake:
        """A robot that filled in the honeypot is told what everybody is told."""
        form = self._form(request)
        if request.method == "OPTIONS":
            return Intake(reply=PREFLIGHT)
        received, reply = _received(form, request), _thanks(form, request)
        return Intake(discarded=True, reply=reply) if received is None else Intake(facts=(received,), reply=reply)

    def _form(self, request: Request) -> SiteForm:
        form = self.accounts.get(request.subpath)
        if form is None:
            raise Malformed(f"there is no form {request.subpath[:80]!r}; the URL ends in <site>/<form>", 404)
        return form

    def _check_signature(self, request: Request) -> None:
        if self.settings.secret is None:
            raise Unverified("it is signed, and the connection has no secret")
        timestamp = request.headers.get(TIMESTAMP, "")
        signing.check(request.headers[SIGNATURE], sign(self.settings.secret, timestamp, request.body), SIGNATURE)
        signing.check_recent(timestamp, TIMESTAMP)


def sign(secret: Secret, timestamp: str, body: bytes) -> str:
    """The signature of a body at a time, in Unix seconds."""
    signed = timestamp.encode("utf-8", "surrogateescape") + b"." + body
    return "sha256=" + signing.hmac_hex(secret.reveal().encode(), signed)


def _is_signed(request: Request) -> bool:
    """Past `verify` it says that the signature is good."""
    return SIGNATURE in request.headers


def _received(form: SiteForm, request: Request) -> Received | None:
    """The submission; None from a robot. Raises `Malformed`."""
    values, names, signed = _read(request), form.fields, _is_signed(request)
    if values.pop(names.honeypot, ""):
        return None
    submission_id = values.pop(names.submission_id, "")
    key = _key(form, request, submission_id, values)
    site, _, form_id = form.address.removeprefix("web:").partition("/")
    visitor = values.pop(names.visitor, "") if signed else ""
    token = values.pop(names.reply_token, "")
    try:
        sender = addresses.build("web", site, visitor or key)
    except InvalidAddress as error:
        raise Malformed("the visitor is no id of at most 128 letters, digits, '.', '_' and '-'") from error
    page_url = _page(form, values.get(names.page_url) or request.headers.get("referer", ""), signed=signed)
    if page_url is not None:
        values.pop(names.page_url, None)
    if not values:
        raise Malformed("the form is empty")
    name, asserted = " ".join(values.get(names.name, "").split()), tuple(_asserted(form, values))
    message = values.pop(names.message, "")
    parts: list[AnyPart] = [Text(text=message)] if message else []
    if values or page_url is not None:
        parts.append(FormResponse(form_id=form_id, fields=tuple(_answers(form, values)), page_url=page_url))
    return Received(
        at=f"{site}/{form_id}",
        key=key,
        sender=sender,
        parts=tuple(parts),
        assurance="channel" if visitor else "asserted",
        asserted=asserted,
        reply_tokens=(ReplyToken("link", token),) if token else (),
        name=name[:MAX_NAME] or None,
        ext={"signed": True} if signed else {},
    )


def _read(request: Request) -> dict[str, str]:
    """Every field that was filled in, by its name on the page, in order; one that came several times is a list."""
    if len(request.body) > MAX_BODY_BYTES:
        raise Malformed(f"the form is larger than {MAX_BODY_BYTES} bytes", 413)
    values: dict[str, str] = {}
    for name, value in map(_clean_pair, _json_pairs(request) if request.content_type == JSON else request.form.pairs):
        if not (name and value):
            continue
        values[name] = f"{values[name]}, {value}" if name in values else value
        if len(name) > MAX_NAME or len(values[name]) > MAX_VALUE or len(values) > MAX_FIELDS:
            raise Malformed("the form has too many fields, or one that is too long", 413)
    return values


_Scalar = str | Annotated[int, Meta(ge=-(2**53), le=2**53)] | float | bool | None


def _json_pairs(request: Request) -> Iterator[tuple[str, str]]:
    for name, value in request.json(dict[str, _Scalar | list[_Scalar]]).items():
        for one in value if isinstance(value, list) else (value,):
            if one is not None:
                yield name, one if isinstance(one, str) else msgspec.json.encode(one).decode()


def _clean_pair(pair: tuple[str, str]) -> tuple[str, str]:
    name, value = (_CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n")).strip() for text in pair)
    return " ".join(name.split()), value


def _key(form: SiteForm, request: Request, submission_id: str, values: Mapping[str, str]) -> str:
    """The same submission has the same key: by the page's id and what was written, as a cached page repeats its id.

    Without an id, a server's is known by the time that it signed, a browser's by the client and the hour.
    """
    signed = _is_signed(request)
    once = submission_id or ("" if signed else request.headers.get(IDEMPOTENCY_KEY, ""))  # a signature covers no header
    circumstances: tuple[str, ...] = ()
    if once:
        circumstances = ("id", once)
    elif signed:
        circumstances = ("signed", request.headers[TIMESTAMP])
    elif "origin" in request.headers:  # it has none where a dead letter is replayed
        circumstances = (request.client_network, f"{now():%Y-%m-%dT%H}")
    said = "\0".join((form.address, *circumstances, *(text for pair in values.items() for text in pair)))
    return signing.sha256_hex(said.encode("utf-8", "surrogateescape"))[:32]


def _page(form: SiteForm, url: str, *, signed: bool) -> str | None:
    """The URL without its fragment, if it leads where the form may be: agents will follow it."""
    try:
        parsed = urlsplit(url)
    except ValueError:
        return None
    known = f"{parsed.scheme}://{parsed.netloc}" in form.origins or (signed and parsed.scheme in {"http", "https"})
    return parsed._replace(fragment="").geturl() if known and url.isascii() else None


def _asserted(form: SiteForm, values: Mapping[str, str]) -> Iterator[str]:
    """The addresses that were typed in, as far as they are some."""
    for build, text in (
        (addresses.mailto, values.get(form.fields.email, "")),
        (addresses.tel, _international(values.get(form.fields.phone, ""), form.country_code)),
    ):
        try:
            yield build(text)
        except InvalidAddress:
            continue


def _international(number: str, country_code: str | None) -> str:
    """In E.164 as far as that can be told: 00 is +, and 0 is a national number's where there is a country code."""
    digits = re.sub(r"[\s./()-]", "", re.sub(r"^(\s*(?:\+|00).*?)\(0\)", r"\1", number))
    if digits.startswith("00"):
        return "+" + digits[2:]
    if digits.startswith("0") and country_code:
        return f"+{country_code}{digits[1:]}"
    return digits


def _answers(form: SiteForm, values: Mapping[str, str]) -> Iterator[FormAnswer]:
    """Those with a meaning by their usual name, whatever the page calls them."""
    usual = {on_page: name for name, on_page in msgspec.structs.asdict(form.fields).items()}
    for on_page, value in values.items():
        name = usual.get(on_page, on_page)
        yield FormAnswer(name=name, value=value, label=form.labels.get(name))


def _thanks(form: SiteForm, request: Request) -> Response:
    """JSON for scripts; for a browser that shows the answer, the page that the retailer configured."""
    if request.content_type == JSON or JSON in request.headers.get("accept", ""):
        return Response.of_json({"accepted": True})
    if form.thanks_url is not None:
        return Response(status=303, headers={"location": form.thanks_url})
    return THANKS
