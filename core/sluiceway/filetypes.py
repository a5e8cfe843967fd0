"""What a file is, by its first bytes; what somebody said of it counts only where the bytes do not say otherwise.

Opens nothing: a picture or an archive is never looked into.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import puremagic

HEAD_BYTES = 4096
UNKNOWN = "application/octet-stream"
_MIME = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,126}/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}")
_SURE = 0.4
"""puremagic's confidence from which a signature says more than what was declared."""

_SPELLINGS = {
    "image/jpg": "image/jpeg",
    "image/pjpeg": "image/jpeg",
    "audio/wave": "audio/wav",
    "audio/x-wav": "audio/wav",
    "audio/x-m4a": "audio/mp4",
    "audio/mp3": "audio/mpeg",
    "application/x-zip-compressed": "application/zip",
    "image/heif": "image/heic",
    "application/ogg": "audio/ogg",
}
_EXTENSIONS = {
    "image/jpeg": "jpg",
    "image/png": "png",
    "image/gif": "gif",
    "image/webp": "webp",
    "audio/ogg": "ogg",
    "audio/mpeg": "mp3",
    "audio/mp4": "m4a",
    "audio/amr": "amr",
    "video/mp4": "mp4",
    "video/3gpp": "3gp",
    "video/quicktime": "mov",
    "application/pdf": "pdf",
    "text/plain": "txt",
    "text/vcard": "vcf",
}


class _Container(NamedTuple):
    """A signature that several types share: what is declared of them holds, else it is the first."""

    magic: re.Pattern[bytes]
    types: tuple[str, ...]


_CONTAINERS = (
    _Container(
        re.compile(rb".{4}ftyp", re.DOTALL),
        ("video/mp4", "audio/mp4", "video/quicktime", "video/3gpp", "audio/3gpp", "image/heic", "image/avif"),
    ),
    _Container(re.compile(rb"OggS"), ("audio/ogg", "video/ogg")),
    _Container(re.compile(rb"\x1aE\xdf\xa3"), ("video/webm", "audio/webm", "video/x-matroska", "audio/x-matroska")),
    _Container(
        re.compile(rb"PK(?:\x03\x04|\x05\x06)"),
        ("application/zip", "application/vnd.", "application/epub+zip", "application/java-archive"),
    ),
    _Container(
        re.compile(rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"),
        ("application/x-ole-storage", "application/msword", "application/vnd.ms-", "application/vnd.visio"),
    ),
)
_SIGNED = ("image/", "video/", "application/pdf", "application/zip", "application/vnd.", "application/msword")
"""Types whose files always have a signature: without one a file is none of them."""


def mime_of(head: bytes, declared: str) -> str:
    """The media type of a file that begins with these bytes (RFC 6838, lower case, without parameters)."""
    said = _normal(declared)
    for container in _CONTAINERS:
        if container.magic.match(head):
            return _of_container(head, said, container.types)
    found = _recognised(head)
    if said in found:
        return said
    if said.startswith("text/") and _is_text(head):
        return said
    if found:
        return found[0]
    return UNKNOWN if said.startswith(_SIGNED) or (said.startswith("text/") and not _is_text(head)) else said


def file_name(name: str | None, mime: str, stem: str = "file") -> str:
    """A name for a file; one made up of its type where it has none."""
    if name and name.strip():
        return name.strip()
    extension = _EXTENSIONS.get(mime)
    return f"{stem}.{extension}" if extension else stem


def _normal(declared: str) -> str:
    mime = declared.partition(";")[0].strip().lower()
    mime = _SPELLINGS.get(mime, mime)
    return mime if _MIME.fullmatch(mime) else UNKNOWN


def _of_container(head: bytes, said: str, types: tuple[str, ...]) -> str:
    """What is declared where it is of this container; else what puremagic takes it for, else the plainest."""
    if any(said == type or (type.endswith((".", "-")) and said.startswith(type)) for type in types):
        return said
    return next((mime for mime in _recognised(head) if mime in types), types[0])


def _recognised(head: bytes) -> list[str]:
    """The types whose signature it has, the surest first."""
    if not head:
        return []
    try:
        found = puremagic.magic_string(head)
    except (puremagic.PureError, ValueError):
        return []
    sure = (_normal(one.mime_type) for one in found if one.mime_type and one.confidence >= _SURE)
    weak = (_normal(one.mime_type) for one in found if one.mime_type.startswith(("audio/", "image/")))
    return [mime for mime in dict.fromkeys((*sure, *weak)) if mime != UNKNOWN]


def _is_text(head: bytes) -> bool:
    """Whether it may be read: nothing in it that no text has."""
    return not any(byte < 9 or (13 < byte < 32 and byte != 27) for byte in head)
