"""What a mail says, as plain text and as HTML, from the same parts; files are named here and opened nowhere.

HTML is made only where something needs it: an HTML or Markdown text, or an image within the text. It comes from our own
agents and bots, and is sanitised all the same.
"""

from __future__ import annotations

import html
import mimetypes
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple
from urllib.parse import quote, unquote

import nh3
from markdown_it import MarkdownIt

from sluiceway import File, Rejected
from sluiceway_contracts import AnyPart, Media, Text

from ._header_writing import clean
from ._plain_text import plain_text

_MARKDOWN = MarkdownIt("commonmark", {"html": False})
_STYLES = {
    *("color", "background-color", "font-family", "font-size", "font-style", "font-weight", "line-height"),
    *("text-align", "text-decoration", "border", "border-left", "border-collapse", "width", "max-width", "height"),
    *("margin", "margin-top", "margin-bottom", "padding", "padding-left", "vertical-align", "white-space"),
}
_SANITISER = nh3.Cleaner(
    clean_content_tags={"script", "style", "title"},
    attributes={**nh3.ALLOWED_ATTRIBUTES, "*": {"style", "dir", "lang", "title"}},
    filter_style_properties=_STYLES,
    url_schemes={"https", "http", "mailto", "tel", "cid"},
)
_SHOWN = re.compile(r"src=\"cid:([^\"]*)\"", re.IGNORECASE)
_CONTENT_ID = re.compile(r"[A-Za-z0-9.@_+-]{1,200}")
_MIME = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}")
_UNKNOWN = "application/octet-stream"


class Shown(NamedTuple):
    """An image that the HTML shows, by its id."""

    file: File
    content_id: str


class Said(NamedTuple):
    """`html` is a fragment, None where the text says it all. `shown` are images in it, `attached` all other files."""

    text: str
    html: str | None
    shown: tuple[Shown, ...]
    attached: tuple[File, ...]


def said(parts: Sequence[AnyPart], unique: str) -> Said:
    """Both, in the order of the parts. `unique` makes ids of images that have none. Raises `Rejected`."""
    named = _shown_by(part for part in parts if isinstance(part, Text))
    texts, pages = list[str](), list[str]()
    shown, attached = list[Shown](), list[File]()
    for number, part in enumerate(parts, 1):
        if isinstance(part, Media) and part.ref is not None:
            file = _file(part, part.ref)
            if part.inline and file.mime.startswith("image/"):
                id = part.content_id or ""
                inside = id in named and _CONTENT_ID.fullmatch(id) is not None
                shown.append(Shown(file, id if inside else f"{number}.{unique}"))
                texts.append((part.caption or "") if inside else part.plain())
                pages.append(_paragraph(part.caption or "") if inside else _image(part, shown[-1]))
            else:
                attached.append(file)
                texts.append(part.caption or "")
                pages.append(_paragraph(part.caption or ""))
        else:
            texts.append(_text(part))
            pages.append(_page(part))
    rich = shown or any(isinstance(part, Text) and part.format in ("html", "markdown") for part in parts)
    page = "\n".join(filter(None, pages)) if rich else None
    return Said("\n\n".join(filter(None, texts)), page, tuple(shown), tuple(attached))


def _shown_by(texts: Iterable[Text]) -> frozenset[str]:
    """The ids of images that a text shows itself."""
    pages = (_page(text) for text in texts if text.format in ("html", "markdown"))
    return frozenset(unquote(html.unescape(id)) for page in pages for id in _SHOWN.findall(page))


def _text(part: AnyPart) -> str:
    match part:
        case Text(format="html", text=text):
            return plain_text(_SANITISER.clean(text))
        case Media(url=str(url)):
            return f"{part.plain()} {url}"
    return part.plain().strip("\r\n")


def _page(part: AnyPart) -> str:
    match part:
        case Text(format="html", text=text):
            return f'<div dir="auto">{_SANITISER.clean(text)}</div>'
        case Text(format="markdown", text=text):
            return f'<div dir="auto">{_SANITISER.clean(_MARKDOWN.render(text)).strip()}</div>'
        case Media(url=str(url)) if url.startswith("https://"):
            return f'<p dir="auto"><a href="{html.escape(url)}">{html.escape(part.plain())}</a></p>'
    return _paragraph(_text(part))


def _paragraph(text: str) -> str:
    lines = html.escape(text, quote=False).splitlines()
    return f'<p dir="auto">{"<br>".join(lines)}</p>' if text else ""


def _image(part: Media, shown: Shown) -> str:
    id, alt = quote(shown.content_id, safe="@"), html.escape(part.alt or shown.file.name)
    return f'<p><img src="cid:{id}" alt="{alt}"></p>{_paragraph(part.caption or "")}'


def _file(part: Media, ref: str) -> File:
    """Mail may not hold a whole message or multipart in base64 (RFC 2045, 6.4): those go as files of no known type."""
    if part.size is None:
        raise Rejected("the size of a file is not known, so that it can't be sent")
    mime = part.mime.lower() if _MIME.fullmatch(part.mime) else _UNKNOWN
    if mime.startswith(("message/", "multipart/")):
        mime = _UNKNOWN
    name = clean(part.name or "") or part.kind + (_EXTENSIONS.guess_extension(mime) or "")
    return File(ref=ref, mime=mime, size=part.size, name=name)


_EXTENSIONS = mimetypes.MimeTypes()
"""Python's own table, whatever this machine has."""
