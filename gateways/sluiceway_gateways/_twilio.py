"""What Twilio's channels share: login, signature of deliveries, reading of refusals. Knows no channel's fields."""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Any
from urllib.parse import ParseResult, urlparse

from msgspec import Meta, Struct

from sluiceway import (
    Ambiguous,
    Gateway,
    Malformed,
    Request,
    Response,
    Secret,
    SendError,
    Settings,
    Throttled,
    Unverified,
    signing,
)
from sluiceway.wire import FORM

API = "https://api.twilio.com"
SIGNATURE = "x-twilio-signature"
BODY_HASH = "bodySHA256"


class Connection(Settings, frozen=True, kw_only=True):
    """A Twilio account (or subaccount), and an API key of its own for requests where one is wanted.

    `token` is the account's primary auth token even then: it alone signs deliveries.
    """

    sid: Annotated[str, Meta(pattern="^AC[0-9a-fA-F]{32}$")]
    token: Secret
    api_key_sid: Annotated[str, Meta(pattern="^SK[0-9a-fA-F]{32}$")] | None = None
    api_key_secret: Secret | None = None
    api_url: str = API

    def __post_init__(self) -> None:
        if not self.token.reveal():
            raise ValueError("token is empty")
        if (self.api_key_sid is None) != (self.api_key_secret is None):
            raise ValueError("api_key_sid and api_key_secret go together: give both or neither")

    @property
    def basic(self) -> tuple[str, str]:
        """User and password for Twilio's REST API. https://www.twilio.com/docs/usage/requests-to-twilio"""
        if self.api_key_sid and self.api_key_secret:
            return self.api_key_sid, self.api_key_secret.reveal()
        return self.sid, self.token.reveal()


def sign(token: Secret, url: str, pairs: tuple[tuple[str, str], ...] = ()) -> str:
    """The signature of a request for this URL with these form fields; a field sent twice alike counts once.

    https://www.twilio.com/docs/usage/webhooks/webhooks-security
    """
    fields = "".join([name + value for name, value in sorted(set(pairs))])
    return signing.hmac_base64(token.reveal().encode(), (url + fields).encode("utf-8", "surrogatepass"))


def verify(request: Request, token: Secret) -> None:
    """Return if the holder of the token made this request: a form, or anything whose hash the URL carries.

    Decides as `twilio.request_validator.RequestValidator.validate` does. Raises `Unverified` or `Malformed`.
    """
    as_called, other = _spellings(request.url)
    given = request.headers.get(SIGNATURE, "")
    pairs: tuple[tuple[str, str], ...] = ()
    if request.content_type != FORM and (digest := request.query.get(BODY_HASH)):
        signing.check(digest, signing.sha256_hex(request.body), BODY_HASH)
    else:
        pairs = request.form.pairs
    try:
        signing.check(given, sign(token, as_called, pairs), SIGNATURE)
    except Unverified:
        signing.check(given, sign(token, other, pairs), SIGNATURE)


def refusal(gateway: Gateway[Any, Any], response: Response) -> SendError:
    """The exception for a response that is no success. https://www.twilio.com/docs/usage/twilios-response"""
    if response.status == 429:
        return Throttled("Twilio has too many requests of this account at once", _seconds(response))
    if not 400 <= response.status < 500:
        return Ambiguous(f"Twilio answered with HTTP status {response.status}")
    try:
        problem = response.json(_Problem)
    except Malformed:
        problem = _Problem()
    return gateway.refusal(str(problem.code or response.status), (problem.message or "")[:200])


class _Problem(Struct, frozen=True):
    code: int | str | None = None
    message: str | None = None


def _seconds(response: Response) -> float | None:
    value = response.headers.get("retry-after", "")
    return float(value) if value.isascii() and value.isdecimal() else None


@lru_cache(256)
def _spellings(url: str) -> tuple[str, str]:
    """The URL as called, then with its port taken away or the scheme's added: Twilio signs either."""
    try:
        parsed = urlparse(url)
        port = parsed.port
    except ValueError as error:
        raise Malformed("the URL can't be read") from error
    if port:
        return parsed.geturl(), _at(parsed, parsed.netloc.partition(":")[0])
    return parsed.geturl(), _at(parsed, f"{parsed.netloc}:{443 if parsed.scheme == 'https' else 80}")


def _at(parsed: ParseResult, netloc: str) -> str:
    return parsed._replace(netloc=netloc).geturl()
