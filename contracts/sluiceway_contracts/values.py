"""The scalar values that the contract is made of, each with its format or unit; no structure, no behaviour but UTC."""

from __future__ import annotations

import datetime
from typing import Annotated

import msgspec
from msgspec import Meta

Id = Annotated[str, Meta(description="UUID (RFC 9562), lower case.", extra_json_schema={"format": "uuid"})]
Time = Annotated[datetime.datetime, Meta(tz=True, description="RFC 3339, UTC, written with Z.")]
AddressUri = Annotated[
    str,
    Meta(description="Address as a URI, such as tel:+447700900123, mailto:a@b.example or whatsapp:447700900123."),
]
Language = Annotated[str, Meta(description="Language as a BCP 47 tag, such as en or pt-BR.")]
Currency = Annotated[str, Meta(description="Currency as an ISO 4217 code, such as GBP.")]
Decimal = Annotated[str, Meta(description="Amount as a decimal string, such as -0.0075; never a float.")]
Milliseconds = Annotated[int, Meta(description="Duration in milliseconds.")]
ByteCount = Annotated[int, Meta(description="Size in bytes.")]
MediaRef = Annotated[str, Meta(description="media:<tenant>/<SHA-256 in hexadecimal>")]
Channel = Annotated[str, Meta(description="Such as sms, whatsapp, email, messenger, instagram, voice, webform.")]
Scalar = str | int | float | bool | None


class Base(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What all of the contract's structures share.

    frozen: a value that crossed the bus is shared, so nobody may change it. kw_only: fields may be added anywhere.
    omit_defaults: an absent field and its default mean the same. Unknown fields are ignored, so that a reader
    outlives the writer's next release.
    """


class Timed(Base, frozen=True, kw_only=True):
    """A structure with times: they are brought to UTC; one without an offset is refused with `ValueError`."""

    def __post_init__(self) -> None:
        for field in _time_fields(type(self)):
            value = getattr(self, field)
            if value is not None and value.tzinfo is not datetime.UTC:
                msgspec.structs.force_setattr(self, field, utc(value))


def utc(moment: datetime.datetime) -> datetime.datetime:
    """The same moment in UTC.

    Raises `ValueError` for a time without an offset, as nobody can know which moment it is, and for one that UTC puts
    before year 1 or after 9999.
    """
    if moment.tzinfo is None:
        raise ValueError(f"the time {moment.isoformat()} has no offset; give it one, such as datetime.UTC")
    try:
        return moment.astimezone(datetime.UTC)
    except OverflowError as error:
        raise ValueError(f"the time {moment.isoformat()} is out of range in UTC") from error


def now() -> datetime.datetime:
    """This moment, in UTC."""
    return datetime.datetime.now(datetime.UTC)


_TIMES: dict[type, tuple[str, ...]] = {}


def _time_fields(struct: type[Timed]) -> tuple[str, ...]:
    found = _TIMES.get(struct)
    if found is None:
        found = tuple(f.name for f in msgspec.structs.fields(struct) if "datetime" in repr(f.type))
        _TIMES[struct] = found
    return found
