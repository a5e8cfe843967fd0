"""Content parts: what a message consists of, a union tagged by `type`. Parts say, they never do.

Every part but text has a `fallback`, plain text that says the same, for a reader or a channel that cannot show it.
A sender may leave `id` and `fallback` out: whoever puts the message on the stream fills them in (`complete`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from .values import AddressUri, Base, ByteCount, Currency, Decimal, Id, Language, MediaRef, Milliseconds

PartId = Annotated[str, Meta(description="Unique within its message; filled in with 1, 2, … where left out.")]
Fallback = Annotated[str, Meta(description="Plain text that says the same, where the part itself can't be shown.")]


class Part(Base, frozen=True, kw_only=True, tag_field="type"):
    """One piece of a message's content."""

    id: PartId = ""

    def plain(self) -> str:
        """The part as plain text."""
        raise NotImplementedError(type(self))


class Text(Part, frozen=True, kw_only=True, tag="text"):
    """Written words. `format` is plain, markdown (CommonMark) or html; an unknown format reads as plain."""

    text: str
    format: str = "plain"
    lang: Language | None = None

    def plain(self) -> str:
        return self.text


class Media(Part, frozen=True, kw_only=True, tag="media"):
    """A file, or a place for one that is still being fetched.

    `kind` is image, video, audio, voice, file or sticker. `mime` is a media type of RFC 6838. `state` is pending,
    stored (then `ref` is there), failed or remote: with the provider, at `url`; a `sluiceway.message.media` event tells
    when it changes. A command's media is a stored file by its `ref`, whose type and size count, or is to be taken by
    the provider from `url`; whoever sends it need not set `state`. `width` and `height` are in pixels. `content_id` is
    the RFC 2392 id by which HTML refers to it, `inline` says that it does.
    """

    kind: str
    mime: str = "application/octet-stream"
    ref: MediaRef | None = None
    state: str = "pending"
    url: str | None = None
    name: str | None = None
    size: ByteCount | None = None
    width: int | None = None
    height: int | None = None
    duration_ms: Milliseconds | None = None
    caption: str | None = None
    alt: str | None = None
    content_id: str | None = None
    inline: bool = False
    fallback: Fallback = ""

    def plain(self) -> str:
        label = f"[{self.kind}{': ' + self.name if self.name else ''}]"
        return self.fallback or " ".join(filter(None, (label, self.caption or self.alt)))


class Location(Part, frozen=True, kw_only=True, tag="location"):
    """A place on Earth: WGS 84, decimal degrees, north and east positive."""

    lat: float
    lon: float
    name: str | None = None
    address: str | None = None
    fallback: Fallback = ""

    def plain(self) -> str:
        spot = f"{self.lat:.6f},{self.lon:.6f}"
        return self.fallback or ", ".join(filter(None, (self.name, self.address, spot)))


class ContactCard(Part, frozen=True, kw_only=True, tag="contact_card"):
    """Somebody's contact details, passed on. `vcard` is the original (RFC 6350), where there was one."""

    name: str
    addresses: tuple[AddressUri, ...] = ()
    vcard: str | None = None
    fallback: Fallback = ""

    def plain(self) -> str:
        return self.fallback or ", ".join((self.name, *self.addresses))


class Option(Base, frozen=True, kw_only=True):
    """One thing to choose. `kind` is reply (answers with a `choice`), url or call; `url` is where url and call lead."""

    id: str
    title: str
    kind: str = "reply"
    description: str | None = None
    url: str | None = None


class Choices(Part, frozen=True, kw_only=True, tag="choices"):
    """Options to choose from. `style` is buttons, list or quick; `multi` allows more than one."""

    options: tuple[Option, ...]
    prompt: str | None = None
    style: str = "buttons"
    multi: bool = False
    fallback: Fallback = ""

    def plain(self) -> str:
        lines = (f"{n}. {o.title}{' ' + o.url if o.url else ''}" for n, o in enumerate(self.options, 1))
        return self.fallback or "\n".join((*filter(None, [self.prompt]), *lines))


class Choice(Part, frozen=True, kw_only=True, tag="choice"):
    """What was chosen. `prompt_id` is the id of the message that asked; `payload` is what the provider sent with it."""

    option_ids: tuple[str, ...]
    titles: tuple[str, ...] = ()
    prompt_id: Id | None = None
    payload: str | None = None
    fallback: Fallback = ""

    def plain(self) -> str:
        return self.fallback or ", ".join(self.titles or self.option_ids)


class FormField(Base, frozen=True, kw_only=True):
    """One field to fill in. `kind` is text, email, tel, number, date, select or checkbox."""

    name: str
    label: str
    kind: str = "text"
    required: bool = False
    options: tuple[Option, ...] = ()


class Form(Part, frozen=True, kw_only=True, tag="form"):
    """Fields for the customer to fill in."""

    fields: tuple[FormField, ...]
    title: str | None = None
    fallback: Fallback = ""

    def plain(self) -> str:
        return self.fallback or "\n".join((*filter(None, [self.title]), *(f"{f.label}:" for f in self.fields)))


class FormAnswer(Base, frozen=True, kw_only=True):
    """One field as it was filled in."""

    name: str
    value: str
    label: str | None = None


class FormResponse(Part, frozen=True, kw_only=True, tag="form_response"):
    """A form as it was filled in; `page_url` is the page that it was on."""

    form_id: str
    fields: tuple[FormAnswer, ...]
    page_url: str | None = None
    fallback: Fallback = ""

    def plain(self) -> str:
        return self.fallback or "\n".join(f"{f.label or f.name}: {f.value}" for f in self.fields)


class TemplateValue(Base, frozen=True, kw_only=True):
    """What is put into one place of a template that plain text in order does not say.

    `place` is header, body or button, then number `index`, from 0. `kind` is text, currency, date_time, image, video,
    document, payload (of a quick reply) or url (the end of a button's address). `value` is the text, what is shown
    where currency and time can't be put into the reader's language, or the https address of the file; `name` is the
    parameter's name, or the file's.
    """

    value: str
    kind: str = "text"
    place: str = "body"
    index: int = 0
    name: str | None = None
    amount: Decimal | None = None
    currency: Currency | None = None


class Template(Part, frozen=True, kw_only=True, tag="template"):
    """A text that the provider approved beforehand, by name.

    `params` are the texts of its body, in order; `values` are all others, after those.
    """

    name: str
    lang: Language
    params: tuple[str, ...] = ()
    values: tuple[TemplateValue, ...] = ()
    category: str | None = None
    fallback: Fallback = ""

    def plain(self) -> str:
        texts = (*self.params, *(value.value for value in self.values if value.place != "button"))
        return self.fallback or f"[{self.name}] {', '.join(texts)}".rstrip()


class Call(Part, frozen=True, kw_only=True, tag="call"):
    """A call of this conversation. `outcome` is answered, busy, no_answer, failed, canceled, voicemail."""

    call_id: Id
    outcome: str
    duration_ms: Milliseconds | None = None
    summary: str | None = None
    fallback: Fallback = ""

    def plain(self) -> str:
        return self.fallback or f"[call: {self.outcome}]{' ' + self.summary if self.summary else ''}"


class Rating(Part, frozen=True, kw_only=True, tag="rating"):
    """A value on a scale that goes from `worst` to `best`."""

    value: float
    worst: float = 1
    best: float = 5
    fallback: Fallback = ""

    def plain(self) -> str:
        return self.fallback or f"{self.value:g} ({self.worst:g} to {self.best:g})"


class Notice(Part, frozen=True, kw_only=True, tag="notice"):
    """Something that the channel says, not a person: `code` for programs, `text` for people."""

    code: str
    text: str
    fallback: Fallback = ""

    def plain(self) -> str:
        return self.fallback or self.text


class Unknown(Part, frozen=True, kw_only=True, tag="unknown"):
    """A part that its reader or its gateway does not know: `was` is its own type, `raw` what there was of it (JSON)."""

    was: str
    raw: Any = None
    fallback: Fallback = ""

    def plain(self) -> str:
        return self.fallback or f"[{self.was}]"


AnyPart = (
    Text
    | Media
    | Location
    | ContactCard
    | Choices
    | Choice
    | Form
    | FormResponse
    | Template
    | Call
    | Rating
    | Notice
    | Unknown
)
RESERVED = frozenset({"cards", "product", "order"})
"""Types of parts that later versions define; nobody else may use them."""

KNOWN: Mapping[str, type[Part]] = {str(part.__struct_config__.tag): part for part in AnyPart.__args__}
"""The parts of this version, by `type`."""


def complete(parts: Iterable[AnyPart]) -> tuple[AnyPart, ...]:
    """The parts with every `id` and `fallback` filled in; ids that are there, and differ, stay."""
    parts = tuple(parts)
    given = {part.id for part in parts}
    done: list[AnyPart] = []
    taken: set[str] = set()
    for number, part in enumerate(parts, 1):
        id = part.id
        if not id or id in taken:
            id = str(number)
            while id in given or id in taken:
                id += "+"
        taken.add(id)
        if isinstance(part, Text):
            done.append(part if part.id == id else msgspec.structs.replace(part, id=id))
        else:
            done.append(msgspec.structs.replace(part, id=id, fallback=part.plain()))
    return tuple(done)


def plain(parts: Iterable[AnyPart]) -> str:
    """All parts as one plain text, a line or more each; parts with nothing to say are left out."""
    return "\n".join(filter(None, (part.plain() for part in parts)))
