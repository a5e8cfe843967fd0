"""HTTP requests and responses as values, for gateways that do no I/O; nothing here opens a connection."""

from __future__ import annotations

import base64
import ipaddress
import secrets
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any, TypeVar
from urllib.parse import unquote_to_bytes, urlencode, urlsplit

import msgspec

from . import multipart
from .errors import Malformed

T = TypeVar("T")
Basic = tuple[str, str]
"""User and password of HTTP's Basic scheme (RFC 7617)."""

MAX_FORM_FIELDS = 1000

FORM = "application/x-www-form-urlencoded"
JSON = "application/json"


class Form(Mapping[str, str]):
    """A decoded form. As a mapping it gives the first value of each name; `pairs` are all, in the order sent."""

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self.pairs = tuple(pairs)
        self._first = dict(reversed(self.pairs))

    def __getitem__(self, name: str) -> str:
        return self._first[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._first)

    def __len__(self) -> int:
        return len(self._first)

    def __contains__(self, name: object) -> bool:  # Mapping's own raises and catches a KeyError
        return name in self._first

    def required(self, name: str) -> str:
        """The value of a field that must be there and not empty. Raises `Malformed`."""
        value = self._first.get(name)
        if not value:
            raise Malformed(f"the field {name} is missing")
        return value


class File(msgspec.Struct, frozen=True, kw_only=True):
    """A stored file, by its reference; core puts its bytes in where a request goes out. `size` is in bytes."""

    ref: str
    mime: str
    size: int
    name: str


class Request(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """An HTTP request: one that a provider made, or one for core to make.

    `url` is absolute, and for a delivery the one that the provider called, whatever proxies stand between. `subpath` is
    what follows the hook's name, without a leading slash. `headers` has lower-case names; the values of a repeated
    header are joined by ", ". `client` is the IP address that a delivery came from, as far as proxies can be trusted.
    `repeatable` says that core may make this request again by itself. `pieces` are the body where files are in it:
    then `body` is empty.
    """

    method: str
    url: str
    headers: Mapping[str, str] = {}
    body: bytes = b""
    subpath: str = ""
    client: str = ""
    repeatable: bool = False
    pieces: tuple[bytes | File, ...] = ()

    @classmethod
    def get(cls, url: str, *, basic: Basic | None = None, repeatable: bool = True) -> Request:
        """A GET."""
        return cls(method="GET", url=url, headers=_authorization(basic), repeatable=repeatable)

    @classmethod
    def post_form(
        cls,
        url: str,
        fields: Iterable[tuple[str, str]],
        *,
        basic: Basic | None = None,
        repeatable: bool = False,
    ) -> Request:
        """A POST of form fields, in order."""
        headers = {"content-type": FORM, **_authorization(basic)}
        return cls(
            method="POST", url=url, headers=headers, body=urlencode(list(fields)).encode(), repeatable=repeatable
        )

    @classmethod
    def post_multipart(
        cls,
        url: str,
        fields: Iterable[tuple[str, str]],
        file: File,
        *,
        name: str = "file",
        headers: Mapping[str, str] = {},  # never written to
        repeatable: bool = True,
    ) -> Request:
        """A POST of form fields and then a file, which is the field `name` (RFC 7578)."""
        boundary = secrets.token_hex(16)
        start, rows = f"--{boundary}\r\ncontent-disposition: form-data; name=", list[str]()
        rows += [f'{start}"{_quoted(key)}"\r\n\r\n{value}\r\n' for key, value in fields]
        rows += [f'{start}"{_quoted(name)}"; filename="{_quoted(file.name)}"\r\ncontent-type: {file.mime}\r\n\r\n']
        return cls(
            method="POST",
            url=url,
            headers={**headers, "content-type": f"multipart/form-data; boundary={boundary}"},
            pieces=("".join(rows).encode(), file, f"\r\n--{boundary}--\r\n".encode()),
            repeatable=repeatable,
        )

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.url.partition('?')[0]}>"

    @cached_property
    def client_network(self) -> str:
        """What one household has of `client`: the IPv4 address, or the first 64 bits of the IPv6 one. May be empty."""
        try:
            address = ipaddress.ip_address(self.client)
        except ValueError:
            return ""
        if isinstance(address, ipaddress.IPv4Address):
            return str(address)
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.IPv6Network((int(address), 64), strict=False))

    @cached_property
    def content_type(self) -> str:
        """The media type alone, in lower case."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @cached_property
    def query(self) -> Form:
        """The query's fields. Raises `Malformed`."""
        try:
            return Form(_pairs(urlsplit(self.url).query))
        except ValueError as error:
            raise Malformed("the URL can't be read") from error

    @cached_property
    def form(self) -> Form:
        """The body as a form, URL-encoded or multipart, in UTF-8. Raises `Malformed`."""
        if self.content_type == multipart.KIND:
            return Form((name, _utf8(value)) for name, value in self.multipart)
        if self.content_type != FORM:
            raise Malformed(f"the content type is {self.content_type[:80] or 'absent'}, expected {FORM}", 415)
        try:
            return Form(_pairs(self.body.decode("ascii")))
        except UnicodeDecodeError as error:
            raise Malformed("the form is not URL-encoded ASCII") from error

    @cached_property
    def multipart(self) -> tuple[tuple[str, bytes], ...]:
        """The fields of a multipart/form-data body in the order sent, files among them. Raises `Malformed`."""
        return tuple(multipart.fields(self.headers.get("content-type", ""), self.body, MAX_FORM_FIELDS))

    def json(self, type: type[T]) -> T:
        """The body as JSON of this type. Raises `Malformed`."""
        return read_json(self.body, type)


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """An HTTP response: the provider's to us, or ours to the provider. `headers` has lower-case names."""

    status: int = 200
    headers: Mapping[str, str] = {}
    body: bytes = b""

    def json(self, type: type[T]) -> T:
        """The body as JSON of this type. Raises `Malformed`."""
        return read_json(self.body, type)

    @classmethod
    def of_json(cls, value: Any, status: int = 200) -> Response:
        """A response with this value as JSON."""
        return cls(status=status, headers={"content-type": JSON}, body=msgspec.json.encode(value))


def read_json(data: bytes, type: type[T]) -> T:
    """Decode JSON of this type. Raises `Malformed`, also for what is nested too deeply."""
    try:
        return msgspec.json.decode(data, type=type)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"the JSON can't be read: {error}") from error


def _pairs(encoded: str) -> list[tuple[str, str]]:
    if not encoded:
        return []
    if encoded.count("&") >= MAX_FORM_FIELDS:
        raise Malformed(f"the form has more than {MAX_FORM_FIELDS} fields", 413)
    pairs: list[tuple[str, str]] = []
    try:
        for field in encoded.replace("+", " ").split("&"):
            name, _, value = field.partition("=")
            if "%" in field:
                name, value = unquote_to_bytes(name).decode(), unquote_to_bytes(value).decode()
            if field:
                pairs.append((name, value))
    except UnicodeDecodeError as error:
        raise Malformed("the form is not UTF-8") from error
    return pairs


def _utf8(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise Malformed("the form is not UTF-8") from error


def _quoted(text: str) -> str:
    """As browsers write a name: https://html.spec.whatwg.org/multipage/form-control-infrastructure.html"""
    return text.replace("\r", "%0D").replace("\n", "%0A").replace('"', "%22")


def _authorization(basic: Basic | None) -> dict[str, str]:
    if basic is None:
        return {}
    return {"authorization": "Basic " + base64.b64encode(f"{basic[0]}:{basic[1]}".encode()).decode()}
